"""The network of pods: who reaches whom, by which name, and who is kept out."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from support.inventory import Inventory
from support.kube import Kube
from support.waiting import patient, until

from armillary.models.cluster import Cluster
from armillary.models.endpoints import Endpoints
from armillary.paths import ClusterPaths

PORT, BULK_PORT = 8080, 8081
BULK = 4 * 2**20
"""Bytes; some thousands of full-sized packets, as a wrong MTU anywhere would lose."""
SOON = 15.0
"""Seconds until every host has to know of a policy."""
SERVER = f"""
use IO::Socket::INET;
for my $port ({PORT}, {BULK_PORT}) {{
    my $socket = IO::Socket::INET->new(LocalPort => $port, Listen => 64, ReuseAddr => 1) or die $!;
    next if fork;
    while (my $client = $socket->accept) {{
        print $client $port == {PORT} ? "$ENV{{HOSTNAME}}\\n" : "x" x {BULK};
        close $client;
    }}
}}
wait;
"""

ASK_API = r"""
cd /var/run/secrets/kubernetes.io/serviceaccount
for path in /api/v1 /api/v1/namespaces/kube-system/secrets; do
  printf 'GET %s HTTP/1.0\r\nHost: kubernetes.default\r\n' "$path" > /tmp/ask
  printf 'Authorization: Bearer %s\r\n\r\n' "$(cat token)" >> /tmp/ask
  timeout SECONDS openssl s_client -quiet -verify_return_error -verify_hostname kubernetes.default \
    -CAfile ca.crt -connect kubernetes.default:443 < /tmp/ask 2> /tmp/said | sed -n '1s/^[^ ]* //p'
done
"""


@dataclass(frozen=True)
class Lab:
    """On each of two hosts a server, a friend and a stranger; all in one namespace."""

    kube: Kube
    namespace: str
    hosts: tuple[str, str]
    addresses: dict[str, str]
    """Pod -> address."""

    def heard(self, client: str, *servers: str) -> list[str | None]:
        """Return what a pod hears from each `host:port`; None where there is no way there."""
        found = self.kube.reach(self.namespace, client, servers)
        return [found[server] for server in servers]

    def at(self, pod: str, port: int = PORT) -> str:
        """Return where a pod listens."""
        return f"{self.addresses[pod]}:{port}"

    def everything(self, client: str) -> list[str | None]:
        """Return what a pod hears from both servers."""
        return self.heard(client, self.at("server-0"), self.at("server-1"))


SERVERS = ["server-0", "server-1"]
Heard = list[str | None]
OPEN: Heard = [*SERVERS]
SHUT: Heard = [None, None]


@pytest.fixture(scope="module")
def lab(kube: Kube, inventory: Inventory) -> Iterator[Lab]:
    """Six small pods on two workers, and Services for them."""
    workers = [host.name for host in inventory.of_role("worker")][:2]
    if len(workers) < 2:
        pytest.skip("there is one worker only, so nothing crosses hosts")
    image = inventory.image("debian")
    pods = [(f"{role}-{i}", i, role) for i in (0, 1) for role in ("server", "friend", "stranger")]
    with kube.namespace() as namespace:
        for name, index, role in pods:
            kube.start_pod(
                namespace,
                name,
                image,
                command=["perl", "-e", SERVER] if role == "server" else ("sleep", "infinity"),
                node=workers[index],
                labels={"role": role, "pod": name},
                token=role == "friend",
            )
        for name, selector in (
            ("servers", {"role": "server"}),
            *((server, {"pod": server}) for server in SERVERS),
        ):
            ports = [{"port": 80, "targetPort": PORT}]
            kube.core.create_namespaced_service(
                namespace,
                {"metadata": {"name": name}, "spec": {"selector": selector, "ports": ports}},
            )
        addresses = {name: kube.running(namespace, name).status.pod_ip for name, _, _ in pods}
        found = Lab(kube, namespace, (workers[0], workers[1]), addresses)
        until(lambda: found.everything("friend-0") == OPEN, "servers listen", SOON)
        yield found


def test_every_worker_carries_pods(kube: Kube, inventory: Inventory, cluster: Cluster) -> None:
    """Each takes a pod, with an address of the pods' network, and runs it."""
    workers = [host.name for host in inventory.of_role("worker")]
    image = inventory.image("debian")
    with kube.namespace() as namespace:
        for worker in workers:
            kube.start_pod(namespace, worker, image, node=worker)
        for worker in workers:
            pod = kube.running(namespace, worker)
            assert pod.spec.node_name == worker
            assert ip_address(pod.status.pod_ip) in cluster.network.pods
            assert kube.run(namespace, worker, ["hostname"]).out.strip() == worker


