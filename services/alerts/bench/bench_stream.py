"""Measures the stream on this machine, and writes JSON: `python services/alerts/bench/bench_stream.py --out FILE`.

Figures are of processor time, which a busy machine does not change much, and of wall time, which it does: the load before
and after stands beside them. One broker, on loopback; its own processor time is not the workers'.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
sys.path += [str(ROOT / "tests")]

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
import yaml  # noqa: E402
from armillary_alerts import audit, topics  # noqa: E402
from armillary_alerts.archive import Archive, open_store  # noqa: E402
from armillary_alerts.filters.model import Filter, State  # noqa: E402
from armillary_alerts.replay.simulator import Simulator  # noqa: E402
from armillary_alerts.settings import load  # noqa: E402
from armillary_alerts.stages import whole  # noqa: E402
from armillary_alerts.stages.ingest import Publisher  # noqa: E402
from confluent_kafka import Consumer, Producer  # noqa: E402
from confluent_kafka.admin import NewTopic  # noqa: E402
from support.kafka import broker  # noqa: E402
from support.waiting import until  # noqa: E402

FILTERS = 100
PARTITIONS = 8
POOL = 500


def filters() -> list[Filter]:
    """Return filters as users write them: by brightness, age, light curve, place, cross-match; half of them name columns."""
    wheres = [
        "band = 'r' AND mag < {a} AND reliability > 0.8",
        "age < {b} AND lc_slope < -0.02 AND n_history >= 3 AND mag < 21",
        "xmatch_distance IS NULL AND snr > {c} AND abs(gal_b) > 15 AND nights >= 2",
        "lc_amplitude > 0.5 AND lc_stetson_k > 0.7 AND lc_n >= {d}",
        "ss_distance IS NULL AND is_positive AND mag BETWEEN {a} AND {a} + 0.3 AND NOT has_flags",
        "list_max(history_flux) > 20000 AND last_mjd > mjd - 1 AND lc_last_rate < -0.{d}",
        "xmatch_catalog = 'stars' AND xmatch_distance < 1 AND lc_chi2 > {c}",
        "dec < -{b} AND ra BETWEEN 10 AND 200 AND flux > 10000 + {b} * 100",
        "lc_color_gr > 0.{d} AND lc_max_slope > 0.1 AND mag < 20.5",
        "len(list_filter(history_forced, lambda x: x)) > {b} AND extendedness < 0.5 AND mag < {a}",
    ]
    out = []
    for n in range(FILTERS):
        where = wheres[n % 10].format(a=17.5 + n / 60, b=5 + n // 5, c=10 + n, d=1 + n % 8)
        text = f"SELECT alert_id, object_id, ra, dec, mjd, mag, mag - lc_mag_mean AS change FROM alerts WHERE {where}"
        out.append(
            Filter(
                owner="bench", name=f"f{n:03d}", text=text if n % 2 else where, state=State.ACTIVE
            )
        )
    return out


class Bench:
    """A broker, topics, workers."""

    def __init__(self, kafka: Any, folder: Path, name: str) -> None:
        self.kafka, self.folder, self.name = kafka, folder / name, name
        self.folder.mkdir(parents=True)
        self.workers: dict[str, list[subprocess.Popen[bytes]]] = {}
        self._topics()
        self._catalog()
        (self.folder / "kafka.json").write_text(json.dumps(kafka.client()))
        self.settings = self._settings("main")

    def _topics(self) -> None:
        admin = self.kafka.admin()
        old = [each for each in admin.list_topics(timeout=30).topics if not each.startswith("__")]
        if old:
            for future in admin.delete_topics(old).values():
                future.result(60)
            until(
                lambda: not set(old) & set(admin.list_topics(timeout=30).topics),
                "topics are gone",
                60,
            )
        new = [
            NewTopic(each, PARTITIONS if each in (topics.RAW, topics.ANNOTATED) else 1, 1, config={"max.message.bytes": str(10 << 20)})
            for each in topics.DECLARED
        ] + [NewTopic(each.topic, 1, 1) for each in filters()]  # fmt: skip
        for future in admin.create_topics(new).values():
            future.result(120)
        producer = Producer(self.kafka.client())
        for each in filters():
            producer.produce(topics.FILTERS, each.model_dump_json().encode(), each.id.encode())
        producer.flush(60)

    def _catalog(self) -> None:
        rng = np.random.default_rng(1)
        size = 300_000
        catalog = pa.table({
            "id": np.arange(size), "ra": rng.uniform(0, 360, size),
            "dec": np.degrees(np.arcsin(rng.uniform(-1, 0.2, size))), "mag": rng.uniform(12, 22, size).astype("f4"),
        })  # fmt: skip
        (self.folder / "catalogs" / "stars").mkdir(parents=True)
        pq.write_table(catalog, self.folder / "catalogs" / "stars" / "part-0.parquet")

    def _settings(self, instance: str) -> Any:
        path = self.folder / f"{instance}.yml"
        path.write_text(yaml.safe_dump({
            "kafka": str(self.folder / "kafka.json"), "group": self.name, "instance": instance, "metrics_port": None,
            "archive": {"store": {"url": str(self.folder / "archive")}, "seconds": 10.0},
            "catalogs_store": {"url": str(self.folder / "catalogs")},
            "catalogs": [{"name": "stars", "path": "stars", "radius": 3.0, "mag": "mag"}],
        }))  # fmt: skip
        return load(path)

    def start(self, stage: str, instance: str) -> None:
        """Start a worker."""
        self._settings(instance)
        log = (self.folder / f"{stage}-{instance}.log").open("ab")
        command = [sys.executable, "-m", "armillary_alerts.cli", "--settings", str(self.folder / f"{instance}.yml"), stage]  # fmt: skip
        self.workers.setdefault(stage, []).append(
            subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"}
            )
        )

    def stop(self) -> None:
        """End all workers."""
        every = [worker for workers in self.workers.values() for worker in workers]
        for worker in every:
            worker.send_signal(signal.SIGTERM)
        for worker in every:
            try:
                worker.wait(60)
            except subprocess.TimeoutExpired:
                worker.kill()
        self.workers.clear()

    def used(self, stage: str) -> float:
        """Return the processor time of a stage's workers and their children so far, in seconds."""
        return sum(_tree(worker.pid, _seconds) for worker in self.workers.get(stage, ()))

    def memory(self, stage: str) -> list[float]:
        """Return the most memory that each worker had, with its child, in MiB."""
        return [_tree(worker.pid, _peak) for worker in self.workers.get(stage, ())]

    def wait(self, stage: str, count: int, limit: float) -> float:
        """Wait until a stage has committed so many alerts, and return when, by the ledger."""
        admin = {**self.kafka.client(), "group.id": f"bench-{time.time_ns()}", "isolation.level": "read_committed", "auto.offset.reset": "earliest"}  # fmt: skip
        consumer = Consumer(admin)
        consumer.subscribe([topics.LEDGER])
        seen = 0
        deadline = time.monotonic() + limit
        try:
            while seen < count:
                if time.monotonic() > deadline:
                    raise TimeoutError(
                        f"{stage}: {seen} of {count} after {limit:.0f} s; {self.logs()}"
                    )
                for message in consumer.consume(500, 0.2):
                    if message.error() is None:
                        line = json.loads(message.value())
                        seen += line["count"] if line["stage"] == stage else 0
            return time.time()
        finally:
            consumer.close()

    def logs(self) -> str:
        """What the workers have logged."""
        return "\n".join(
            f"--- {p.name}\n{p.read_text()[-2000:]}" for p in self.folder.glob("*.log")
        )


