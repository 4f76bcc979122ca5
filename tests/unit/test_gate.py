"""The plan gate: which plans it lets through."""

from __future__ import annotations

from pathlib import Path

import pytest

from armillary.gate import check_plan
from armillary.tools.terraform import Action, Change, Plan

HOST = "incus_instance"
VOLUME = "incus_storage_volume"


def _plan(kind: str, action: Action, *, tainted: bool = False) -> Plan:
    forced = ('image: "a" -> "b"',) if action == "replace" and not tainted else ()
    change = Change(f'{kind}.x["n"]', kind, "local-n", action, (), forced, tainted)
    return Plan(Path("plan"), (change,))


@pytest.mark.parametrize(
    ("kind", "action", "tainted", "refused"),
    [
        (HOST, "create", False, False),
        (HOST, "update", False, False),
        (HOST, "no-op", False, False),
        (HOST, "delete", False, True),
        (HOST, "replace", False, True),
        (HOST, "replace", True, False),
        (HOST, "delete", True, False),
        (VOLUME, "update", False, False),
        (VOLUME, "delete", False, True),
        (VOLUME, "replace", False, True),
        (VOLUME, "replace", True, True),
        ("openstack_compute_instance_v2", "replace", False, True),
        ("openstack_blockstorage_volume_v3", "delete", False, True),
        ("incus_network", "replace", False, False),
    ],
)
def test_gate(kind: str, action: Action, tainted: bool, refused: bool) -> None:
    plan = _plan(kind, action, tainted=tainted)
    refusals = check_plan(plan, set())
    assert bool(refused) == bool(refusals)
    assert all("local-n" in refusal for refusal in refusals)
    assert check_plan(plan, {f'{kind}.x["n"]'}) == []


def test_refusal_names_what_forces() -> None:
    (refusal,) = check_plan(_plan(HOST, "replace"), {'incus_instance.x["other"]'})
    assert 'image: "a" -> "b"' in refusal
    assert "--replace" in refusal
