"""services/netpol enforces NetworkPolicy: real packets between network namespaces.

The cases follow the upstream end-to-end tests, whose names they carry:
https://github.com/kubernetes/kubernetes/blob/v1.36.3/test/e2e/network/netpol/network_policy.go
As there, each case tries all pairs of pods, not only those that its policy names.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from armillary.artifacts.build import build_artifact
from armillary.artifacts.manifest import load_manifest
from armillary.paths import ROOT
from tests.contract.netns import Lab, Probe

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(
        os.geteuid() != 0 or not shutil.which("nft"), reason="needs root and the package nftables"
    ),
]

ADDRESSES = {
    "node": "10.99.1.1",
    "x/a": "10.99.1.11",
    "x/b": "10.99.1.12",
    "x/c": "10.99.1.13",
    "y/a": "10.99.1.21",
    "y/b": "10.99.2.22",
    "z/a": "10.99.2.31",
    "outside": "192.0.2.9",
}
REMOTE = {"y/b", "z/a"}
PODS = [name for name in ADDRESSES if "/" in name]
PORTS = (80, 81)
SETTLED_WITHIN = 5.0
"""Seconds from a change of policy to packets that obey it: includes the attempts themselves."""

Rule = Callable[[Probe], bool]


def always(probe: Probe) -> bool:
    """Allow."""
    return True


def never(probe: Probe) -> bool:
    """Refuse."""
    return False


def pod(name: str) -> dict[str, Any]:
    """Return the object of the pod at this place of the lab."""
    namespace, short = name.split("/")
    ports = [
        {"name": f"serve-{port}-{protocol}", "containerPort": port, "protocol": protocol.upper()}
        for port in PORTS
        for protocol in ("tcp", "udp")
    ]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": namespace,
            "name": short,
            "uid": f"uid-{namespace}-{short}",
            "labels": {"pod": short},
        },
        "spec": {
            "nodeName": "other-1" if name in REMOTE else "worker-1",
            "containers": [{"name": "serve", "ports": ports}],
        },
        "status": {"phase": "Running", "podIPs": [{"ip": ADDRESSES[name]}]},
    }


def policy(name: str = "policy", namespace: str = "x", **spec: Any) -> dict[str, Any]:
    """Return a NetworkPolicy of namespace x that selects all its pods, unless told otherwise."""
    spec.setdefault("podSelector", {})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"namespace": namespace, "name": name},
        "spec": spec,
    }


def cluster() -> list[dict[str, Any]]:
    """Return the objects that all cases have."""
    namespaces = [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": {"ns": name}},
        }
        for name in "xyz"
    ]
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "worker-1"},
        "spec": {"podCIDRs": ["10.99.1.0/24"]},
    }
    return [node, *namespaces, *(pod(name) for name in PODS)]


@dataclass
class Agent:
    """A running netpol that follows the objects in a directory."""

    lab: Lab
    binary: Path
    objects: Path
    cache: Path
    log: Path
    process: subprocess.Popen[bytes] | None = None
    probes: list[Probe] = field(default_factory=list)

    def start(self, *extra: str) -> None:
        """Start it in the node's network namespace."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    "ip",
                    "netns",
                    "exec",
                    self.lab.router.name,
                    str(self.binary),
                    *self.options(extra),
                ],
                stderr=log,
                stdout=log,
            )

    def options(self, extra: tuple[str, ...] = ()) -> list[str]:
        """Return its arguments."""
        return [
            "--node=worker-1",
            f"--offline={self.objects}",
            f"--cni-cache={self.cache}",
            "--listen=127.0.0.1:9474",
            *extra,
        ]

    def stop(self) -> None:
        """End it as a kubelet does."""
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(10)
            self.process = None

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the node's network namespace."""
        return subprocess.run(
            ["ip", "netns", "exec", self.lab.router.name, *arguments],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )

    def write(self, *policies: dict[str, Any], objects: list[dict[str, Any]] | None = None) -> None:
        """Put the cluster's objects in place of those before, at once."""
        fresh = self.objects.with_suffix(".new")
        everything = (cluster() if objects is None else objects) + list(policies)
        fresh.write_text("\n---\n".join(json.dumps(each) for each in everything))
        fresh.rename(self.objects / "objects.yaml")

    def metrics(self) -> dict[str, float]:
        """Return what /metrics says."""

        def ask() -> str:
            with urllib.request.urlopen("http://127.0.0.1:9474/metrics", timeout=5) as answer:
                return str(answer.read().decode())

        rows = re.findall(r"^armillary_netpol_(\S+) (\S+)$", self.lab.router.do(ask), re.M)
        return {name: float(value) for name, value in rows}

    def settles(self, expected: dict[Probe, bool]) -> None:
        """Wait until all probes give what is expected, and see that it stays so."""
        end = time.monotonic() + SETTLED_WITHIN
        while (wrong := self.wrong(expected)) and time.monotonic() < end:
            pass
        wrong = wrong or self.wrong(expected)
        assert not wrong, "\n".join(
            [*wrong, self.run("nft", "list", "ruleset").stdout, self.log.read_text()[-2000:]]
        )

    def wrong(self, expected: dict[Probe, bool]) -> list[str]:
        """Return the probes that give something else."""
        return [
            f"{probe}: {'reached' if got else 'dropped'}"
            for probe, got in self.lab.reached(expected).items()
            if got != expected[probe]
        ]


