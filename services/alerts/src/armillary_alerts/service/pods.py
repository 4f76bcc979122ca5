"""The pods of Python filters: a Deployment and a Secret each, in a namespace of their own, kept as the filters' states say.

What such a pod may do is in three places: here (no root, read-only, no token of Kubernetes', processors and memory limited), in the
chart's NetworkPolicy (Kafka and DNS alone), and in `python_filter.jail` (nothing of the pod for the user's code itself).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from armillary_alerts.filters.model import Filter, Kind, State

COMPONENT = "python-filter"
DIGEST = "armillary.io/digest"
#: What the runner itself needs beside what its filter may use, in MiB.
OWN_MEMORY = 192
SETTINGS = "/etc/alerts"

Object = dict[str, Any]


class KubernetesAway(RuntimeError):
    """Kubernetes does not answer, or refuses."""


@dataclass(frozen=True)
class PodSettings:
    """What all of these pods share."""

    namespace: str
    image: str
    cpu: str = "500m"
    """Processors that one filter may use, as Kubernetes writes them."""
    largest_memory_mib: int = 1024
    """What a filter's own limit cannot go above."""
    priority_class: str | None = None


def object_name(definition: Filter) -> str:
    """Return what a filter's objects are called: readable, and never the same for two filters."""
    readable = (
        re.sub(r"[^a-z0-9]+", "-", f"{definition.owner}-{definition.name}")
        .strip("-")[:40]
        .strip("-")
    )
    return f"{readable}-{hashlib.sha256(definition.id.encode()).hexdigest()[:10]}"


def objects(
    definition: Filter, kafka: Mapping[str, str], ca: str, settings: PodSettings
) -> tuple[Object, Object]:
    """Return the Secret and the Deployment of a filter.

    Args:
        definition: a filter in Python.
        kafka: librdkafka's settings for the filter's own account.
        ca: certificates that Kafka's is checked against, PEM.
        settings: what all share.
    """
    name = object_name(definition)
    labels = {
        "app.kubernetes.io/name": "alerts",
        "app.kubernetes.io/component": COMPONENT,
        "app.kubernetes.io/managed-by": "alerts",
        "armillary.io/owner": definition.owner,
        "armillary.io/filter": definition.name,
    }
    data = {
        "kafka.json": json.dumps(
            {**kafka, "ssl.ca.location": f"{SETTINGS}/ca.crt"}, sort_keys=True
        ),
        "ca.crt": ca,
        "filter.json": definition.model_dump_json(exclude={"changed"}),
    }
    memory = min(definition.limits.memory_mib, settings.largest_memory_mib)
    pod = _pod(name, memory, settings)
    digest = hashlib.sha256(json.dumps([data, pod], sort_keys=True).encode()).hexdigest()
    metadata = {
        "name": name,
        "namespace": settings.namespace,
        "labels": labels,
        "annotations": {DIGEST: digest},
    }
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": "Opaque",
        "stringData": data,
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": 1,
            # A transaction has one producer: the old pod is gone before the new one begins.
            "strategy": {"type": "Recreate"},
            "revisionHistoryLimit": 0,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels, "annotations": {DIGEST: digest}},
                "spec": pod,
            },
        },
    }
    return secret, deployment


def _pod(name: str, memory_mib: int, settings: PodSettings) -> Object:
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 15,
        **({"priorityClassName": settings.priority_class} if settings.priority_class else {}),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "runAsGroup": 1000,
            "fsGroup": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "filter",
                "image": settings.image,
                "args": ["armillary_alerts.python_filter", SETTINGS],
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "resources": {
                    "requests": {"cpu": "20m", "memory": f"{OWN_MEMORY}Mi"},
                    "limits": {"cpu": settings.cpu, "memory": f"{memory_mib + OWN_MEMORY}Mi"},
                },
                "volumeMounts": [{"name": "settings", "mountPath": SETTINGS, "readOnly": True}],
            }
        ],
        "volumes": [{"name": "settings", "secret": {"secretName": name, "defaultMode": 0o440}}],
    }


class Pods:
    """Keeps the pods as the filters' states say."""

    def __init__(self, api: client.ApiClient, settings: PodSettings) -> None:
        self.settings = settings
        self._core = client.CoreV1Api(api)
        self._apps = client.AppsV1Api(api)

    def reconcile(
        self,
        filters: Iterable[Filter],
        access: Callable[[Filter], tuple[Mapping[str, str], str]],
        prepare: Callable[[Filter], object],
    ) -> list[str]:
        """Make, replace and remove pods; return what was done, a line each.

        Args:
            filters: all there are.
            access: tells Kafka's settings and its certificates' authority (PEM) for a filter's pod.
            prepare: called before a pod is made or replaced: has its account and its topic made.

        Raises:
            KubernetesAway: Kubernetes does not answer, or refuses.
        """
        wanted = {
            object_name(each): each
            for each in filters
            if each.kind is Kind.PYTHON and each.state is State.ACTIVE
        }
        selector = f"app.kubernetes.io/component={COMPONENT}"
        namespace = self.settings.namespace
        done = []
        try:
            there = {
                each.metadata.name: (each.metadata.annotations or {}).get(DIGEST)
                for each in self._apps.list_namespaced_deployment(
                    namespace, label_selector=selector
                ).items
            }
            for name in sorted(set(there) - set(wanted)):
                self._apps.delete_namespaced_deployment(name, namespace)
                _unless_gone(lambda name=name: self._core.delete_namespaced_secret(name, namespace))  # type: ignore[misc]
                done.append(f"removed {name}")
            for name, definition in sorted(wanted.items()):
                secret, deployment = objects(definition, *access(definition), self.settings)
                if there.get(name) == deployment["metadata"]["annotations"][DIGEST]:
                    continue
                prepare(definition)
                self._put(
                    secret,
                    self._core.create_namespaced_secret,
                    self._core.replace_namespaced_secret,
                )
                self._put(
                    deployment,
                    self._apps.create_namespaced_deployment,
                    self._apps.replace_namespaced_deployment,
                )
                done.append(f"{'replaced' if name in there else 'made'} {name}")
        except ApiException as error:
            raise KubernetesAway(
                f"Kubernetes refuses ({error.status}): {_message(error)}"
            ) from error
        except HTTPError as error:
            raise KubernetesAway(f"Kubernetes does not answer: {error}") from error
        return done

    def _put(self, wanted: Object, create: Callable[..., Any], replace: Callable[..., Any]) -> None:
        try:
            create(self.settings.namespace, wanted)
        except ApiException as error:
            if error.status != 409:
                raise
            replace(wanted["metadata"]["name"], self.settings.namespace, wanted)


def _unless_gone(remove: Callable[[], Any]) -> None:
    try:
        remove()
    except ApiException as error:
        if error.status != 404:
            raise


def _message(error: ApiException) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.reason)
