"""The Go programs of services/: their own tests, vet and gofmt."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from armillary.paths import ROOT, cache_home
from armillary.tools.go import Caches, goroot
from armillary.tools.process import run

SERVICES = sorted(path.parent.name for path in (ROOT / "services").glob("*/go.mod"))
# Long enough to compile everything anew on two busy cores.
LIMIT = 1800.0


def go(service: str, *arguments: str) -> str:
    """Run go in the service's folder, with the caches of the artifacts' builds."""
    caches = Caches.under(cache_home())
    environment = {
        "CGO_ENABLED": "0",
        "GOCACHE": str(caches.packages),
        "GOFLAGS": "-trimpath -mod=readonly -modcacherw -p=2",
        "GOMODCACHE": str(caches.modules),
        "GOROOT": str(goroot()),
        "GOTOOLCHAIN": "local",
        "PATH": f"{goroot() / 'bin'}{os.pathsep}{os.environ['PATH']}",
    }
    done = run(
        [str(goroot() / "bin" / "go"), *arguments],
        cwd=ROOT / "services" / service,
        env=environment,
        timeout=LIMIT,
        check=False,
    )
    # Caddy's log, in JSON, would hide which test it was.
    said = (done.stdout + done.stderr).splitlines()
    assert done.returncode == 0, "\n".join(line for line in said if not line.startswith("{"))
    return done.stdout


@pytest.mark.parametrize("service", SERVICES)
def test_its_own_tests(service: str) -> None:
    """`go test` of all its packages."""
    assert "ok  " in go(service, "test", "./...")


@pytest.mark.parametrize("service", SERVICES)
def test_gofmt(service: str) -> None:
    """Written as gofmt writes."""
    folder: Path = ROOT / "services" / service
    assert run([str(goroot() / "bin" / "gofmt"), "-l", "."], cwd=folder, timeout=60).stdout == ""
