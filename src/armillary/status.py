"""How a running cluster is: asked of the registry, of Kubernetes, of the hub and of Kafka, in seconds."""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from armillary.files import write
from armillary.models.cluster import Cluster
from armillary.models.report import Check
from armillary.objectstore import abilities
from armillary.objectstore.access import access, writer
from armillary.objectstore.probe import health
from armillary.paths import ClusterPaths
from armillary.tools.process import CommandMissing, CommandTimeout, run

TIMEOUT = 5.0
BROKER_TIMEOUT = 40.0
"""A broker is asked by way of its host, and waits for those of its fellows that do not answer."""
KAFKA_TOOL = "/usr/local/lib/armillary/armillary-kafka"
WORKLOADS = "workloads.json"
NAMESPACES = ("kube-system", "ingress", "jupyterhub")
"""The namespaces that Armillary fills; others are their owners' business."""


def checks(paths: ClusterPaths, cluster: Cluster) -> list[Check]:
    """Look at every part of a cluster at once.

    Returns:
        one check a part; `ok` is None where it could not be told (no cluster, no answer).
    """
    if not paths.kubeconfig.exists():
        return [Check(name="cluster", ok=None, detail="There is none yet; `invoke up` makes it.")]
    looks: list[Callable[[], list[Check]]] = [
        lambda: [https_check(paths, "registry", f"https://{cluster.registry}/v2/", {401})],
        lambda: _kubernetes(paths, cluster),
    ]
    if cluster.components.jupyterhub is not None:
        looks.append(
            lambda: [https_check(paths, "hub", f"https://hub.{cluster.domain}/hub/health", {200})]
        )
    if cluster.components.object_store is not None:
        looks.append(lambda: _objects(paths, cluster))
    looks += [partial(_broker, paths, host.name) for host in cluster.brokers()]
    with ThreadPoolExecutor(len(looks)) as pool:
        return [check for found in pool.map(lambda look: look(), looks) for check in found]


def _objects(paths: ClusterPaths, cluster: Cluster) -> list[Check]:
    """List a container with the key of somebody who may; without keys, there is nothing to ask with."""
    opened, who = access(cluster, paths), writer(cluster)
    if opened is None or who is None:
        return []
    known = abilities.read(paths)
    if known is not None:
        opened = replace(opened, region=known.region)
    name, container = who
    started = time.monotonic()
    wrong = health(opened, name, opened.containers[container], TIMEOUT)
    seconds = round(time.monotonic() - started, 3)
    return [Check(name="objects", ok=not wrong, detail=wrong, seconds=seconds)]


def https_check(paths: ClusterPaths, name: str, url: str, expected: set[int]) -> Check:
    """Ask a URL with nothing but the cluster's CA to trust; any other answer is wrong."""
    context = ssl.create_default_context(cafile=str(paths.pki / "ca.crt"))
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    started = time.monotonic()
    try:
        with opener.open(url, timeout=TIMEOUT) as answer:
            code = answer.status
    except urllib.error.HTTPError as error:
        code = error.code
    except OSError as error:
        return Check(name=name, ok=False, detail=f"{url}: {error}")
    return Check(
        name=name,
        ok=code in expected,
        detail="" if code in expected else f"{url} answered {code}",
        seconds=round(time.monotonic() - started, 3),
    )


