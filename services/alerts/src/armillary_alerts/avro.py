"""Avro, as far as packets need it: container files and single records, with bounds that hostile bytes cannot pass.

Schemas and container files are read by fastavro, records by code made of their schema (`avro_code`): the bytes of cut-outs and
of fields that nobody uses are passed over and never become objects.
"""

from __future__ import annotations

import copy
import io
import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import fastavro

from armillary_alerts import avro_code

Schema = Any

#: The longest packet, packed and unpacked, in bytes. Rubin's are to 140 kB, ZTF's to 80 kB.
MAX_PACKET: Final = 8 * 2**20

#: The most parts a schema has when each named type is written out where it is used. Rubin's have some 1,500.
MAX_SCHEMA_NODES: Final = 6_000

MAGIC: Final = b"Obj\x01"
CONFLUENT: Final = b"\x00"

_PRIMITIVES = {"null", "boolean", "int", "long", "float", "double", "bytes", "string"}
_HEADER = fastavro.parse_schema(
    {
        "type": "record",
        "name": "header",
        "fields": [
            {"name": "magic", "type": {"type": "fixed", "name": "magic", "size": 4}},
            {"name": "meta", "type": {"type": "map", "values": "bytes"}},
            {"name": "sync", "type": {"type": "fixed", "name": "sync", "size": 16}},
        ],
    }
)
_BLOCK = fastavro.parse_schema(
    {
        "type": "record",
        "name": "block",
        "fields": [{"name": "count", "type": "long"}, {"name": "data", "type": "bytes"}],
    }
)


class PacketError(ValueError):
    """Bytes that are no packet that can be read; says why. It goes into quarantine with that reason."""


@dataclass(frozen=True)
class Contained:
    """A record taken out of a container file."""

    schema: bytes
    """The writer's schema, as JSON."""
    body: bytes
    """The record."""


def open_container(data: bytes) -> Contained:
    """Take the one record out of a container file.

    Raises:
        PacketError: it is none, is cut off, has another number of records, or unpacks to more than `MAX_PACKET`.
    """
    stream = io.BytesIO(data)
    try:
        header = fastavro.schemaless_reader(stream, _HEADER, None)
        schema = header["meta"]["avro.schema"]
        codec = header["meta"].get("avro.codec", b"null")
        block = fastavro.schemaless_reader(stream, _BLOCK, None)
    except Exception as error:
        raise PacketError(f"truncated or broken Avro container: {_say(error)}") from error
    if block["count"] != 1:
        raise PacketError(f"an Avro container with {block['count']} records; one is expected")
    body = block["data"]
    end = data[stream.tell() : stream.tell() + 16]
    if end != header["sync"]:
        raise PacketError("truncated Avro container: no mark after the record")
    if codec == b"deflate":
        body = _inflate(body)
    elif codec != b"null":
        raise PacketError(f"Avro codec {codec[:20]!r} is not known; null and deflate are")
    return Contained(schema, body)


def _inflate(data: bytes) -> bytes:
    packed = zlib.decompressobj(-15)
    try:
        body = packed.decompress(data, MAX_PACKET + 1)
    except zlib.error as error:
        raise PacketError(f"broken deflate stream: {error}") from error
    if len(body) > MAX_PACKET or packed.unconsumed_tail:
        raise PacketError(f"it unpacks to more than {MAX_PACKET} bytes")
    if not packed.eof:
        raise PacketError("truncated deflate stream")
    return body


def load_schema(text: bytes | str) -> Schema:
    """Return a writer's schema with each named type written out where it is used.

    Raises:
        PacketError: no schema, one that contains itself, or one whose lists could have no end.
    """
    try:
        raw = json.loads(text)
        fastavro.parse_schema(copy.deepcopy(raw))
    except Exception as error:
        raise PacketError(f"its schema is not valid: {_say(error)}") from error
    budget = [MAX_SCHEMA_NODES]
    try:
        expanded = _expand(raw, {}, "", (), budget)
        _size(expanded)
    except RecursionError:
        raise PacketError("its schema is nested too deeply") from None
    except PacketError:
        raise
    except Exception as error:
        raise PacketError(f"its schema is not valid: {_say(error)}") from error
    return expanded


