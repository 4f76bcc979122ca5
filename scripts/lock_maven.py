"""Write checksums.sha256 of an artifact that Maven fetches: `uv run python scripts/lock_maven.py NAME`.

To be run after pom.xml was changed; read the difference before it is committed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from armillary.artifacts import jars, load_manifest
from armillary.manifests import ManifestError
from armillary.paths import ROOT, cache_home
from armillary.tools import maven
from armillary.tools.process import CommandError, CommandMissing, CommandTimeout


def main(name: str) -> int:
    """Fetch what pom.xml asks for now and write down its checksums; return the exit code."""
    try:
        entry = load_manifest(ROOT).get(name)
        if entry.kind != "maven":
            print(f"{name} is of kind {entry.kind}; its lock is go.sum.", file=sys.stderr)
            return 1
        maven.install(print)
        with TemporaryDirectory(prefix="armillary-lock-") as scratch:
            maven.copy_dependencies(
                ROOT / entry.folder, Path(scratch), cache=cache_home(), on_line=print
            )
            found = jars.write_sums(ROOT / entry.folder, Path(scratch))
    except (ManifestError, CommandError, CommandMissing, CommandTimeout) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{entry.folder}/{jars.SUMS}: {len(found)} files")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Usage: uv run python scripts/lock_maven.py NAME")
    sys.exit(main(sys.argv[1]))
