"""kubectl, from the artifact cache, with a cluster's own kubeconfig."""

from __future__ import annotations

from pathlib import Path

from armillary.artifacts.build import build_artifact
from armillary.artifacts.manifest import load_manifest
from armillary.paths import ROOT
from armillary.tools.process import Completed, run


def program() -> Path:
    """Return kubectl's path, building it when it is not in the cache.

    Raises:
        ArtifactError: it could not be built.
    """
    entry = load_manifest(ROOT).get("kubernetes")
    return build_artifact(entry).bin_dir / "kubectl"


def kubectl(kubeconfig: Path, *arguments: str, timeout: float = 60) -> Completed:
    """Run kubectl.

    Raises:
        CommandError, CommandTimeout: see `tools.process.run`.
    """
    return run([str(program()), f"--kubeconfig={kubeconfig}", *arguments], timeout=timeout)


def see_off(kubeconfig: Path, node: str, *, timeout: float = 180) -> None:
    """Move a node's pods elsewhere and take it off Kubernetes' books; gone already is no error.

    Raises:
        CommandError, CommandTimeout: a pod could not be moved within `timeout` seconds.
    """
    known = kubectl(kubeconfig, "get", "node", node, "--ignore-not-found", "--output=name")
    if not known.stdout.strip():
        return
    kubectl(
        kubeconfig,
        "drain",
        node,
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--force",
        f"--timeout={timeout:.0f}s",
        timeout=timeout + 30,
    )
    kubectl(kubeconfig, "delete", "node", node, "--ignore-not-found")
