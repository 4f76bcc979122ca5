"""The whole platform on a real OpenStack's servers, all of it out of a bundle, and the proof. An hour where processors are emulated."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.lab import lines_of
from support.servers import ServerLab

from armillary.models.endpoints import Endpoints
from armillary.paths import ROOT, ClusterPaths
from armillary.sandbox.state import clouds_file
from armillary.tools.process import run

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]

NAME = "kube"
UP = 5400.0
VERIFY = 5400.0


@pytest.fixture(scope="module")
def lab(
    paths: ClusterPaths, provider: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerLab]:
    """A cluster of which nothing is made yet."""
    scratch = tmp_path_factory.mktemp("kube")
    config = scratch / "cluster.yml"
    text = (ROOT / "inventories" / "sandbox" / "cluster.yml").read_text()
    config.write_text(text.replace("name: rehearsal", f"name: {NAME}"))
    os.environ["OS_CLIENT_CONFIG_FILE"] = str(clouds_file(paths))
    found = ServerLab(config, scratch)
    yield found
    if found.paths.root.exists():
        found.invoke("down", "--with-data", "--yes-lose", NAME)


@pytest.fixture(scope="module")
def bundle(lab: ServerLab) -> Path:
    """What it is made from; Terraform's provider is in it."""
    lab.invoke("bundle", timeout=UP)
    for made in lab.root.glob(f"{NAME}-bundle.tar*"):
        shutil.move(made, lab.scratch)
    return lab.scratch / f"{NAME}-bundle.tar"


def test_up_makes_the_platform_from_a_bundle(lab: ServerLab, bundle: Path) -> None:
    lab.invoke("up", "--bundle", str(bundle), timeout=UP)
    assert lab.wrong() == {}


def test_hosts_took_their_packages_from_the_bundle(lab: ServerLab) -> None:
    """apt knows no other archive, and what roles wanted is installed."""
    for host in ("services-1", "worker-1"):
        shown = lab.on_host(host, "apt-get", "indextargets", "--format", "$(REPO_URI)")
        assert set(shown.split()) <= {
            line for line in shown.split() if line.startswith("file:/var/lib/armillary/packages-")
        }
        assert shown
    lab.on_host("services-1", "dpkg-query", "--show", "nfs-kernel-server", "restic", "haproxy")


def test_a_pod_runs_an_image_of_the_registry(lab: ServerLab) -> None:
    image = lab.inventory().image("debian")
    kubectl = ["kubectl", "--kubeconfig=/etc/kubernetes/admin.conf"]
    ran = lab.on_host(
        "control-1",
        *kubectl,
        *("run", "probe", "--rm", "--attach", "--quiet", "--restart=Never", f"--image={image}"),
        *("--pod-running-timeout=10m", "--", "cat", "/etc/os-release"),
        timeout=900,
    )
    assert "bookworm" in ran


def test_the_hub_answers_from_outside(lab: ServerLab) -> None:
    """Through the floating IP, the ingress and TLS of the cluster's own authority."""
    endpoint = Endpoints.model_validate_json(lab.paths.endpoints.read_text()).get("hub")
    assert endpoint is not None
    ca = str(lab.paths.pki / "ca.crt")
    said = run(
        ["curl", "-sS", "--noproxy", "*", "--cacert", ca, f"{endpoint.url}/hub/login"], timeout=120
    )
    assert "Sign in" in said.stdout


def test_the_proof_passes(lab: ServerLab) -> None:
    """`invoke test --verify`, as the tutorial has it: the same that `local` has to pass."""
    assert lines_of(lab.invoke("test", "--verify", timeout=VERIFY), " passed")
