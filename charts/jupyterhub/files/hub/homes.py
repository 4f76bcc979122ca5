"""A home directory for each user, in the space that the hub mounts as a whole.

A user's pod mounts its own directory only (the volume mount's subPath), so the directory must be
there, and belong to the user's uid, before the pod starts: kubelet would create it as root, and
pods here run without root.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any


class HomeError(Exception):
    """A home directory cannot be had; `jupyterhub_message` is what the user reads."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.jupyterhub_message = f"Your home directory could not be prepared: {reason}"


def _relative_parts(path: str) -> tuple[str, ...]:
    parts = PurePosixPath(path).parts
    if not parts or parts[0] == "/" or ".." in parts:
        raise HomeError(f"{path!r} is not a path below the space of the homes")
    return parts


def _open_directory(parent: int, name: str, mode: int) -> int:
    """Open (create where missing) `name` below the open directory `parent`, following no link."""
    with suppress(FileExistsError):
        os.mkdir(name, mode, dir_fd=parent)
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)


def ensure_home(root: Path, path: str, below: list[str]) -> None:
    """Create `root`/`path`, readable by its owner only, and the directories `below` it.

    `below` are mount points of other volumes: a container runtime would make them as root.

    Raises:
        HomeError: the path leaves `root`, goes through a link, or cannot be written.
    """
    descriptors: list[int] = []
    try:
        descriptors.append(os.open(root, os.O_RDONLY | os.O_DIRECTORY))
        for part in _relative_parts(path):
            descriptors.append(_open_directory(descriptors[-1], part, 0o700))
        home = descriptors[-1]
        if os.fstat(home).st_mode & 0o777 != 0o700:
            os.fchmod(home, 0o700)
        for mount_point in below:
            parent = home
            for part in _relative_parts(mount_point):
                descriptors.append(_open_directory(parent, part, 0o755))
                parent = descriptors[-1]
    except OSError as error:
        raise HomeError(f"{root}/{path}: {error.strerror} (uid {os.getuid()})") from error
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _mount_points_below(home: str, volume_mounts: Any) -> list[str]:
    mounts = volume_mounts.values() if isinstance(volume_mounts, dict) else volume_mounts
    return [
        mount["mountPath"][len(home) + 1 :]
        for mount in mounts
        if mount["mountPath"].startswith(f"{home}/") and not mount.get("subPath")
    ]


class HomeHook:
    """KubeSpawner's `pre_spawn_hook`: the user's home exists before the user's pod."""

    def __init__(self, root: Path, sub_path: str, home_mount_path: str) -> None:
        self.root = root
        self.sub_path = sub_path
        self.home_mount_path = home_mount_path.rstrip("/")

    def __call__(self, spawner: Any) -> None:
        """Create the home of the user whose server is about to start.

        The path comes from the function that KubeSpawner itself expands the volume mount's subPath
        with: what is created is what is mounted, whatever characters a user's name has.
        """
        ensure_home(
            self.root,
            spawner._expand_user_properties(self.sub_path),
            _mount_points_below(self.home_mount_path, spawner.volume_mounts),
        )