def matrix(
    ingress: Rule, egress: Rule, protocols: tuple[str, ...] = ("tcp", "udp")
) -> dict[Probe, bool]:
    """Return what must happen between all, where each rule counts for pods of this node alone.

    The node reaches its pods and every pod itself, whatever the rules say:
    https://kubernetes.io/docs/concepts/services-networking/network-policies/#the-two-sorts-of-pod-isolation
    """
    expected = {}
    for source in ADDRESSES:
        for target in [*PODS, "outside"]:
            for port in PORTS:
                for protocol in protocols:
                    probe = Probe(source, target, port, protocol)
                    allowed = source in ("node", target) or (
                        (source in REMOTE or source == "outside" or egress(probe))
                        and (target in REMOTE or target == "outside" or ingress(probe))
                    )
                    expected[probe] = allowed
    return expected


@pytest.fixture(scope="module")
def binary() -> Path:
    """Build the agent, or take it from the cache."""
    return build_artifact(load_manifest(ROOT).get("netpol")).bin_dir / "netpol"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Make the namespaces once; the rules are what changes."""
    made = Lab(ADDRESSES, PORTS)
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared_agent(
    binary: Path, lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Agent]:
    """Let one agent go from case to case: each is a change of the one before, as in a cluster."""
    folder = tmp_path_factory.mktemp("netpol")
    (folder / "objects").mkdir()
    (folder / "cache").mkdir()
    made = Agent(lab, binary, folder / "objects", folder / "cache", folder / "log")
    made.write()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def agent(shared_agent: Agent) -> Agent:
    """Give the running agent, with no policy to begin with."""
    shared_agent.write()
    shared_agent.settles({Probe("y/a", "x/a", 80): True, Probe("x/a", "z/a", 80): True})
    return shared_agent


def to_x(allowed: Rule) -> Rule:
    """Limit what namespace x receives; the others are open."""
    return lambda probe: not probe.target.startswith("x/") or allowed(probe)


def from_x(allowed: Rule) -> Rule:
    """Limit what namespace x sends."""
    return lambda probe: not probe.source.startswith("x/") or allowed(probe)


NS_Y = {"namespaceSelector": {"matchLabels": {"ns": "y"}}}
POD_A = {"podSelector": {"matchLabels": {"pod": "a"}}}
BOTH = {**NS_Y, **POD_A}
INGRESS, EGRESS = ["Ingress"], ["Egress"]

CASES: dict[str, tuple[list[dict[str, Any]], Rule, Rule]] = {
    "should support a 'default-deny-ingress' policy": (
        [policy(policyTypes=INGRESS)],
        to_x(never),
        always,
    ),
    "should support a 'default-deny-all' policy": (
        [policy(policyTypes=INGRESS + EGRESS)],
        to_x(never),
        from_x(never),
    ),
    "should enforce policy to allow traffic from pods within server namespace": (
        [
            policy(
                podSelector={"matchLabels": {"pod": "a"}},
                ingress=[{"from": [{"podSelector": {"matchLabels": {"pod": "b"}}}]}],
            )
        ],
        lambda p: p.target != "x/a" or p.source == "x/b",
        always,
    ),
    "should enforce policy to allow ingress traffic for a target (no policyTypes: ingress only)": (
        [policy(ingress=[{}])],
        always,
        always,
    ),
    "should enforce policy to allow ingress traffic from pods in all namespaces": (
        [policy(ingress=[{"from": [{"namespaceSelector": {}}]}])],
        to_x(lambda p: p.source in PODS),
        always,
    ),
    "should enforce policy to allow traffic only from a different namespace": (
        [policy(ingress=[{"from": [NS_Y]}])],
        to_x(lambda p: p.source.startswith("y/")),
        always,
    ),
    "should enforce policy based on PodSelector with MatchExpressions": (
        [
            policy(
                ingress=[
                    {
                        "from": [
                            {
                                "podSelector": {
                                    "matchExpressions": [
                                        {"key": "pod", "operator": "In", "values": ["b"]}
                                    ]
                                }
                            }
                        ]
                    }
                ]
            )
        ],
        to_x(lambda p: p.source == "x/b"),
        always,
    ),
    "should enforce policy based on NamespaceSelector with MatchExpressions": (
        [
            policy(
                ingress=[
                    {
                        "from": [
                            {
                                "namespaceSelector": {
                                    "matchExpressions": [
                                        {"key": "ns", "operator": "NotIn", "values": ["x", "y"]}
                                    ]
                                }
                            }
                        ]
                    }
                ]
            )
        ],
        to_x(lambda p: p.source == "z/a"),
        always,
    ),
    "should enforce policy based on PodSelector or NamespaceSelector": (
        [policy(ingress=[{"from": [NS_Y, POD_A]}])],
        to_x(lambda p: p.source.startswith("y/") or p.source == "x/a"),
        always,
    ),
    "should enforce policy based on PodSelector and NamespaceSelector": (
        [policy(ingress=[{"from": [BOTH]}])],
        to_x(lambda p: p.source == "y/a"),
        always,
    ),
    "should enforce policy based on Multiple PodSelectors and NamespaceSelectors": (
        [policy(ingress=[{"from": [BOTH, {"namespaceSelector": {"matchLabels": {"ns": "z"}}}]}])],
        to_x(lambda p: p.source in ("y/a", "z/a")),
        always,
    ),
    "should enforce policy based on any PodSelectors": (
        [
            policy(
                ingress=[
                    {
                        "from": [
                            {"podSelector": {"matchLabels": {"pod": "b"}}},
                            {"podSelector": {"matchLabels": {"pod": "c"}}},
                        ]
                    }
                ]
            )
        ],
        to_x(lambda p: p.source in ("x/b", "x/c")),
        always,
    ),
    "should enforce policy based on Ports": (
        [policy(ingress=[{"from": [NS_Y], "ports": [{"port": 81}]}])],
        to_x(lambda p: p.source.startswith("y/") and p.port == 81 and p.protocol == "tcp"),
        always,
    ),
    "should enforce multiple, stacked policies with overlapping podSelectors": (
        [
            policy("one", ingress=[{"from": [NS_Y], "ports": [{"port": 80}]}]),
            policy(
                "two",
                podSelector={"matchLabels": {"pod": "a"}},
                ingress=[{"ports": [{"port": 81}]}],
            ),
        ],
        to_x(
            lambda p: (
                p.protocol == "tcp"
                and (
                    (p.port == 80 and p.source.startswith("y/"))
                    or (p.port == 81 and p.target == "x/a")
                )
            )
        ),
        always,
    ),
    "should allow ingress access on one named port": (
        [policy(ingress=[{"ports": [{"port": "serve-81-tcp"}]}])],
        to_x(lambda p: p.port == 81 and p.protocol == "tcp"),
        always,
    ),
    "should allow ingress access from namespace on one named port": (
        [
            policy(
                ingress=[{"from": [NS_Y], "ports": [{"port": "serve-80-udp", "protocol": "UDP"}]}]
            )
        ],
        to_x(lambda p: p.source.startswith("y/") and p.port == 80 and p.protocol == "udp"),
        always,
    ),
    "should allow egress access on one named port": (
        [policy(policyTypes=EGRESS, egress=[{"ports": [{"port": "serve-80-tcp"}]}])],
        always,
        from_x(lambda p: p.target in PODS and p.port == 80 and p.protocol == "tcp"),
    ),
    "should not allow access by a named port of another protocol": (
        [policy(ingress=[{"ports": [{"port": "serve-80-tcp", "protocol": "UDP"}]}])],
        to_x(never),
        always,
    ),
    "should check ingress and egress can be controlled independently": (
        [
            policy("in", podSelector={"matchLabels": {"pod": "a"}}, policyTypes=INGRESS),
            policy(
                "out",
                podSelector={"matchLabels": {"pod": "b"}},
                policyTypes=EGRESS,
                egress=[{"to": [NS_Y]}],
            ),
        ],
        lambda p: p.target != "x/a",
        lambda p: p.source != "x/b" or p.target.startswith("y/"),
    ),
    "should enforce egress policy allowing traffic to a server in a different namespace": (
        [
            policy(
                policyTypes=EGRESS,
                egress=[{"to": [BOTH], "ports": [{"port": 80}, {"port": 80, "protocol": "UDP"}]}],
            )
        ],
        always,
        from_x(lambda p: p.target == "y/a" and p.port == 80),
    ),
    "should work with Ingress, Egress specified together": (
        [
            policy(
                podSelector={"matchLabels": {"pod": "a"}},
                ingress=[{"from": [NS_Y], "ports": [{"port": 80}]}],
                egress=[{"to": [{"podSelector": {"matchLabels": {"pod": "b"}}}]}],
            )
        ],
        lambda p: (
            p.target != "x/a"
            or (p.source.startswith("y/") and p.port == 80 and p.protocol == "tcp")
        ),
        lambda p: p.source != "x/a" or p.target == "x/b",
    ),
    "should allow egress access to server in CIDR block": (
        [policy(policyTypes=EGRESS, egress=[{"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}])],
        always,
        from_x(lambda p: p.target == "outside"),
    ),
    "should enforce except clause while egress access to server in CIDR block": (
        [
            policy(
                policyTypes=EGRESS,
                egress=[
                    {
                        "to": [
                            {
                                "ipBlock": {
                                    "cidr": "10.99.0.0/16",
                                    "except": ["10.99.1.0/28", "10.99.2.22/32"],
                                }
                            }
                        ]
                    }
                ],
            )
        ],
        always,
        from_x(lambda p: p.target in ("y/a", "z/a")),
    ),
    "should ensure an IP overlapping both IPBlock.CIDR and Except is allowed": (
        [
            policy(
                "but",
                policyTypes=EGRESS,
                egress=[
                    {"to": [{"ipBlock": {"cidr": "10.99.1.0/24", "except": ["10.99.1.12/32"]}}]}
                ],
            ),
            policy(
                "yet", policyTypes=EGRESS, egress=[{"to": [{"ipBlock": {"cidr": "10.99.1.12/32"}}]}]
            ),
        ],
        always,
        from_x(lambda p: p.target not in (*REMOTE, "outside")),
    ),
    "should enforce ipBlock in ingress, for the world as for pods": (
        [
            policy(
                ingress=[{"from": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.99.0.0/16"]}}]}]
            )
        ],
        to_x(lambda p: p.source == "outside"),
        always,
    ),
    "should support denying of egress traffic on the client side": (
        [policy(podSelector={"matchLabels": {"pod": "a"}}, policyTypes=EGRESS, egress=[])],
        always,
        lambda p: p.source != "x/a",
    ),
    "should enforce egress policy with EndPort": (
        [
            policy(
                policyTypes=EGRESS,
                egress=[{"ports": [{"port": 81, "endPort": 90}, {"port": 85, "endPort": 99}]}],
            )
        ],
        always,
        from_x(lambda p: p.port == 81 and p.protocol == "tcp"),
    ),
    "should enforce ingress policy on all ports of one protocol": (
        [policy(ingress=[{"ports": [{"protocol": "UDP"}]}])],
        to_x(lambda p: p.protocol == "udp"),
        always,
    ),
    "should not match anything by an empty podSelector of another namespace": (
        [policy(ingress=[{"from": [{"podSelector": {}}]}])],
        to_x(lambda p: p.source.startswith("x/")),
        always,
    ),
    "should deny what a rule that cannot be understood would allow": (
        [policy(ingress=[{"from": [{"ipBlock": {"cidr": "ten/8"}}]}, {"from": [NS_Y]}])],
        to_x(lambda p: p.source.startswith("y/")),
        always,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_upstream_case(agent: Agent, name: str) -> None:
    """The policies of a case allow what they must, and nothing else, between all pods."""
    policies, ingress, egress = CASES[name]
    agent.write(*policies)
    agent.settles(matrix(ingress, egress))


def test_a_removed_policy_opens_again(agent: Agent) -> None:
    """Deny all of x, then nothing."""
    agent.write(policy(policyTypes=INGRESS + EGRESS))
    agent.settles(matrix(to_x(never), from_x(never), ("tcp",)))
    agent.write()
    agent.settles(matrix(always, always, ("tcp",)))


def test_labels_decide_as_they_are_now(agent: Agent) -> None:
    """A pod and a namespace gain and lose what policies select them by."""
    allow = policy(ingress=[{"from": [{"namespaceSelector": {"matchLabels": {"trusted": "yes"}}}]}])
    agent.write(allow)
    agent.settles({Probe("y/a", "x/a", 80): False})
    objects = cluster()
    next(o for o in objects if o["kind"] == "Namespace" and o["metadata"]["name"] == "y")[
        "metadata"
    ]["labels"]["trusted"] = "yes"
    agent.write(allow, objects=objects)
    agent.settles({Probe("y/a", "x/a", 80): True, Probe("z/a", "x/a", 80): False})


def test_an_open_connection_lives_through_other_changes(agent: Agent) -> None:
    """A change of the rules does not cut what was allowed before it."""
    connection = agent.lab.connect(Probe("y/a", "x/a", 80))
    agent.write(policy(namespace="y", policyTypes=EGRESS, egress=[{"to": [NS_Y]}]))
    agent.settles({Probe("y/a", "x/a", 80): False})
    connection.sendall(b"still here")
    assert connection.recv(64) == b"still here"
    connection.close()


def test_a_new_pod_is_cut_off_until_its_policies_are_known(agent: Agent) -> None:
    """An address that no known pod has is neither source nor target; the runtime's word opens it.

    The API server tells a pod's address a second or more after the pod's first instruction.
    """
    closed = {Probe("x/c", "y/a", 80): False, Probe("y/a", "x/c", 80): False}
    node = {Probe("node", "x/c", 80): True}
    objects = cluster()
    new = next(o for o in objects if o["metadata"]["name"] == "c")
    new["status"] = {"phase": "Pending"}
    deny = policy(podSelector={"matchLabels": {"pod": "c"}}, policyTypes=EGRESS)
    agent.write(deny, objects=objects)
    agent.settles(closed | node)
    given = {
        "kind": "cniCacheV1",
        "cniArgs": [["K8S_POD_NAMESPACE", "x"], ["K8S_POD_UID", "uid-x-c"]],
        "result": {"ips": [{"address": "10.99.1.13/24"}]},
    }
    cached = agent.cache / "cbr0-0123-eth0"
    cached.write_text(json.dumps(given))
    agent.settles({Probe("y/a", "x/c", 80): True, Probe("x/c", "y/a", 80): False} | node)
    cached.unlink()
    agent.settles(closed | node)


def test_pods_of_the_host_network_and_ended_pods_do_not_count(agent: Agent) -> None:
    """Neither lends its address to a policy that selects it."""
    objects = cluster()
    for each in objects:
        if each["kind"] == "Pod" and each["metadata"]["namespace"] == "y":
            each["spec"]["nodeName"] = "other-1"
            if each["metadata"]["name"] == "a":
                each["spec"]["hostNetwork"] = True
            else:
                each["status"]["phase"] = "Succeeded"
    node = next(each for each in objects if each["kind"] == "Node")
    node["spec"]["podCIDRs"] = []
    agent.write(policy(ingress=[{"from": [NS_Y]}]), objects=objects)
    agent.settles({Probe("y/a", "x/a", 80): False, Probe("y/b", "x/a", 80): False})


def test_a_flushed_table_comes_back(agent: Agent) -> None:
    """`nft flush ruleset`, which Debian's nftables.service runs, opens pods for a moment only."""
    agent.write(policy(policyTypes=INGRESS))
    closed = {Probe("y/a", "x/a", 80): False}
    agent.settles(closed)
    agent.stop()
    agent.start("--check-interval=200ms")
    agent.settles(closed)
    before = agent.metrics()["repairs_total"]
    agent.run("nft", "flush", "ruleset")
    agent.settles(closed)
    assert agent.metrics()["repairs_total"] > before


