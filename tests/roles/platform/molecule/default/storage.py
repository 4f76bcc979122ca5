"""See that volumes keep what pods write: `storage.py KUBECONFIG IMAGE WORKER WORKER`."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

from support.kube import Kube

CLAIMS = {
    "own": {"accessModes": ["ReadWriteOnce"]},
    "common": {"accessModes": ["ReadWriteMany"], "storageClassName": "shared"},
}


def main(kubeconfig: Path, image: str, here: str, there: str) -> None:
    """Write in one pod and read in the next: of the default class anywhere, of `shared` elsewhere."""
    kube = Kube(kubeconfig)
    with kube.namespace("mol-storage") as namespace:
        for claim, nodes in {"own": (None, None), "common": (here, there)}.items():
            size = {"resources": {"requests": {"storage": "1Mi"}}}
            kube.core.create_namespaced_persistent_volume_claim(
                namespace, {"metadata": {"name": claim}, "spec": {**CLAIMS[claim], **size}}
            )
            word = secrets.token_hex(16)
            for node, command in zip(
                nodes, (f"echo {word} > /data/word", "cat /data/word"), strict=True
            ):
                kube.start_pod(namespace, claim, image, node=node, claims={claim: "/data"})
                kube.running(namespace, claim)
                ran = kube.run(namespace, claim, ["sh", "-c", command])
                kube.delete_pod(namespace, claim)
            assert ran.out.strip() == word, f"{claim}: {ran}"
    kube.close()


if __name__ == "__main__":
    kubeconfig, image, here, there = sys.argv[1:]
    main(Path(kubeconfig), image, here, there)
