"""Kubernetes itself: whole, its secrets encrypted, and closed to strangers."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from support.hosts import HostOf
from support.inventory import Inventory
from support.kube import Kube
from support.waiting import patient

from armillary.models.cluster import Cluster

KUBELET, KUBELET_READ_ONLY, ETCD = 10250, 10255, 2379
NO_CONNECTION, NO_ANSWER, NO_HANDSHAKE = 7, 28, 35
"""curl's exit codes: nothing listens; nobody answers; the other side broke TLS off."""
ETCD_PKI = "/etc/kubernetes/pki/etcd"


@pytest.fixture
def stranger(kube: Kube) -> Iterator[requests.Session]:
    """Somebody who can reach the API, and has no credentials."""
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(kube.authority)
        yield session


def test_every_host_is_a_ready_node(kube: Kube, cluster: Cluster) -> None:
    nodes = {node.metadata.name: node for node in kube.core.list_node().items}
    wanted = [*cluster.control_planes(), *cluster.workers()]
    assert set(nodes) == {host.name for host in wanted}
    for host in wanted:
        conditions = {c.type: c.status for c in nodes[host.name].status.conditions}
        assert conditions["Ready"] == "True", host.name
        assert not any(conditions[kind] == "True" for kind in conditions if kind != "Ready")
        addresses = {a.type: a.address for a in nodes[host.name].status.addresses}
        assert addresses["InternalIP"] == host.address


def test_every_control_plane_serves_the_api(
    kube: Kube, cluster: Cluster, inventory: Inventory, on_host: HostOf
) -> None:
    """One or three, each with an API server and an etcd of its own, all of one mind."""
    planes = cluster.control_planes()
    assert len(planes) in (1, 3)
    asker = on_host(inventory.of_role("services")[0].name)
    for host in planes:
        url = f"https://{host.address}:6443/readyz"
        assert asker.check_output(f"{_curl()} %s", url) == "ok", host.name
        names = {each["name"] for each in _etcdctl(kube, host.name, "member", "list")["members"]}
        assert names == {plane.name for plane in planes}


def test_secrets_are_encrypted_on_disk(kube: Kube, cluster: Cluster) -> None:
    """etcd has a ConfigMap as it was written, so it is the right place to look; not so a Secret."""
    word = secrets.token_hex(16)
    with kube.namespace() as namespace:
        metadata = {"name": "proof"}
        kube.core.create_namespaced_config_map(
            namespace, {"metadata": metadata, "data": {"word": word}}
        )
        kube.core.create_namespaced_secret(
            namespace, {"metadata": metadata, "stringData": {"word": word}}
        )
        for host in cluster.control_planes():
            plain = _stored(kube, host.name, f"/registry/configmaps/{namespace}/proof")
            assert word.encode() in plain
            sealed = _stored(kube, host.name, f"/registry/secrets/{namespace}/proof")
            assert sealed.startswith(b"k8s:enc:secretbox:v1:")
            assert word.encode() not in sealed
        # With the key, it is what it was.
        found = kube.core.read_namespaced_secret("proof", namespace)
        assert base64.b64decode(found.data["word"]).decode() == word


@pytest.mark.parametrize(
    "path", ["/api/v1/namespaces", "/api/v1/secrets", "/apis/apps/v1/deployments"]
)
def test_the_api_tells_strangers_nothing(kube: Kube, stranger: requests.Session, path: str) -> None:
    assert stranger.get(kube.server + path, timeout=patient(10)).status_code in {401, 403}


@pytest.mark.parametrize("kind", ["made up", "signed by another"])
def test_a_strangers_token_is_refused(kube: Kube, stranger: requests.Session, kind: str) -> None:
    """Even for what everybody may see, `/version`: who lies about who he is gets nothing."""
    token = secrets.token_urlsafe(32)
    if kind == "signed by another":
        subject = {"sub": "system:serviceaccount:kube-system:default", "exp": 2**32}
        token = ".".join((_part({"alg": "RS256", "kid": "x"}), _part(subject), token))
    answer = stranger.get(
        f"{kube.server}/version", headers={"Authorization": f"Bearer {token}"}, timeout=patient(10)
    )
    assert answer.status_code == 401
    assert stranger.get(f"{kube.server}/version", timeout=patient(10)).status_code == 200


