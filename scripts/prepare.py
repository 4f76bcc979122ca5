"""Do what `up` does before it makes hosts: `uv run python scripts/prepare.py [CLUSTER]`.

For a machine that shall run tests, or have its caches filled, before there is a cluster.
"""

from __future__ import annotations

import sys

from armillary.clouds.contract import CloudError
from armillary.commands.common import CommandFailed, load
from armillary.stages.artifacts import Artifacts
from armillary.stages.contract import StageError
from armillary.stages.preflight import Preflight


def main() -> int:
    """Prepare this machine for a cluster and build what it runs; return the exit code."""
    try:
        context = load("local", sys.argv[1] if len(sys.argv) > 1 else None, print)
        Preflight().apply(context)
        context.cloud.prepare(print)
        Artifacts().apply(context)
    except (CommandFailed, CloudError, StageError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
