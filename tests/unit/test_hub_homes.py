"""The home directories that the hub makes before a user's pod starts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "charts/jupyterhub/files/hub"))

from homes import HomeError, HomeHook, ensure_home


class Spawner:
    """As much of KubeSpawner as the hook uses."""

    def __init__(self, username: str, mounts: list[dict[str, str]]) -> None:
        self.username = username
        self.volume_mounts = mounts

    def _expand_user_properties(self, template: str) -> str:
        return template.format(username=self.username)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_home_is_its_owners_alone(tmp_path: Path) -> None:
    ensure_home(tmp_path, "alice", [])
    assert mode(tmp_path / "alice") == 0o700


def test_a_home_that_was_opened_is_closed_again_and_keeps_its_files(tmp_path: Path) -> None:
    ensure_home(tmp_path, "alice", [])
    (tmp_path / "alice" / "result.fits").write_bytes(b"SIMPLE")
    (tmp_path / "alice").chmod(0o777)
    ensure_home(tmp_path, "alice", [])
    assert mode(tmp_path / "alice") == 0o700
    assert (tmp_path / "alice" / "result.fits").read_bytes() == b"SIMPLE"


@pytest.mark.parametrize("path", ["../alice", "/etc", "a/../../b", "", "."])
def test_a_path_that_leaves_the_space_is_refused(tmp_path: Path, path: str) -> None:
    root = tmp_path / "homes"
    root.mkdir()
    with pytest.raises(HomeError):
        ensure_home(root, path, [])
    assert list(tmp_path.iterdir()) == [root]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "bob").mkdir(mode=0o755)
    (tmp_path / "alice").symlink_to(tmp_path / "bob")
    with pytest.raises(HomeError, match="alice"):
        ensure_home(tmp_path, "alice", [])
    assert mode(tmp_path / "bob") == 0o755


def test_a_missing_space_is_named_to_the_user(tmp_path: Path) -> None:
    with pytest.raises(HomeError) as caught:
        ensure_home(tmp_path / "absent", "alice", [])
    assert "absent/alice: No such file or directory" in caught.value.jupyterhub_message


def test_hook_makes_home_and_the_mount_points_in_it(tmp_path: Path) -> None:
    hook = HomeHook(tmp_path, "homes-of/{username}", "/home/jovyan/")
    hook(
        Spawner(
            "alice",
            [
                {"name": "home", "mountPath": "/home/jovyan", "subPath": "homes-of/{username}"},
                {"name": "examples", "mountPath": "/home/jovyan/examples"},
                {"name": "file", "mountPath": "/home/jovyan/.config/x.json", "subPath": "x.json"},
                {"name": "data", "mountPath": "/srv/data"},
            ],
        )
    )
    assert sorted(
        str(path.relative_to(tmp_path)) for path in (tmp_path / "homes-of" / "alice").rglob("*")
    ) == ["homes-of/alice/examples"]
