"""kubectl, with a cluster's own kubeconfig."""

from __future__ import annotations

from pathlib import Path

from armillary.tools.process import Completed, run


def kubectl(program: Path, kubeconfig: Path, *arguments: str, timeout: float = 60) -> Completed:
    """Run kubectl.

    Args:
        program: kubectl itself.
        kubeconfig: which cluster, and who asks.
        arguments: the rest.
        timeout: seconds.

    Raises:
        CommandError, CommandTimeout: see `tools.process.run`.
    """
    return run([str(program), f"--kubeconfig={kubeconfig}", *arguments], timeout=timeout)


def see_off(program: Path, kubeconfig: Path, node: str, *, timeout: float = 180) -> None:
    """Move a node's pods elsewhere and take it off Kubernetes' books; gone already is no error.

    Raises:
        CommandError, CommandTimeout: a pod could not be moved within `timeout` seconds.
    """
    known = kubectl(program, kubeconfig, "get", "node", node, "--ignore-not-found", "--output=name")
    if not known.stdout.strip():
        return
    kubectl(
        program,
        kubeconfig,
        "drain",
        node,
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--force",
        f"--timeout={timeout:.0f}s",
        timeout=timeout + 30,
    )
    kubectl(program, kubeconfig, "delete", "node", node, "--ignore-not-found")
