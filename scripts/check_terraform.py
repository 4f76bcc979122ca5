"""See that Terraform's files are formatted and valid. No cloud is needed, and no registry.

Providers that only a registry has are played by one that knows their schema (tests/support).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from armillary.paths import ROOT
from armillary.tools.process import run
from armillary.tools.terraform import INCUS, Terraform, TerraformError

sys.path.insert(0, str(ROOT))
from tests.support.openstack import FACTS, provider

FOLDER = ROOT / "terraform"


def main() -> int:
    """Return 0 when every root is formatted and valid, 1 otherwise."""
    wrong = []
    with tempfile.TemporaryDirectory(prefix="armillary-terraform-") as scratch:
        for root in sorted({path.parent for path in FOLDER.glob("*/*/*.tf")}):
            name = f"{root.parent.name}/{root.name}"
            directory = Path(scratch) / name
            directory.parent.mkdir(exist_ok=True)
            try:
                providers = (INCUS, provider(FACTS, directory / "objects"))
                Terraform(root, directory, providers=providers).validate()
            except TerraformError as error:
                wrong.append(str(error))
                continue
            formatted = run(
                [str(directory / "bin" / "terraform"), "fmt", "-check", "-diff", str(root)],
                timeout=60,
                check=False,
            )
            if formatted.returncode != 0:
                wrong.append(f"{name} is not formatted:\n{formatted.stdout}{formatted.stderr}")
            print(f"{name}: looked at")
    for text in wrong:
        print(text, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
