"""Artifacts of kind `go`: programs compiled from modules that go.mod and go.sum pin."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any

from armillary.artifacts.contract import ArtifactError, Job
from armillary.artifacts.entry import Artifact
from armillary.manifests import ManifestError
from armillary.tools import go

HINTS = (
    (
        ("SECURITY ERROR", "checksum mismatch"),
        "A module is not the one that {folder}/go.sum names. If go.mod was changed on purpose, run "
        "`go mod tidy` in {folder} and review the difference; otherwise do not go on: what the "
        "module proxy (GOPROXY) hands out has been altered.",
    ),
    (
        ("missing go.sum entry", "updates to go.mod needed", "go.mod file indicates go"),
        "{folder}/go.mod and go.sum do not belong together. Run `go mod tidy` in {folder} and "
        "commit both.",
    ),
    (
        ("403 Forbidden", "404 Not Found", "410 Gone"),
        "The module proxy does not serve that module. Set GOPROXY to one that does, or choose a "
        "version in {folder}/go.mod that needs other modules.",
    ),
    (
        ("dial tcp", "no such host", "i/o timeout", "connection refused", "TLS handshake"),
        "The module proxy cannot be reached. Check GOPROXY and the network, then run the same "
        "command again: it goes on where it stopped.",
    ),
)


def check(entry: Artifact, folder: Path) -> None:
    """Compare an entry with its go.mod.

    Raises:
        ManifestError: they do not fit.
    """
    go_mod = folder / "go.mod"
    if not go_mod.is_file():
        raise ManifestError(
            f"Artifact {entry.name}: {entry.folder}/go.mod is missing. Make the folder, or correct "
            "`source` in artifacts/artifacts.yml."
        )
    text = go_mod.read_text()
    # What lies outside the folder is not in the key, so a change there would go unnoticed.
    if local := re.search(r"=>\s*(\.{0,2}/\S*)", text):
        raise ManifestError(
            f"Artifact {entry.name}: {entry.folder}/go.mod replaces a module by the folder "
            f"{local.group(1)}. Replace it by a version, or put the code into {entry.folder}."
        )
    _check_words(entry)
    if entry.module is None:
        return
    required = re.search(rf"^(?:require)?\s*{re.escape(entry.module)}\s+v(\S+)", text, re.MULTILINE)
    # Modules without a go.mod of their own major version are marked so.
    found = required.group(1).removesuffix("+incompatible") if required else None
    if found != entry.version:
        raise ManifestError(
            f"Artifact {entry.name}: artifacts.yml says {entry.version}, {entry.folder}/go.mod "
            f"{'requires ' + found if found else 'does not require ' + entry.module}. "
            f"Run `go get {entry.module}@v{entry.version}` in {entry.folder}, or correct `version`."
        )


def _check_words(entry: Artifact) -> None:
    """Refuse words in braces that nothing is put in the place of."""
    for variable, value in entry.variables.items():
        try:
            value.format(version="", major="", minor="", patch="")
        except (KeyError, IndexError, ValueError) as error:
            raise ManifestError(
                f"Artifact {entry.name}: {variable}: {value!r} may hold {{version}}, {{major}}, "
                "{minor} and {patch} only."
            ) from error
    if entry.upstream:
        try:
            entry.downloads("")
        except (KeyError, IndexError, ValueError) as error:
            raise ManifestError(
                f"Artifact {entry.name}: upstream.url may hold {{version}}, {{arch}} and {{binary}}, and "
                "upstream.checksum {url} too, but nothing else in braces."
            ) from error


def facts(entry: Artifact) -> dict[str, Any]:
    """Return what the compiler is told, and the compilers."""
    return {
        "ldflags": entry.ldflags(),
        "tags": entry.tags,
        "cgo": entry.cgo,
        "go": go.version(),
        "target": go.target(),
        "c": go.c_packages(entry.apt) if entry.cgo else {},
    }


def make(job: Job) -> None:
    """Compile each of an artifact's programs.

    Raises:
        CommandError, CommandTimeout: from `go build`.
        ArtifactError: a Debian package that it needs is missing.
    """
    entry = job.entry
    if entry.cgo:
        present = go.c_packages(entry.apt)
        if missing := [package for package in entry.apt if package not in present]:
            raise ArtifactError(
                entry.name,
                f"Debian packages are missing on this machine: {', '.join(missing)}.",
                f"Run `apt-get install {' '.join(missing)}`, then the same command again.",
            )
    kept = go.Caches.under(job.cache)
    caches = go.Caches(modules=kept.modules, packages=job.compiled or kept.packages)
    caches.packages.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="go-", dir=job.out.parent) as scratch:
        for number, (binary, package) in enumerate(entry.binaries.items(), start=1):
            job.progress(
                f"{entry.name} {entry.version}: building {binary} "
                f"({number} of {len(entry.binaries)})"
            )
            go.build(
                package,
                job.out / binary,
                folder=job.folder,
                caches=caches,
                scratch=Path(scratch),
                ldflags=entry.ldflags(),
                tags=entry.tags,
                cgo=entry.cgo,
                jobs=max(2, (os.cpu_count() or 2) // 2),
                on_line=job.progress,
            )
            (job.out / binary).chmod(0o755)
