"""Packets of every published schema, real ones, and hostile ones: each becomes a row or is refused with a reason."""

from __future__ import annotations

import io
import json
import math
import random
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import fastavro
import pytest
from armillary_alerts import avro, avro_code, table
from armillary_alerts.packets import lsst, rows, schemas
from armillary_alerts.packets.decode import Decoded, Decoder, Raw, Refused
from armillary_alerts.replay import ztf_fields
from armillary_alerts.replay.simulator import FIRST, Simulator
from armillary_alerts.replay.simulator import _long as simulator_long

PACKAGED = schemas.packaged()
needs_schemas = pytest.mark.skipif(
    not PACKAGED, reason="lsst-alert-packet is not installed: uv sync --group alerts-tests"
)


def raw(value: bytes, offset: int = 0, schema: bytes = b"") -> Raw:
    """Return a packet as it came."""
    return Raw(value, 0, offset, 1_700_000_000_000, "test", schema)


def row(value: bytes, schema: bytes = b"") -> dict[str, Any]:
    """Return the row that a packet becomes."""
    decoder = Decoder(schemas.SchemaStore())
    decoded, refused = decoder.decode([raw(value, schema=schema)])
    assert not refused, refused[0].reason
    _, found, more = rows.build(decoded)
    assert not more, more[0].reason
    (only,) = found.to_pylist()
    assert isinstance(only, dict)
    return only


def reason(value: bytes, schema: bytes = b"") -> str:
    """Return why a packet is refused."""
    decoded, refused = Decoder(schemas.SchemaStore()).decode([raw(value, schema=schema)])
    if decoded:
        _, _, refused = rows.build(decoded)
    (only,) = refused
    return only.reason


def sample(number: int) -> dict[str, Any]:
    """Return Rubin's own sample of a schema, with times that are days and not seconds."""
    path = PACKAGED[number].parent / "sample_data" / "fakeAlert.avro"
    packet: dict[str, Any] = next(fastavro.reader(path.open("rb")))  # type: ignore[assignment]
    for point in [packet["diaSource"], *(packet["prvDiaSources"] or ())]:
        for name in ("midPointTai", "midpointMjdTai"):
            if name in point and point[name] > 1e6:
                point[name] = 61_000.0 + point[name] % 10
    return packet


def confluent(number: int, packet: dict[str, Any]) -> bytes:
    """Return a packet in Confluent's wire format."""
    out = io.BytesIO()
    out.write(struct.pack(">bI", 0, number))
    fastavro.schemaless_writer(out, fastavro.parse_schema(schemas.load_files(PACKAGED[number])), packet)  # type: ignore[arg-type]  # fmt: skip
    return out.getvalue()


@needs_schemas
@pytest.mark.parametrize("number", sorted(PACKAGED))
def test_every_schema_that_rubin_ships_is_read(number: int) -> None:
    packet = sample(number)
    packet["diaSource"]["diaObjectId"] = 42
    found = row(confluent(number, packet))
    source = packet["diaSource"]
    assert found["schema_version"] == f"{number // 100}.{number % 100}"
    assert found["alert_id"] == packet.get("diaSourceId", packet.get("alertId"))
    assert found["object_id"] == "42"
    assert found["ra"] == pytest.approx(source["ra"])
    assert found["dec"] == pytest.approx(source.get("dec", source.get("decl")))
    assert found["band"] == source.get("band", source.get("filterName"))
    assert found["flux"] == pytest.approx(source.get("psfFlux", source.get("psFlux")))
    assert found["mag"] == pytest.approx(31.4 - 2.5 * math.log10(abs(found["flux"])), abs=1e-4)
    assert found["n_history"] == 1 + len(packet["prvDiaSources"] or ())
    assert found["history_mjd"] == sorted(found["history_mjd"])


@needs_schemas
def test_a_sample_of_rubins_with_seconds_for_days_is_refused() -> None:
    path = PACKAGED[704].parent / "sample_data" / "fakeAlert.avro"
    assert reason(path.read_bytes()) == "mjd is 1480360995.0"


@needs_schemas
def test_a_later_schema_with_new_fields_is_read() -> None:
    schema: Any = schemas.load_files(PACKAGED[1101])
    schema = json.loads(json.dumps(schema).replace("v11_1", "v99_0"))
    schema["fields"].append({"name": "novelty", "type": ["null", "double"], "default": None})
    out = io.BytesIO()
    fastavro.writer(out, fastavro.parse_schema(schema), [sample(1101)])
    assert row(out.getvalue())["schema_version"] == "99.0"