def test_pods_reach_each_other_on_one_host_and_across(lab: Lab) -> None:
    for client in ("friend-0", "friend-1", "stranger-0", "stranger-1"):
        assert lab.everything(client) == OPEN


@pytest.mark.parametrize("server", SERVERS)
def test_much_data_arrives_whole(lab: Lab, server: str) -> None:
    script = f"cat < /dev/tcp/{lab.addresses[server]}/{BULK_PORT} | wc -c"
    ran = lab.kube.run(
        lab.namespace, "friend-0", ["timeout", f"{patient(20):.0f}", "bash", "-c", script]
    )
    assert ran.out.strip() == str(BULK)


@pytest.mark.parametrize("client", ["friend-0", "friend-1"])
def test_services_are_reached_by_name(lab: Lab, client: str) -> None:
    """Short and full; and one Service stands for pods on both hosts."""
    full = [f"{server}.{lab.namespace}.svc.cluster.local:80" for server in SERVERS]
    assert lab.heard(client, *(f"{server}:80" for server in SERVERS)) == OPEN
    assert lab.heard(client, *full) == OPEN
    balanced: set[str | None] = set()

    def both() -> bool:
        balanced.update(lab.heard(client, *(f"servers.{lab.namespace}:80" for _ in range(4))))
        return balanced >= set(OPEN)

    until(both, "an answer from the pods of both hosts", SOON)
    assert balanced == set(OPEN)


def test_names_of_services_resolve(lab: Lab) -> None:
    service = lab.kube.core.read_namespaced_service("servers", lab.namespace)
    for name in (f"servers.{lab.namespace}.svc.cluster.local", "servers"):
        ran = lab.kube.run(lab.namespace, "friend-0", ["getent", "ahostsv4", name])
        assert ran.out.split()[0] == service.spec.cluster_ip


@pytest.mark.parametrize("name", ["nobody.example.invalid", "nobody.svc.cluster.local", "nobody"])
def test_names_nobody_has_fail_soon(lab: Lab, name: str) -> None:
    """An answer, that there is none: not silence until the resolver's patience ends (5 s and more).

    On a network without the world outside as well.
    """
    ran = lab.kube.run(
        lab.namespace, "stranger-1", ["timeout", "4", "getent", "ahostsv4", name], timeout=10
    )
    assert ran.code == 2  # getent(1): not found in the database.


@pytest.mark.parametrize("client", ["friend-0", "friend-1"])
def test_the_api_is_reached_by_name(lab: Lab, client: str) -> None:
    """By TLS that the pod's CA file vouches for, with the pod's token, which opens little."""
    script = ASK_API.replace("SECONDS", f"{patient(10):.0f}")
    ran = lab.kube.run(lab.namespace, client, ["bash", "-c", script])
    assert [line[:3] for line in ran.out.splitlines()] == ["200", "403"], ran


def test_a_policy_lets_in_whom_it_names_and_nobody_else(lab: Lab) -> None:
    """On one host and across hosts alike; and when it is gone, all are let in again."""
    deny = _policy("deny", {"podSelector": {}, "policyTypes": ["Ingress"]})
    allow = _policy(
        "allow",
        {
            "policyTypes": ["Ingress"],
            "ingress": [
                {
                    "from": [{"podSelector": {"matchLabels": {"role": "friend"}}}],
                    "ports": [{"port": PORT}],
                }
            ],
        },
    )
    api = lab.kube.networking
    api.create_namespaced_network_policy(lab.namespace, deny)
    _wait_for(lab, {"friend-0": SHUT, "friend-1": SHUT, "stranger-0": SHUT, "stranger-1": SHUT})
    api.create_namespaced_network_policy(lab.namespace, allow)
    _wait_for(lab, {"friend-0": OPEN, "friend-1": OPEN, "stranger-0": SHUT, "stranger-1": SHUT})
    # By the Service as well, and on the one port that is named.
    assert lab.heard("stranger-0", "server-0:80", "server-1:80") == SHUT
    assert lab.heard("friend-0", "server-0:80", "server-1:80") == OPEN
    bulk = [lab.at(server, BULK_PORT) for server in SERVERS]
    assert lab.heard("friend-0", *bulk) == SHUT
    for policy in (allow, deny):
        api.delete_namespaced_network_policy(policy["metadata"]["name"], lab.namespace)
    _wait_for(lab, {"friend-0": OPEN, "friend-1": OPEN, "stranger-0": OPEN, "stranger-1": OPEN})


