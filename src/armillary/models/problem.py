"""What is wrong with a configuration file, where, and what to write instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic_core import PydanticCustomError

#: Keys and list indexes from the top of the file down to a value.
Path = tuple[str | int, ...]

#: The `type` of the pydantic errors that carry our own `wrong` and `fix`.
INVALID = "armillary_invalid"


def format_path(path: Path) -> str:
    """Write a path the way people say it: `hosts.worker.volumes.data`, `profiles[0].image`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text


@dataclass(frozen=True)
class Finding:
    """Something wrong at a path; the file and the line are not known here."""

    path: Path
    wrong: str
    fix: str


@dataclass(frozen=True)
class Problem:
    """Something wrong at a place in a file. `line` and `column` start at 1; 0 is the whole file."""

    file: str
    line: int
    column: int
    path: str
    wrong: str
    fix: str

    def __str__(self) -> str:
        """`file:line: path: what is wrong`, and below it what to write instead."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        what = f"{self.path}: {self.wrong}" if self.path else self.wrong
        return f"{place}: {what}\n    fix: {self.fix}"


@dataclass(frozen=True)
class Mark:
    """A place in a file: line and column, both from 1."""

    line: int
    column: int


@dataclass(frozen=True)
class Positions:
    """Where the `keys` of a file's mappings stand, and its `values` that are words or in lists."""

    file: str
    keys: Mapping[Path, Mark] = field(default_factory=dict)
    values: Mapping[Path, Mark] = field(default_factory=dict)

    def mark(self, path: Path, *, key: bool = False) -> Mark:
        """Return where `path` stands, or its nearest parent if it is not in the file.

        That is the value, or the key if `key` is true or the value is a mapping or a list: those
        begin on the line after.
        """
        if key and path in self.keys:
            return self.keys[path]
        for length in range(len(path), -1, -1):
            found = self.values.get(path[:length]) or self.keys.get(path[:length])
            if found:
                return found
        return Mark(1, 1)

    def problem(self, finding: Finding, *, key: bool = False) -> Problem:
        """Give a finding its place in the file."""
        mark = self.mark(finding.path, key=key)
        path = format_path(finding.path)
        return Problem(self.file, mark.line, mark.column, path, finding.wrong, finding.fix)


def invalid(wrong: str, fix: str) -> PydanticCustomError:
    """Make the error a validator raises, so that `fix` reaches the user as well as `wrong`."""
    return PydanticCustomError(INVALID, "{wrong} (fix: {fix})", {"wrong": wrong, "fix": fix})