def _broker(paths: ClusterPaths, host: str) -> list[Check]:
    """Ask a broker of Kafka how it is, on its own host: from here it may be out of reach."""
    name = f"kafka {host}"
    ssh = ["ssh", "-F", str(paths.ssh_config), "-o", "BatchMode=yes", "-o", "ConnectTimeout=5"]
    try:
        asked = run([*ssh, host, "sudo", KAFKA_TOOL, "state"], timeout=BROKER_TIMEOUT, check=False)
        found = json.loads(asked.stdout)
    except (CommandMissing, CommandTimeout) as error:
        return [Check(name=name, ok=False, detail=str(error))]
    except ValueError:
        return [
            Check(name=name, ok=False, detail=f"{host} cannot be asked: {asked.stderr.strip()}")
        ]
    try:
        since = datetime.strptime(found["since"], "%a %Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC)
    except ValueError:
        since = None
    return [Check(name=name, ok=not found["wrong"], detail=found["wrong"], since=since)]


def api(paths: ClusterPaths) -> client.ApiClient:
    """Return a client of the cluster's Kubernetes API, by its kubeconfig and past any proxy."""
    configuration = client.Configuration()
    config.load_kube_config(str(paths.kubeconfig), client_configuration=configuration)
    configuration.proxy = None
    return client.ApiClient(configuration)


def record_workloads(paths: ClusterPaths) -> None:
    """Write down what runs now, so that what somebody deletes later is missed."""
    with api(paths) as connection:
        names = sorted(_name(workload) for workload in _workloads(connection))
    write(paths.root / WORKLOADS, json.dumps(names, indent=1) + "\n")


def _recorded(paths: ClusterPaths) -> set[str]:
    try:
        return set(json.loads((paths.root / WORKLOADS).read_text()))
    except FileNotFoundError:
        return set()


def _workloads(connection: client.ApiClient) -> list[Any]:
    """Return the Deployments and DaemonSets in the namespaces that Armillary fills."""
    apps = client.AppsV1Api(connection)
    found = [
        *apps.list_deployment_for_all_namespaces(_request_timeout=TIMEOUT).items,
        *apps.list_daemon_set_for_all_namespaces(_request_timeout=TIMEOUT).items,
    ]
    return [each for each in found if each.metadata.namespace in NAMESPACES]


def _name(workload: Any) -> str:
    return f"{workload.metadata.namespace}/{workload.metadata.name}"


def _kubernetes(paths: ClusterPaths, cluster: Cluster) -> list[Check]:
    try:
        with api(paths) as connection:
            core = client.CoreV1Api(connection)
            nodes = core.list_node(_request_timeout=TIMEOUT).items
            pods = core.list_pod_for_all_namespaces(_request_timeout=TIMEOUT).items
            workloads = _workloads(connection)
    except (ApiException, HTTPError, OSError) as error:
        return [Check(name="kubernetes", ok=False, detail=f"The API does not answer: {error}")]
    return [
        Check(name="kubernetes", ok=True),
        *(_node(node) for node in nodes),
        *(
            Check(
                name=f"node {name}", ok=False, detail="It has not joined; `invoke up` sees to it."
            )
            for name in sorted(_wanted_nodes(cluster) - {node.metadata.name for node in nodes})
        ),
        *(_workload(workload, pods) for workload in workloads),
        *(
            Check(name=name, ok=False, detail="It is gone; `invoke up` puts it back.")
            for name in sorted(_recorded(paths) - {_name(each) for each in workloads})
        ),
    ]


def _wanted_nodes(cluster: Cluster) -> set[str]:
    return {host.name for host in [*cluster.control_planes(), *cluster.workers()]}


def _node(node: Any) -> Check:
    ready = next((c for c in node.status.conditions if c.type == "Ready"), None)
    ok = ready is not None and ready.status == "True"
    return Check(
        name=f"node {node.metadata.name}",
        ok=ok,
        detail="" if ok or ready is None else f"{ready.reason}: {ready.message}",
        since=ready.last_transition_time if ready else None,
    )


def _workload(workload: Any, pods: list[Any]) -> Check:
    """Report a Deployment or DaemonSet, with the reason its pods give when it is short of them."""
    if hasattr(workload.status, "desired_number_scheduled"):
        wanted = workload.status.desired_number_scheduled or 0
        there = workload.status.number_available or 0
    else:
        wanted = workload.spec.replicas or 0
        there = workload.status.available_replicas or 0
    namespace = workload.metadata.namespace
    labels = workload.spec.selector.match_labels or {}
    own = [
        pod
        for pod in pods
        if pod.metadata.namespace == namespace
        and labels.items() <= (pod.metadata.labels or {}).items()
    ]
    ok = there >= wanted
    reasons = "" if ok else "; ".join(reason for pod in own for reason in _reasons(pod))
    return Check(
        name=_name(workload),
        ok=ok,
        detail="" if ok else f"{there} of {wanted} available. {reasons}".strip(),
        since=_since(own),
    )


def _since(pods: list[Any]) -> datetime | None:
    return max((p.status.start_time for p in pods if p.status.start_time), default=None)


def _reasons(pod: Any) -> Iterator[str]:
    """Yield why a pod is not ready, in Kubernetes' own words."""
    for condition in pod.status.conditions or []:
        if condition.type == "PodScheduled" and condition.status != "True":
            yield f"{pod.metadata.name}: {condition.message}"
    for container in pod.status.container_statuses or []:
        waiting = container.state.waiting
        if waiting is not None:
            yield f"{pod.metadata.name}: {waiting.reason}: {waiting.message or ''}".strip()
        elif not container.ready:
            yield f"{pod.metadata.name}: {container.name} is not ready"