@pytest.mark.parametrize("survey", ["lsst", "ztf"])
def test_simulated_packets_are_read_and_say_what_was_put_in(survey: Any) -> None:
    if survey == "lsst" and not PACKAGED:
        pytest.skip("lsst-alert-packet is not installed")
    simulator = Simulator(5, survey)
    for number in range(40):
        scene, found = simulator.scene(number), row(simulator.packet(number))
        assert found["alert_id"] == simulator.alert_id(number) >= FIRST
        assert found["n_history"] == len(scene.mjd)
        assert found["n_forced"] == len(scene.forced_mjd)
        assert found["mjd"] == pytest.approx(scene.mjd[-1], abs=1e-8)
        assert found["flux"] == pytest.approx(scene.flux[-1], rel=1e-4)
        assert found["band"] == "ugrizy"[scene.band[-1]]
        assert found["is_positive"] == bool(scene.flux[-1] > 0)
        assert found["reliability"] == pytest.approx(scene.reliability, abs=1e-6)


def test_sizes_are_those_of_real_packets() -> None:
    ztf = [len(Simulator(1, "ztf").packet(n)) for n in range(60)]
    assert min(ztf) >= 37_000 and max(ztf) <= 79_000
    if PACKAGED:
        lsst = [len(Simulator(1, "lsst").packet(n)) for n in range(60)]
        assert sum(lsst) / 60 == pytest.approx(82_000, rel=0.05)


def test_the_same_seed_gives_the_same_packets() -> None:
    assert Simulator(9, "ztf").packet(3) == Simulator(9, "ztf").packet(3)
    assert Simulator(9, "ztf").packet(3) != Simulator(10, "ztf").packet(3)


def test_copies_differ_in_their_numbers_alone() -> None:
    simulator = Simulator(1, "ztf")
    pool = [simulator.packet(n) for n in range(3)]
    copies = [value for value, _ in simulator.copies(pool, 6, 300)]
    found = [row(value) for value in copies]
    assert [each["alert_id"] for each in found] == [simulator.alert_id(n) for n in range(300, 306)]
    assert found[0] | {"alert_id": 0} == row(pool[0]) | {"alert_id": 0}


def test_a_packet_with_its_schema_beside_it_is_read_as_fink_sends_it() -> None:
    simulator = Simulator(1, "ztf")
    body = avro.open_container(simulator.packet(0)).body
    schema = json.dumps(ztf_fields.schema()).encode()
    assert row(body, schema)["alert_id"] == simulator.alert_id(0)


def test_a_packet_in_json_is_read() -> None:
    simulator = Simulator(1, "ztf")
    packet: Any = next(fastavro.reader(io.BytesIO(simulator.packet(0))))
    packet = {k: v for k, v in packet.items() if not k.startswith("cutout")}
    assert row(json.dumps(packet).encode())["alert_id"] == simulator.alert_id(0)


def ztf_packet(**changes: Any) -> bytes:
    """Return a packet of ZTF's with other values in its candidate."""
    simulator = Simulator(1, "ztf")
    packet: Any = next(fastavro.reader(io.BytesIO(simulator.packet(0))))
    packet["candidate"] |= changes
    out = io.BytesIO()
    fastavro.writer(out, simulator.schema, [packet])
    return out.getvalue()


def test_nan_and_null_everywhere_make_a_row_of_nulls() -> None:
    simulator = Simulator(1, "ztf")
    packet: Any = next(fastavro.reader(io.BytesIO(simulator.packet(0))))
    for point in [
        packet["candidate"],
        *(packet["prv_candidates"] or ()),
        *(packet["fp_hists"] or ()),
    ]:
        for name, value in point.items():
            if isinstance(value, float) and name not in ("jd", "ra", "dec"):
                point[name] = math.nan
    out = io.BytesIO()
    fastavro.writer(out, simulator.schema, [packet])
    found = row(out.getvalue())
    assert found["mag"] is None
    assert found["lc_mag_mean"] is None
    assert found["reliability"] is None
    nothing = dict.fromkeys(packet["candidate"])
    keep = {
        k: packet["candidate"][k] for k in nothing if k in ("jd", "ra", "dec", "magpsf", "sigmapsf")
    }
    schema = ztf_fields.schema()
    candidate = next(f for f in schema["fields"] if f["name"] == "candidate")["type"]
    for field in candidate["fields"]:
        if isinstance(field["type"], str):
            field["type"] = [field["type"], "null"]
    packet |= {"candidate": nothing | keep, "prv_candidates": None, "fp_hists": None}
    out = io.BytesIO()
    fastavro.writer(out, fastavro.parse_schema(schema), [packet])
    assert row(out.getvalue())["band"] is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"ra": math.nan}, "ra is nan"),
        ({"dec": -91.0}, "dec is -91.0"),
        ({"jd": math.inf}, "mjd is inf"),
        ({"ra": 361.0}, "ra is 361.0"),
    ],
)
def test_a_packet_without_a_place_or_time_is_refused(changes: dict[str, Any], why: str) -> None:
    assert reason(ztf_packet(**changes)) == why


