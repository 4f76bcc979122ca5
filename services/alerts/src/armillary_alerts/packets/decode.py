"""From bytes to packets: finds the schema, reads what is wanted, and says why when it cannot."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from armillary_alerts import avro
from armillary_alerts.packets import lsst, ztf
from armillary_alerts.packets.layout import Layout, Packet

#: Schemas that are remembered; more different ones than surveys have is a sign of hostile packets.
MAX_SCHEMAS: Final = 200


@dataclass(frozen=True)
class Raw:
    """A packet as it came."""

    value: bytes
    partition: int
    offset: int
    received: int
    """Milliseconds since 1970, UTC."""
    source: str = ""
    """Where outside it came from."""
    schema: bytes = b""
    """The writer's schema as JSON, where the sender put it beside the packet (Fink puts it into the key)."""


@dataclass(frozen=True)
class Decoded:
    """A packet that was read."""

    raw: Raw
    layout: Layout
    packet: Packet


@dataclass(frozen=True)
class Refused:
    """A packet that goes into quarantine."""

    raw: Raw
    reason: str


class Schemas(Protocol):
    """Gives schemas by the number that is in the packet (Confluent's wire format)."""

    def get(self, number: int) -> str | None:
        """Return a schema as JSON; None where there is none of this number.

        Raises:
            SchemasUnreachable: it cannot be told now.
        """


@dataclass(frozen=True)
class _Reader:
    layout: Layout
    codec: avro.Codec


class Decoder:
    """Reads packets of LSST and ZTF, whatever their version and form.

    Forms: Avro container files with the schema in them (ZTF), Confluent's wire format (Rubin), a bare record with the schema
    beside it (Fink), and JSON with a packet's structure (Lasair).
    """

    def __init__(self, schemas: Schemas | None = None) -> None:
        self._schemas = schemas
        self._by_text: dict[bytes, _Reader | str] = {}
        self._by_number: dict[int, _Reader | str] = {}

    def decode(self, packets: Sequence[Raw]) -> tuple[list[Decoded], list[Refused]]:
        """Read packets; each is in one of the two lists.

        Raises:
            SchemasUnreachable: the registry does not answer: no packet's fault, so none is refused.
        """
        good: list[Decoded] = []
        bad: list[Refused] = []
        for raw in packets:
            try:
                good.append(self.one(raw))
            except avro.PacketError as error:
                bad.append(Refused(raw, str(error)))
        return good, bad

    def one(self, raw: Raw) -> Decoded:
        """Read one packet.

        Raises:
            PacketError: it cannot be read; says why.
            SchemasUnreachable: the registry does not answer.
        """
        value = raw.value
        if not value:
            raise avro.PacketError("empty packet")
        if len(value) > avro.MAX_PACKET:
            raise avro.PacketError(f"{len(value)} bytes; {avro.MAX_PACKET} is the most")
        if value.startswith(avro.MAGIC):
            inner = avro.open_container(value)
            reader = self._of_text(inner.schema)
            packet = reader.codec.read(inner.body)
        elif raw.schema:
            reader = self._of_text(raw.schema)
            packet = reader.codec.read(value)
        elif value[:1] == avro.CONFLUENT:
            if len(value) < 6:
                raise avro.PacketError("truncated packet: it ends in its schema's number")
            reader = self._of_number(struct.unpack(">I", value[1:5])[0])
            packet = reader.codec.read(value[5:])
        elif value[:1] == b"{":
            return self._json(raw)
        else:
            raise avro.PacketError(
                "no form that is known: not an Avro container, no schema number, no schema beside it, no JSON"
            )
        return Decoded(raw, reader.layout, packet)

    def _json(self, raw: Raw) -> Decoded:
        try:
            packet = json.loads(raw.value)
        except (ValueError, RecursionError) as error:
            raise avro.PacketError(f"broken JSON: {error}") from error

        def fields(*path: str) -> frozenset[str]:
            value: Any = packet
            for step in path:
                value = value.get(step) if isinstance(value, Mapping) else None
                if isinstance(value, list):
                    value = value[0] if value else None
            return frozenset(value) if isinstance(value, Mapping) else frozenset()

        layout = _layout("JSON", fields)
        for key in ("prvDiaSources", "prvDiaForcedSources", "prv_candidates", "fp_hists"):
            points = packet.get(key)
            if points is not None and not (
                isinstance(points, list) and all(isinstance(point, dict) for point in points)
            ):
                raise avro.PacketError(f"{key} is no list of records")
        return Decoded(raw, layout, packet)

    def _of_text(self, text: bytes) -> _Reader:
        found = self._by_text.get(text)
        if found is None:
            if len(self._by_text) >= MAX_SCHEMAS:
                self._by_text.clear()
            found = self._by_text[text] = _reader(text)
        return _good(found)

    def _of_number(self, number: int) -> _Reader:
        found = self._by_number.get(number)
        if found is None:
            text = self._schemas.get(number) if self._schemas else None
            if text is None:
                raise avro.PacketError(f"schema number {number} is not known")
            found = self._by_number[number] = _reader(text.encode())
        return _good(found)


def _good(found: _Reader | str) -> _Reader:
    if isinstance(found, str):
        raise avro.PacketError(found)
    return found


def _reader(text: bytes) -> _Reader | str:
    """Return how to read packets of a schema, or why that cannot be: both are remembered."""
    try:
        schema = avro.load_schema(text)
        if not isinstance(schema, dict) or schema.get("type") != "record":
            return "its schema is no record"
        names = avro.fields_of(schema)
        layout = _layout(schema["name"], lambda *path: avro.fields_of(schema, *path))
        wanted = lsst.WANTED if lsst.is_packet(names) else ztf.WANTED
        return _Reader(layout, avro.Codec.of(schema, wanted))
    except avro.PacketError as error:
        return str(error)
    except Exception as error:
        return f"its schema cannot be used: {type(error).__name__}"


def _layout(name: str, fields: Callable[..., frozenset[str]]) -> Layout:
    outermost = fields()
    if lsst.is_packet(outermost):
        return lsst.layout(name, fields)
    if ztf.is_packet(outermost):
        return ztf.layout(name, fields)
    raise avro.PacketError(f"{name} is no alert of LSST or ZTF")
