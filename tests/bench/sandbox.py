"""A real OpenStack measured, the sandbox: its making; three servers with registry and NFS; what Terraform and the doctor take."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path

import yaml
from support.guest import guest
from support.lab import COMMAND, Running
from support.servers import ServerLab

from armillary.paths import ROOT
from armillary.sandbox import container
from armillary.sandbox.checks import NONE, connect, go_directly, is_up
from armillary.sandbox.state import ADMIN, MEMBER, admin_clouds_file, clouds_file, sandbox_paths
from armillary.tools.process import run
from bench.figures import Report
from bench.machine import empty_caches
from tests.support.openstack import World

CONTAINER = container.NAME
NAME = "bench-servers"
HOSTS = 50
ROLES = ("--tags", "base", "--tags", "registry", "--tags", "nfs")
UP = 3600.0
SAID = re.compile(r"^ +(\d+) s  (.*)$", re.MULTILINE)
WAITS = "waiting for the ssh key"


class Bench:
    """One run of the benchmark."""

    def __init__(self, lab: ServerLab, report: Report) -> None:
        self.lab, self.report = lab, report

    def doctor(self) -> None:
        """All that is looked at before anything is made."""
        self.report.add("os_doctor", self.lab.invoke("doctor").seconds)

    def server(self, work: Path) -> None:
        """One server, by the API alone."""
        with (
            connect(clouds_file(sandbox_paths()), MEMBER["cloud"]) as member,
            guest(member, work, f"{NAME}-one") as found,
        ):
            self.report.add("os_ssh", found.seconds)

    def up(self) -> None:
        """The first `up`, as far as hosts go, and its parts: Terraform, then the boot of servers."""
        started = time.monotonic()
        with self.lab.begin("up", *ROLES) as running:
            assert running.wait(UP) == 0
            seconds = time.monotonic() - started
            self.report.add(
                "os_apply", when(running, WAITS) - when(running, "terraform plan, data")
            )
        self.report.add("os_ssh_three", self._ssh())
        self.report.add("os_up", seconds)

    def _ssh(self) -> float:
        """Return the seconds from Nova's making the first server until the last was known by its key."""
        servers = [
            server
            for server in self.lab.cloud.connection.compute.servers()
            if server.name.startswith(f"{NAME}-")
        ]
        first = min(datetime.fromisoformat(server.created_at) for server in servers)
        return (self.lab.paths.root / "host-keys.json").stat().st_mtime - first.timestamp()

    def down(self) -> None:
        """`down`, and what the cloud has of the cluster then; then without data too."""
        self.report.add("os_down", self.lab.invoke("down").seconds)
        left = [thing.name for thing in self.lab.things() if not thing.lasting]
        mark = self.lab.cloud.mark(self.lab.paths)
        self.gone()
        left += [thing.name for thing in self.lab.cloud.things() if thing.mark == mark]
        self.report.add("os_left", len(left), left=left)

    def gone(self) -> None:
        """Take all of it away."""
        if self.lab.paths.root.exists():
            self.lab.invoke("down", "--with-data", "--yes-lose", NAME)


def measure(report: Report, work: Path, *, cold: bool) -> None:
    """Measure all of it; where no sandbox is up, what needs none.

    Args:
        report: where the figures go.
        work: a directory for cluster.yml and logs.
        cold: make the sandbox anew first, with empty caches.
    """
    go_directly()
    report.step("plan with 50 hosts", lambda: plan(report, work))
    if cold:
        report.step("sandbox up, empty caches", lambda: make(report, "sandbox_up"))
        report.step("sandbox up, images cached", lambda: make(report, "sandbox_cached"))
    if not is_up(sandbox_paths()):
        print(f"The rest is left out: {NONE}.")
        return
    os.environ["OS_CLIENT_CONFIG_FILE"] = str(clouds_file(sandbox_paths()))
    lab = ServerLab(work / "cluster.yml", work)
    write_config(lab.config)
    bench = Bench(lab, report)
    try:
        report.step("doctor", bench.doctor)
        report.step("one server", lambda: bench.server(work))
        report.step("up to registry and NFS", bench.up)
        report.step("down", bench.down)
    finally:
        report.step("taking it away", bench.gone)


def plan(report: Report, work: Path) -> None:
    """A plan of 50 hosts that changes nothing, on a provider that plays the official one: no cloud is asked."""
    world = World(work / "world")
    world.raw["hosts"]["worker"]["count"] += HOSTS - len(world.cluster.expanded_hosts())
    world.up()
    started = time.monotonic()
    found = world.plan()
    seconds = time.monotonic() - started
    assert not found.has_changes
    assert len([one for one in found.noops if one.kind.endswith("instance_v2")]) == HOSTS
    report.add("os_plan", seconds)


def make(report: Report, figure: str) -> None:
    """The sandbox taken down and made anew, for `sandbox_up` its images too; not where anybody has a server in it.

    Raises:
        RuntimeError: somebody has.
    """
    if is_up(sandbox_paths()):
        with connect(admin_clouds_file(sandbox_paths()), ADMIN["cloud"]) as cloud:
            names = sorted(one.name for one in cloud.compute.servers(all_projects=True))
        if names:
            raise RuntimeError(f"the sandbox stays, for it has servers: {', '.join(names)}")
    _sandbox("down", {})
    with empty_caches() if figure == "sandbox_up" else nullcontext({}) as environment:
        seconds, said = _sandbox("up", environment)
    report.add(figure, seconds, stages=[line for line in said if line.startswith("✓ ")])


def _sandbox(action: str, environment: Mapping[str, str]) -> tuple[float, list[str]]:
    """Run `invoke sandbox` and return the seconds it took and the lines it printed."""
    done = run(
        [*COMMAND, "sandbox", action],
        timeout=UP,
        cwd=ROOT,
        env=environment,
        on_line=lambda line: print(line, flush=True),
    )
    return done.seconds, done.stdout.splitlines()


def write_config(path: Path) -> None:
    """Write the cluster.yml of the sandbox under another name."""
    content = yaml.safe_load((ROOT / "inventories" / "sandbox" / "cluster.yml").read_text())
    content["name"] = NAME
    del content["backup"]
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def when(running: Running, words: str) -> float:
    """Return the second of its stage at which a run first said something.

    Raises:
        LookupError: it never did.
    """
    for seconds, said in SAID.findall(running.output):
        if said.startswith(words):
            return float(seconds)
    raise LookupError(f"it never said: {words}")