def test_a_wrong_packet_among_good_ones_is_refused_alone() -> None:
    simulator = Simulator(1, "ztf")
    values = [simulator.packet(0), ztf_packet(ra=math.nan), simulator.packet(2)]
    decoded, refused = Decoder().decode([raw(value, n) for n, value in enumerate(values)])
    kept, found, more = rows.build(decoded)
    assert not refused
    assert [each.raw.offset for each in kept] == [0, 2] == found.column("kafka_offset").to_pylist()
    assert [each.raw.offset for each in more] == [1]


def test_broken_packets_are_refused_with_the_reason() -> None:
    good = Simulator(1, "ztf").packet(0)
    assert reason(b"") == "empty packet"
    assert "no form" in reason(b"hello")
    assert "truncated" in reason(good[:1000])
    assert "truncated" in reason(good[:-20])
    assert "does not fit its schema" in reason(b"\0", json.dumps(ztf_fields.schema()).encode())
    assert reason(b"\0" * 5) == "truncated packet: it ends in its schema's number"
    assert reason(b"\0\0\0\x10\x92rest") == "schema number 4242 is not known"
    assert "broken JSON" in reason(b'{"candidate":')
    assert "no alert of LSST or ZTF" in reason(b'{"a": 1}')
    assert str(avro.MAX_PACKET) in reason(b"x" * (avro.MAX_PACKET + 1))


def container(schema: Any, body: bytes, codec: str = "null", count: int = 1) -> bytes:
    """Return a container file around any bytes."""
    out = io.BytesIO()
    header = {
        "magic": b"Obj\x01",
        "meta": {"avro.schema": json.dumps(schema).encode(), "avro.codec": codec.encode()},
        "sync": b"s" * 16,
    }
    fastavro.schemaless_writer(out, avro._HEADER, header)
    fastavro.schemaless_writer(out, avro._BLOCK, {"count": count, "data": body})
    return out.getvalue() + b"s" * 16


def test_a_decompression_bomb_takes_no_memory() -> None:
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = b"".join(packed.compress(bytes(1 << 20)) for _ in range(1024)) + packed.flush()
    bomb = container(ztf_fields.schema(), body, "deflate")
    assert len(bomb) < 2 << 20
    tracemalloc.start()
    try:
        assert "unpacks to more than" in reason(bomb)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_hostile_schemas_are_refused() -> None:
    empty = {"type": "record", "name": "e", "fields": []}
    endless = ztf_fields.schema()
    endless["fields"].append({"name": "x", "type": {"type": "array", "items": empty}})
    assert "list of values without size" in reason(container(endless, b"x"))
    itself = {"type": "record", "name": "r", "fields": [{"name": "r", "type": ["null", "r"]}]}
    assert "contains itself" in reason(container(itself, b"x"))
    fields: list[Any] = [{"name": "f0", "type": {"type": "record", "name": "t0", "fields": [{"name": "a", "type": "int"}]}}]  # fmt: skip
    for n in range(1, 40):
        pair = [{"name": "a", "type": f"t{n - 1}"}, {"name": "b", "type": f"t{n - 1}"}]
        fields.append(
            {"name": f"f{n}", "type": {"type": "record", "name": f"t{n}", "fields": pair}}
        )
    assert "too large" in reason(container({"type": "record", "name": "w", "fields": fields}, b"x"))
    assert "not valid" in reason(container({"type": "nonsense"}, b"x"))
    assert "no record" in reason(container("int", b"\x02"))
    assert "codec" in reason(container(ztf_fields.schema(), b"x", "xz"))
    assert "2 records" in reason(container(ztf_fields.schema(), b"x", count=2))