def test_rules_outlive_the_agent_until_cleanup(agent: Agent) -> None:
    """A stopped agent leaves its rules; --cleanup opens the node."""
    agent.write(policy(policyTypes=INGRESS))
    closed = {Probe("y/a", "x/a", 80): False}
    agent.settles(closed)
    agent.stop()
    assert not agent.wrong(closed)
    agent.run(str(agent.binary), "--cleanup")
    assert not agent.wrong({Probe("y/a", "x/a", 80): True})
    agent.start()
    agent.settles(closed)


def test_objects_that_cannot_be_read_leave_the_last_rules(agent: Agent) -> None:
    """A failing sync keeps the rules, is counted, and the next good one counts again."""
    agent.write(policy(policyTypes=INGRESS))
    closed = {Probe("y/a", "x/a", 80): False}
    agent.settles(closed)
    failures = agent.metrics()["sync_failures_total"]
    (agent.objects / "broken.yaml").write_text("kind: Nonsense")
    agent.write()
    end = time.monotonic() + SETTLED_WITHIN
    while agent.metrics()["sync_failures_total"] == failures and time.monotonic() < end:
        pass
    assert agent.metrics()["sync_failures_total"] > failures
    assert not agent.wrong(closed)
    (agent.objects / "broken.yaml").unlink()
    agent.settles({Probe("y/a", "x/a", 80): True})


