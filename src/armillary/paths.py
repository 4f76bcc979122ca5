"""Where Armillary keeps things: the checkout, the cache, and each cluster's state directory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def cache_home() -> Path:
    """Return the directory of what can be made again (built artifacts, images, Go's caches)."""
    return Path(
        os.environ.get("ARMILLARY_CACHE_HOME")
        or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "armillary"
    )


def state_home() -> Path:
    """Return the directory of what cannot be made again (Terraform states, keys, secrets)."""
    return Path(
        os.environ.get("ARMILLARY_STATE_HOME")
        or Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "armillary"
    )


def all_clusters() -> list[ClusterPaths]:
    """Return the state directories of all clusters that were made from here."""
    return [ClusterPaths(each) for each in sorted((state_home() / "clusters").glob("*/"))]


@dataclass(frozen=True)
class ClusterPaths:
    """The files of one cluster's state directory."""

    root: Path

    @classmethod
    def of(cls, cluster: str) -> ClusterPaths:
        """Return the paths of the cluster of this name; nothing is made yet."""
        return cls(state_home() / "clusters" / cluster)

    @property
    def identity(self) -> Path:
        """The cloud this cluster lives on, written at the first `up` and compared ever after."""
        return self.root / "identity.json"

    @property
    def clouds_file(self) -> Path:
        """Which clouds.yaml the cluster was last made with; OpenStack alone."""
        return self.root / "clouds-file"

    @property
    def cluster_id(self) -> Path:
        """The UUID by which the cluster's own objects are known in a cloud others use too."""
        return self.root / "cluster-id"

    @property
    def applied(self) -> Path:
        """The cluster.yml of the last `up` that got past Terraform's plan."""
        return self.root / "applied.yml"

    @property
    def bundle(self) -> Path:
        """Where the bundle was unpacked that everything is taken from; there while one is used."""
        return self.root / "bundle"

    @property
    def images_source(self) -> Path:
        """What `images.source: auto` came to when the cluster was made: `build` or `mirror`."""
        return self.root / "images-source"

    @property
    def object_store(self) -> Path:
        """What the object store was found to be able to do."""
        return self.root / "object-store.json"

    @property
    def inventory(self) -> Path:
        return self.root / "inventory"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets.yml"

    @property
    def pki(self) -> Path:
        return self.root / "pki"

    @property
    def kubeconfig(self) -> Path:
        return self.root / "kubeconfig"

    @property
    def ssh(self) -> Path:
        return self.root / "ssh"

    @property
    def private_key(self) -> Path:
        return self.ssh / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        return self.ssh / "known_hosts"

    @property
    def ssh_config(self) -> Path:
        """How the hosts are reached: `ssh -F FILE HOST`."""
        return self.ssh / "config"

    @property
    def terraform(self) -> Path:
        return self.root / "terraform"

    @property
    def endpoints(self) -> Path:
        return self.root / "endpoints.json"

    @property
    def stages(self) -> Path:
        return self.root / "stages.json"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    def make(self) -> None:
        """Create the state directory, readable by its owner alone."""
        for path in (self.root, self.pki, self.ssh, self.logs, self.inventory):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.chmod(0o700)
