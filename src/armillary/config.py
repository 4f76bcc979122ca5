"""Reads cluster.yml, and says of everything wrong in it: file, line, what, and what to write."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, NoReturn

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from armillary.models.cluster import Cluster, json_schema
from armillary.models.problem import INVALID, Finding, Mark, Path, Positions, Problem
from armillary.models.rules import Draft, check
from armillary.models.values import closest

#: More values than any cluster.yml has: a stop for aliases that multiply.
MOST_VALUES = 20_000


class ConfigError(Exception):
    """A configuration that cannot be used; `problems` are all that are wrong with it."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        """Keep the problems, in the order they will be shown."""
        self.problems = list(problems)
        super().__init__(str(self))

    def __str__(self) -> str:
        """All problems, two lines each; with a count if there are several."""
        lines = [str(problem) for problem in self.problems]
        if len(lines) > 1:
            lines.append(f"{len(lines)} problems. Nothing was changed.")
        return "\n".join(lines)


def load_cluster(path: str | FilePath) -> Cluster:
    """Read a cluster.yml. Raises ConfigError with all problems at once."""
    return read_cluster(path)[0]


def read_cluster(path: str | FilePath) -> tuple[Cluster, Positions]:
    """Read a cluster.yml, and where its values stand (for `models.change.check_change`).

    Raises:
        ConfigError: with all problems at once.
    """
    return parse_cluster(_read(FilePath(path)), str(path))


def parse_cluster(text: str, file: str = "cluster.yml") -> tuple[Cluster, Positions]:
    """Do what `read_cluster` does with text that is at hand; `file` is for messages."""
    document = _Document(file)
    raw = document.read(_compose(text, file))
    positions = Positions(file, document.keys, document.values)
    problems = list(document.problems)
    cluster: Cluster | None = None
    errors: list[ErrorDetails] = []
    try:
        cluster = Cluster.model_validate(raw)
    except ValidationError as error:
        errors = error.errors(include_url=False)
    for finding, at_key in _explain(errors):
        if not document.is_broken(finding.path):
            problems.append(positions.problem(finding, key=at_key))
    problems.extend(
        positions.problem(finding)
        for finding in check(Draft.from_raw(raw))
        if not document.is_broken(finding.path)
    )
    if problems or cluster is None:
        raise ConfigError(sorted(problems, key=lambda each: (each.line, each.column)))
    return cluster, positions


def write_json_schema(path: FilePath) -> None:
    """Write the JSON Schema of cluster.yml, as it is kept in docs/reference/."""
    path.write_text(schema_text(), encoding="utf-8")


def schema_text() -> str:
    """Return the JSON Schema of cluster.yml as the text of its file."""
    return json.dumps(json_schema(), indent=2) + "\n"


# --- from file to YAML nodes --------------------------------------------------------------------


def _stop(file: str, mark: Mark, wrong: str, fix: str) -> NoReturn:
    raise ConfigError([Problem(file, mark.line, mark.column, "", wrong, fix)])


def _read(path: FilePath) -> str:
    whole = Mark(0, 0)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        there = sorted(str(other) for other in path.parent.parent.glob("*/cluster.yml"))
        fix = f"use one that is there: {', '.join(there)}" if there else "check the path"
        _stop(str(path), whole, "there is no such file", fix)
    except IsADirectoryError:
        _stop(str(path), whole, "is a directory", f"name the file in it: {path / 'cluster.yml'}")
    except OSError as error:
        _stop(str(path), whole, f"cannot be read: {error.strerror}", "check the file's permissions")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        mark = Mark(before.count(b"\n") + 1, len(before) - before.rfind(b"\n"))
        wrong = f"not UTF-8: a byte {data[error.start]:#04x}"
        _stop(str(path), mark, wrong, f"save it as UTF-8: `iconv -f latin1 -t utf-8 {path}`")


def _compose(text: str, file: str) -> yaml.Node:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        _stop(file, *_explain_syntax(error, text))
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        mark = Mark(before.count("\n") + 1, len(before) - before.rfind("\n"))
        wrong = f"a character that YAML does not allow: {error.character:#06x}"
        _stop(file, mark, wrong, "delete the character")
    except RecursionError:
        _stop(file, Mark(0, 0), "nested too deeply", "start from inventories/local/cluster.yml")
    start = "start from a copy of inventories/local/cluster.yml"
    if root is None or (isinstance(root, yaml.ScalarNode) and root.tag == _tag("null")):
        _stop(file, Mark(1, 1), "the file is empty", start)
    if not isinstance(root, yaml.MappingNode):
        _stop(file, _mark(root), "a mapping (`name: ...`) is needed at the top of the file", start)
    return root


def _explain_syntax(error: yaml.MarkedYAMLError, text: str) -> tuple[Mark, str, str]:
    at = error.problem_mark or error.context_mark
    line, column = (at.line + 1, at.column + 1) if at else (1, 1)
    lines = text.split("\n")
    for number, content in enumerate(lines[:line], 1):
        indent = re.match(r" *\t", content)
        if indent:
            wrong = "a tab where the line is indented: YAML takes spaces only"
            return Mark(number, indent.end()), wrong, "replace the tab by spaces, two for a level"
    problem = error.problem or "cannot be read"
    if "but found another document" in problem:
        wrong = "a second document begins (`---`); one file is one cluster"
        return Mark(line, column), wrong, "take the line `---` out, or make a file for the other"
    if "mapping values are not allowed" in problem:
        wrong = "not YAML: a `:` where there cannot be one"
        fix = "put a text with `: ` in it in quotes, or check how this line is indented"
        return Mark(line, column), wrong, fix
    if error.context and error.context_mark:
        problem += f" ({error.context} from line {error.context_mark.line + 1})"
    fix = "look for a missing quote, bracket or `:` in this line and the one before it"
    return Mark(line, column), f"not YAML: {problem}", fix


# --- from YAML nodes to plain data ----------------------------------------------------------------


def _tag(name: str) -> str:
    return f"tag:yaml.org,2002:{name}"


def _mark(node: yaml.Node) -> Mark:
    return Mark(node.start_mark.line + 1, node.start_mark.column + 1)


class _Broken:
    """Stands for a value that was reported already."""


_BROKEN = _Broken()


@dataclass
class _Document:
    """Turns nodes into plain data, keeps where all stands, and reports what YAML lets pass."""

    file: str
    keys: dict[Path, Mark] = field(default_factory=dict)
    values: dict[Path, Mark] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    broken: set[Path] = field(default_factory=set)
    _count: int = 0
    _open: set[int] = field(default_factory=set)

    def is_broken(self, path: Path) -> bool:
        """Whether this value, or one it is in, was reported already."""
        return any(path[:length] in self.broken for length in range(1, len(path) + 1))

    def read(self, root: yaml.Node) -> dict[str, Any]:
        """Return the whole file as plain data."""
        data = self._value(root, ())
        return data if isinstance(data, dict) else {}

    def _report(self, mark: Mark, path: Path, wrong: str, fix: str) -> _Broken:
        positions = Positions(self.file, {path: mark})
        self.problems.append(positions.problem(Finding(path, wrong, fix)))
        self.broken.add(path)
        return _BROKEN

    def _value(self, node: yaml.Node, path: Path) -> Any:
        self._count += 1
        if id(node) in self._open or self._count > MOST_VALUES:
            # Not worth going on: what follows would say the same thing many times.
            _stop(self.file, _mark(node), "an alias that holds itself, or too many", "write it out")
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return self._sequence(node, path)
            return self._scalar(node, path)
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, path: Path) -> Any:
        if node.tag != _tag("map"):
            return self._report(_mark(node), path, *_no_tags(node))
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            mark = _mark(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                self._report(mark, (*path, "?"), "a key must be a word", "write `key: value`")
                continue
            key = key_node.value  # the text as it stands: a group can be called `on` or `1`
            where = (*path, key)
            if key_node.tag == _tag("merge"):
                fix = "write the keys out, or give a whole value a name (`&name`, `*name`)"
                self._report(mark, where, "merge keys are not understood here", fix)
                self.broken.add(path)  # what is missing here may be what would be merged
                continue
            if key in found:
                first = self.keys[where]
                positions = Positions(self.file, {where: mark})
                wrong = f"`{key}` is here twice: in line {first.line} and in line {mark.line}"
                fix = "give one of them another name, or take it out"
                self.problems.append(positions.problem(Finding(where, wrong, fix)))
                continue
            self.keys[where] = mark
            found[key] = self._value(value_node, where)
        return found

    def _sequence(self, node: yaml.SequenceNode, path: Path) -> Any:
        if node.tag != _tag("seq"):
            return self._report(_mark(node), path, *_no_tags(node))
        found = []
        for index, item in enumerate(node.value):
            self.values[(*path, index)] = _mark(item)
            found.append(self._value(item, (*path, index)))
        return found

    def _scalar(self, node: yaml.Node, path: Path) -> Any:
        text, mark = str(node.value), _mark(node)
        self.values[path] = mark
        plain = isinstance(node, yaml.ScalarNode) and node.style is None
        quoted = f'or `"{text}"` if the text is meant'
        if node.tag == _tag("str"):
            return text
        if not plain or node.tag not in map(_tag, ("null", "bool", "int", "float", "timestamp")):
            return self._report(mark, path, *_no_tags(node))
        if node.tag == _tag("null"):
            known = _example(_schema_at(path))
            fix = f"write a value, such as `{path[-1]}: {known}`" if known else "write a value"
            return self._report(
                self.keys.get(path, mark), path, "no value", f"{fix}, or take the line out"
            )
        if node.tag == _tag("bool"):
            if text in ("true", "false"):
                return text == "true"
            meant = "true" if text.lower() in ("yes", "on", "true") else "false"
            wrong = f"`{text}` is text to some YAML readers and {meant} to others"
            return self._report(mark, path, wrong, f"write `{meant}`, {quoted}")
        if re.fullmatch(r"-?(0|[1-9][0-9]*)", text):
            return int(text)
        if re.fullmatch(r"-?(0|[1-9][0-9]*)\.[0-9]+", text):
            return float(text)
        kind = {_tag("timestamp"): "a date"}.get(node.tag, "another number than it looks like")
        fix = f"write a plain number such as `{_plain_number(text)}`, {quoted}"
        return self._report(mark, path, f"`{text}` is {kind} to YAML", fix)


def _plain_number(text: str) -> str:
    digits = re.sub(r"[^0-9]", "", text).lstrip("0")
    return digits if re.fullmatch(r"[0-9_+]+", text) and digits else "10"


def _no_tags(node: yaml.Node) -> tuple[str, str]:
    return f"a tag, `{node.tag}`, which has no meaning here", "write the value without `!`"


# --- from pydantic's errors to ours ---------------------------------------------------------------

_SCHEMA = json_schema()

_NEEDED = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "`true` or `false`",
    "dict_type": "a mapping (`key: value`)",
    "model_type": "a mapping (`key: value`)",
    "model_attributes_type": "a mapping (`key: value`)",
    "list_type": "a list (`- item`)",
}


def _explain(errors: Sequence[ErrorDetails]) -> list[tuple[Finding, bool]]:
    """Turn pydantic's errors into findings; with each, whether the key is what is wrong."""
    found: list[tuple[Finding, bool]] = []
    missing: list[Path] = []
    meant: set[Path] = set()
    for error in errors:
        path, kind = tuple(error["loc"]), error["type"]
        at_key = bool(path) and path[-1] == "[key]"
        path = path[:-1] if at_key else path
        if kind == "missing":
            missing.append(path)
        elif kind == "extra_forbidden":
            finding, hint = _unknown_key(path)
            meant.add((*path[:-1], hint))
            found.append((finding, True))
        elif kind == INVALID:
            context = error["ctx"]
            found.append((Finding(path, context["wrong"], context["fix"]), at_key))
        elif kind == "default_factory_not_called":
            continue  # the default of `domain` waits for what else is wrong
        elif path:  # at the top there are rules only, and parse_cluster checks those itself
            found.append((_wrong_kind(path, error), at_key))
    for path in missing:
        if path not in meant:
            example = _example(_schema_at(path)) or "..."
            fix = f"add `{path[-1]}: {example}`"
            found.append((Finding(path, f"`{path[-1]}` is missing", fix), False))
    return found