def test_a_pods_own_token_opens_nothing(kube: Kube, stranger: requests.Session) -> None:
    """A new namespace's service account is known to the API, and may not read secrets."""
    with kube.namespace() as namespace:
        token = kube.core.create_namespaced_service_account_token(
            "default", namespace, {"spec": {"expirationSeconds": 600}}
        ).status.token
        headers = {"Authorization": f"Bearer {token}"}
        for path in (f"/api/v1/namespaces/{namespace}/secrets", "/api/v1/pods", "/api/v1/nodes"):
            answer = stranger.get(kube.server + path, headers=headers, timeout=patient(10))
            assert answer.status_code == 403, path


def test_kubelets_answer_nobody_without_credentials(
    inventory: Inventory, on_host: HostOf, cluster: Cluster
) -> None:
    """Asked from a control plane, to which a cloud opens their port. Neither their API nor the old read-only port."""
    asker = on_host(inventory.of_role("control_plane")[-1].name)
    for host in (*cluster.control_planes(), *cluster.workers()):
        for path in ("pods", "metrics", "run/kube-system/any/any"):
            url = f"https://{host.address}:{KUBELET}/{path}"
            status = asker.check_output(f"{_curl()} -o /dev/null -w '%%{{http_code}}' %s", url)
            assert status == "401", f"{url} answered {status}"
        url = f"http://{host.address}:{KUBELET_READ_ONLY}/pods"
        assert asker.run("curl -s -m 5 %s", url).rc in (NO_CONNECTION, NO_ANSWER)


def test_etcd_speaks_with_its_own_only(
    inventory: Inventory, on_host: HostOf, cluster: Cluster
) -> None:
    """Without a client certificate of its authority, TLS itself ends, also for who is let near it by a cloud."""
    asker = on_host(inventory.of_role("control_plane")[-1].name)
    for host in cluster.control_planes():
        url = f"https://{host.address}:{ETCD}/version"
        # TLS 1.3 would let the client believe for a moment that it is in.
        command = f"{_curl()} --tls-max 1.2 %s"
        assert asker.run(command, url).rc == NO_HANDSHAKE
        own = f"--cert {ETCD_PKI}/server.crt --key {ETCD_PKI}/server.key"
        with on_host(host.name).sudo():
            assert "etcdserver" in on_host(host.name).check_output(f"{command} {own}", url)


def test_pod_security_refuses_what_is_not_restricted(kube: Kube, inventory: Inventory) -> None:
    """The namespaces these tests use are as strict as they say."""
    with kube.namespace() as namespace:
        container = {"name": "main", "image": inventory.image("debian"), "command": ["true"]}
        pod = {"metadata": {"name": "loose"}, "spec": {"containers": [container]}}
        with pytest.raises(Exception, match="violates PodSecurity") as refused:
            kube.core.create_namespaced_pod(namespace, pod)
        assert getattr(refused.value, "status", None) == 403


def _curl() -> str:
    """Return how a host's curl is called, which trusts whatever answers."""
    return f"curl -ks -m {patient(10):.0f}"


def _etcdctl(kube: Kube, control_plane: str, *arguments: str) -> Any:
    """Ask the etcd of a control plane, with the credentials that are on it."""
    argv = [
        "etcdctl",
        f"--endpoints=https://127.0.0.1:{ETCD}",
        f"--cacert={ETCD_PKI}/ca.crt",
        f"--cert={ETCD_PKI}/server.crt",
        f"--key={ETCD_PKI}/server.key",
        "--write-out=json",
        *arguments,
    ]
    ran = kube.run("kube-system", f"etcd-{control_plane}", argv)
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def _stored(kube: Kube, control_plane: str, key: str) -> bytes:
    """Return what etcd has on its disk under a key."""
    found = _etcdctl(kube, control_plane, "get", key)
    return base64.b64decode(found["kvs"][0]["value"])


def _part(content: dict[str, Any]) -> str:
    """Return a part of a JSON Web Token."""
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")
