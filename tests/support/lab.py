"""A cluster that tests make and take down: the README's commands, and what is seen of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armillary import secrets
from armillary.clouds.incusd import custom_volumes
from armillary.config import read_cluster
from armillary.models.cluster import Cluster
from armillary.models.endpoints import Endpoints
from armillary.paths import ROOT, ClusterPaths
from armillary.tools.incus import exec_in, incus, instances, query, server
from armillary.tools.process import CommandError, CommandTimeout, Completed, run
from support.hub import HubSession
from support.inventory import Inventory
from support.kube import Kube
from support.registry import Account, Registry, accounts, address_of
from support.waiting import until

LISTENING = ("env", "--default-signal=INT")
"""What lets a command hear Ctrl-C where these tests are run in the background, and would have it ignored."""
COMMAND = (sys.executable, "-m", "invoke")
"""What `uv run invoke` runs."""
FIRST = 2700.0
"""Seconds for an `up` that may have to build everything."""
MINUTES = 900.0
"""Seconds for any other command."""


class Running:
    """A command in the background, at the head of a process group of its own."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self.log = process, log

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace")

    def until_it_says(self, text: str, limit: float) -> None:
        """Wait for a text in the output; fail at once when the command ends without it."""
        until(lambda: text in self.output or self.ended(), f"`{text}`", limit, why=self._tail)
        assert text in self.output, f"it ended before it said `{text}`:\n{self._tail()}"

    def ended(self) -> bool:
        """Tell whether it is over."""
        return self.process.poll() is not None

    def wait(self, limit: float) -> int:
        """Wait for its end and return the exit code."""
        try:
            return self.process.wait(limit)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"not done within {limit:.0f} s:\n{self._tail()}") from None

    def kill(self) -> None:
        """End the whole process group as a power cut would."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def interrupt(self) -> None:
        """Type Ctrl-C."""
        os.killpg(self.process.pid, signal.SIGINT)

    def _tail(self) -> str:
        return "\n".join(self.output.splitlines()[-25:])


@dataclass
class Lab:
    """One cluster.yml and what came of it."""

    config: Path
    scratch: Path
    command: Sequence[str] = COMMAND
    """What stands for `uv run invoke`."""
    root: Path = ROOT
    """The checkout that commands are typed in."""

    @property
    def cluster(self) -> Cluster:
        """What cluster.yml says."""
        return read_cluster(self.config)[0]

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self.cluster.name

    @property
    def paths(self) -> ClusterPaths:
        """The files of its state directory."""
        return ClusterPaths.of(self.name)

    # Commands

    def invoke(
        self,
        command: str,
        *arguments: str,
        code: int = 0,
        timeout: float = MINUTES,
        config: Path | None = None,
        input: str | None = None,
        quiet: bool = False,
    ) -> Completed:
        """Run `uv run invoke COMMAND --cluster ...` in the checkout; fail when it ends otherwise.

        Args:
            command: a task of tasks.py.
            arguments: after the cluster.
            code: the exit code to expect.
            timeout: seconds.
            config: another cluster.yml than the lab's own.
            input: what is typed.
            quiet: keep what it prints out of the test's own output.
        """
        done = run(
            [*self.command, command, "--cluster", str(config or self.config), *arguments],
            timeout=timeout,
            cwd=self.root,
            check=False,
            input=input,
            on_line=None if quiet else print,
        )
        assert done.returncode == code, (
            f"`invoke {command}` ended with {done.returncode}, not {code}:\n"
            f"{done.stdout[-4000:]}{done.stderr[-4000:]}"
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    @contextmanager
    def begin(self, command: str, *arguments: str) -> Iterator[Running]:
        """Run a command in the background; what is left of it in the end is killed."""
        log = self.scratch / f"{command}-{len(list(self.scratch.iterdir()))}.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [*LISTENING, *self.command, command, "--cluster", str(self.config), *arguments],
                cwd=self.root,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        running = Running(process, log)
        try:
            yield running
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            print(running.output)

    def status(self) -> dict[str, Any]:
        """Return what `status --json` says, whatever that is."""
        done = run(
            [*self.command, "status", "--cluster", str(self.config), "--json"],
            timeout=60,
            cwd=self.root,
            check=False,
        )
        found: dict[str, Any] = json.loads(done.stdout)
        expected = {True: 0, False: 1, None: 2}[found["ok"]]
        assert done.returncode == expected, f"`status` says {found['ok']}, exit {done.returncode}"
        return found

    def wrong(self) -> dict[str, str]:
        """Return what `status --json` complains of: part -> why."""
        return {
            check["name"]: check["detail"]
            for check in self.status()["checks"]
            if check["ok"] is not True
        }

    def until_well(self, limit: float) -> None:
        """Wait until `status` has nothing to complain of."""
        until(
            lambda: not self.wrong(), "all is well", limit, pause=1, why=lambda: str(self.wrong())
        )

    # Incus, by its own client

    def instance(self, host: str) -> str:
        """Return the name of a host's instance."""
        return f"{self.name}-{host}"

    def instances(self) -> list[str]:
        """Return the instances that bear the cluster's name."""
        if server() is None:
            return []
        return sorted(each["name"] for each in instances(f"{self.name}-"))

    def volumes(self) -> list[str]:
        """Return the data volumes that bear the cluster's name; none where the pool is gone."""
        if server() is None:
            return []
        return [name for name in custom_volumes() if name.startswith(f"{self.name}-")]

    def networks(self) -> list[str]:
        """Return the networks that bear the cluster's name."""
        if server() is None:
            return []
        found = query("/1.0/networks?recursion=1")
        return sorted(each["name"] for each in found if each["name"].startswith(f"{self.name}-"))

    def on_host(self, host: str, *argv: str, timeout: float = 60) -> str:
        """Run a program on a host, as root, and return what it prints."""
        return exec_in(self.instance(host), argv, timeout=timeout).stdout.strip()

    def host_does(self, host: str, *argv: str) -> bool:
        """Tell whether a program on a host ends well."""
        try:
            self.on_host(host, *argv)
        except (CommandError, CommandTimeout):
            return False
        return True

    def stop_host(self, host: str) -> None:
        """Pull a host's plug."""
        incus("stop", "--force", self.instance(host), timeout=60)

    def start_host(self, host: str) -> None:
        """Switch a host on again."""
        incus("start", self.instance(host), timeout=60)

    def lives(self) -> dict[str, tuple[str, str]]:
        """Return, of each host, what changes when it or its kubelet is started anew."""
        return {
            instance: (
                str(query(f"/1.0/instances/{instance}/state")["started_at"]),
                self.on_host(
                    instance.removeprefix(f"{self.name}-"),
                    *("systemctl", "show", "--property=ActiveEnterTimestampMonotonic"),
                    *("kubelet", "containerd", "haproxy"),
                ),
            )
            for instance in self.instances()
        }

    # What runs on it

    @contextmanager
    def kube(self) -> Iterator[Kube]:
        """Kubernetes, as its administrator."""
        connection = Kube(self.paths.kubeconfig)
        try:
            yield connection
        finally:
            connection.close()

    def inventory(self) -> Inventory:
        """The hosts and what they share."""
        return Inventory.read(self.paths)

    @contextmanager
    def browser(self, user: str) -> Iterator[HubSession]:
        """A user with a browser, signed in."""
        endpoint = Endpoints.model_validate_json(self.paths.endpoints.read_text()).get("hub")
        assert endpoint is not None
        word = secrets.load(self.paths)["jupyterhub"]["users"][user]
        with HubSession(endpoint.url, self.paths.pki / "ca.crt", user, word) as browser:
            browser.login()
            yield browser

    def registry(self) -> Registry:
        """The registry's port for pushing."""
        work = self.scratch / "registry"
        work.mkdir(exist_ok=True)
        return Registry(address_of(self.inventory()), self.paths.pki / "ca.crt", work)

    def account(self, name: str) -> Account:
        """An account of the registry, `push` or `pull`."""
        return accounts(self.paths)[name]


def expected_objects(cluster: Cluster) -> tuple[list[str], list[str]]:
    """Return the names of the instances and of the volumes a cluster.yml asks for."""
    hosts = sorted(f"{cluster.name}-{host.name}" for host in cluster.expanded_hosts())
    volumes = cluster.terraform_variables("data")["volumes"]
    return hosts, sorted(f"{cluster.name}-{name}" for name in volumes)


def processes_naming(*texts: str) -> list[str]:
    """Return the command lines that name any of these."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().decode(errors="replace").replace("\0", " ").strip()
        except OSError:
            continue
        if any(text in line for text in texts):
            found.append(line)
    return found


def lines_of(done: Completed, *words: Sequence[str] | str) -> list[str]:
    """Return the lines printed that have all these words."""
    text = (done.stdout + done.stderr).splitlines()
    return [line for line in text if all(str(word) in line for word in words)]
