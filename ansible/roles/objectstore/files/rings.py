"""Make Swift's rings what is declared: python3 -IS rings.py LIB < declaration.

LIB is the directory that Swift lies in. The declaration is JSON: `directory`, `ip`, `replicas`, `part_power`, `ports` (account, container
and object: port) and `devices` (name: weight). Prints `changed` when a ring was written.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from swift.common.ring import RingBuilder


def main() -> None:
    wanted = json.load(sys.stdin)
    changed = [kind for kind, port in wanted["ports"].items() if make(wanted, kind, port)]
    if changed:
        print("changed")


def make(wanted: dict, kind: str, port: int) -> bool:
    """Write one ring where it is not as declared."""
    directory = Path(wanted["directory"])
    file, ring = directory / f"{kind}.builder", directory / f"{kind}.ring.gz"
    if file.exists():
        builder = RingBuilder.load(str(file))
    else:
        # Every partition may move at once: nobody waits for an hour to repair a disk.
        builder = RingBuilder(wanted["part_power"], wanted["replicas"], 0)
    before = state(builder)
    have = {device["device"]: device for device in builder.devs if device}
    gone = have.keys() - wanted["devices"].keys()
    if gone and min(builder.replicas, wanted["replicas"]) < 2:
        sys.exit(
            f"The object store has one replica, and {', '.join(sorted(gone))} is no longer among its volumes: what is "
            "stored there would be lost. Put the volume back into cluster.yml."
        )
    for name in gone:
        builder.remove_dev(have[name]["id"])
    for name, weight in wanted["devices"].items():
        if name in have:
            builder.set_dev_weight(have[name]["id"], weight)
        else:
            place = {"region": 1, "zone": 1, "ip": wanted["ip"], "port": port}
            builder.add_dev({**place, "device": name, "weight": weight})
    builder.set_replicas(wanted["replicas"])
    if state(builder) == before and ring.exists():
        return False
    builder.rebalance(seed="1")
    builder.validate()
    builder.save(str(file))
    unfinished = directory / f"{kind}.ring.part"
    builder.get_ring().save(str(unfinished))
    unfinished.chmod(0o644)
    unfinished.rename(ring)
    return True


def state(builder: RingBuilder) -> tuple:
    devices = [(each["device"], each["weight"], each["port"]) for each in builder.devs if each]
    return builder.replicas, sorted(devices)


main()
