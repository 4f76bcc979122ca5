"""apt's own settings on this machine, to be handed to builds of Debian systems."""

from __future__ import annotations

import re
from pathlib import Path

from armillary.tools.process import run


def acquire_options() -> list[str]:
    """Return how apt on this machine fetches (proxies, retries, date checks), as apt.conf lines."""
    shown = run(["apt-config", "dump"], timeout=30).stdout.splitlines()
    return [
        line
        for line in shown
        if re.match(r"Acquire::(http|https|Retries|Check-|ForceIPv)", line)
        # A program or a file of this machine; neither is there inside a build.
        and not re.search(
            r"auto-?detect|::(ca(info|path)|ssl(cert|key)|crlfile) ", line, re.IGNORECASE
        )
    ]


def credentials() -> list[Path]:
    """Return apt's files of passwords for mirrors (apt_auth.conf(5)) on this machine."""
    paths = [Path("/etc/apt/auth.conf"), *sorted(Path("/etc/apt/auth.conf.d").glob("*.conf"))]
    return [path for path in paths if path.is_file()]
