"""Kubernetes' Pod Security Standard `restricted`, as a function on a pod's specification."""

from __future__ import annotations

from typing import Any

# https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
CONTAINERS = ("initContainers", "containers", "ephemeralContainers")


def violations(spec: dict[str, Any]) -> list[str]:
    """Return what `restricted` would refuse in a pod's specification, one line each."""
    pod = spec.get("securityContext") or {}
    found = [
        f"{key} is set"
        for key in ("hostNetwork", "hostPID", "hostIPC", "hostUsers")
        if spec.get(key)
    ]
    found += [
        f"volume {volume['name']} is of kind {', '.join(kinds)}"
        for volume in spec.get("volumes") or []
        if (kinds := set(volume) - {"name"} - VOLUMES)
    ]
    for group in CONTAINERS:
        for container in spec.get(group) or []:
            found += [
                f"{container['name']}: {wrong}" for wrong in _container_violations(container, pod)
            ]
    return found


def _container_violations(container: dict[str, Any], pod: dict[str, Any]) -> list[str]:
    own = container.get("securityContext") or {}
    seccomp = own.get("seccompProfile") or pod.get("seccompProfile") or {}
    capabilities = own.get("capabilities") or {}
    checks = {
        "privileged": not own.get("privileged"),
        "allowPrivilegeEscalation is not false": own.get("allowPrivilegeEscalation") is False,
        "capabilities are not all dropped": "ALL" in capabilities.get("drop", []),
        "capabilities are added": set(capabilities.get("add") or []) <= {"NET_BIND_SERVICE"},
        "may run as root": own.get("runAsNonRoot", pod.get("runAsNonRoot")) is True,
        "runs as user 0": own.get("runAsUser", pod.get("runAsUser")) != 0,
        "no seccomp profile": seccomp.get("type") in {"RuntimeDefault", "Localhost"},
        "has host ports": not any(port.get("hostPort") for port in container.get("ports") or []),
        "sets procMount": own.get("procMount", "Default") == "Default",
    }
    return [wrong for wrong, good in checks.items() if not good]
