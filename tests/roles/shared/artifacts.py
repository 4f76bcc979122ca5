"""Write what the roles have to know of the artifacts: `artifacts.py FILE`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from armillary.artifacts import archive_artifact, load_manifest
from armillary.paths import ROOT

NAMES = ("cni", "containerd", "crane", "helm", "kafka", "kubernetes", "registry", "runc", "swift")


def main(target: Path) -> None:
    """Build and archive what is not in the cache, and write armillary_artifacts as JSON."""
    manifest = load_manifest(ROOT)
    known = {}
    for name in NAMES:
        entry = manifest.get(name)
        archive = archive_artifact(entry)
        known[name] = {
            "version": entry.version,
            "key": archive.parent.name,
            "archive": str(archive),
        }
    target.write_text(json.dumps(known))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
