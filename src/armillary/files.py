"""Write files so that a crash leaves the old one or the new one, never half of either."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import yaml

# libyaml reads ten times faster than Python does, where PyYAML was built with it.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: Path) -> Any:
    """Return what a YAML file says.

    Raises:
        OSError: it cannot be read.
        yaml.YAMLError: it is no YAML; says in which line.
    """
    return yaml.load(path.read_text(), Loader=_LOADER)  # noqa: S506 - it is the safe one


def write(path: Path, text: str, *, mode: int = 0o644) -> bool:
    """Write `text` to `path` by way of a temporary file; return False when it was there already.

    Args:
        path: the file; its directory must exist.
        text: the whole content.
        mode: permission bits; secrets want 0o600.
    """
    try:
        if path.read_text() == text and path.stat().st_mode & 0o777 == mode:
            return False
    except FileNotFoundError:
        pass
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "w") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(name, mode)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return True


def write_secret(path: Path, text: str) -> bool:
    """Write a file that its owner alone may read."""
    return write(path, text, mode=0o600)
