"""The Python packages of uv.lock as wheels, for a machine that reaches no index."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from armillary.bundle.contents import BundleError
from armillary.paths import ROOT
from armillary.tools import uv
from armillary.tools.process import CommandError, CommandTimeout, run, tail

REQUIREMENTS = "requirements.txt"
SECONDS = 1800.0


def download(target: Path, say: Callable[[str], None]) -> None:
    """Fetch all that `uv sync` installs here, checked against the lock's digests; build what has no wheel.

    uv and what builds Armillary itself come along. uv cannot fetch without installing, so pip does
    (https://github.com/astral-sh/uv/issues/3163).

    Raises:
        BundleError: a package cannot be had; says why.
    """
    target.mkdir(parents=True)
    program = str(uv.program())
    pip = [program, "tool", "run", "pip", "wheel", "--quiet", f"--wheel-dir={target}"]
    locked = target / REQUIREMENTS
    say("fetching the Python packages of uv.lock")
    try:
        run(
            [program, "export", "--frozen", "--no-emit-workspace", "--output-file", str(locked)],
            cwd=ROOT,
            timeout=SECONDS,
        )
        run([*pip, "--requirement", str(locked)], timeout=SECONDS, on_line=say)
        run([*pip, "uv", "hatchling", "editables"], timeout=SECONDS, on_line=say)
    except CommandError as error:
        raise BundleError(
            f"The Python packages cannot be fetched:\n{tail(error.completed)}\n"
            "Check pip's settings (pip.conf, PIP_INDEX_URL), then again."
        ) from error
    except CommandTimeout as error:
        raise BundleError(f"The Python package index is too slow: {error}") from error
    # What was built here cannot have the digest of what it was built from.
    run(
        [program, "export", "--frozen", "--no-emit-workspace", "--no-hashes", "--output-file", str(locked)],
        cwd=ROOT,
        timeout=SECONDS,
    )  # fmt: skip
