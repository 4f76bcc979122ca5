"""What this machine builds images and binaries with: Debian's packages."""

from __future__ import annotations

import os

from armillary.bundle import contents
from armillary.clouds.contract import CloudError, Say
from armillary.paths import cache_home
from armillary.tools import apt

COPYING = ("openssh-client", "skopeo")
"""What every `up` needs, whether or not anything is built."""
BUILDING = (
    "buildah",
    "gcc",
    "libc6-dev",
    "libseccomp-dev",
    "mmdebstrap",
    "pkg-config",
    "squashfs-tools",
)


def install(say: Say) -> bool:
    """Install what is missing; return whether anything was.

    Raises:
        CloudError: something is missing and only root may install it; says what.
    """
    needed = apt.missing(COPYING if contents.read(cache_home()) else COPYING + BUILDING)
    if not needed:
        return False
    if os.geteuid() != 0:
        raise CloudError(
            f"Debian packages are missing on this machine: {', '.join(needed)}. Have them "
            f"installed: `apt-get install {' '.join(needed)}`."
        )
    say("installing the build tools from Debian")
    apt.update()
    apt.install(needed)
    return True
