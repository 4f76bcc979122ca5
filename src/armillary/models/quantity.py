"""Sizes (`20GiB`) and durations (`1h30m`) as they are written in cluster.yml."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from armillary.models.problem import invalid

MIB = 2**20
GIB = 2**30
TIB = 2**40
_UNITS = {"MiB": MIB, "GiB": GIB, "TiB": TIB}
_NUMBER_AND_UNIT = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*")


class _Quantity:
    """What sizes and durations share: pydantic reads them from text and writes them as text."""

    PATTERN: ClassVar[str]
    EXAMPLES: ClassVar[list[str]]

    @classmethod
    def parse(cls, value: object) -> Self:
        raise NotImplementedError

    @classmethod
    def __get_pydantic_core_schema__(cls, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls.parse, serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, _: CoreSchema, __: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "pattern": cls.PATTERN, "examples": cls.EXAMPLES}


@dataclass(frozen=True, order=True)
class Size(_Quantity):
    """An amount of memory or disk, in bytes."""

    bytes: int

    PATTERN: ClassVar[str] = "^[1-9][0-9]*(MiB|GiB|TiB)$"
    EXAMPLES: ClassVar[list[str]] = ["512MiB", "20GiB", "1TiB"]

    @classmethod
    def of(cls, text: str) -> Self:
        """Read `20GiB`, for constants in the code. Raises PydanticCustomError as `parse` does."""
        return cls.parse(text)

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a size: a whole number and MiB, GiB or TiB with nothing between.

        Raises:
            PydanticCustomError: it is written in another way; says how to write it.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            raise invalid(
                f"`{value}` has no unit", f"write `{max(1, math.ceil(value))}GiB`, if GiB are meant"
            )
        if not isinstance(value, str):
            raise invalid("a size is needed here", "write a number and a unit, such as `20GiB`")
        if re.fullmatch(cls.PATTERN, value):
            return cls(int(value[:-3]) * _UNITS[value[-3:]])
        match = _NUMBER_AND_UNIT.fullmatch(value)
        if not match:
            raise invalid(
                f"`{value}` is not a size", "write a whole number and MiB, GiB or TiB: `20GiB`"
            )
        number, unit = float(match[1]), match[2]
        if number == 0:
            raise invalid(
                f"`{value}` is no room at all", "write a size above zero, such as `20GiB`"
            )
        if not unit:
            raise invalid(f"`{value}` has no unit", f"write `{match[1]}GiB`, if GiB are meant")
        letter = unit[0].upper()
        base = {"M": MIB, "G": GIB, "T": TIB}.get(letter)
        if base is None or unit.lower() not in {
            s.lower() for s in (letter, letter + "i", letter + "B", letter + "iB")
        }:
            raise invalid(
                f"`{unit}` in `{value}` is not a unit of size", "write MiB, GiB or TiB: `20GiB`"
            )
        meant = cls(math.ceil(number * base / MIB) * MIB)
        why = (
            f"`{value}` has a fraction"
            if number != int(number)
            else f"the unit of `{value}` must be written `{letter}iB`, with no space before it"
        )
        raise invalid(why, f"write `{meant}`")

    @property
    def mib(self) -> int:
        """In whole MiB (sizes are written in MiB at the finest)."""
        return self.bytes // MIB

    @property
    def gib(self) -> int:
        """In whole GiB, rounded up."""
        return -(-self.bytes // GIB)

    def __str__(self) -> str:
        """Write it as `parse` reads it, in the largest unit that leaves a whole number."""
        for unit, factor in (("TiB", TIB), ("GiB", GIB)):
            if self.bytes % factor == 0:
                return f"{self.bytes // factor}{unit}"
        return f"{self.bytes // MIB}MiB"


@dataclass(frozen=True, order=True)
class Duration(_Quantity):
    """A length of time, in seconds."""

    seconds: int

    PATTERN: ClassVar[str] = "^([1-9][0-9]*h)?([1-9][0-9]*m)?([1-9][0-9]*s)?$"
    EXAMPLES: ClassVar[list[str]] = ["1h", "30m", "1h30m"]

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a duration: hours, minutes and seconds, as `1h`, `30m`, `1h30m`.

        Raises:
            PydanticCustomError: it is written in another way; says how to write it.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            raise invalid(f"`{value}` has no unit", f"write `{value}m` if minutes are meant")
        match = re.fullmatch(cls.PATTERN, value) if isinstance(value, str) and value else None
        if not match:
            raise invalid(
                f"`{value}` is not a duration",
                "write hours, minutes and seconds such as `1h`, `30m` or `1h30m`",
            )
        hours, minutes, seconds = (int(part[:-1]) if part else 0 for part in match.groups())
        return cls(hours * 3600 + minutes * 60 + seconds)

    def __str__(self) -> str:
        """Write it as `parse` reads it."""
        hours, rest = divmod(self.seconds, 3600)
        minutes, seconds = divmod(rest, 60)
        parts = ((hours, "h"), (minutes, "m"), (seconds, "s"))
        return "".join(f"{number}{unit}" for number, unit in parts if number)
