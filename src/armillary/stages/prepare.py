"""What this machine needs before a cluster can be made: the cloud's tools, keys, secrets."""

from __future__ import annotations

from armillary import identity, pki, secrets
from armillary.clouds.contract import CloudError
from armillary.models.report import Check
from armillary.stages.contract import Context, StageError


class Prepare:
    """Install what the cloud needs here, and pin the cluster to it."""

    name = "prepare"
    title = "Prepare this machine"
    expected = 75.0

    def plan(self, context: Context) -> list[str]:
        if context.cloud.ready():
            return []
        return [f"install and start what cloud `{context.cloud.name}` needs on this machine"]

    def apply(self, context: Context) -> bool:
        try:
            changed = context.cloud.prepare(context.say)
            found = context.cloud.identity()
        except CloudError as error:
            raise StageError(str(error)) from error
        try:
            identity.check(context.paths, context.cluster.name, found)
        except identity.WrongCloud as error:
            raise StageError(str(error)) from error
        context.paths.make()
        identity.pin(context.paths, found)
        pki.ensure_ca(context.paths, context.cluster.name)
        pki.ensure_ssh_key(context.paths, context.cluster.name)
        secrets.ensure(context.paths, context.cluster)
        return changed

    def verify(self, context: Context) -> list[Check]:
        return [
            Check(
                name=f"cloud {context.cloud.name}",
                ok=context.cloud.ready(),
                detail="The cloud does not answer; `invoke up` starts it.",
            )
        ]

    def destroy(self, context: Context) -> None:
        return None