def _unknown_key(path: Path) -> tuple[Finding, str]:
    key = str(path[-1])
    known = list(_schema_at(path[:-1]).get("properties", {}))
    hint = closest(key, known)
    if hint:
        fix = f"write `{hint}` instead of `{key}`"
        return Finding(path, f"unknown key. Did you mean `{hint}`?", fix), hint
    listed = ", ".join(f"`{name}`" for name in known)
    return Finding(path, "unknown key", f"take it out; the keys here are {listed}"), ""


def _wrong_kind(path: Path, error: ErrorDetails) -> Finding:
    value, schema = error["input"], _schema_at(path)
    said = _flow(value)
    example = _example(schema)
    needed = _NEEDED.get(error["type"], "")
    fix = f"write `{example}`" if example else f"write {needed or 'another value'} here"
    if error["type"] == "literal_error":
        choices = [str(choice) for choice in schema.get("enum", [schema.get("const", "")])]
        hint = closest(str(value), choices)
        wrong = f"`{said}` is not one of the choices" + (
            f". Did you mean `{hint}`?" if hint else ""
        )
        return Finding(path, wrong, "write " + " or ".join(f"`{choice}`" for choice in choices))
    if not needed:
        return Finding(path, f"`{said}`: {error['msg']}", fix)
    if isinstance(value, str) and re.fullmatch(r"[0-9]+(\.[0-9]+)?|true|false", value):
        fix = f"write `{value}`, without quotes" if error["type"] != "list_type" else fix
    elif error["type"] == "string_type" and isinstance(value, (int, float)):
        fix = f'write `"{said}"`, in quotes'
    elif isinstance(value, str) and len(path) > 1 and path[-2] == "users":
        fix = f"write `{{name: {value}}}`"
    return Finding(path, f"`{said}` is here, and {needed} is needed", fix)


