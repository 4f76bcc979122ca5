"""What a kind of artifact must be able to do; `manifest` and `build` do the rest, the same for all kinds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from armillary.artifacts.entry import Artifact
from armillary.building import BuildError, Hints

Progress = Callable[[str], None]


class ArtifactError(BuildError):
    """An artifact could not be built."""

    kind = "Artifact"


@dataclass(frozen=True)
class Job:
    """One artifact to be made."""

    entry: Artifact
    folder: Path
    """That of its lock file."""
    out: Path
    """An empty directory: each of the entry's `binaries` is made in it, under its name."""
    cache: Path
    """Armillary's own cache, in which tools keep what they fetched; a lock file vouches for it."""
    compiled: Path | None
    """Where compilers keep what they compiled; None: in the cache."""
    progress: Progress


class Kind(Protocol):
    """How artifacts of one kind are checked, keyed and made: a module of this package each."""

    @property
    def HINTS(self) -> Hints:
        """What a failed tool printed, and what to do; {folder} and {cache} are filled in."""

    def check(self, entry: Artifact, folder: Path) -> None:
        """Compare an entry with the lock file in its folder.

        Raises:
            ManifestError: they do not fit.
        """

    def facts(self, entry: Artifact) -> dict[str, Any]:
        """Return what shapes the artifact beside its name and the files in its folder; part of its key."""

    def make(self, job: Job) -> None:
        """Make an artifact, the same bytes from the same folder and facts.

        Raises:
            CommandError, CommandTimeout: a tool failed; `HINTS` says what to do about it.
            ArtifactError: something else is wrong.
        """
