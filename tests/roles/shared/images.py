"""Push images to a scenario's registry: `images.py FILE REGISTRY ADDRESS AUTHFILE CA [IMAGE...]`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from armillary.images import build_all, push


def main(
    target: Path, registry: str, address: str, authfile: Path, ca: Path, names: list[str]
) -> None:
    """Build what is not in the cache, push it, and write armillary_images as JSON."""
    images = push(build_all(names or None), registry, authfile=authfile, ca=ca, address=address)
    target.write_text(json.dumps(images))


if __name__ == "__main__":
    file, registry, address, authfile, ca, *names = sys.argv[1:]
    main(Path(file), registry, address, Path(authfile), Path(ca), names)
