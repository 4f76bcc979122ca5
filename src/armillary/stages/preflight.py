"""Late surprises made early: what this machine and the cloud lack, all at once."""

from __future__ import annotations

from armillary import registries
from armillary.bundle import contents
from armillary.models.report import Check
from armillary.paths import cache_home
from armillary.stages.artifacts import Artifacts
from armillary.stages.contract import Context, StageError


class Preflight:
    """Look, and touch nothing."""

    name = "preflight"
    title = "Check this machine and the cloud"
    expected = 1.0

    def plan(self, context: Context) -> list[str]:
        return []

    def apply(self, context: Context) -> bool:
        short = [check for check in self.verify(context) if check.ok is False]
        if short:
            lines = "\n".join(f"    {check.name}: {check.detail}" for check in short)
            raise StageError(f"Nothing was touched, for something is missing:\n{lines}")
        return False

    def verify(self, context: Context) -> list[Check]:
        found = context.cloud.preflight(context.cluster)
        lacking = Artifacts().plan(context)
        if lacking and contents.read(cache_home()):
            why = f"to do: {', '.join(lacking)}; but {contents.LACKS} {contents.LACKING}"
            return [*found, Check(name="bundle", ok=False, detail=why)]
        if not lacking:
            return [*found, *context.supply.choice()]
        builds = any(line.startswith("build") for line in lacking)
        return [*found, *(registries.checks() if builds else []), *context.supply.checks()]

    def destroy(self, context: Context) -> None:
        return None
