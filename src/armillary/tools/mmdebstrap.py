"""mmdebstrap: make a Debian root file system, the same bytes for the same packages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from armillary.tools.process import run

# Documentation that no container reads; licences stay.
EXCLUDED = (
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/lintian/*",
    "path-exclude=/usr/share/bug/*",
)


def tarball(
    target: Path,
    *,
    suite: str,
    packages: Sequence[str],
    archives: Sequence[str],
    apt_options: Sequence[str],
    hooks: Sequence[str],
    early: Sequence[str] = (),
    keep_lists: bool = False,
    on_line: Callable[[str], None] | None = None,
) -> None:
    """Write a minimal Debian with apt as a tar file or a directory.

    Args:
        target: what to write: a file whose name ends in .tar, else a directory.
        suite: Debian's code name.
        packages: what to add.
        archives: lines of sources.list.
        apt_options: lines of apt.conf, for the run and left in the result.
        hooks: shell lines run at the end; $1 is the root directory.
        early: the same, before the packages are added.
        keep_lists: leave the lists of packages in it.
        on_line: called with each line mmdebstrap prints.

    Raises:
        CommandError, CommandTimeout, CommandMissing: see `tools.process.run`.
    """
    run(
        [
            "mmdebstrap",
            "--variant=apt",
            f"--include={','.join(packages)}",
            *(f"--aptopt={each}" for each in apt_options),
            *(f"--dpkgopt={each}" for each in EXCLUDED),
            *(f"--essential-hook={each}" for each in early),
            *(f"--customize-hook={each}" for each in hooks),
            *(["--skip=cleanup/apt/lists"] if keep_lists else []),
            suite,
            str(target),
            *archives,
        ],
        timeout=900,
        env={"SOURCE_DATE_EPOCH": "0", "TMPDIR": str(target.parent)},
        on_line=on_line,
    )
