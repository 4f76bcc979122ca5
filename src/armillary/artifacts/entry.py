"""One entry of artifacts/artifacts.yml: what an artifact is, whatever its kind."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from armillary.models.parts import Components

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
    kind: Literal["go", "python", "maven"] = "go"
    component: str | None = None
    """The component of cluster.yml that it is for; None where every cluster needs it."""
    binaries: dict[Name, Word] = Field(min_length=1)
    module: Word | None = None
    source: str | None = None
    variables: dict[Word, Word] = {}
    tags: tuple[Name, ...] = ()
    cgo: bool = False
    static: bool = False
    apt: tuple[str, ...] = ()
    upstream: Upstream | None = None

    @field_validator("component")
    @classmethod
    def _is_there(cls, value: str | None) -> str | None:
        if value is not None and value not in Components.model_fields:
            raise ValueError(f"no component; there is {', '.join(Components.model_fields)}")
        return value

    @field_validator("variables", "tags", "cgo", "static", "apt", "upstream")
    @classmethod
    def _of_its_kind(cls, value: object, info: ValidationInfo) -> object:
        if value and info.data.get("kind") != "go":
            raise ValueError("is for artifacts of kind go")
        return value

    @model_validator(mode="after")
    def _fetched_into_a_directory(self) -> Artifact:
        if self.kind != "go" and (len(self.binaries) != 1 or self.module is None):
            raise ValueError(
                f"of kind {self.kind}, `module` is the package whose version it has, and `binaries` one directory"
            )
        return self

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
