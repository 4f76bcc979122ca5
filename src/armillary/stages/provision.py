"""Hosts, volumes and networks, by Terraform; data and compute apart."""

from __future__ import annotations

import json
from typing import Any

from armillary import pki, secrets, ssh
from armillary.clouds.contract import CloudError, Root
from armillary.files import write
from armillary.gate import check_plan
from armillary.models.report import Check
from armillary.paths import ROOT
from armillary.stages.contract import Context, StageError
from armillary.tools.kubectl import see_off
from armillary.tools.process import CommandError, CommandTimeout
from armillary.tools.terraform import Terraform, TerraformError

VOLUMES = "volumes.json"
ROOTS: tuple[Root, ...] = ("data", "compute")


class Provision:
    """Make the hosts what cluster.yml says they are."""

    name = "provision"
    title = "Provision hosts and volumes (Terraform)"
    expected = 20.0

    def plan(self, context: Context) -> list[str]:
        lines: list[str] = []
        for root in ROOTS:
            terraform = _terraform(context, root)
            lines += terraform.plan(_variables(context, root)).summary()
        return lines

    def apply(self, context: Context) -> bool:
        changed = False
        try:
            for root in ROOTS:
                terraform = _terraform(context, root)
                context.say(f"terraform plan, {root}")
                plan = terraform.plan(
                    _variables(context, root),
                    replace=_replaced(context) if root == "compute" else (),
                )
                refusals = check_plan(plan, _asked_for(context))
                if refusals:
                    raise StageError(
                        "Terraform would destroy or replace what nobody asked it to:\n"
                        + "\n".join(f"    {line}" for line in refusals),
                        fix="Put cluster.yml back as it was, or name each host that may go with "
                        "`--replace HOST`.",
                    )
                if plan.has_changes:
                    if root == "data":
                        _keep(context)
                    else:
                        _see_off(context)
                    context.say(f"terraform apply, {root}")
                    terraform.apply(plan, context.say)
                    changed = True
        except TerraformError as error:
            raise StageError(str(error), fix=context.cloud.advice(str(error))) from error
        _know_object_store(context)
        self._know_hosts(context)
        return changed

    def verify(self, context: Context) -> list[Check]:
        try:
            found = output(context)["hosts"]
        except (TerraformError, KeyError):
            return [Check(name="hosts", ok=False, detail="No hosts yet; `invoke up` makes them.")]
        wanted = {host.name for host in context.cluster.expanded_hosts()}
        return [
            Check(name=f"host {name}", ok=name in found, detail="not made yet; run `invoke up`")
            for name in sorted(wanted)
        ]

    def destroy(self, context: Context) -> None:
        terraform = _terraform(context, "compute")
        if terraform.state_list():
            context.cloud.halt(terraform.outputs().get("cluster", {}).get("hosts", {}), context.say)
            terraform.destroy(_variables(context, "compute"), context.say)

    def destroy_data(self, context: Context) -> None:
        """Delete the volumes; only `down --with-data` comes here."""
        terraform = _terraform(context, "data")
        if terraform.state_list():
            backup = context.cluster.backup
            containers = terraform.outputs().get("containers", {})
            if backup and backup.container in containers:
                context.cloud.empty(containers[backup.container], context.say)
            terraform.destroy(_variables(context, "data"), context.say)

    def _know_hosts(self, context: Context) -> None:
        found = output(context)
        hosts = found["hosts"]
        try:
            keys = context.cloud.host_keys(hosts, context.say)
        except CloudError as error:
            raise StageError(str(error)) from error
        lines = [f"{hosts[name]['access_address']} {key}\n" for name, key in sorted(keys.items())]
        write(context.paths.known_hosts, "".join(lines), mode=0o600)
        ssh.write_config(context.paths, found)


def _know_object_store(context: Context) -> None:
    """Keep what opens the cloud's containers among the secrets; no Terraform is started where there are none."""
    access = None
    if context.cluster.containers and not context.cluster.has_own_object_store:
        access = context.cloud.object_store(_terraform(context, "data").outputs())
    secrets.keep_object_store(context.paths, access)


