"""buildah: build container images from Containerfiles, with no daemon, in a storage of our own."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from armillary.tools.process import CommandError, Completed, run


@dataclass(frozen=True)
class Storage:
    """A directory for buildah's layers and containers; one process at a time may use it."""

    root: Path

    def prepare(self) -> None:
        """Make the storage, and remove what an interrupted build left: containers and mounts."""
        for name in ("graph", "run", "tmp"):
            (self.root / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        self._configuration.write_text(
            "[storage]\n"
            f"driver = {json.dumps(_driver(self.root))}\n"
            f"graphroot = {json.dumps(str(self.root / 'graph'))}\n"
            f"runroot = {json.dumps(str(self.root / 'run'))}\n"
        )
        self._buildah("rm", "--all", timeout=120, check=False)
        for mount in reversed(_mounts_below(self.root)):
            run(["umount", "--lazy", str(mount)], timeout=30, check=False)
        for leftover in (self.root / "tmp").iterdir():
            if leftover.is_dir() and not leftover.is_symlink():
                shutil.rmtree(leftover)
            else:
                leftover.unlink()

    def build(
        self,
        context: Path,
        image: str,
        *,
        arguments: Mapping[str, str],
        labels: Mapping[str, str],
        volumes: Sequence[str],
        timeout: float,
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        """Build `context`/Containerfile into one layer on its base and name it `image`.

        Args:
            context: the build context.
            image: the name in the storage.
            arguments: the Containerfile's ARGs.
            labels: labels of the image.
            volumes: `<host path>:<path inside>:ro|rw`, there during RUN and never in the image.
            timeout: seconds.
            on_line: called with each line buildah prints.

        Raises:
            CommandError, CommandTimeout, CommandMissing: see `tools.process.run`.
        """
        self._buildah(
            "build",
            # One layer: what a later step deletes takes no room, and no cache hands out old ones.
            "--layers=false",
            "--timestamp=0",
            # The label would hold buildah's version, so that an upgrade changed every digest.
            "--identity-label=false",
            "--format=oci",
            "--isolation=chroot",
            "--network=host",
            "--pull=never",
            *(f"--build-arg={name}={value}" for name, value in sorted(arguments.items())),
            *(f"--label={name}={value}" for name, value in sorted(labels.items())),
            *(f"--volume={each}" for each in volumes),
            f"--file={context / 'Containerfile'}",
            f"--tag={image}",
            str(context),
            timeout=timeout,
            on_line=on_line,
        )

    def export(self, image: str, layout: Path, reference: str) -> str:
        """Write an image as an OCI layout with zstd layers; return its digest (`sha256:...`)."""
        digest = layout.with_suffix(".digest")
        self._buildah(
            "push",
            "--quiet",
            "--format=oci",
            "--compression-format=zstd",
            f"--digestfile={digest}",
            image,
            f"oci:{layout}:{reference}",
            timeout=900,
        )
        found = digest.read_text().strip()
        digest.unlink()
        return found

    def load(self, layout: Path, reference: str, image: str) -> None:
        """Take an image from an OCI layout and name it `image`."""
        # `buildah pull` makes a name of the layout's path, which fails where that ends in a digest.
        self._run(
            "skopeo",
            "copy",
            "--quiet",
            f"oci:{layout}:{reference}",
            f"containers-storage:{image}",
            timeout=600,
        )

    def identity(self, image: str) -> str | None:
        """Return the id of an image (the digest of its configuration), or None without it."""
        try:
            shown = self._buildah(
                "inspect", "--type=image", "--format={{.FromImageID}}", image, timeout=60
            )
        except CommandError:
            return None
        return shown.stdout.strip() or None

    def remove(self, image: str) -> None:
        """Remove an image by its name; nothing happens when there is none."""
        self._buildah("rmi", "--force", image, timeout=120, check=False)

    def prune(self) -> None:
        """Remove the images that have no name any more."""
        self._buildah("rmi", "--prune", "--force", timeout=120, check=False)

    @property
    def _configuration(self) -> Path:
        return self.root / "storage.conf"

    def _buildah(
        self,
        *arguments: str,
        timeout: float,
        check: bool = True,
        on_line: Callable[[str], None] | None = None,
    ) -> Completed:
        return self._run("buildah", *arguments, timeout=timeout, check=check, on_line=on_line)

    def _run(
        self,
        *argv: str,
        timeout: float,
        check: bool = True,
        on_line: Callable[[str], None] | None = None,
    ) -> Completed:
        return run(
            argv,
            timeout=timeout,
            check=check,
            on_line=on_line,
            env={
                "CONTAINERS_STORAGE_CONF": str(self._configuration),
                # Layers are spooled here; the default is /var/tmp, which a kill -9 would litter.
                "TMPDIR": str(self.root / "tmp"),
            },
        )


def _driver(root: Path) -> str:
    """Return the storage driver that works here: overlay does not stack upon overlay."""
    if chosen := os.environ.get("STORAGE_DRIVER"):
        return chosen
    best, kind = "", ""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, after = line.split(" - ", 1)
        point = _unescaped(before.split()[4])
        if root.resolve().is_relative_to(point) and len(point) >= len(best):
            best, kind = point, after.split()[0]
    return "vfs" if kind == "overlay" else "overlay"


def _mounts_below(root: Path) -> list[Path]:
    """Return what is mounted below a directory, in the order in which it was mounted."""
    points = [
        Path(_unescaped(line.split()[4]))
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
    ]
    return [point for point in points if point.is_relative_to(root.resolve())]


def _unescaped(field: str) -> str:
    """Return a path of mountinfo(5), which writes blanks as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found.group(1), 8)), field)
