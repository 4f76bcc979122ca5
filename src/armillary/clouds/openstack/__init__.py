"""The `openstack` cloud: virtual machines in a project that clouds.yaml opens."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from openstack.connection import Connection
from openstack.exceptions import SDKException

from armillary.clouds import builder, hosts_file
from armillary.clouds.contract import Carried, CloudError, Root, Say, Thing, things_of
from armillary.clouds.openstack import objects
from armillary.clouds.openstack.advice import advice, faults
from armillary.clouds.openstack.connection import connect, remember
from armillary.clouds.openstack.console import host_key
from armillary.clouds.openstack.preflight import preflight
from armillary.files import write
from armillary.identity import cluster_id
from armillary.models.cluster import Cluster
from armillary.models.report import Check
from armillary.paths import ROOT, ClusterPaths
from armillary.tools.terraform import Terraform, TerraformError

BOOT_SECONDS = 900
"""Until a host has printed its keys; a minute on usual machines, far more where processors are emulated."""
HALT_SECONDS = 300
"""Nova gives a guest a minute and then switches it off; emulated ones are slow to be told."""
USABLE = {"available", "in-use"}
"""How volumes are that a run can go on with; a short while they may be something else."""
LOOK_SECONDS = 3
"""Between two looks at a console."""


def s3_endpoint(swift: str) -> str:
    """Return the URL of S3, which is served beside Swift's own: `https://host:8080` of `https://host:8080/v1/AUTH_1`.

    Ceph's gateway has Swift's below `/swift`: https://docs.ceph.com/en/latest/radosgw/config-ref/#swift-settings
    """
    return re.sub(r"(/swift)?/v1(/.*)?$", "", swift.rstrip("/"))


class OpenStack:
    """Servers of Nova as hosts."""

    name = "openstack"
    host_resource = "openstack_compute_instance_v2"

    def __init__(self, cluster: Cluster, paths: ClusterPaths) -> None:
        if cluster.openstack is None:
            raise CloudError(f"cluster `{cluster.name}` says nothing of OpenStack")
        self.settings = cluster.openstack
        self.paths = paths

    @cached_property
    def connection(self) -> Connection:
        """The project, signed in once.

        Raises:
            CloudError: there is no way in.
        """
        return connect(self.settings.cloud, self.paths.clouds_file)

    def preflight(self, cluster: Cluster) -> list[Check]:
        """Check the way in, quotas, and that all that cluster.yml names is there."""
        try:
            connection = self.connection
        except CloudError as error:
            return [Check(name="clouds.yaml", ok=False, detail=str(error))]
        try:
            made = things_of(self, self.paths)
        except CloudError as error:
            detail = f"{error}\n{advice(str(error))}".strip()
            return [Check(name="project", ok=None, detail=detail)]
        stuck = [
            Check(
                name=f"volume {thing.name}",
                ok=thing.status in USABLE,
                detail=f"It is `{thing.status}`, and can be neither attached nor detached so. {advice(thing.status)}",
            )
            for thing in made
            if thing.kind == "volume"
        ]
        mark = self.mark(self.paths)
        return preflight(connection, cluster, objects.taken(made), mark) + stuck

    def prepare(self, say: Say) -> bool:
        """Install what images and binaries are built with, and remember which clouds.yaml is the cluster's."""
        changed = builder.install(say)
        assert self.connection
        remember(self.paths.clouds_file)
        return changed

    def carried(self, scratch: Path, say: Say) -> Carried:
        """Return Terraform's provider, from where Terraform finds it on this machine."""
        terraform = Terraform(ROOT / "terraform" / self.name / "data", scratch / "terraform")
        say("asking Terraform for its provider")
        try:
            terraform.init()
        except TerraformError as error:
            raise CloudError(str(error)) from error
        return Carried(packages=(), for_hosts=True, folders={"providers": terraform.providers})

    def wake(self, say: Say) -> None:
        """Sign in."""
        assert self.connection

    def ready(self) -> bool:
        """Tell whether the cloud lets us in."""
        try:
            return bool(self.connection)
        except CloudError:
            return False

    def identity(self) -> dict[str, str]:
        """Return address, project and region: another of any is another cloud."""
        config = self.connection.config
        return {
            "cloud": self.name,
            "auth_url": str(config.get_auth_args()["auth_url"]).rstrip("/"),
            "project": str(self.connection.current_project_id),
            "region": str(config.get_region_name() or ""),
        }

    def mark(self, paths: ClusterPaths) -> str | None:
        """Return the cluster's UUID."""
        return paths.cluster_id.read_text().strip() if paths.cluster_id.exists() else None

    def things(self) -> list[Thing]:
        """Ask every service of the project."""
        return objects.things(self.connection)

    def variables(self, paths: ClusterPaths, root: Root) -> dict[str, Any]:
        """Return the UUID that everything of the cluster bears."""
        return {"cluster_id": cluster_id(paths)}

    def advice(self, wrong: str) -> str:
        """Return what is known of the error, with the reasons of servers that are in ERROR."""
        mark = self.mark(self.paths)
        reasons = faults(self.connection, mark) if mark and "ERROR" in wrong else []
        return "\n".join([*reasons, advice("\n".join([*reasons, wrong]))])

    def object_store(self, data: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the application credential, where it is good, and the keys of S3."""
        made = data.get("credentials", {}).get("application_credential")
        if not made:
            return None
        config = self.connection.config
        ca = config.config.get("cacert")
        return {
            "auth_url": str(config.get_auth_args()["auth_url"]),
            "region": str(config.get_region_name() or ""),
            "id": made["id"],
            "secret": made["secret"],
            "ca": Path(ca).expanduser().read_text() if ca else "",
            "endpoint": s3_endpoint(str(self.connection.endpoint_for("object-store"))),
            "s3": data["credentials"].get("s3") or {},
        }

    def empty(self, container: str, say: Say) -> None:
        """Delete the objects of a container, a page of the listing at a time."""
        store = self.connection.object_store
        try:
            for number, each in enumerate(store.objects(container)):
                if number % 100 == 0:
                    say(f"deleting what is in container {container}: {number} objects so far")
                store.delete_object(each.name, container=container)
        except SDKException as error:
            raise CloudError(f"Container {container} cannot be emptied: {error}") from error

    def quirks(self) -> dict[str, bool]:
        """Return that hosts are machines with kernels of their own."""
        return {
            "in_container": False,
            "cgroup_v1": False,
            "restrict_oom_score_adj": False,
            "no_conntrack_tuning": False,
        }

    def host_keys(self, hosts: Mapping[str, Any], say: Say) -> dict[str, str]:
        """Read each new host's key off its console; logs are cut in time, so keys are remembered."""
        record = self.paths.root / "host-keys.json"
        try:
            known: dict[str, str] = json.loads(record.read_text())
        except (FileNotFoundError, ValueError):
            known = {}
        ids = {name: str(host["instance_id"]) for name, host in hosts.items()}
        deadline = time.monotonic() + BOOT_SECONDS
        while missing := [name for name, one in sorted(ids.items()) if one not in known]:
            say(f"waiting for the ssh key of {', '.join(missing)} on the console")
            for name in missing:
                try:
                    shown = self.connection.compute.get_server_console_output(ids[name])
                except SDKException as error:
                    raise CloudError(f"The console of {name} cannot be read: {error}") from error
                if key := host_key(shown.get("output") or ""):
                    known[ids[name]] = key
                    write(record, json.dumps(known, indent=2, sort_keys=True) + "\n")
            if any(one not in known for one in ids.values()):
                if time.monotonic() > deadline:
                    raise CloudError(
                        f"{', '.join(missing)} printed no ssh key within {BOOT_SECONDS} s. "
                        f"`openstack console log show {hosts[missing[0]]['instance_name']}` "
                        "shows how far it came. Is cloud-init in the image?"
                    )
                time.sleep(LOOK_SECONDS)
        kept = {one: key for one, key in known.items() if one in ids.values()}
        write(record, json.dumps(kept, indent=2, sort_keys=True) + "\n")
        return {name: kept[one] for name, one in ids.items()}

    def halt(self, hosts: Mapping[str, Any], say: Say) -> None:
        """Stop servers, all at once. Terraform detaches volumes first, and would do so under mounted file systems."""
        compute = self.connection.compute
        servers = [compute.find_server(host["instance_id"]) for host in hosts.values()]
        running = [server for server in servers if server and server.status == "ACTIVE"]
        for server in running:
            compute.stop_server(server)
        for server in running:
            say(f"waiting for {server.name} to stop")
            try:
                compute.wait_for_server(server, status="SHUTOFF", interval=2, wait=HALT_SECONDS)
            except SDKException as error:
                raise CloudError(
                    f"{server.name} does not stop: {error}. `openstack console log show "
                    f"{server.name}` shows why; `openstack server stop {server.name}` tries again."
                ) from error

    def publish_names(self, cluster: Cluster, address: str) -> list[str]:
        """Have the names lead to the cluster here: by DNS where that is so already, else by /etc/hosts.

        Raises:
            CloudError: neither; says which line to add.
        """
        return hosts_file.publish(cluster, address)

    def withdraw_names(self, cluster: Cluster) -> None:
        """Take the names out of /etc/hosts, where they were put."""
        hosts_file.withdraw(cluster)

    def tidy(self, *, data: bool) -> None:
        """Nothing runs on this machine for a project elsewhere."""
