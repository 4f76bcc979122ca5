"""What every stage of `up` answers, and what it is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

from armillary.clouds.contract import Cloud
from armillary.models.cluster import Cluster
from armillary.models.report import Check
from armillary.paths import ClusterPaths
from armillary.supply import Supply


class StageError(RuntimeError):
    """A stage could not do its work.

    Args:
        wrong: what is wrong and where, in a sentence or two.
        log: the file with the whole story, when there is one.
        tail: the last lines of that story.
        fix: what to do about it; the command that goes on is added by `up`.
    """

    def __init__(
        self, wrong: str, *, log: Path | None = None, tail: str = "", fix: str = ""
    ) -> None:
        super().__init__(wrong)
        self.wrong, self.log, self.tail, self.fix = wrong, log, tail, fix


@dataclass
class Context:
    """What a stage works on."""

    cluster: Cluster
    config: Path
    paths: ClusterPaths
    cloud: Cloud
    say: Callable[[str], None]
    replace: frozenset[str] = field(default_factory=frozenset)
    """Hosts the user asked to make anew (`up --replace HOST`)."""
    converge: bool = False
    """Run every role again even where nothing it depends on has changed (`up --converge`)."""
    tags: frozenset[str] = field(default_factory=frozenset)
    """Run these roles alone, on every host, and count nothing as done by it (`up --tags ROLE`)."""

    @cached_property
    def supply(self) -> Supply:
        """The binaries and images this cluster is made of."""
        cluster = self.cluster
        return Supply.of(cluster.images, self.config, self.paths, cluster.own_components)


class Stage(Protocol):
    """One step of `up`. Safe to run again at any point, whatever interrupted it before."""

    name: str
    title: str
    expected: float
    """Seconds a first run takes, shown until a run of this cluster has been timed."""

    def plan(self, context: Context) -> list[str]:
        """Return, in lines a person reads, what `apply` would do; empty when nothing."""

    def apply(self, context: Context) -> bool:
        """Do it; return whether anything changed.

        Raises:
            StageError: it could not be done.
        """

    def verify(self, context: Context) -> list[Check]:
        """Return what is seen of this stage's result, right or wrong."""

    def destroy(self, context: Context) -> None:
        """Take away what `apply` made, data excepted; nothing to take away is no error."""
