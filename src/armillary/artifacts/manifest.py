"""artifacts/artifacts.yml: which programs are built, from which packages, and how."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from armillary.manifests import ManifestError, read_manifest

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$")]
# These end up in one -ldflags argument, where Go splits at spaces and takes quotes.
Word = Annotated[str, StringConstraints(pattern=r"^[^\s'\"]+$")]


class Upstream(BaseModel):
    """Where a project publishes its own binaries."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Annotated[str, StringConstraints(pattern=r"^https://\S+$")]
    checksum: Annotated[str, StringConstraints(pattern=r"^(https://|\{url\})\S+$")]


class Artifact(BaseModel):
    """One entry of artifacts.yml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    version: Annotated[str, StringConstraints(pattern=r"^\d+\.\d+\.\d+([-+][0-9A-Za-z.-]+)?$")]
    licence: str
    kind: Literal["go", "python"] = "go"
    binaries: dict[Name, Word] = Field(min_length=1)
    module: Word | None = None
    source: str | None = None
    variables: dict[Word, Word] = {}
    tags: tuple[Name, ...] = ()
    cgo: bool = False
    static: bool = False
    apt: tuple[str, ...] = ()
    upstream: Upstream | None = None

    @property
    def folder(self) -> str:
        """The folder of the lock file, seen from the checkout."""
        return self.source or f"artifacts/{self.name}"

    def ldflags(self) -> str:
        """Return the linker's flags: no symbols, no build id, the variables, in a fixed order."""
        major, minor, patch = re.split(r"[.+-]", self.version)[:3]
        flags = ["-s", "-w", "-buildid="]
        for variable, value in sorted(self.variables.items()):
            filled = value.format(version=self.version, major=major, minor=minor, patch=patch)
            flags += ["-X", f"{variable}={filled}"]
        if self.static:
            flags += ["-extldflags", "-static"]
        return " ".join(flags)

    def downloads(self, arch: str) -> dict[str, tuple[str, tuple[str, ...]]]:
        """Return what its project publishes of it.

        Args:
            arch: the architecture, in Go's words.

        Returns:
            URL of a binary or an archive: URL of its checksums, and the names of the binaries in it.
        """
        found: dict[str, tuple[str, tuple[str, ...]]] = {}
        if self.upstream is None:
            return found
        for binary in self.binaries:
            words = {"version": self.version, "arch": arch, "binary": binary}
            url = self.upstream.url.format(**words)
            checksum = self.upstream.checksum.format(url=url, **words)
            found[url] = (checksum, (*found.get(url, ("", ()))[1], binary))
        return found


class Manifest(BaseModel):
    """The whole of artifacts.yml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    artifacts: tuple[Artifact, ...]

    def names(self) -> list[str]:
        """Return the artifacts' names, in the order in which they are built."""
        return [each.name for each in self.artifacts]

    def get(self, name: str) -> Artifact:
        """Return the artifact of this name.

        Raises:
            ManifestError: there is none; the message names those there are.
        """
        for each in self.artifacts:
            if each.name == name:
                return each
        raise ManifestError(
            f"No artifact is called {name!r}. artifacts/artifacts.yml has: "
            f"{', '.join(self.names())}."
        )


def load_manifest(root: Path) -> Manifest:
    """Read `root`/artifacts/artifacts.yml and check it against the lock files it names.

    Raises:
        ManifestError: names the file, the field and what to change.
    """
    path = root / "artifacts" / "artifacts.yml"
    manifest = read_manifest(path, Manifest)
    names = manifest.names()
    for name in names:
        if names.count(name) > 1:
            raise ManifestError(f"{path}: {name!r} is there {names.count(name)} times; keep one.")
    checks = {"go": _check_go, "python": _check_python}
    for each in manifest.artifacts:
        checks[each.kind](each, root)
    return manifest


def _check_python(entry: Artifact, root: Path) -> None:
    """Compare an entry with its requirements.txt."""
    if len(entry.binaries) != 1 or entry.module is None:
        raise ManifestError(
            f"Artifact {entry.name}: of kind python, `module` is the package whose version it has, and `binaries` "
            "one directory."
        )
    lock = root / entry.folder / "requirements.txt"
    text = lock.read_text() if lock.is_file() else ""
    locked = re.search(rf"^{re.escape(entry.module)}==(\S+)", text, re.MULTILINE)
    if not locked or locked.group(1) != entry.version:
        raise ManifestError(
            f"Artifact {entry.name}: artifacts.yml says {entry.version}, {entry.folder}/requirements.txt "
            f"{'has ' + locked.group(1) if locked else 'has no ' + entry.module}. Lock again as requirements.in says, "
            "or correct `version`."
        )


def _check_go(entry: Artifact, root: Path) -> None:
    """Compare an entry with its go.mod."""
    go_mod = root / entry.folder / "go.mod"
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
