"""The rhythm of Rubin's alerts (DMTN-149): 10,000 in 3 s, every 37 s."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from armillary_alerts.replay.simulator import Simulator
from armillary_alerts.stages.ingest import Publisher

BURST: Final = 10_000
SECONDS: Final = 3.0
PERIOD: Final = 37.0
#: Packets that are made before; those sent are copies under new numbers.
POOL: Final = 1000
#: Packets in one transaction.
PART: Final = 250


def bursts(
    publisher: Publisher,
    simulator: Simulator,
    count: int,
    *,
    size: int = BURST,
    seconds: float = SECONDS,
    period: float = PERIOD,
    first: int = 1_000_000,
) -> Iterator[str]:
    """Send bursts, and say of each how long it took: a machine may be slower than the telescope."""
    pool = [simulator.packet(number) for number in range(min(POOL, size))]
    begin = time.monotonic()
    for burst in range(count):
        wait = begin + burst * period - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        started, sent = time.monotonic(), 0
        packets = simulator.copies(pool, size, first + burst * size)
        while sent < size:
            part = [
                packet for packet, _ in zip(packets, range(min(PART, size - sent)), strict=False)
            ]
            sent += publisher.publish(part)
            ahead = started + sent / size * seconds - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)
        yield f"Burst {burst + 1} of {count}: {sent} packets in {time.monotonic() - started:.1f} s."