def test_drops_are_counted_for_the_namespace(agent: Agent) -> None:
    """/metrics says where packets are dropped, also after the policy is gone."""
    key = 'dropped_packets_total{direction="ingress",namespace="x"}'
    agent.write(policy(policyTypes=INGRESS))
    agent.settles({Probe("y/a", "x/a", 80): False})
    dropped = agent.metrics()[key]
    assert dropped > 0
    agent.write()
    agent.settles({Probe("y/a", "x/a", 80): True})
    assert agent.metrics()[key] >= dropped


def test_ipv6(binary: Path, tmp_path: Path) -> None:
    """Addresses of the other family have sets and rules of their own."""
    addresses = {"node": "fd99::1", "x/a": "fd99::a", "x/b": "fd99::b", "outside": "2001:db8::9"}
    lab = Lab(addresses, PORTS)
    try:
        agent = Agent(lab, binary, tmp_path / "objects", tmp_path / "cache", tmp_path / "log")
        agent.objects.mkdir()
        agent.cache.mkdir()
        objects = [each for each in cluster() if each["kind"] == "Namespace"]
        for name in ("x/a", "x/b"):
            each = pod(name)
            each["status"]["podIPs"] = [{"ip": addresses[name]}]
            objects.append(each)
        blocks = [{"ipBlock": {"cidr": "2001:db8::/32"}}, {"ipBlock": {"cidr": "192.0.2.0/24"}}]
        agent.write(
            policy(
                podSelector={"matchLabels": {"pod": "a"}},
                ingress=[
                    {"from": blocks, "ports": [{"port": 80}]},
                    {"ports": [{"port": "serve-81-udp", "protocol": "UDP"}]},
                ],
            ),
            objects=objects,
        )
        agent.run(str(binary), *agent.options(("--once",)))
        agent.settles(
            {
                Probe("outside", "x/a", 80): True,
                Probe("outside", "x/a", 81): False,
                Probe("x/b", "x/a", 80): False,
                Probe("x/b", "x/a", 81, "udp"): True,
                Probe("node", "x/a", 81): True,
                Probe("x/a", "x/b", 80): True,
            }
        )
    finally:
        lab.close()