@needs_schemas
@pytest.mark.parametrize("number", [300, 704, 1101])
def test_a_record_is_read_as_fastavro_reads_it(number: int) -> None:
    text = json.dumps(schemas.load_files(PACKAGED[number]))
    expanded = avro.load_schema(text)
    everything = avro.Codec(avro_code.compile_reader(expanded, None))
    some = avro.Codec.of(expanded, lsst.WANTED)
    parsed = fastavro.parse_schema(json.loads(text))
    simulator = Simulator(1, "lsst")
    packets = [sample(number)] + (
        [simulator._lsst(simulator.scene(n)) for n in range(5)] if number == 1101 else []
    )
    for packet in packets:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, parsed, packet)
        theirs: Any = fastavro.schemaless_reader(io.BytesIO(out.getvalue()), parsed, None)
        assert everything.read(out.getvalue()) == theirs
        assert some.read(out.getvalue()) == pick(theirs, lsst.WANTED)
        for cut in (1, 8, 100, len(out.getvalue()) // 2, len(out.getvalue()) - 1):
            for codec in (everything, some):
                with pytest.raises(avro.PacketError, match=r"too early|left after"):
                    codec.read(out.getvalue()[:cut])
        with pytest.raises(avro.PacketError, match="3 bytes are left"):
            some.read(out.getvalue() + b"abc")


def pick(value: Any, wanted: Any) -> Any:
    """Return the wanted fields of what fastavro read."""
    if value is None or wanted is None:
        return value
    if isinstance(value, list):
        return [pick(each, wanted) for each in value]
    return {key: pick(each, wanted[key]) for key, each in value.items() if key in wanted}


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("long", [0, -1, 63, 64, -65, 2**31, -(2**63), 2**63 - 1]),
        (["null", "string"], [None, "", "x", "é" * 200]),
        (["float", "null"], [None, 0.5]),
        (["null", "long", "string", "double"], [None, 7, "seven", 7.5]),
        ({"type": "array", "items": ["null", "double"]}, [[], [None, 1.0] * 100]),
        ("bytes", [b"", bytes(300)]),
        ("boolean", [True, False]),
    ],
)  # fmt: skip
def test_every_kind_of_value_is_read_and_stepped_over(kind: Any, values: list[Any]) -> None:
    fields = [{"name": "a", "type": kind}, {"name": "b", "type": "int"}]
    schema = {"type": "record", "name": "r", "fields": fields}
    expanded = avro.load_schema(json.dumps(schema))
    for value in values:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, fastavro.parse_schema(schema), {"a": value, "b": -3})
        assert avro.Codec.of(expanded, {"a": None, "b": None}).read(out.getvalue()) == {"a": value, "b": -3}  # fmt: skip
        assert avro.Codec.of(expanded, {"b": None}).read(out.getvalue()) == {"b": -3}


def test_a_list_that_claims_to_be_endless_ends() -> None:
    schema = {"type": "record", "name": "r", "fields": [{"name": "a", "type": {"type": "array", "items": "double"}}]}  # fmt: skip
    codec = avro.Codec.of(avro.load_schema(json.dumps(schema)), {})
    with pytest.raises(avro.PacketError, match="too early"):
        codec.read(simulator_long(1 << 60) + bytes(64))


def test_names_in_a_schema_are_no_code() -> None:
    name = "x': __import__('os').abort(), 'y"
    expanded = {"type": "record", "name": "r", "fields": [{"name": name, "type": "int"}]}
    assert avro.Codec.of(expanded, {name: None}).read(b"\x02") == {name: 1}


def test_random_damage_never_raises() -> None:
    good = Simulator(1, "ztf").packet(0)
    rng = random.Random(4)
    decoder = Decoder()
    start = len(good) - 55_000
    for n in range(300):
        value = bytearray(good)
        for _ in range(rng.randint(1, 20)):
            value[rng.randrange(start if n % 2 else 0, len(value))] = rng.randrange(256)
        decoded, refused = decoder.decode([raw(bytes(value))])
        kept, found, more = rows.build(decoded) if decoded else ([], table.empty(), [])
        assert len(kept) + len(more) + len(refused) == 1
        assert found.num_rows == len(kept)
        assert all(isinstance(each, Refused) and each.reason for each in refused + more)
        assert all(isinstance(each, Decoded) for each in kept)


def test_a_registry_that_is_away_is_no_fault_of_the_packets() -> None:
    store = schemas.SchemaStore(registry="http://127.0.0.1:1", package=False)
    with pytest.raises(schemas.SchemasUnreachable):
        Decoder(store).decode([raw(b"\0\0\0\x04\x4drest")])


@needs_schemas
def test_schemas_come_from_a_directory(tmp_path: Path) -> None:
    (tmp_path / "1101.avsc").write_text(json.dumps(schemas.load_files(PACKAGED[1101])))
    store = schemas.SchemaStore(directory=tmp_path, package=False)
    decoded, refused = Decoder(store).decode([raw(confluent(1101, sample(1101)))])
    assert (len(decoded), len(refused)) == (1, 0)


@needs_schemas
def test_schemas_come_from_a_registry() -> None:
    import http.server
    import threading

    asked = []

    class Registry(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            known = self.path == "/schemas/ids/1101"
            text = json.dumps({"schema": json.dumps(schemas.load_files(PACKAGED[1101]))})
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write(text.encode() if known else b"{}")

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        decoder = Decoder(schemas.SchemaStore(registry=url, package=False))
        good = confluent(1101, sample(1101))
        decoded, refused = decoder.decode([raw(good), raw(b"\0\0\0\0\x07x"), raw(good), raw(b"\0\0\0\0\x07x")])  # fmt: skip
        server.shutdown()
    assert (len(decoded), len(refused)) == (2, 2)
    assert asked == ["/schemas/ids/1101", "/schemas/ids/7"]