def test_a_policy_lets_out_to_what_it_names_and_nowhere_else(lab: Lab) -> None:
    """The strangers may ask for names and reach one of the servers; the friends are free."""
    out = _policy(
        "out",
        {
            "podSelector": {"matchLabels": {"role": "stranger"}},
            "policyTypes": ["Egress"],
            "egress": [
                {"to": [{"podSelector": {"matchLabels": {"pod": "server-1"}}}]},
                {
                    "to": [{"namespaceSelector": {}}],
                    "ports": [{"port": 53, "protocol": p} for p in ("UDP", "TCP")],
                },
            ],
        },
    )
    one: Heard = [None, "server-1"]
    lab.kube.networking.create_namespaced_network_policy(lab.namespace, out)
    _wait_for(lab, {"stranger-0": one, "stranger-1": one, "friend-0": OPEN, "friend-1": OPEN})
    assert lab.heard("stranger-0", "server-0:80", "server-1:80") == one
    lab.kube.networking.delete_namespaced_network_policy("out", lab.namespace)
    _wait_for(lab, {"stranger-0": OPEN, "stranger-1": OPEN})


def _policy(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    """Return a NetworkPolicy on the servers, unless its specification names other pods."""
    servers = {"podSelector": {"matchLabels": {"role": "server"}}}
    return {"metadata": {"name": name}, "spec": {**servers, **spec}}


def _wait_for(lab: Lab, wanted: dict[str, Heard]) -> None:
    """Wait until pods reach what they should and nothing else, then see that it stays so."""
    seen: dict[str, Heard] = {}

    def as_wanted() -> bool:
        with ThreadPoolExecutor(len(wanted)) as pool:
            seen.update(zip(wanted, pool.map(lab.everything, wanted), strict=True))
        return seen == wanted

    until(as_wanted, f"pods reach {wanted}", SOON, why=lambda: f"They reach {seen}")
    assert as_wanted(), f"it did not last: pods reach {seen}"


def test_the_way_in_is_https_with_the_clusters_certificate(
    endpoints: Endpoints, paths: ClusterPaths
) -> None:
    with _browser() as browser:
        answer = browser.get(_hub(endpoints), verify=str(paths.pki / "ca.crt"), timeout=patient(10))
        assert answer.status_code == 200
        assert urlsplit(answer.url).scheme == "https"
        # The authorities of the world have not signed it.
        with pytest.raises(requests.exceptions.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
            browser.get(_hub(endpoints), timeout=patient(10))


def test_http_leads_to_https(endpoints: Endpoints) -> None:
    """So that who types a name alone comes to the hub."""
    address = _hub(endpoints)
    with _browser() as browser:
        answer = browser.get(
            address.replace("https:", "http:") + "hub/login?next=%2F",
            allow_redirects=False,
            timeout=patient(10),
        )
    assert answer.status_code in {301, 308}
    assert answer.headers["Location"] == f"{address}hub/login?next=%2F"


def test_a_site_nobody_has_is_not_the_hub(endpoints: Endpoints, paths: ClusterPaths) -> None:
    """A request for another name gets nothing of the hub's."""
    with _browser() as browser:
        answer = browser.get(
            _hub(endpoints),
            headers={"Host": "another.invalid"},
            verify=str(paths.pki / "ca.crt"),
            timeout=patient(10),
            allow_redirects=False,
        )
    assert answer.status_code in {404, 421}


def _hub(endpoints: Endpoints) -> str:
    found = endpoints.get("hub")
    if found is None:
        pytest.skip("the cluster has no JupyterHub, so there is nothing behind the ingress")
    return found.url


def _browser() -> requests.Session:
    """Return a session that no setting of this machine changes."""
    session = requests.Session()
    session.trust_env = False
    return session
