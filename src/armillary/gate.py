"""The plan gate: nothing that holds work or data is deleted unless the user asked for that."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from armillary.tools.terraform import Change, Plan

HOSTS = frozenset({"incus_instance", "openstack_compute_instance_v2"})
DATA = frozenset(
    {
        "incus_storage_volume",
        "openstack_blockstorage_volume_v3",
        "openstack_objectstorage_container_v1",
        "openstack_sharedfilesystem_share_v2",
    }
)
_DATA_NAMES = {
    "openstack_objectstorage_container_v1": "container",
    "openstack_sharedfilesystem_share_v2": "share",
}

#: What makes Nova stop a host, or write its disk anew, though Terraform calls it a change in place.
INTERRUPTING = frozenset({"flavor_id", "flavor_name", "image_id", "image_name", "personality"})


def check_plan(plan: Plan, allowed: AbstractSet[str]) -> list[str]:
    """Return why a plan must not be applied; empty when it may.

    A host whose creation did not finish may be made anew: nothing ever ran on it, and volumes are
    other resources. A volume may not.

    Args:
        plan: the plan.
        allowed: addresses the user asked to delete (hosts taken out of cluster.yml) or to replace
            (`--replace HOST`).
    """
    return [
        _refusal(change)
        for change in (*plan.deletes, *plan.replaces)
        if change.address not in allowed
        and (change.kind in DATA or (change.kind in HOSTS and not change.tainted))
    ] + [
        f"The host {change.name} would be stopped to change its {', '.join(stopping)}. Undo that "
        "change, or have the host made anew with `--replace`."
        for change in plan.updates
        if change.kind in HOSTS and change.address not in allowed
        if (stopping := sorted(INTERRUPTING.intersection(change.changed)))
    ]


def _refusal(change: Change) -> str:
    what = "host" if change.kind in HOSTS else _DATA_NAMES.get(change.kind, "volume")
    if change.action == "delete":
        return f"The {what} {change.name} would be deleted, which nobody asked for."
    if change.tainted:
        why = "its creation did not finish"
    else:
        why = f"because of {'; '.join(change.forced_by) or 'an unknown attribute'}"
    advice = (
        "Undo that change, or ask for it with `--replace`."
        if change.kind in HOSTS
        else "Undo that change; data is removed by `invoke down --with-data` only."
    )
    return f"The {what} {change.name} would be deleted and made anew, {why}. {advice}"