def _flow(value: object) -> str:
    """Write a value as YAML in one line."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return "..." if isinstance(value, _Broken) else str(value)


def _schema_at(path: Path) -> dict[str, Any]:
    """Return what the JSON Schema says about the value at `path`; {} where nothing is known."""
    node: dict[str, Any] = _resolve(_SCHEMA)
    for step in path:
        options = [node.get("items")] if isinstance(step, int) else []
        options += [node.get("properties", {}).get(step)]
        options += list(node.get("patternProperties", {}).values())
        options += [node.get("additionalProperties")]
        node = _resolve(next((option for option in options if isinstance(option, dict)), {}))
    return node


def _resolve(node: dict[str, Any]) -> dict[str, Any]:
    """Follow `$ref`, and take the first that is not null of `anyOf`."""
    if "$ref" in node:
        return _resolve(
            {**_SCHEMA["$defs"][node["$ref"].rpartition("/")[2]], **_without(node, "$ref")}
        )
    if "anyOf" in node:
        first = next(option for option in node["anyOf"] if option.get("type") != "null")
        return _resolve({**first, **_without(node, "anyOf")})
    return node


def _without(node: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in node.items() if name != key}


def _example(schema: Mapping[str, Any]) -> str:
    """Return an example of a value that a part of the schema allows, as YAML; "" without one."""
    for choices in (schema.get("examples"), schema.get("enum"), [schema.get("const")]):
        if choices and choices[0] is not None:
            return _flow(choices[0])
    parts = {name: _example(_resolve(part)) for name, part in schema.get("properties", {}).items()}
    return _flow({name: parts[name] for name in schema.get("required", [])}) if parts else ""