def _tree(pid: int, figure: Callable[[int], float]) -> float:
    total = figure(pid)
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        children = [
            path.parent.name
            for path in Path("/proc").glob("[0-9]*/stat")
            if _fields(int(path.parent.name))[1:2] == [str(pid)]
        ]
    return total + sum(figure(int(child)) for child in children)


def _fields(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _seconds(pid: int) -> float:
    fields = _fields(pid)
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def _peak(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    for line in status.splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0


def throughput(kafka: Any, folder: Path, simulator: Simulator, pool: list[bytes], workers: int, count: int) -> dict[str, Any]:  # fmt: skip
    """Let workers read what is there already, and count the processor time that they take."""
    bench = Bench(kafka, folder, f"through-{workers}")
    publisher = Publisher(bench.settings, "bench")
    warm = 500
    copies = simulator.copies(pool, count + warm, 10_000)
    sizes = []

    def send(number: int) -> None:
        left = number
        while left:
            part = [each for each, _ in zip(copies, range(min(250, left)), strict=False)]
            sizes.extend(len(value) for value, _ in part)
            left -= publisher.publish(part)

    send(warm)
    result: dict[str, Any] = {"workers": workers, "alerts": count, "filters": FILTERS}
    try:
        for stage in ("annotate", "filter"):
            for n in range(workers):
                bench.start(stage, f"w{n}")
            # What starting costs, and the first batch of each, is not counted.
            bench.wait(stage, warm, 300)
            before = bench.used(stage)
            if stage == "annotate":
                send(count)
            bench.wait(stage, warm + count, 1200)
            result[f"{stage}_cpu_ms_per_alert"] = (bench.used(stage) - before) / count * 1000
            result[f"{stage}_memory_mib"] = [round(each) for each in bench.memory(stage)]
            if stage == "annotate":
                bench.stop()
                # The filters shall find all that was annotated but for the first.
        each = result["annotate_cpu_ms_per_alert"] + result["filter_cpu_ms_per_alert"]
        result |= {
            "alerts_per_second_per_core": 1000 / each,
            "bytes_per_packet": statistics.mean(sizes),
        }
    finally:
        bench.stop()
    return result


def latency(kafka: Any, folder: Path, simulator: Simulator, pool: list[bytes], size: int, bursts: int, seconds: float, period: float) -> dict[str, Any]:  # fmt: skip
    """Send bursts, and measure from when a packet is sent until it is in a filter's topic, committed."""
    bench = Bench(kafka, folder, f"latency-{size}")
    publisher = Publisher(bench.settings, "bench")
    try:
        for stage in ("annotate", "filter", "archive"):
            bench.start(stage, "w0")
        publisher.publish(simulator.copies(pool, 200, 10_000))
        bench.wait("filter", 200, 300)
        rng = np.random.default_rng(3)
        reader = Consumer({**kafka.client(), "group.id": f"lat-{time.time_ns()}", "isolation.level": "read_committed", "auto.offset.reset": "latest", "fetch.wait.max.ms": 50})  # fmt: skip
        del rng
        reader.subscribe([each.topic for each in filters()])
        until(lambda: reader.poll(0.5) or reader.assignment(), "the reader is assigned", 60)
        waits: list[float] = []
        sent: dict[int, float] = {}
        published: list[float] = []

        def drain(timeout: float) -> None:
            for message in reader.consume(1000, timeout):
                if message.error() is None:
                    number = int(message.key())
                    if number in sent:
                        waits.append(time.time() - sent[number])

        begin = time.monotonic()
        base = 1_000_000
        for burst in range(bursts):
            while time.monotonic() < begin + burst * period:
                drain(0.05)
            started = time.monotonic()
            done = 0
            copies = simulator.copies(pool, size, base + burst * size)
            while done < size:
                part = [each for each, _ in zip(copies, range(min(100, size - done)), strict=False)]
                for n in range(len(part)):
                    sent[simulator.alert_id(base + burst * size + done + n)] = time.time()
                done += publisher.publish(part)
                drain(0.0)
                while time.monotonic() < started + done / size * seconds:
                    drain(0.01)
            published.append(time.monotonic() - started)
        until(lambda: drain(0.5) or _quiet(bench, size * bursts + 200), "all is filtered", 600)  # type: ignore[func-returns-value]
        drain(2.0)
        reader.close()
        bench.wait("archive", size * bursts + 200, 300)
        hours = {json.loads(m.value())["hour"] for m in whole.read(kafka.client(), topics.LEDGER)}
        archive = Archive(open_store(str(bench.folder / "archive")))
        from datetime import datetime

        books = [
            audit.audit(kafka.client(), datetime.fromisoformat(hour), archive) for hour in hours
        ]
        ordered = sorted(waits) or [float("nan")]
        return {
            "burst": size, "bursts": bursts, "period_s": period, "asked_s_per_burst": seconds,
            "published_s_per_burst": published, "measured": len(waits),
            "p50_s": ordered[len(ordered) // 2], "p95_s": ordered[int(len(ordered) * 0.95)], "max_s": ordered[-1],
            "ledger_closes": all(each.closes for each in books),
            "memory_mib": {stage: [round(each) for each in bench.memory(stage)] for stage in ("annotate", "filter", "archive")},
        }  # fmt: skip
    finally:
        bench.stop()


def _quiet(bench: Bench, count: int) -> bool:
    seen = sum(
        line["count"]
        for message in whole.read(bench.kafka.client(), topics.LEDGER)
        if (line := json.loads(message.value()))["stage"] == "filter"
    )
    return seen >= count


@contextmanager
def _profile() -> Iterator[None]:
    yield


def steps(pool: list[bytes]) -> dict[str, float]:
    """Measure each step of the work on packets by itself, in one process, without Kafka: ms of processor time an alert."""
    from armillary_alerts.filters.sql import Engine
    from armillary_alerts.filters.worker import to_ipc
    from armillary_alerts.packets import rows
    from armillary_alerts.packets.decode import Decoder, Raw
    from armillary_alerts.packets.schemas import SchemaStore

    raws = [Raw(value, 0, n, 1) for n, value in enumerate(pool)]
    decoder = Decoder(SchemaStore())
    out: dict[str, float] = {}
    decoded, _ = decoder.decode(raws[:50])
    rows.build(decoded)
    for _ in range(2):
        t = time.process_time()
        decoded, _ = decoder.decode(raws)
        out["decode"] = (time.process_time() - t) / len(raws) * 1000
        t = time.process_time()
        _, found, _ = rows.build(decoded)
        out["rows_and_features"] = (time.process_time() - t) / len(raws) * 1000
        t = time.process_time()
        to_ipc(found)
        out["arrow_ipc"] = (time.process_time() - t) / len(raws) * 1000
    with Engine(seconds=30) as engine:
        engine.evaluate(found, filters())
        assert engine.pid
        t, inner = time.process_time(), _seconds(engine.pid)
        for _ in range(3):
            engine.evaluate(found, filters())
        spent = time.process_time() - t + _seconds(engine.pid) - inner
        out["hundred_filters"] = spent / len(raws) / 3 * 1000
    return out


def main() -> int:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=6000)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--burst", type=int, default=10_000)
    parser.add_argument("--bursts", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--period", type=float, default=37.0)
    parser.add_argument("--only", choices=("steps", "throughput", "latency"), action="append")
    given = parser.parse_args()
    chosen = given.only or ["steps", "throughput", "latency"]
    simulator = Simulator(1, "lsst")
    pool = [simulator.packet(n) for n in range(POOL)]
    result: dict[str, Any] = {
        "machine": {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "kernel": platform.release(),
        },
        "load_before": os.getloadavg(),
        "bytes_per_packet": statistics.mean(map(len, pool)),
    }
    if "steps" in chosen:
        result["steps_cpu_ms_per_alert"] = steps(pool)
        given.out.write_text(json.dumps(result, indent=2))
    with tempfile.TemporaryDirectory(prefix="bench-alerts-") as name:
        folder = Path(name)
        properties = {"message.max.bytes": str(10 << 20), "log.retention.bytes": "-1", "log.segment.bytes": str(256 << 20)}  # fmt: skip
        if {"throughput", "latency"} & set(chosen):
            with broker(folder / "kafka", heap=512, properties=properties) as kafka:
                if "throughput" in chosen:
                    result["throughput"] = [
                        throughput(kafka, folder, simulator, pool, workers, given.count)
                        for workers in given.workers
                    ]
                    first = result["throughput"][0]["alerts_per_second_per_core"]
                    for each in result["throughput"]:
                        each["efficiency"] = each["alerts_per_second_per_core"] / first
                    given.out.write_text(json.dumps(result, indent=2))
                if "latency" in chosen:
                    result["latency"] = latency(kafka, folder, simulator, pool, given.burst, given.bursts, given.seconds, given.period)  # fmt: skip
    result["load_after"] = os.getloadavg()
    given.out.write_text(json.dumps(result, indent=2))
    print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
