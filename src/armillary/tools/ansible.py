"""Ansible, by way of ansible-runner: playbooks run, events told, the failing task named."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ansible_runner

from armillary.paths import ROOT
from armillary.tools.process import CommandMissing, CommandTimeout, run

ANSIBLE = ROOT / "ansible"
KEEP_RUNS = 10
QUIET = ("Validating arguments", "Do what was asked for")
"""Tasks that tell a person nothing."""
CANCEL_SECONDS = 20.0


@dataclass(frozen=True)
class PlayResult:
    """What a playbook did."""

    changed: int
    seconds_by_task: dict[str, float]
    log: Path


@dataclass
class _Watch:
    """Collects what the events of a run tell."""

    on_task: Callable[[str], None]
    failures: list[str] = field(default_factory=list)
    durations: dict[str, float] = field(default_factory=dict)
    changed: int = 0

    def __call__(self, event: dict[str, Any]) -> bool:
        data = event.get("event_data", {})
        kind = event.get("event", "")
        if kind == "playbook_on_task_start":
            role = data.get("role")
            name = str(data.get("task", ""))
            if not name.startswith(QUIET):
                prefix = f"{role}: " if role and not name.startswith(f"{role} :") else ""
                self.on_task(f"{prefix}{name}".replace(" : ", ": "))
        elif kind in ("runner_on_ok", "runner_on_failed", "runner_on_unreachable"):
            label = f"{data.get('role') or data.get('play')}: {data.get('task')}"
            spent = float(data.get("duration") or 0)
            self.durations[label] = max(self.durations.get(label, 0.0), spent)
            if kind == "runner_on_ok" and data.get("res", {}).get("changed"):
                self.changed += 1
            if kind == "runner_on_unreachable" or (
                kind == "runner_on_failed" and not data.get("ignore_errors")
            ):
                self.failures.append(f"{data.get('host')}: {label}\n{_reason(data)}")
        return True


class PlaybookError(RuntimeError):
    """A playbook failed; says which task, on which host, and why."""

    def __init__(self, playbook: str, failures: Sequence[str], log: Path) -> None:
        self.failures, self.log = list(failures), log
        shown = "\n".join(failures[:3]) or "(the log has the reason)"
        super().__init__(f"{playbook} failed.\n{shown}")


def play(
    playbook: str,
    *,
    inventory: Path,
    private: Path,
    secrets: Path,
    on_task: Callable[[str], None],
    limit: Sequence[str] = (),
    tags: Sequence[str] = (),
    variables: dict[str, Any] | None = None,
) -> PlayResult:
    """Run a playbook of `ansible/` to its end.

    Args:
        playbook: its file name.
        inventory: the generated inventory directory.
        private: where ansible-runner keeps its records (0700).
        secrets: a YAML file of variables, read by Ansible itself so that it never shows in argv.
        on_task: told the name of each task as it starts.
        limit: hosts to run on; all of them when empty.
        tags: only tasks with one of these tags.
        variables: further variables without secrets.

    Raises:
        PlaybookError: a task failed or a host was unreachable.
    """
    private.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Ansible is installed beside this interpreter, whose directory may not be on the PATH.
    environment = {
        "ANSIBLE_CONFIG": str(ANSIBLE / "ansible.cfg"),
        # In ansible.cfg too; here so that a person's own settings do not hide ours.
        "ANSIBLE_ROLES_PATH": str(ANSIBLE / "roles"),
        "ANSIBLE_LIBRARY": str(ANSIBLE / "plugins" / "modules"),
        "ANSIBLE_NOCOLOR": "1",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    watch = _Watch(on_task)
    stop = threading.Event()
    arguments = [f"--extra-vars=@{secrets}"]
    if tags:
        arguments.append(f"--tags={','.join(tags)}")
    with _connections() as sockets:
        # In a thread of its own: an interrupt here must stop Ansible, whose processes lead their own
        # session and would not hear of it.
        thread, runner = ansible_runner.run_async(
            private_data_dir=str(private),
            project_dir=str(ANSIBLE),
            playbook=playbook,
            inventory=str(inventory),
            limit=",".join(limit) or None,
            extravars=variables or {},
            cmdline=" ".join(arguments),
            envvars={**environment, "ANSIBLE_SSH_CONTROL_PATH_DIR": str(sockets)},
            event_handler=watch,
            cancel_callback=stop.is_set,
            rotate_artifacts=KEEP_RUNS,
            quiet=True,
            suppress_env_files=True,
        )
        try:
            while thread.is_alive():
                thread.join(0.2)
        except BaseException:
            stop.set()
            thread.join(CANCEL_SECONDS)
            raise
    log = Path(runner.config.artifact_dir) / "stdout"
    if runner.status != "successful":
        failures = watch.failures or [_tail(log)]
        raise PlaybookError(playbook, failures, log)
    return PlayResult(watch.changed, watch.durations, log)


@contextmanager
def _connections() -> Iterator[Path]:
    """Give a directory for the sockets of ssh's shared connections, which end with the block.

    A connection kept for a later run may lead to a host that is gone since: ssh would wait on it, not make another.
    """
    # Short, for a socket's path has 108 bytes at most: unix(7).
    with TemporaryDirectory(prefix="armillary-ssh-") as name:
        try:
            yield Path(name)
        finally:
            for socket in Path(name).iterdir():
                command = ["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "every-host"]
                with suppress(CommandMissing, CommandTimeout):
                    run(command, timeout=10, check=False)


def _reason(data: dict[str, Any]) -> str:
    result = data.get("res", {})
    parts = [str(result.get(key, "")) for key in ("msg", "stderr", "stdout")]
    text = "\n".join(part for part in parts if part.strip()) or "(no message)"
    return "\n".join(f"    {line}" for line in text.splitlines()[-20:])


def _tail(log: Path) -> str:
    try:
        lines = log.read_text().splitlines()
    except FileNotFoundError:
        return "    (Ansible did not start)"
    clean = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines if line.strip()]
    return "\n".join(f"    {line}" for line in clean[-20:])
