"""Makes a Python function out of an Avro schema, which reads a record's wanted fields and steps over the others.

Why not fastavro alone: it takes as long to pass over a field as to read it, some half a microsecond, and a packet of
Rubin's with its history has four thousand of which a few hundred are wanted (docs/decisions/0016-alerts.md has the figures). Here
a field that is not wanted is one addition. The tests compare the two on every schema.

Names from a schema get into the code only as quoted keys, never as code.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

Schema = Any
Read = Callable[[bytes], dict[str, Any]]

_FAR: Final = 1 << 50
_FIXED: Final = {"null": 0, "boolean": 1, "float": 4, "double": 8}
_UNPACK: Final = {"float": "F", "double": "D"}


class Broken(ValueError):
    """Bytes that do not fit the schema."""


def compile_reader(schema: Schema, wanted: Mapping[str, Any]) -> Read:
    """Return a function from the bytes of one record to its wanted fields.

    Args:
        schema: a record, with each named type written out where it is used.
        wanted: names of fields; for those that are records, or lists of such, what is wanted of them, or None for all.

    The function raises `Broken`, `IndexError`, `struct.error` or `UnicodeDecodeError` for bytes that do not fit.
    """
    code = _Code()
    result = code.record(schema, wanted)
    code.line(
        "if i != end: raise Broken(f'{end - i} bytes are left after it' if i < end else 'it ends too early')"
    )
    code.line(f"return {result}")
    body = "\n".join(["def read(b):", " i = 0", " end = len(b)", *code.lines])
    scope: dict[str, Any] = {
        "Broken": Broken,
        "rest": _rest,
        "F": struct.Struct("<f").unpack_from,
        "D": struct.Struct("<d").unpack_from,
        **code.names,
    }
    exec(compile(body, "<avro schema>", "exec"), scope)  # noqa: S102 - made here, see above
    made: Read = scope["read"]
    return made


def _rest(b: bytes, i: int, n: int) -> tuple[int, int]:
    """Read the further bytes of a number whose first is n."""
    n &= 0x7F
    shift = 7
    while True:
        byte = b[i]
        i += 1
        n |= (byte & 0x7F) << shift
        if byte < 0x80:
            return n, i
        shift += 7
        if shift > 63:
            raise Broken("a number of more than 64 bits")


class _Code:
    """Lines of a function, as they are written."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[str, Any] = {}
        self._depth = 1
        self._count = 0
        self._step = 0

    def line(self, text: str) -> None:
        """Add a line; what is to be stepped over before it comes first."""
        if self._step:
            step, self._step = self._step, 0
            self.lines.append(" " * self._depth + f"i += {step}")
        self.lines.append(" " * self._depth + text)

    def variable(self) -> str:
        """Return a name that is not in use."""
        self._count += 1
        return f"v{self._count}"

    def block(self, head: str, body: Callable[[], None]) -> None:
        """Add a compound statement."""
        self.line(head)
        self._depth += 1
        before = len(self.lines)
        body()
        if self._step or len(self.lines) == before:
            self.line("pass")
        self._depth -= 1

    def table(self, steps: Mapping[int, int]) -> str:
        """Return the name of a table: how far to step for each value of a byte."""
        name = "t" + "_".join(f"{at}x{step}" for at, step in sorted(steps.items()))
        self.names[name] = [steps.get(byte, _FAR) for byte in range(256)]
        return name

    def number(self, into: str) -> None:
        """Read a number as it is written, zigzag and all."""
        self.line(f"{into} = b[i]")
        self.line("i += 1")
        self.line(f"if {into} > 127: {into}, i = rest(b, i, {into})")

    def length(self) -> str:
        """Read how long something is."""
        into = self.variable()
        self.number(into)
        self.line(f"if {into} & 1: raise Broken('a length below 0')")
        self.line(f"{into} >>= 1")
        return into

    def record(self, schema: Schema, wanted: Mapping[str, Any] | None) -> str:
        """Read a record; returns an expression for it."""
        parts = []
        for field in schema["fields"]:
            name = field["name"]
            if wanted is None or name in wanted:
                inner = None if wanted is None else wanted[name]
                parts.append(f"{name!r}: {self.read(field['type'], inner)}")
            else:
                self.skip(field["type"])
        into = self.variable()
        self.line(f"{into} = {{{', '.join(parts)}}}")
        return into

    def read(self, kind: Schema, wanted: Mapping[str, Any] | None) -> str:
        """Read a value into a variable, and return its name."""
        if isinstance(kind, list):
            return self._read_union(kind, wanted)
        if not isinstance(kind, str):
            return self._read_complex(kind, wanted)
        into = self.variable()
        if kind == "null":
            self.line(f"{into} = None")
        elif kind == "boolean":
            self.line(f"{into} = b[i] == 1")
            self.line("if b[i] > 1: raise Broken('a truth value of neither 0 nor 1')")
            self.line("i += 1")
        elif kind in ("int", "long"):
            self.number(into)
            self.line(f"{into} = ({into} >> 1) ^ -({into} & 1)")
        elif kind in _UNPACK:
            self.line(f"{into} = {_UNPACK[kind]}(b, i)[0]")
            self.line(f"i += {_FIXED[kind]}")
        else:
            size = self.length()
            self.line(f"if i + {size} > end: raise Broken('it ends too early')")
            self.line(f"{into} = b[i:i + {size}]" + (".decode()" if kind == "string" else ""))
            self.line(f"i += {size}")
        return into

    def _read_complex(self, kind: Schema, wanted: Mapping[str, Any] | None) -> str:
        if kind["type"] == "record":
            return self.record(kind, wanted)
        into = self.variable()
        if kind["type"] == "array":
            self._items(kind["items"], into, wanted)
        else:
            # Maps, enums and fixed: no survey's packet has one that is wanted.
            self.skip(kind)
            self.line(f"{into} = None")
        return into

    def _read_union(self, kinds: list[Schema], wanted: Mapping[str, Any] | None) -> str:
        into = self.variable()
        which = self._which()
        for n, kind in enumerate(kinds):

            def body(kind: Schema = kind) -> None:
                self.line(f"{into} = {self.read(kind, wanted)}")

            self.block(f"{'el' if n else ''}if {which} == {2 * n}:", body)
        self.block(
            "else:",
            lambda: self.line("raise Broken('a kind of value that the schema does not have')"),
        )
        return into

    def _which(self) -> str:
        which = self.variable()
        self.number(which)
        return which

    def skip(self, kind: Schema) -> None:
        """Step over a value."""
        if isinstance(kind, list):
            self._skip_union(kind)
        elif isinstance(kind, str):
            if kind in _FIXED:
                self._step += _FIXED[kind]
            elif kind in ("int", "long"):
                self.line("while b[i] > 127: i += 1")
                self.line("i += 1")
            else:
                self.line(f"i += {self.length()}")
        elif kind["type"] == "record":
            for field in kind["fields"]:
                self.skip(field["type"])
        elif kind["type"] == "array":
            self._items(kind["items"], None, None)
        elif kind["type"] == "map":
            self._items({"type": "record", "fields": [{"name": "k", "type": "string"}, {"name": "v", "type": kind["values"]}]}, None, None)  # fmt: skip
        elif kind["type"] == "fixed":
            self._step += int(kind["size"])
        else:
            self.skip("int")

    def _skip_union(self, kinds: list[Schema]) -> None:
        if len(kinds) < 60 and all(isinstance(kind, str) and kind in _FIXED for kind in kinds):
            steps = {2 * n: 1 + _FIXED[kind] for n, kind in enumerate(kinds)}
            self.line(f"i += {self.table(steps)}[b[i]]")
            return
        which = self._which()
        for n, kind in enumerate(kinds):

            def body(kind: Schema = kind) -> None:
                self.skip(kind)

            self.block(f"{'el' if n else ''}if {which} == {2 * n}:", body)
        self.block(
            "else:",
            lambda: self.line("raise Broken('a kind of value that the schema does not have')"),
        )

    def _items(self, item: Schema, into: str | None, wanted: Mapping[str, Any] | None) -> None:
        """Read a list's blocks, or step over them."""
        count = self.variable()
        if into:
            self.line(f"{into} = []")

        def one() -> None:
            if into:
                self.line(f"{into}.append({self.read(item, wanted)})")
            else:
                self.skip(item)
            # Else a list of numbers that are stepped over could claim any length.
            self.line("if i > end: raise Broken('it ends too early')")

        def block() -> None:
            self.number(count)
            self.line(f"if not {count}: break")
            self.line(f"{count} = ({count} >> 1) ^ -({count} & 1)")

            def sized() -> None:
                self.line(f"{count} = -{count}")
                self.length()

            self.block(f"if {count} < 0:", sized)
            self.block(f"for _ in range({count}):", one)

        self.block("while True:", block)
