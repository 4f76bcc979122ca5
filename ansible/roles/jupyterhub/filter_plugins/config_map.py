"""Files of a directory as the content of a ConfigMap."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

from ansible.errors import AnsibleFilterError

# The API server refuses objects above 1 MiB; the rest is for what is around the data.
LIMIT = 1_000_000


def config_map(path: str) -> dict[str, dict[str, str]]:
    """Return `data` and `binaryData` of a ConfigMap with a directory's files.

    Directories below it are left out.

    Raises:
        AnsibleFilterError: there is no such directory, or its files are too much for a ConfigMap.
    """
    root = Path(path)
    if not root.is_dir():
        raise AnsibleFilterError(f"config_map: no directory {path}")
    content: dict[str, dict[str, str]] = {"data": {}, "binaryData": {}}
    for file in sorted(each for each in root.iterdir() if each.is_file()):
        raw = file.read_bytes()
        try:
            content["data"][file.name] = raw.decode()
        except UnicodeDecodeError:
            content["binaryData"][file.name] = base64.b64encode(raw).decode()
    size = sum(len(text) for group in content.values() for text in group.values())
    if size > LIMIT:
        raise AnsibleFilterError(
            f"config_map: the files of {path} take {size} bytes, a ConfigMap holds {LIMIT}"
        )
    return content


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Return the filters by the name templates use."""
        return {"config_map": config_map}
