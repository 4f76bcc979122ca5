"""Each role's molecule scenarios, on Incus instances of their own.

`uv run pytest tests/roles`, or one of them: `uv run pytest tests/roles -k registry`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from armillary.clouds.host_image import ALIAS
from armillary.tools.incus import exists, server
from armillary.tools.process import run

HERE = Path(__file__).parent
SCENARIOS = sorted(HERE.glob("*/molecule/*/molecule.yml"))
LIMIT = 1500.0
MOLECULE = str(Path(sys.executable).with_name("molecule"))


@pytest.fixture(scope="module", autouse=True)
def incus() -> None:
    """A daemon that answers and has the host image."""
    if server() is None or not exists(f"/1.0/images/aliases/{ALIAS}"):
        pytest.skip("no Incus with the host image; `uv run python scripts/prepare.py` has both")


@pytest.mark.molecule
@pytest.mark.parametrize(
    "path", SCENARIOS, ids=lambda path: f"{path.parents[2].name}-{path.parent.name}"
)
def test_scenario(path: Path) -> None:
    """The role does what it is for, and nothing when run again."""
    folder, scenario = path.parents[2], path.parent.name
    # Ansible and its tools are beside this interpreter, whose directory may not be on the PATH.
    environment = {"PATH": os.pathsep.join([str(Path(MOLECULE).parent), os.environ["PATH"]])}
    try:
        done = run(
            [MOLECULE, "test", "--scenario-name", scenario],
            timeout=LIMIT,
            cwd=folder,
            env=environment,
            check=False,
            on_line=print,
        )
    except BaseException:
        run(
            [MOLECULE, "destroy", "--scenario-name", scenario],
            timeout=120,
            cwd=folder,
            env=environment,
            check=False,
        )
        raise
    assert done.returncode == 0, "\n".join(done.stdout.splitlines()[-40:])
