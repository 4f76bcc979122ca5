"""A last look: everything that was installed answers. The whole proof is `invoke test`."""

from __future__ import annotations

import time

from armillary import status
from armillary.models.report import Check
from armillary.stages.contract import Context, StageError

SECONDS = 180.0
"""How long to wait; `patience` of cluster.yml makes it longer."""


class Verify:
    """Wait until all of it is well, and say what is not."""

    name = "verify"
    title = "See that everything answers"
    expected = 10.0

    def plan(self, context: Context) -> list[str]:
        return []

    def apply(self, context: Context) -> bool:
        patience = SECONDS * context.cluster.patience
        deadline = time.monotonic() + patience
        while wrong := [check for check in self.verify(context) if check.ok is not True]:
            if time.monotonic() > deadline:
                lines = "\n".join(f"    {check.name}: {check.detail}" for check in wrong)
                raise StageError(
                    f"Not well after {patience:.0f} s:\n{lines}",
                    fix="`invoke status` looks again; `invoke logs COMPONENT` shows a part's log.",
                )
            context.say("waiting for " + ", ".join(check.name for check in wrong))
            time.sleep(1)
        return False

    def verify(self, context: Context) -> list[Check]:
        return status.checks(context.paths, context.cluster)

    def destroy(self, context: Context) -> None:
        return None
