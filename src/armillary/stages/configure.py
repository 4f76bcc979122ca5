"""Ansible: hosts, registry, Kubernetes, and what runs on it.

What a unit (units.py) was last configured from is kept as a digest, so that a second run costs seconds and adding a worker
touches that worker alone. Where the live cluster is not well, everything runs again whatever the digests say.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from armillary import secrets, status
from armillary.endpoints import write_endpoints
from armillary.files import read_yaml, write_secret
from armillary.images.build import ImageError
from armillary.images.kept import BuiltImage
from armillary.images.publish import push
from armillary.inventory import Inventory, inventory
from armillary.models.report import Check
from armillary.objectstore import abilities
from armillary.objectstore.access import access, writer
from armillary.objectstore.probe import ObjectStoreError, probe
from armillary.paths import ROOT, ClusterPaths
from armillary.stages import units
from armillary.stages.artifacts import artifact_variables
from armillary.stages.contract import Context, StageError
from armillary.stages.provision import output
from armillary.stages.units import BALANCER, IMAGES, PLATFORM
from armillary.tools.ansible import PlaybookError, PlayResult, play


def roles() -> list[str]:
    """Return the roles of site.yml in the order they run; each is a tag there."""
    plays = read_yaml(ROOT / "ansible" / "site.yml")
    return list(dict.fromkeys(role["role"] for play in plays for role in play["roles"]))


@dataclass(frozen=True)
class Wanted:
    """What a cluster is to be configured from."""

    inventory: Inventory
    images: Sequence[BuiltImage]
    digests: Mapping[str, str]
    """One a unit."""


class Configure:
    """Make the hosts and the platform what cluster.yml says they are."""

    name = "configure"
    title = "Configure hosts and platform (Ansible)"
    expected = 240.0

    def plan(self, context: Context) -> list[str]:
        return [
            f"configure {unit}" for unit in units.stale(context.paths, _wanted(context).digests)
        ]

    def apply(self, context: Context) -> bool:
        wanted = _wanted(context)
        if context.tags:
            wanted.inventory.write(context.paths)
            return self._play(context, sorted(context.tags), ()).changed > 0
        todo, mend = units.stale(context.paths, wanted.digests), ""
        if context.converge or (not todo and self._unwell(context)):
            todo, mend = list(wanted.digests), datetime.now(UTC).isoformat()
        if not todo:
            return False
        paths = context.paths
        wanted.inventory.write(paths)
        self._configure_hosts(context, wanted, todo)
        if _look_at_objects(context, again=context.cluster.services_host().name in todo):
            # What runs on Kubernetes is told what the store can do.
            wanted = _wanted(context)
            wanted.inventory.write(paths)
            todo = [*todo, PLATFORM]
        if PLATFORM in todo:
            self._play(context, ["platform"], (), {"armillary_mend": mend})
            units.record(paths, wanted.digests, [PLATFORM])
            status.record_workloads(paths)
        write_endpoints(paths, context.cluster)
        return True

    def verify(self, context: Context) -> list[Check]:
        return status.checks(context.paths, context.cluster)

    def destroy(self, context: Context) -> None:
        """Forget what this machine knows of the hosts, which go as a whole."""
        units.forget(context.paths)
        for path in (context.paths.kubeconfig, context.paths.endpoints):
            path.unlink(missing_ok=True)

    def _configure_hosts(self, context: Context, wanted: Wanted, todo: Sequence[str]) -> None:
        """Configure hosts, and fill the registry before Kubernetes pulls from it."""
        services = context.cluster.services_host().name
        hosts = [host for host in wanted.inventory.hosts if host in todo]
        kubernetes = [host for host in hosts if host != services]
        ways = [unit for unit in (BALANCER, services) if unit in todo]
        if ways and services not in hosts:
            hosts.append(services)
        known = {"armillary_registry_unchanged": services not in todo}
        together = IMAGES not in todo
        if hosts:
            self._play(context, ["hosts", "cluster"] if together else ["hosts"], hosts, known)
            units.record(context.paths, wanted.digests, ways)
        if not together:
            self._push(context, wanted.images)
            units.record(context.paths, wanted.digests, [IMAGES])
            if kubernetes:
                self._play(context, ["cluster"], kubernetes)
        units.record(context.paths, wanted.digests, kubernetes)

    def _unwell(self, context: Context) -> bool:
        context.say("asking the cluster how it is")
        return any(check.ok is not True for check in self.verify(context))

    def _push(self, context: Context, images: Sequence[BuiltImage]) -> None:
        registry = context.cluster.registry
        account = secrets.load(context.paths)["registry"]["push"]
        try:
            push(
                images,
                registry,
                authfile=_write_authfile(context.paths, registry, account),
                ca=context.paths.pki / "ca.crt",
                progress=context.say,
            )
        except ImageError as error:
            raise StageError(str(error)) from error

    def _play(
        self,
        context: Context,
        parts: Sequence[str],
        limit: Sequence[str],
        variables: Mapping[str, Any] | None = None,
    ) -> PlayResult:
        try:
            return play(
                "site.yml",
                tags=parts,
                inventory=context.paths.inventory,
                private=context.paths.root / "ansible",
                secrets=context.paths.secrets,
                on_task=context.say,
                limit=limit,
                variables=dict(variables or {}),
            )
        except PlaybookError as error:
            raise StageError(str(error), log=error.log) from error


def _look_at_objects(context: Context, *, again: bool) -> bool:
    """Find out what the object store can do, where that is not known; return whether something new was found.

    Args:
        again: also where it is known, for it may be another one now.

    Raises:
        StageError: it cannot be used; says why.
    """
    opened, who = access(context.cluster, context.paths), writer(context.cluster)
    known = abilities.read(context.paths)
    if opened is None or who is None:
        return False
    if known and known.endpoint == opened.endpoint and not again:
        return False
    context.say("asking the object store what it can do")
    name, container = who
    try:
        found = probe(opened, name, opened.containers[container])
    except ObjectStoreError as error:
        if known and known.endpoint == opened.endpoint and error.full:
            # It was seen to work, and a full container is no reason for `up` to stop.
            return False
        raise StageError(
            str(error),
            fix="`invoke logs objectstore` shows its log, where it is the cluster's own.",
        ) from error
    abilities.keep(context.paths, found)
    return found != known


def _write_authfile(paths: ClusterPaths, registry: str, account: Mapping[str, str]) -> Path:
    """Write the push account as containers-auth.json(5), for its owner alone."""
    token = base64.b64encode(f"{account['username']}:{account['password']}".encode()).decode()
    path = paths.root / "registry-auth.json"
    write_secret(path, json.dumps({"auths": {registry: {"auth": token}}}) + "\n")
    return path


def _wanted(context: Context) -> Wanted:
    images = context.supply.images(context.say)
    registry = context.cluster.registry
    found = inventory(
        context.paths,
        context.cluster,
        context.cloud,
        output(context),
        artifact_variables(context.supply),
        {image.name: _reference(registry, image) for image in images},
    )
    return Wanted(found, images, units.digests(context.paths, found))


def _reference(registry: str, image: BuiltImage) -> str:
    """Return what pods name an image by: its digest, or where kubeadm makes the name, its tag."""
    if image.repository.startswith("kubernetes/"):
        return f"{registry}/{image.reference}"
    return f"{registry}/{image.repository}@{image.digest}"
