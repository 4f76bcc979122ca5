"""`invoke sandbox`: a disposable, real, all-in-one OpenStack on this machine."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from rich.console import Console

from armillary import pki
from armillary.clouds.contract import CloudError
from armillary.clouds.local import Local
from armillary.commands.common import CommandFailed, locked
from armillary.commands.up import wide
from armillary.files import write
from armillary.paths import ClusterPaths
from armillary.report.checks import show
from armillary.report.progress import Progress, duration
from armillary.sandbox import container, guest, state
from armillary.sandbox.checks import checks, go_directly
from armillary.tools.ansible import PlaybookError, play
from armillary.tools.process import CommandError, beside

SETTLE_SECONDS = 180.0
"""How long after a start services may take to hear of each other."""
STAGES = (
    ("machine", "Prepare this machine", 50.0),
    ("container", "Make the container", 10.0),
    ("configure", "Configure OpenStack (Ansible)", 380.0),
    ("guest", "Have the guest image", 5.0),
    ("answers", "Wait until all of it answers", 30.0),
)


def sandbox(console: Console, action: str, *, as_json: bool = False) -> int:
    """Do `up`, `down` or `status`.

    Raises:
        CommandFailed: there is no such action, or it failed; says how to go on.
    """
    go_directly()
    actions: dict[str, Callable[[], int]] = {
        "up": lambda: _up(console),
        "down": lambda: _down(console),
        "status": lambda: _status(console, as_json),
    }
    if action not in actions:
        raise CommandFailed(f"`{action}` is not one of: {', '.join(actions)}.")
    return actions[action]()


def _up(console: Console) -> int:
    paths = state.sandbox_paths()
    progress = Progress(console, "OpenStack sandbox")
    local = Local()
    started = False
    wrong = [each.detail for each in local.preflight() if each.ok is False]
    if wrong:
        raise CommandFailed("\n".join(wrong))

    def machine() -> bool:
        changed = local.prepare(progress.say)
        pki.ensure_ca(paths, container.NAME)
        state.write_clouds(paths, state.ensure_secrets(paths))
        return changed

    def make() -> bool:
        nonlocal started
        started = container.ensure(progress.say)
        return started

    def configure() -> bool:
        state.write_inventory(
            paths,
            virt_type=container.virt_type(),
            gateway=container.GATEWAY,
            guest=guest.files(),
        )
        return _configure(paths, progress.say, settled=not started)

    def do(name: str, step: Callable[[], bool]) -> None:
        try:
            with progress.stage(name) as line:
                line.outcome = "changed" if step() else "unchanged"
        except KeyboardInterrupt:
            raise CommandFailed(
                f"Stopped in stage `{name}`. Nothing is lost; to go on: uv run invoke sandbox up"
            ) from None
        except (RuntimeError, LookupError) as error:
            log = f"\nThe whole log: {error.log}" if isinstance(error, PlaybookError) else ""
            raise CommandFailed(
                f"Stage `{name}` failed: {error}{log}\n"
                "To go on once it is mended: uv run invoke sandbox up"
            ) from error

    with progress.run(STAGES), locked(paths):
        do("machine", machine)
        # dpkg keeps one processor busy for minutes: the other has time for the image.
        with beside(guest.ensure) as building:
            do("container", make)
            do("configure", configure)
            do("guest", lambda: _image(paths, progress.say, building))
        do("answers", lambda: _wait(paths, progress.say))
    spent = duration(sum(line.seconds for line in progress.lines))
    console.print(f"\n[green]The sandbox is up[/] ({spent}).")
    table = wide(console)
    table.print(f"    export OS_CLIENT_CONFIG_FILE={state.clouds_file(paths)}")
    table.print("    uv run invoke up --cluster sandbox")
    table.print(f"The administrator's entry is in {state.admin_clouds_file(paths)}.")
    return 0


def _configure(paths: ClusterPaths, say: Callable[[str], None], *, settled: bool) -> bool:
    """Run the playbook, unless all it works from is the same and what should be well by now is."""
    record, wanted = paths.root / "configured", _made_from(paths)
    if _says(record, wanted) and not (
        settled and any(check.ok is not True for check in checks(paths))
    ):
        return False
    _play("site", paths, say)
    write(record, wanted)
    return True


def _image(paths: ClusterPaths, say: Callable[[str], None], building: Future[bool]) -> bool:
    """Wait until the guest image is built, and have Glance have it; return whether that was to be done."""
    record, wanted = paths.root / "uploaded", _made_from(paths)
    if not building.done():
        say("waiting until it is built")
    building.result()
    if _says(record, wanted):
        return False
    _play("image", paths, say)
    write(record, wanted)
    return True


def _made_from(paths: ClusterPaths) -> str:
    """Return what a record says of a sandbox made from all that it is made from now."""
    return f"{state.configured_from(paths)} {container.created_at()}\n"


def _says(record: Path, wanted: str) -> bool:
    return record.exists() and record.read_text() == wanted


def _play(name: str, paths: ClusterPaths, say: Callable[[str], None]) -> None:
    play(
        f"sandbox/{name}.yml",
        inventory=paths.inventory,
        private=paths.root / "ansible",
        secrets=paths.secrets,
        on_task=say,
    )


def _wait(paths: ClusterPaths, say: Callable[[str], None]) -> bool:
    """Wait until every part is well; return whether there was anything to wait for.

    Raises:
        CommandFailed: some part is not, in time; the next `up` configures all of it again.
    """
    started = time.monotonic()
    first = True
    while bad := [each for each in checks(paths) if each.ok is not True]:
        first = False
        say(f"waiting for {', '.join(each.name for each in bad)}")
        if time.monotonic() - started > SETTLE_SECONDS:
            (paths.root / "configured").unlink(missing_ok=True)
            raise CommandFailed("\n".join(f"{each.name}: {each.detail}" for each in bad))
        time.sleep(2)
    return not first


def _down(console: Console) -> int:
    paths = state.sandbox_paths()
    local = Local()
    if not paths.root.exists() and not (local.ready() and container.state()):
        console.print("There is no sandbox: nothing to take down.")
        return 0
    progress = Progress(console, "Taking down the sandbox")
    steps = (
        ("container", "Container and bridges", 10.0),
        ("machine", "What was started on this machine", 5.0),
    )
    try:
        with progress.run(steps), locked(paths):
            with progress.stage("container") as line:
                local.wake(progress.say)
                line.outcome = "changed" if container.remove() else "unchanged"
            with progress.stage("machine") as line:
                shutil.rmtree(paths.root)
                local.tidy(data=True)
                line.outcome = "changed"
    except (CloudError, CommandError) as error:
        raise CommandFailed(f"{error}\nTo go on: uv run invoke sandbox down") from error
    console.print("\nThe sandbox is gone; what was built for it stays in the cache.")
    return 0


def _status(console: Console, as_json: bool) -> int:
    about = {"sandbox": container.NAME}
    return show(console, checks(state.sandbox_paths()), about if as_json else None, since=False)
