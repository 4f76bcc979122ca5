"""Every command in README and docs is one that there is, and is run by a test."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from invoke import Collection, Program
from invoke.exceptions import Exit, ParseError

from armillary.paths import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SHELLS = {"console", "bash", "sh", "shell"}
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:uv run )?(?:invoke|pytest|bash) [^`\n]+)`")
INDENTED = re.compile(r"^    ((?:uv|pip|bash|git) .+)$", re.MULTILINE)

PREPARES = {"git clone", "pip install", "uv sync", "cd armillary"}
"""How a command begins that gets the project and what runs it: .ci/run starts from there."""
BY_HAND = {
    "pre-commit install": "changes the checkout's git hooks",
    "bash .ci/run": "is what runs all of them",
    "invoke bench": "takes an hour; its parts are tested in tests/unit/test_bench.py",
    "invoke alerts": "needs a cluster with alerts; what it runs there is tested in services/alerts/tests",
    "invoke sandbox": "makes an OpenStack; its parts are tested in tests/unit/test_sandbox.py",
    "pytest tests/sandbox": "needs the sandbox",
    "export OS_": "is for the shell of whom it is shown to",
}
"""Commands that no test runs, and why."""
VALUES = {
    "HOST": "worker-1",
    "USER": "astronomer",
    "COMPONENT": "hub",
    "COMMAND": "up",
    "PATH": "/srv/shared",
}
"""What stands for something in prose."""


@dataclass(frozen=True)
class Written:
    """A command as it is written on a page."""

    page: Path
    line: int
    text: str

    @property
    def words(self) -> list[str]:
        """Its words, without `uv run` and with an example for each placeholder."""
        text = self.text.removeprefix("uv run ")
        return [VALUES.get(word, word) for word in shlex.split(text, comments=True)]

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}: {self.text}"


def written() -> list[Written]:
    """Return every command on every page."""
    found: dict[str, Written] = {}
    for page in PAGES:
        for position, text in _commands(page.read_text()):
            line = page.read_text().count("\n", 0, position) + 1
            found.setdefault(text, Written(page, line, text))
    return list(found.values())


def _commands(text: str) -> Iterator[tuple[int, str]]:
    fences = list(FENCE.finditer(text))
    for fence in fences:
        if fence[1] not in SHELLS:
            continue
        position = fence.start(2)
        for line in fence[2].splitlines(keepends=True):
            for command in line.split("&&"):
                if command.strip() and not command.strip().startswith("#"):
                    yield position, command.strip().removeprefix("$ ")
            position += len(line)
    outside = FENCE.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    for pattern in (INLINE, INDENTED):
        for match in pattern.finditer(outside):
            yield match.start(), match[1].strip()


COMMANDS = written()
INVOKED = [each for each in COMMANDS if each.words[:1] == ["invoke"]]
OTHERS = [each for each in COMMANDS if each not in INVOKED]


@pytest.fixture(scope="module")
def collection() -> Collection:
    """The tasks of tasks.py."""
    spec = importlib.util.spec_from_file_location("tasks", ROOT / "tasks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return Collection.from_module(module)


def parsed(collection: Collection, words: list[str]) -> tuple[str, frozenset[str]] | None:
    """Return a command's task and its options, by invoke's own parser; None for `--list`.

    Raises:
        ParseError: there is no such task or option.
    """
    program = Program(namespace=collection)
    program.create_config()
    try:
        program.parse_core(["invoke", *words])
    except Exit:
        return None
    program.parse_collection()
    asked = program.args.help.value
    if asked:
        assert asked in collection.task_names, f"there is no task {asked}"
        return None
    if program.args.list.value:
        return None
    program.parse_tasks()
    (task,) = program.tasks
    given = {
        f"--{name}"
        for name, argument in task.args.items()
        if not argument.positional and argument.got_value and len(name) > 1
    }
    return task.name, frozenset(given - {"--cluster", "--cloud"})


@pytest.fixture(scope="module")
def run_by_tests(collection: Collection) -> set[tuple[str, frozenset[str]]]:
    """Return task and options of each call of `Lab.invoke` and `Lab.begin` in tests of whole clusters."""
    found = set()
    tests = ROOT / "tests"
    for path in (*tests.glob("e2e/test_*.py"), *tests.glob("sandbox/test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and _is_of_lab(node.func)):
                continue
            words = [a.value if isinstance(a, ast.Constant) else "worker-1" for a in node.args]
            if not words or words[0] not in collection.task_names:
                continue
            try:
                command = parsed(collection, [str(word) for word in words])
            except ParseError:
                continue
            if command:
                found.add(command)
    return found


def _is_of_lab(function: ast.expr) -> bool:
    return isinstance(function, ast.Attribute) and function.attr in ("invoke", "begin")


def test_there_are_commands_on_the_pages() -> None:
    """Else the patterns above have come to match nothing."""
    assert len(INVOKED) > 10
    assert any(each.text.startswith("pip install") for each in OTHERS)
    assert {each.page.name for each in COMMANDS} >= {"README.md", "CONTRIBUTING.md"}


@pytest.mark.parametrize("command", INVOKED, ids=str)
def test_a_command_is_one_that_there_is(collection: Collection, command: Written) -> None:
    try:
        parsed(collection, command.words[1:])
    except ParseError as error:
        pytest.fail(f"{command}: {error}")


def test_a_task_that_there_is_not_would_be_seen(collection: Collection) -> None:
    for words in (["upp"], ["up", "--no-such-option"], ["ssh"]):
        with pytest.raises(ParseError):
            parsed(collection, words)


@pytest.mark.parametrize("command", INVOKED, ids=str)
def test_a_command_is_run_by_a_test(
    collection: Collection, run_by_tests: set[tuple[str, frozenset[str]]], command: Written
) -> None:
    """By tests/e2e or tests/sandbox, on a cluster; `test` without options and `test --unit` are .ci/run's."""
    if any(f"invoke {command.words[1]}" == known for known in BY_HAND):
        return
    asked = parsed(collection, command.words[1:])
    if asked is None:
        return
    ci = (ROOT / ".ci" / "run").read_text()
    if asked in {("test", frozenset()), ("test", frozenset({"--unit"}))}:
        assert "uv run invoke test" in ci
        return
    assert asked in run_by_tests, f"{command}: no test in tests/e2e or tests/sandbox runs it"


@pytest.mark.parametrize("command", OTHERS, ids=str)
def test_another_command_is_accounted_for(command: Written) -> None:
    """It gets the project, or .ci/run runs it, or it is said why nothing does."""
    text = " ".join(command.words)
    if any(text.startswith(each) for each in (*PREPARES, *BY_HAND)):
        return
    assert command.words[0] == "pytest", f"{command}: add it to .ci/run, or say why it is not run"
    ci = (ROOT / ".ci" / "run").read_text()
    folders = [word for word in command.words[1:] if word.startswith("tests/")]
    assert folders, str(command)
    for folder in folders:
        assert (ROOT / folder).exists(), f"{command}: there is no {folder}"
    assert f"uv run pytest {folders[0]}" in ci, f"{command}: .ci/run does not run it"
