"""The command `armillary-alerts`: one stage of the stream, or a look at its books."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

from armillary_alerts import __doc__ as ABOUT
from armillary_alerts import audit, settings, table
from armillary_alerts.archive import Archive, ArchiveError
from armillary_alerts.settings import Settings, SettingsError

#: Exit codes as of Armillary's commands: good, wrong, could not tell.
GOOD, WRONG, UNKNOWN = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one stage until it is told to end, or one look at the books; returns the exit code."""
    parser = argparse.ArgumentParser(prog="armillary-alerts", description=ABOUT)
    parser.add_argument("--settings", type=Path, default=Path("/etc/armillary-alerts/settings.yml"))
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("ingest", help="take packets from an outside Kafka")
    one.add_argument("source", help="its name in the settings")
    for name, text in (
        ("annotate", "read packets, cross-match, features"),
        ("filter", "evaluate users' SQL filters"),
        ("archive", "write Parquet into the object store"),
        ("feedback", "send annotated alerts through the filters again"),
    ):
        commands.add_parser(name, help=text)
    one = commands.add_parser("files", help="take packets from Avro files")
    one.add_argument("path", type=Path, nargs="+", help="files, or directories of *.avro")
    one.add_argument(
        "--rate", type=float, default=0.0, help="alerts a second; 0: as fast as it goes"
    )
    one = commands.add_parser("simulate", help="make alerts from a seed and send them")
    one.add_argument("--survey", choices=("lsst", "ztf"), default="lsst")
    one.add_argument("--seed", type=int, default=1)
    one.add_argument("--count", type=int, default=10_000)
    one.add_argument(
        "--rate", type=float, default=0.0, help="alerts a second; 0: as fast as it goes"
    )
    one.add_argument(
        "--bursts", type=int, default=0, help="DMTN-149: so many times 10,000 in 3 s every 37 s"
    )
    one = commands.add_parser("compact", help="put small files of the archive together")
    one.add_argument("--night", type=int, action="append", help="yyyymmdd; all by default")
    one = commands.add_parser("audit", help="close the books of an hour")
    one.add_argument("--hour", help="2026-11-25T03, UTC; the last full one by default")
    one.add_argument("--json", action="store_true")
    commands.add_parser("table", help="print the alert table's documentation")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    if given.command == "table":
        sys.stdout.write(table.describe())
        return GOOD
    # Imported late: what a command does not need, it does not load.
    from armillary_alerts.filters.sql import EngineError
    from armillary_alerts.stages.loop import Retry, StreamError

    try:
        loaded = settings.load(given.settings)
        return _COMMANDS[given.command](loaded, given)
    except (
        SettingsError,
        StreamError,
        Retry,
        EngineError,
        ArchiveError,
        OSError,
        ValueError,
    ) as error:
        logging.error("%s", error)
        return UNKNOWN if given.command == "audit" else WRONG


def _stage(loaded: Settings, given: argparse.Namespace) -> int:
    from armillary_alerts.stages import metrics
    from armillary_alerts.stages.annotate import Annotate
    from armillary_alerts.stages.archive import ArchiveStage
    from armillary_alerts.stages.feedback import Feedback
    from armillary_alerts.stages.filter import FilterStage
    from armillary_alerts.stages.ingest import Ingest
    from armillary_alerts.stages.loop import Stage

    stage: Stage
    if given.command == "ingest":
        source = next((each for each in loaded.sources if each.name == given.source), None)
        if source is None:
            known = ", ".join(each.name for each in loaded.sources) or "none"
            raise SettingsError(
                f"There is no source {given.source!r} in the settings; there are: {known}."
            )
        stage = Ingest(loaded, source)
    else:
        kinds: dict[str, type[Stage]] = {
            "annotate": Annotate,
            "filter": FilterStage,
            "archive": ArchiveStage,
            "feedback": Feedback,
        }
        stage = kinds[given.command](loaded)
    metrics.serve(loaded.metrics_host, loaded.metrics_port)
    stage.run()
    return GOOD


def _files(loaded: Settings, given: argparse.Namespace) -> int:
    from armillary_alerts.replay import files
    from armillary_alerts.stages.ingest import Publisher

    count = _send(Publisher(loaded, "files"), files.packets(given.path), given.rate)
    logging.info("%d packets were sent.", count)
    return GOOD


def _simulate(loaded: Settings, given: argparse.Namespace) -> int:
    from armillary_alerts.replay import profile
    from armillary_alerts.replay.simulator import Simulator
    from armillary_alerts.stages.ingest import Publisher

    simulator = Simulator(given.seed, given.survey)
    publisher = Publisher(loaded, "simulate")
    if given.bursts:
        for line in profile.bursts(publisher, simulator, given.bursts):
            logging.info("%s", line)
        return GOOD
    count = _send(publisher, simulator.packets(given.count), given.rate)
    logging.info("%d packets were sent.", count)
    return GOOD


def _send(publisher: object, packets: Iterator[tuple[bytes, str]], rate: float) -> int:
    from armillary_alerts.stages.ingest import Publisher

    assert isinstance(publisher, Publisher)
    size = max(1, min(200, int(rate))) if rate else 200
    started, count = time.monotonic(), 0
    part: list[tuple[bytes, str]] = []
    for packet in packets:
        part.append(packet)
        if len(part) >= size:
            count += publisher.publish(part)
            part = []
            if rate:
                time.sleep(max(0.0, started + count / rate - time.monotonic()))
    return count + (publisher.publish(part) if part else 0)


def _compact(loaded: Settings, given: argparse.Namespace) -> int:
    from armillary_alerts.stages.archive import compact

    if loaded.archive is None:
        raise SettingsError("The settings have no archive.")
    store = loaded.archive.store.open()
    for night in given.night or Archive(store).nights():
        before, after = compact(store, night, loaded.archive.compact_below_mib * 2**20)
        logging.info("Night %d: %d files, now %d.", night, before, after)
    return GOOD


def _audit(loaded: Settings, given: argparse.Namespace) -> int:
    now = datetime.now(UTC)
    try:
        hour = datetime.fromisoformat(given.hour) if given.hour else now - timedelta(hours=1)
    except ValueError as error:
        raise SettingsError(f"--hour is like 2026-11-25T03, not {given.hour!r}.") from error
    hour = hour.replace(tzinfo=hour.tzinfo or UTC)
    archive = Archive(loaded.archive.store.open()) if loaded.archive else None
    found = audit.audit(loaded.kafka_settings(), hour, archive)
    if given.json:
        whole = {**asdict(found), "closes": found.closes}
        sys.stdout.write(json.dumps(whole, default=str, indent=2) + "\n")
    else:
        sys.stdout.write(found.report() + "\n")
    return GOOD if found.closes else WRONG


_COMMANDS: dict[str, Callable[[Settings, argparse.Namespace], int]] = {
    **dict.fromkeys(("ingest", "annotate", "filter", "archive", "feedback"), _stage),
    "files": _files,
    "simulate": _simulate,
    "compact": _compact,
    "audit": _audit,
}


if __name__ == "__main__":
    sys.exit(main())