def test_a_thousand_pods_cost_no_more_than_a_few(agent: Agent) -> None:
    """A sync with a thousand isolated peers stays below a second, and one more pod below 0.2 s."""
    objects = cluster()
    for index in range(1000):
        each = pod("z/a")
        each["metadata"]["name"] = each["metadata"]["uid"] = f"peer-{index}"
        each["status"]["podIPs"] = [{"ip": f"10.99.{10 + index // 250}.{1 + index % 250}"}]
        objects.append(each)
    allow = policy(ingress=[{"from": [{"namespaceSelector": {"matchLabels": {"ns": "z"}}}]}])
    agent.write(allow, objects=objects)
    agent.settles({Probe("z/a", "x/a", 80): True, Probe("y/a", "x/a", 80): False})
    assert agent.metrics()["pods"] > 1000
    assert agent.metrics()["last_sync_seconds"] < 1


def test_the_sockets_of_the_lab_are_those_of_its_namespaces(agent: Agent) -> None:
    """What the other tests stand on: a host of the lab has its own address, and no other's."""
    assert agent.lab.hosts["x/a"].do(lambda: _binds("10.99.1.11"))
    assert not agent.lab.hosts["x/a"].do(lambda: _binds("10.99.1.12"))


def _binds(address: str) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
        return True
