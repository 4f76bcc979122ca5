"""Hosts, volumes and networks, by Terraform; data and compute apart."""

from __future__ import annotations

from typing import Any

from armillary import pki
from armillary.clouds.contract import CloudError
from armillary.files import write
from armillary.gate import check_plan
from armillary.models.report import Check
from armillary.paths import ROOT
from armillary.stages.contract import Context, StageError
from armillary.tools.terraform import Plan, Terraform, TerraformError

INSTANCE = 'incus_instance.host["{}"]'


class Provision:
    """Make the hosts what cluster.yml says they are."""

    name = "provision"
    title = "Provision hosts and volumes (Terraform)"
    expected = 20.0

    def plan(self, context: Context) -> list[str]:
        lines: list[str] = []
        for root in ("data", "compute"):
            terraform = _terraform(context, root)
            lines += terraform.plan(_variables(context, root)).summary()
        return lines

    def apply(self, context: Context) -> bool:
        changed = False
        try:
            for root in ("data", "compute"):
                terraform = _terraform(context, root)
                context.say(f"terraform plan, {root}")
                plan = terraform.plan(_variables(context, root))
                refusals = check_plan(plan, _asked_for(context))
                if refusals:
                    raise StageError(
                        "Terraform would destroy or replace what nobody asked it to:\n"
                        + "\n".join(f"    {line}" for line in refusals),
                        fix="Put cluster.yml back as it was, or name each host that may go with "
                        "`--replace HOST`.",
                    )
                if plan.has_changes:
                    context.say(f"terraform apply, {root}")
                    terraform.apply(plan, context.say)
                    changed = True
        except TerraformError as error:
            raise StageError(str(error)) from error
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
            terraform.destroy(_variables(context, "compute"), context.say)

    def destroy_data(self, context: Context) -> None:
        """Delete the volumes; only `down --with-data` comes here."""
        terraform = _terraform(context, "data")
        if terraform.state_list():
            terraform.destroy(_variables(context, "data"), context.say)

    def _know_hosts(self, context: Context) -> None:
        hosts = output(context)["hosts"]
        try:
            keys = context.cloud.host_keys(hosts, context.say)
        except CloudError as error:
            raise StageError(str(error)) from error
        lines = [f"{hosts[name]['access_address']} {key}\n" for name, key in sorted(keys.items())]
        write(context.paths.known_hosts, "".join(lines), mode=0o600)


def output(context: Context) -> dict[str, Any]:
    """Return Terraform's output `cluster`.

    Raises:
        TerraformError: there is no state to read.
        KeyError: nothing was applied yet.
    """
    found: dict[str, Any] = _terraform(context, "compute").outputs()["cluster"]
    return found


def _terraform(context: Context, root: str) -> Terraform:
    terraform = Terraform(
        ROOT / "terraform" / context.cloud.name / root, context.paths.terraform / root
    )
    terraform.init()
    return terraform


def _variables(context: Context, root: str) -> dict[str, Any]:
    if root == "data":
        return context.cluster.terraform_variables("data")
    return {
        **context.cluster.terraform_variables("compute"),
        **context.cloud.variables(),
        "domain": context.cluster.domain,
        "ssh_public_key": pki.ensure_ssh_key(context.paths, context.cluster.name),
        "data": _terraform(context, "data").outputs().get("volumes", {}),
    }


def _asked_for(context: Context) -> set[str]:
    """Return the addresses of what may go: hosts named by --replace, hosts gone from cluster.yml."""
    wanted = {host.name for host in context.cluster.expanded_hosts()}
    try:
        present = set(output(context)["hosts"])
    except (TerraformError, KeyError):
        present = set()
    return {INSTANCE.format(name) for name in (present - wanted) | context.replace}