def _expand(
    schema: Schema, named: dict[str, Schema], space: str, within: tuple[str, ...], budget: list[int]
) -> Schema:
    budget[0] -= 1
    if budget[0] < 0:
        raise PacketError("its schema is too large")
    if isinstance(schema, list):
        return [_expand(each, named, space, within, budget) for each in schema]
    if isinstance(schema, str):
        if schema in _PRIMITIVES:
            return schema
        full = schema if "." in schema or not space else f"{space}.{schema}"
        full = full if full in named else schema
        if full in within:
            raise PacketError(f"its schema contains itself, at {full}")
        if full not in named:
            raise PacketError(f"its schema names {full}, which it does not define")
        found, found_space = named[full]
        return _expand(found, {**named}, found_space, within, budget)
    kind = schema["type"]
    if kind in ("record", "error", "enum", "fixed"):
        name = schema["name"]
        here = name.rpartition(".")[0] or schema.get("namespace", space)
        full = name if "." in name or not here else f"{here}.{name}"
        named[full] = (schema, space)
        if full in within:
            raise PacketError(f"its schema contains itself, at {full}")
        if kind not in ("record", "error"):
            return {**schema, "name": full}
        fields = []
        for field in schema["fields"]:
            inner = _expand(field["type"], named, here, (*within, full), budget)
            fields.append({"name": field["name"], "type": inner})
        return {"type": "record", "name": full, "fields": fields}
    if kind == "array":
        return {"type": "array", "items": _expand(schema["items"], named, space, within, budget)}
    if kind == "map":
        return {"type": "map", "values": _expand(schema["values"], named, space, within, budget)}
    # A primitive, perhaps with a logical type, which is of no use here: times stay numbers.
    return _expand(kind, named, space, within, budget)


def _size(schema: Schema) -> int:
    """Return the fewest bytes a value takes. A list of values of none could claim any length at no cost."""
    if isinstance(schema, list):
        for each in schema:
            _size(each)
        return 1
    if isinstance(schema, str):
        return {"null": 0, "float": 4, "double": 8}.get(schema, 1)
    kind = schema["type"]
    if kind == "record":
        return sum(_size(field["type"]) for field in schema["fields"])
    if kind == "fixed":
        return int(schema["size"])
    if kind in ("array", "map"):
        inner = _size(schema["items" if kind == "array" else "values"])
        if kind == "array" and inner == 0:
            raise PacketError("its schema has a list of values without size")
    return 1


Wanted = Mapping[str, "Wanted | None"]


def fields_of(schema: Schema, *path: str) -> frozenset[str]:
    """Return the names of a record's fields, or of one within it (through unions and lists); empty where there is none."""
    for step in path:
        inner = next((f["type"] for f in schema.get("fields", ()) if f["name"] == step), None)
        schema = _record(inner)
        if schema is None:
            return frozenset()
    return frozenset(field["name"] for field in schema["fields"])


def _record(kind: Schema) -> Schema:
    if isinstance(kind, list):
        return next((found for each in kind if (found := _record(each)) is not None), None)
    if isinstance(kind, dict):
        if kind["type"] == "record":
            return kind
        if kind["type"] == "array":
            return _record(kind["items"])
    return None


@dataclass(frozen=True)
class Codec:
    """How to read packets of one schema."""

    reader: avro_code.Read

    @classmethod
    def of(cls, schema: Schema, wanted: Wanted) -> Codec:
        """Make one of a schema, expanded as by `load_schema`, and the wanted fields."""
        return cls(avro_code.compile_reader(schema, wanted))

    def read(self, body: bytes) -> dict[str, Any]:
        """Return a packet's wanted fields.

        Raises:
            PacketError: the bytes do not fit the schema.
        """
        try:
            return self.reader(body)
        except avro_code.Broken as error:
            raise PacketError(f"it does not fit its schema: {error}") from error
        except (IndexError, struct.error) as error:
            raise PacketError("it does not fit its schema: it ends too early") from error
        except (UnicodeDecodeError, OverflowError) as error:
            raise PacketError(f"it does not fit its schema: {_say(error)}") from error


def _say(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text if len(text) < 200 else f"{text[:200]}..."
