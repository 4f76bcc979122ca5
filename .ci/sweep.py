"""Delete Incus instances, volumes and networks by how their names begin: `sweep.py e2e- mol-`.

Then, with nothing left that uses it, stop the daemon if this run of CI started it.
"""

from __future__ import annotations

import sys

from armillary.clouds.local import Local
from armillary.tools.incus import incus, query, server
from armillary.tools.process import CommandError


def main(prefixes: tuple[str, ...]) -> int:
    """Return 0 when nothing of these names is left, 1 otherwise."""
    if server() is None:
        return 0
    left = 0
    for path, delete in (
        ("/1.0/instances", lambda name: incus("delete", "--force", name)),
        (
            "/1.0/storage-pools/armillary/volumes/custom",
            lambda name: incus("storage", "volume", "delete", "armillary", name),
        ),
        ("/1.0/networks", lambda name: incus("network", "delete", name)),
    ):
        try:
            found = query(f"{path}?recursion=1")
        except CommandError:
            continue
        for name in (each["name"] for each in found if each["name"].startswith(prefixes)):
            try:
                delete(name)
                print(f"deleted {name}")
            except CommandError as error:
                print(error, file=sys.stderr)
                left += 1
    Local().tidy(data=True)
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main(tuple(sys.argv[1:])))
