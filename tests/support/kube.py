"""Kubernetes as tests use it: namespaces that go away, small pods, commands run in them."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import stream

from support.waiting import patient, until

UID = 1000
NEVER_ENDS = ("sleep", "infinity")
NOT_FOUND = 404
PATIENCE = 2
"""Seconds after which a connection that nobody answers counts as refused."""


@dataclass(frozen=True)
class Ran:
    """What a command in a pod left behind."""

    code: int
    out: str
    err: str


class Kube:
    """A cluster's Kubernetes API, with the administrator's kubeconfig.

    Its clients go to the API directly, whatever proxy this machine uses for the world outside.
    """

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        self._api = self._connection()
        # `stream` changes the client that it is given until the connection is open.
        self._streams = client.CoreV1Api(self._connection())
        self._opening = threading.Lock()
        self.core = client.CoreV1Api(self._api)
        self.apps = client.AppsV1Api(self._api)
        self.networking = client.NetworkingV1Api(self._api)
        self.storage = client.StorageV1Api(self._api)

    @property
    def server(self) -> str:
        """The API's address, `https://host:port`."""
        host: str = self._api.configuration.host
        return host

    @property
    def authority(self) -> Path:
        """A file with the CA certificate that signed the API server's."""
        return Path(self._api.configuration.ssl_ca_cert)

    def _connection(self) -> client.ApiClient:
        settings = client.Configuration()
        config.load_kube_config(str(self.kubeconfig), client_configuration=settings)
        settings.proxy = None
        return client.ApiClient(settings)

    def close(self) -> None:
        """Close the connections."""
        self._api.close()
        self._streams.api_client.close()

    @contextmanager
    def namespace(self, prefix: str = "armillary-verify") -> Iterator[str]:
        """Have a namespace in which Pod Security refuses all but `restricted` pods.

        It is on its way out when this ends, with all that is in it; nobody waits for that.
        """
        name = f"{prefix}-{secrets.token_hex(4)}"
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        self.core.create_namespace({"metadata": {"name": name, "labels": labels}})
        try:
            # Pods are refused until it is there.
            until(lambda: self._account(name), f"service account of namespace {name}", 30)
            yield name
        finally:
            self.core.delete_namespace(name)

    def _account(self, namespace: str) -> bool:
        try:
            self.core.read_namespaced_service_account("default", namespace)
        except ApiException as error:
            if error.status != NOT_FOUND:
                raise
            return False
        return True

    def start_pod(
        self,
        namespace: str,
        name: str,
        image: str,
        *,
        command: Sequence[str] = NEVER_ENDS,
        node: str | None = None,
        labels: Mapping[str, str] | None = None,
        claims: Mapping[str, str] | None = None,
        token: bool = False,
    ) -> None:
        """Make a pod of one container, as `restricted` wants it; return at once.

        Args:
            namespace: where.
            name: of the pod.
            image: a reference the hosts can pull.
            command: what runs in it.
            node: the host it has to run on.
            labels: of the pod.
            claims: volume claim -> where it is mounted.
            token: whether the pod gets a token of its service account.
        """
        volumes = dict(claims or {})
        container = {
            "name": "main",
            "image": image,
            "command": list(command),
            "resources": {
                "requests": {"cpu": "5m", "memory": "16Mi"},
                "limits": {"memory": "128Mi"},
            },
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            },
            "volumeMounts": [
                {"name": claim, "mountPath": mount} for claim, mount in volumes.items()
            ],
        }
        spec = {
            "containers": [container],
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": token,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": UID,
                "runAsGroup": UID,
                "fsGroup": UID,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "volumes": [
                {"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in volumes
            ],
        }
        if node is not None:
            spec["nodeSelector"] = {"kubernetes.io/hostname": node}
        metadata = {"name": name, "labels": dict(labels or {})}
        self.core.create_namespaced_pod(namespace, {"metadata": metadata, "spec": spec})

    def claim(self, namespace: str, name: str, mode: str, storage_class: str | None = None) -> None:
        """Ask for a volume of 64 MiB; of the default class when none is named."""
        spec: dict[str, Any] = {
            "accessModes": [mode],
            "resources": {"requests": {"storage": "64Mi"}},
        }
        if storage_class is not None:
            spec["storageClassName"] = storage_class
        self.core.create_namespaced_persistent_volume_claim(
            namespace, {"metadata": {"name": name}, "spec": spec}
        )

    def running(self, namespace: str, name: str, limit: float = 90) -> Any:
        """Wait until a pod is ready, and return it.

        Raises:
            TooLate: it is not; says what Kubernetes says about it.
        """

        def ready() -> Any:
            pod = self.core.read_namespaced_pod(name, namespace)
            conditions = {c.type: c.status for c in pod.status.conditions or []}
            return pod if conditions.get("Ready") == "True" else None

        return until(ready, f"pod {name} is ready", limit, why=lambda: self.story(namespace, name))

    def ended(self, namespace: str, name: str) -> Any:
        """Return a pod that has come to its end, well or not; None as long as it has not."""
        pod = self.core.read_namespaced_pod(name, namespace)
        return pod if pod.status.phase in ("Succeeded", "Failed") else None

    def story(self, namespace: str, pod: str) -> str:
        """Return what Kubernetes says about a pod, and what it warns of in its namespace."""
        found = [
            event
            for event in self.core.list_namespaced_event(namespace).items
            if event.involved_object.name == pod or event.type == "Warning"
        ]
        return "; ".join(f"{event.reason}: {event.message}" for event in found[-5:])

    def delete_pod(self, namespace: str, name: str, limit: float = 60) -> None:
        """Delete a pod and wait until it is gone."""
        self.core.delete_namespaced_pod(name, namespace, grace_period_seconds=0)

        def gone() -> bool:
            try:
                self.core.read_namespaced_pod(name, namespace)
            except ApiException as error:
                return bool(error.status == NOT_FOUND)
            return False

        until(gone, f"pod {name} is gone", limit)

    def run(self, namespace: str, pod: str, argv: Sequence[str], *, timeout: float = 30) -> Ran:
        """Run a command in a pod to its end.

        Raises:
            TimeoutError: it did not end in time.
        """
        with self._opening:
            connection = stream(
                self._streams.connect_get_namespaced_pod_exec,
                pod,
                namespace,
                command=list(argv),
                stdin=False,
                stdout=True,
                stderr=True,
                tty=False,
                _preload_content=False,
            )
        timeout = patient(timeout)
        deadline = time.monotonic() + timeout
        try:
            while connection.is_open():
                connection.update(timeout=1)
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{pod}: {argv} did not end within {timeout:.0f} s")
            out, err = connection.read_stdout(timeout=0), connection.read_stderr(timeout=0)
            return Ran(_exit_code(connection.read_channel(3, timeout=0)), out or "", err or "")
        finally:
            connection.close()

    def reach(self, namespace: str, pod: str, targets: Sequence[str]) -> dict[str, str | None]:
        """Connect from a pod (its image has bash) to `host:port` addresses, all at once.

        Returns:
            target -> the first line that came in, empty where the other side waits to be spoken
            to; None where there is no way there.
        """
        script = f"""
        for target; do
          timeout {patient(PATIENCE):.0f} bash -c '
            exec 3<> "/dev/tcp/${{0%:*}}/${{0##*:}}" || exit
            IFS= read -r -t {patient(1):.0f} line <&3
            echo "$0 $line"
          ' "$target" 2> /dev/null &
        done
        wait
        """
        ran = self.run(namespace, pod, ["bash", "-c", script, "reach", *targets])
        found = dict(line.split(" ", 1) for line in ran.out.splitlines())
        return {target: found.get(target) for target in targets}


def _exit_code(status: str) -> int:
    """Return the exit code in the status that ends the stream of a command."""
    content = yaml.safe_load(status) if status else {}
    if content.get("status") == "Success":
        return 0
    for cause in (content.get("details") or {}).get("causes") or []:
        if cause.get("reason") == "ExitCode":
            return int(cause["message"])
    raise RuntimeError(f"the command did not run: {json.dumps(content)}")
