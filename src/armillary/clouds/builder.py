"""What this machine builds images and binaries with: Debian's packages."""

from __future__ import annotations

import os

from armillary.clouds.contract import CloudError, Say
from armillary.tools import apt

PACKAGES = (
    "buildah",
    "gcc",
    "libc6-dev",
    "libseccomp-dev",
    "mmdebstrap",
    "openssh-client",
    "pkg-config",
    "skopeo",
)


def install(say: Say) -> bool:
    """Install what is missing; return whether anything was.

    Raises:
        CloudError: something is missing and only root may install it; says what.
    """
    needed = apt.missing(PACKAGES)
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