def output(context: Context) -> dict[str, Any]:
    """Return Terraform's output `cluster`.

    Raises:
        TerraformError: there is no state to read.
        KeyError: nothing was applied yet.
    """
    found: dict[str, Any] = _terraform(context, "compute").outputs()["cluster"]
    return found


def _terraform(context: Context, root: Root) -> Terraform:
    terraform = Terraform(
        ROOT / "terraform" / context.cloud.name / root, context.paths.terraform / root
    )
    terraform.init()
    return terraform


def _variables(context: Context, root: Root) -> dict[str, Any]:
    known = {
        **context.cluster.terraform_variables(root),
        **context.cloud.variables(context.paths, root),
    }
    if root == "data":
        return {**known, "volumes": known_volumes(context)}
    return {
        **known,
        "domain": context.cluster.domain,
        "ssh_public_key": pki.ensure_ssh_key(context.paths, context.cluster.name),
        "data": {
            **_expected_volumes(context),
            **_terraform(context, "data").outputs().get("volumes", {}),
        },
    }


def _expected_volumes(context: Context) -> dict[str, Any]:
    """Return the output of the data root as far as it can be told before it is applied.

    A plan of the compute root needs volumes that the data root has yet to make.
    """
    name = context.cluster.name
    return {
        key: {"id": f"{name}-{key}", "name": f"{name}-{key}", "pool": None}
        for key in known_volumes(context)
    }


def known_volumes(context: Context) -> dict[str, Any]:
    """Return the volumes of cluster.yml and of earlier runs, as Terraform's variable has them.

    Those of a host that is gone stay until `down --with-data`.
    """
    try:
        kept = json.loads((context.paths.root / VOLUMES).read_text())
    except FileNotFoundError:
        kept = {}
    return {**kept, **context.cluster.terraform_variables("data")["volumes"]}


def _keep(context: Context) -> None:
    """Write the volumes down before they are made, so that no later run forgets one."""
    volumes = _variables(context, "data")["volumes"]
    write(context.paths.root / VOLUMES, json.dumps(volumes, indent=2, sort_keys=True) + "\n")


def _see_off(context: Context) -> None:
    """Empty the nodes that are about to go, and shut the hosts down.

    Raises:
        StageError: a pod would not leave, or a host not stop.
    """
    leaving = sorted(_leaving(context))
    if not leaving:
        return
    if context.paths.kubeconfig.exists():
        program = context.supply.artifact("kubernetes").bin_dir / "kubectl"
        for name in leaving:
            context.say(f"moving the pods of {name} elsewhere")
            try:
                see_off(program, context.paths.kubeconfig, name)
            except (CommandError, CommandTimeout) as error:
                raise StageError(
                    f"{name} could not be emptied: {error}",
                    fix="`invoke status` says what is wrong with Kubernetes; mend that first.",
                ) from error
    hosts = output(context)["hosts"]
    try:
        context.cloud.halt({name: hosts[name] for name in leaving}, context.say)
    except CloudError as error:
        raise StageError(str(error)) from error


def _leaving(context: Context) -> set[str]:
    """Return the hosts that are there and go: taken out of cluster.yml, or named by --replace."""
    wanted = {host.name for host in context.cluster.expanded_hosts()}
    try:
        present = set(output(context)["hosts"])
    except (TerraformError, KeyError):
        return set()
    return (present - wanted) | (context.replace & present)


def _replaced(context: Context) -> list[str]:
    """Return the addresses that --replace names and that are there."""
    return [_address(context, name) for name in sorted(_leaving(context) & context.replace)]


def _asked_for(context: Context) -> set[str]:
    """Return the Terraform addresses of what the user asked to let go."""
    return {_address(context, name) for name in _leaving(context)}


def _address(context: Context, host: str) -> str:
    """Return Terraform's address of a host."""
    return f'{context.cloud.host_resource}.host["{host}"]'
