"""artifacts/artifacts.yml: which programs are built, from which Go packages, and how; and what Maven fetches."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
)

from armillary.artifacts import jars
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
    kind: Literal["go", "maven"] = "go"
    version: Annotated[str, StringConstraints(pattern=r"^\d+\.\d+\.\d+([-+][0-9A-Za-z.-]+)?$")]
    licence: str
    component: Name | None = None
    """The component of cluster.yml that it is for; None where every cluster needs it."""
    binaries: dict[Name, Word] = Field(default={}, validate_default=True)
    module: Word | None = None
    source: str | None = None
    variables: dict[Word, Word] = {}
    tags: tuple[Name, ...] = ()
    cgo: bool = False
    static: bool = False
    apt: tuple[str, ...] = ()
    upstream: Upstream | None = None

    @field_validator("binaries", "module", "variables", "tags", "cgo", "static", "apt", "upstream")
    @classmethod
    def _of_its_kind(cls, value: object, info: ValidationInfo) -> object:
        if info.data.get("kind") == "maven" and value:
            raise ValueError("is for artifacts of kind go; pom.xml says all of one of kind maven")
        if info.data.get("kind") == "go" and info.field_name == "binaries" and not value:
            raise ValueError("name at least one")
        return value

    @property
    def folder(self) -> str:
        """The folder of go.mod or pom.xml, seen from the checkout."""
        return self.source or f"artifacts/{self.name}"

    def files(self, root: Path) -> list[str]:
        """Return the names of the files that it comes to.

        Args:
            root: the checkout.

        Raises:
            ManifestError: checksums.sha256 cannot be read.
        """
        return sorted(jars.read_sums(root / self.folder) if self.kind == "maven" else self.binaries)

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
    """Read `root`/artifacts/artifacts.yml and check it against the go.mod and pom.xml files it names.

    Raises:
        ManifestError: names the file, the field and what to change.
    """
    path = root / "artifacts" / "artifacts.yml"
    manifest = read_manifest(path, Manifest)
    names = manifest.names()
    for name in names:
        if names.count(name) > 1:
            raise ManifestError(f"{path}: {name!r} is there {names.count(name)} times; keep one.")
    for each in manifest.artifacts:
        if each.kind == "go":
            _check(each, root)
        elif wrong := jars.check_pom(root / each.folder, each.version):
            raise ManifestError(f"Artifact {each.name}, in {each.folder}: {wrong}.")
    return manifest


def _check(entry: Artifact, root: Path) -> None:
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
