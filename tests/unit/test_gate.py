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


@pytest.mark.parametrize(
    ("changed", "refused"),
    [
        (("flavor_name",), True),
        (("image_id", "tags"), True),
        (("tags", "metadata"), False),
        ((), False),
    ],
)
def test_change_in_place_that_stops_a_host(changed: tuple[str, ...], refused: bool) -> None:
    kind = "openstack_compute_instance_v2"
    change = Change(f'{kind}.host["w"]', kind, "science-w", "update", changed)
    plan = Plan(Path("plan"), (change,))
    refusals = check_plan(plan, set())
    assert bool(refusals) == refused
    assert all("science-w would be stopped to change its" in each for each in refusals)
    assert check_plan(plan, {change.address}) == []


def test_refusal_names_what_is_lost() -> None:
    kind = "openstack_objectstorage_container_v1"
    (refusal,) = check_plan(_plan(kind, "delete"), set())
    assert refusal.startswith("The container local-n would be deleted")


def test_refusal_names_what_forces() -> None:
    (refusal,) = check_plan(_plan(HOST, "replace"), {'incus_instance.x["other"]'})
    assert 'image: "a" -> "b"' in refusal
    assert "--replace" in refusal
