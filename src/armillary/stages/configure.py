"""Ansible: hosts, registry, Kubernetes, and what runs on it.

A unit is one host, the images in the registry, or the platform on top of Kubernetes. What a unit was last configured from is
kept as a digest, so that a second run costs seconds and adding a worker touches that worker alone.
Where the live cluster is not well, everything runs again whatever the digests say.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from armillary import secrets, status
from armillary.files import write, write_secret
from armillary.images.build import BuiltImage, ImageError, build_all
from armillary.images.publish import push
from armillary.inventory import hosts as inventory_hosts
from armillary.inventory import shared_variables, write_inventory
from armillary.models.cluster import Cluster
from armillary.models.endpoints import Endpoint, Endpoints
from armillary.models.report import Check
from armillary.paths import ROOT, ClusterPaths, cache_home
from armillary.stages.artifacts import artifact_variables
from armillary.stages.contract import Context, StageError
from armillary.stages.provision import output
from armillary.tools.ansible import PlaybookError, PlayResult, play

IMAGES = "images"
PLATFORM = "platform"
SERVICES_ONLY = ("armillary_worker_addresses",)
"""What only the services host is configured from: it alone forwards users to the workers."""
PLATFORM_ONLY = ("armillary_images", "armillary_components")
"""What no host is configured from."""


class Configure:
    """Make the hosts and the platform what cluster.yml says they are."""

    name = "configure"
    title = "Configure hosts and platform (Ansible)"
    expected = 240.0

    def plan(self, context: Context) -> list[str]:
        stale = _stale(context, _digests(context, self._variables(context)))
        return [f"configure {unit}" for unit in stale]

    def apply(self, context: Context) -> bool:
        digests = _digests(context, self._variables(context))
        units = _stale(context, digests)
        mend = ""
        if not units:
            if not self._unwell(context):
                return False
            units, mend = list(digests), datetime.now(UTC).isoformat()
        write_inventory(
            context.paths,
            context.cluster,
            context.cloud,
            output(context),
            artifact_variables(),
            self._images(context),
        )
        hosts = [unit for unit in units if unit not in (IMAGES, PLATFORM)]
        services = context.cluster.services_host().name
        if hosts:
            self._play(context, "hosts", hosts)
            _record(context, digests, {services} & set(hosts))
        if IMAGES in units:
            self._push(context)
            _record(context, digests, [IMAGES])
        kubernetes = [host for host in hosts if host != services]
        if kubernetes:
            self._play(context, "cluster", kubernetes)
            _record(context, digests, kubernetes)
        if PLATFORM in units:
            self._play(context, "platform", (), {"armillary_mend": mend})
            _record(context, digests, [PLATFORM])
            status.record_workloads(context.paths)
        _write_endpoints(context.paths, context.cluster)
        return True

    def verify(self, context: Context) -> list[Check]:
        return status.checks(context.paths, context.cluster)

    def destroy(self, context: Context) -> None:
        """Forget what this machine knows of the hosts, which go as a whole."""
        for path in (
            _record_file(context.paths),
            context.paths.kubeconfig,
            context.paths.endpoints,
        ):
            path.unlink(missing_ok=True)

    def _unwell(self, context: Context) -> bool:
        if context.converge:
            return True
        context.say("asking the cluster how it is")
        return any(check.ok is not True for check in self.verify(context))

    def _variables(self, context: Context) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return each host's own variables, and those all hosts share."""
        found = output(context)
        groups = inventory_hosts(context.cluster, found)["all"]["children"]
        own = {
            name: variables
            for group in groups.values()
            for name, variables in group.get("hosts", {}).items()
        }
        shared = shared_variables(
            context.paths,
            context.cluster,
            context.cloud,
            found,
            artifact_variables(),
            self._images(context),
        )
        return own, shared

    def _images(self, context: Context) -> dict[str, str]:
        registry = f"registry.{context.cluster.domain}:5000"
        images = build_all(None, cache=cache_home(), root=ROOT, progress=context.say)
        return {image.name: _reference(registry, image) for image in images}

    def _push(self, context: Context) -> None:
        registry = f"registry.{context.cluster.domain}:5000"
        images = build_all(None, cache=cache_home(), root=ROOT, progress=context.say)
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
        part: str,
        limit: Sequence[str],
        variables: Mapping[str, Any] | None = None,
    ) -> PlayResult:
        try:
            return play(
                "site.yml",
                tags=[part],
                inventory=context.paths.inventory,
                private=context.paths.root / "ansible",
                secrets=context.paths.secrets,
                on_task=context.say,
                limit=limit,
                variables=dict(variables or {}),
            )
        except PlaybookError as error:
            raise StageError(str(error), log=error.log) from error


