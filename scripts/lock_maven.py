"""Write checksums.sha256 of an artifact that Maven fetches: `uv run python scripts/lock_maven.py NAME`.

To be run after pom.xml was changed; read the difference before it is committed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from armillary.artifacts.maven import POM, SUMS, write_sums
from armillary.paths import ROOT, cache_home
from armillary.tools import maven
from armillary.tools.process import CommandError, CommandMissing, CommandTimeout


def main(name: str) -> int:
    """Fetch what pom.xml asks for now and write down its checksums; return the exit code."""
    folder = ROOT / "artifacts" / name
    try:
        maven.install(print)
        with TemporaryDirectory(prefix="armillary-lock-") as scratch:
            maven.copy_dependencies(folder, Path(scratch), cache=cache_home(), on_line=print)
            found = write_sums(folder, Path(scratch))
    except (CommandError, CommandMissing, CommandTimeout) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{folder / SUMS}: {len(found)} files")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2 or not (ROOT / "artifacts" / sys.argv[1] / POM).is_file():
        sys.exit(
            "Usage: uv run python scripts/lock_maven.py NAME, with artifacts/NAME/pom.xml there"
        )
    sys.exit(main(sys.argv[1]))