def _write_authfile(paths: ClusterPaths, registry: str, account: Mapping[str, str]) -> Path:
    """Write the push account as containers-auth.json(5), for its owner alone."""
    token = base64.b64encode(f"{account['username']}:{account['password']}".encode()).decode()
    path = paths.root / "registry-auth.json"
    write_secret(path, json.dumps({"auths": {registry: {"auth": token}}}) + "\n")
    return path


def _reference(registry: str, image: BuiltImage) -> str:
    """Return what pods name an image by: its digest, or where kubeadm makes the name, its tag."""
    if image.repository.startswith("kubernetes/"):
        return f"{registry}/{image.reference}"
    return f"{registry}/{image.repository}@{image.digest}"


def _digests(
    context: Context, variables: tuple[Mapping[str, Any], Mapping[str, Any]]
) -> dict[str, str]:
    """Return what each unit would be configured from, as one digest a unit."""
    own, shared = variables
    playbooks = _digest_of_files(_files(ROOT / "ansible"))
    charts = _digest_of_files(_files(ROOT / "charts", ROOT / "notebooks"))
    kept = secrets.load(context.paths)
    keys = _host_keys(context.paths)
    on_hosts = {key: value for key, value in shared.items() if key not in PLATFORM_ONLY}
    on_kubernetes = {key: value for key, value in on_hosts.items() if key not in SERVICES_ONLY}
    digests = {
        name: _digest(
            playbooks,
            host,
            on_hosts if host["armillary_role"] == "services" else on_kubernetes,
            kept["registry"],
            keys.get(host["ansible_host"]),
        )
        for name, host in own.items()
    }
    on_platform = {key: value for key, value in shared.items() if key not in SERVICES_ONLY}
    digests[IMAGES] = _digest(shared["armillary_images"], shared["armillary_services_address"])
    planes = [keys.get(address) for address in shared["armillary_control_plane_addresses"]]
    digests[PLATFORM] = _digest(playbooks, charts, on_platform, kept["jupyterhub"], planes)
    return digests


def _host_keys(paths: ClusterPaths) -> dict[str, str]:
    """Return each address's ssh host key: a host that was made anew has a new one."""
    try:
        lines = paths.known_hosts.read_text().splitlines()
    except FileNotFoundError:
        return {}
    return dict(line.split(" ", 1) for line in lines if " " in line)


def _stale(context: Context, digests: Mapping[str, str]) -> list[str]:
    try:
        recorded = json.loads(_record_file(context.paths).read_text())
    except (FileNotFoundError, ValueError):
        recorded = {}
    return [unit for unit, digest in digests.items() if recorded.get(unit) != digest]


def _record(context: Context, digests: Mapping[str, str], units: Iterable[str]) -> None:
    """Note that these units are done, and forget hosts that are gone."""
    path = _record_file(context.paths)
    try:
        recorded = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        recorded = {}
    recorded.update({unit: digests[unit] for unit in units})
    kept = {unit: digest for unit, digest in recorded.items() if unit in digests}
    write(path, json.dumps(kept, indent=2, sort_keys=True) + "\n")


def _record_file(paths: ClusterPaths) -> Path:
    return paths.root / "configured.json"


def _files(*roots: Path) -> list[Path]:
    return sorted(
        path
        for root in roots
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".md"
    )


def _digest_of_files(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _write_endpoints(paths: ClusterPaths, cluster: Cluster) -> None:
    found = [
        Endpoint(
            name="registry",
            url=f"https://registry.{cluster.domain}:5000/",
            login="push",
            secret_ref="secrets.yml#registry.push.password",  # noqa: S106 - where it is, not what
            description="The private image registry",
        ),
        Endpoint(
            name="kubernetes",
            url=f"https://api.{cluster.domain}:7443/",
            secret_ref="kubeconfig",  # noqa: S106 - where it is, not what
            description="The Kubernetes API",
        ),
    ]
    hub = cluster.components.jupyterhub
    if hub is not None:
        first = hub.authenticator.users[0].name
        found.insert(
            0,
            Endpoint(
                name="hub",
                url=f"https://hub.{cluster.domain}/",
                login=first,
                secret_ref=f"secrets.yml#jupyterhub.users.{first}",
                description="JupyterHub",
            ),
        )
    content = Endpoints(cluster=cluster.name, endpoints=found)
    write(paths.endpoints, content.model_dump_json(indent=2) + "\n")
