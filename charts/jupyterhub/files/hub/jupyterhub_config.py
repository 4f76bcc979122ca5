"""JupyterHub's configuration from the chart's values."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from homes import HomeHook
from z2jh import get_config, set_config_if_not_none

HERE = Path(__file__).parent
HOMES = Path("/srv/homes")
# Put there by traitlets, which runs this file.
c: Any = globals()["c"]


def configure_hub() -> None:
    """The hub itself, and how the proxy and user servers reach it."""
    c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
    c.JupyterHub.hub_bind_url = "http://:8081"
    c.JupyterHub.hub_connect_url = "http://hub:8081"
    c.ConfigurableHTTPProxy.api_url = "http://proxy-api:8001"
    c.ConfigurableHTTPProxy.should_start = False
    c.ConfigurableHTTPProxy.auth_token = (HERE / "secret" / "proxy-token").read_text()
    c.JupyterHub.cookie_secret = (HERE / "secret" / "cookie-secret").read_text()
    # User servers outlive the hub: a restart of it is not seen by who is working.
    c.JupyterHub.cleanup_servers = False
    c.JupyterHub.cleanup_proxy = False
    # How often routes are compared with the proxy's, which has none after a restart of its own.
    c.JupyterHub.last_activity_interval = 20
    # The progress page with the pod's events at once, not a page that loads for ten seconds.
    c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0}
    memory = get_config("hub.db.type") == "sqlite-memory"
    c.JupyterHub.db_url = "sqlite://" if memory else "sqlite:////srv/jupyterhub/jupyterhub.sqlite"
    c.JupyterHub.template_paths = [*get_config("hub.templatePaths", []), str(HERE / "templates")]
    for trait, key in {
        "base_url": "baseUrl",
        "concurrent_spawn_limit": "concurrentSpawnLimit",
        "active_server_limit": "activeServerLimit",
        "allow_named_servers": "allowNamedServers",
        "named_server_limit_per_user": "namedServerLimitPerUser",
        "authenticate_prometheus": "authenticatePrometheus",
        "redirect_to_server": "redirectToServer",
        "shutdown_on_logout": "shutdownOnLogout",
        "template_vars": "templateVars",
    }.items():
        set_config_if_not_none(c.JupyterHub, trait, f"hub.{key}")
    if public_url := get_config("publicUrl"):
        # Also what makes cookies `Secure`: TLS ends at the ingress, the hub itself sees http.
        c.JupyterHub.public_url = public_url
        # The XSRF cookie does not follow the public URL by itself. Goes to users' servers too.
        c.JupyterHub.tornado_settings["cookie_options"] = {"secure": True}
    set_config_if_not_none(c.Spawner, "consecutive_failure_limit", "hub.consecutiveFailureLimit")
    if get_config("debug.enabled"):
        c.JupyterHub.log_level = "DEBUG"
        c.Spawner.debug = True


def image_reference(image: dict[str, Any]) -> str:
    """`name`, which may hold a digest, with `tag` where there is one."""
    return f"{image['name']}:{image['tag']}" if image.get("tag") else str(image["name"])


def configure_spawner() -> None:
    """User pods: what runs in them, what they may use, where they go."""
    spawner = c.KubeSpawner
    spawner.namespace = os.environ["POD_NAMESPACE"]
    spawner.image = image_reference(get_config("singleuser.image"))
    spawner.common_labels = {
        "app": "jupyterhub",
        "app.kubernetes.io/name": "jupyterhub",
        "app.kubernetes.io/instance": get_config("release"),
        "app.kubernetes.io/managed-by": "kubespawner",
    }
    for trait, key in {
        "pod_name_template": "podNameTemplate",
        "image_pull_policy": "image.pullPolicy",
        "start_timeout": "startTimeout",
        "events_enabled": "events",
        "uid": "uid",
        "fs_gid": "fsGid",
        "allow_privilege_escalation": "allowPrivilegeEscalation",
        "cpu_limit": "cpu.limit",
        "cpu_guarantee": "cpu.guarantee",
        "mem_limit": "memory.limit",
        "mem_guarantee": "memory.guarantee",
        "extra_resource_limits": "extraResource.limits",
        "extra_resource_guarantees": "extraResource.guarantees",
        "environment": "extraEnv",
        "extra_labels": "extraLabels",
        "extra_annotations": "extraAnnotations",
        "extra_pod_config": "extraPodConfig",
        "extra_containers": "extraContainers",
        "init_containers": "initContainers",
        "lifecycle_hooks": "lifecycleHooks",
        "service_account": "serviceAccountName",
        "node_selector": "nodeSelector",
        "node_affinity_required": "extraNodeAffinity.required",
        "node_affinity_preferred": "extraNodeAffinity.preferred",
        "pod_affinity_required": "extraPodAffinity.required",
        "pod_affinity_preferred": "extraPodAffinity.preferred",
        "pod_anti_affinity_required": "extraPodAntiAffinity.required",
        "pod_anti_affinity_preferred": "extraPodAntiAffinity.preferred",
        "profile_list": "profileList",
        "cmd": "cmd",
        "default_url": "defaultUrl",
    }.items():
        set_config_if_not_none(spawner, trait, f"singleuser.{key}")
    # What Pod Security's `restricted` asks for and KubeSpawner does not set by itself.
    spawner.pod_security_context = {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    spawner.container_security_context = {"capabilities": {"drop": ["ALL"]}}
    # A new pod's address needs a moment until every host's rules let the hub in.
    c.Spawner.http_timeout = 60
    spawner.delete_grace_period = 1
    if secrets := [
        *get_config("imagePullSecrets", []),
        *get_config("singleuser.image.pullSecrets", []),
    ]:
        spawner.image_pull_secrets = secrets
    if get_config("scheduling.podPriority.enabled"):
        spawner.priority_class_name = get_config("priorityClass")
    spawner.tolerations = [
        *get_config("scheduling.userPods.tolerations", []),
        *get_config("singleuser.extraTolerations", []),
    ]
    place_user_pods(spawner)


def place_user_pods(spawner: Any) -> None:
    """Nodes labelled for users: preferred, required or ignored."""
    term = {
        "matchExpressions": [
            {"key": "hub.jupyter.org/node-purpose", "operator": "In", "values": ["user"]}
        ]
    }
    match get_config("scheduling.userPods.nodeAffinity.matchNodePurpose"):
        case "prefer":
            spawner.node_affinity_preferred = [
                *get_config("singleuser.extraNodeAffinity.preferred", []),
                {"weight": 100, "preference": term},
            ]
        case "require":
            spawner.node_affinity_required = [
                *get_config("singleuser.extraNodeAffinity.required", []),
                term,
            ]


def configure_storage() -> None:
    """Homes, and files and volumes of the administrator's."""
    storage = get_config("singleuser.storage")
    volumes: list[dict[str, Any]] = []
    mounts: list[dict[str, Any]] = []
    home: dict[str, Any] = {"mountPath": storage["homeMountPath"], "name": "home"}
    if storage["type"] == "dynamic":
        dynamic = storage["dynamic"]
        c.KubeSpawner.storage_pvc_ensure = True
        c.KubeSpawner.storage_capacity = storage["capacity"]
        c.KubeSpawner.storage_access_modes = dynamic["storageAccessModes"]
        c.KubeSpawner.storage_extra_labels = storage["extraLabels"]
        if dynamic["storageClass"] is not None:
            c.KubeSpawner.storage_class = dynamic["storageClass"]
        if dynamic["pvcNameTemplate"] is not None:
            c.KubeSpawner.pvc_name_template = dynamic["pvcNameTemplate"]
        home |= {"name": dynamic["volumeNameTemplate"], "subPath": dynamic["subPath"]}
        volumes.append({"name": home["name"], "persistentVolumeClaim": {"claimName": "{pvc_name}"}})
    elif storage["type"] == "static":
        static = storage["static"]
        home["subPath"] = static["subPath"]
        volumes.append({"name": "home", "persistentVolumeClaim": {"claimName": static["pvcName"]}})
    if volumes:
        mounts.append({key: value for key, value in home.items() if value is not None})

    if files := get_config("singleuser.extraFiles"):
        items = [
            {"key": key, "path": key} | ({"mode": file["mode"]} if "mode" in file else {})
            for key, file in files.items()
        ]
        volumes.append({"name": "files", "secret": {"secretName": "singleuser", "items": items}})
        mounts += [
            {"name": "files", "mountPath": file["mountPath"], "subPath": key}
            for key, file in files.items()
        ]
    c.KubeSpawner.volumes = volumes + as_list(storage["extraVolumes"])
    c.KubeSpawner.volume_mounts = mounts + as_list(storage["extraVolumeMounts"])
    if storage["type"] == "static" and storage["static"]["hostPath"]:
        c.KubeSpawner.pre_spawn_hook = HomeHook(
            HOMES, storage["static"]["subPath"], storage["homeMountPath"]
        )


def as_list(items: Any) -> list[Any]:
    """Zero to JupyterHub takes lists and mappings (whose keys only make them mergeable) alike."""
    return list(items.values()) if isinstance(items, dict) else list(items or [])


def configure_services() -> None:
    """Programs beside the hub, each with no more rights than it needs."""
    c.JupyterHub.services = []
    c.JupyterHub.load_roles = []
    if get_config("cull.enabled"):
        c.JupyterHub.services.append(
            {"name": "jupyterhub-idle-culler", "command": culler_command()}
        )
        scopes = ["list:users", "read:users:activity", "read:servers", "delete:servers"]
        if get_config("cull.users"):
            scopes.append("admin:users")
        c.JupyterHub.load_roles.append(
            {
                "name": "jupyterhub-idle-culler",
                "scopes": scopes,
                "services": ["jupyterhub-idle-culler"],
            }
        )
    for name, service in get_config("hub.services", {}).items():
        renamed = {
            "api_token" if key == "apiToken" else key: value for key, value in service.items()
        }
        c.JupyterHub.services.append({"name": name} | renamed)
    for name, role in get_config("hub.loadRoles", {}).items():
        c.JupyterHub.load_roles.append({"name": name} | role)


def culler_command() -> list[str]:
    """What stops idle servers, as a process of the hub's."""
    base_url = get_config("hub.baseUrl").rstrip("/")
    command = [sys.executable, "-m", "jupyterhub_idle_culler"]
    command.append(f"--url=http://localhost:8081{base_url}/hub/api")
    for key, flag in {
        "timeout": "timeout",
        "every": "cull-every",
        "concurrency": "concurrency",
        "maxAge": "max-age",
    }.items():
        if (value := get_config(f"cull.{key}")) is not None:
            command.append(f"--{flag}={value}")
    for key, flag in {
        "users": "cull-users",
        "adminUsers": "cull-admin-users",
        "removeNamedServers": "remove-named-servers",
    }.items():
        if (value := get_config(f"cull.{key}")) is not None:
            command.append(f"--{flag}={str(value).lower()}")
    return command


def apply_pass_through() -> None:
    """`hub.config`: a section per class, as in JupyterHub's own configuration."""
    for section, values in get_config("hub.config", {}).items():
        if not section[:1].isupper():
            sys.exit(
                f"hub.config.{section}: a section is the name of a class, such as JupyterHub; "
                f"is {section} a key of the chart's that belongs elsewhere?"
            )
        c[section].update(values or {})


configure_hub()
configure_spawner()
configure_storage()
configure_services()
apply_pass_through()
for extra_name, extra_code in sorted(get_config("hub.extraConfig", {}).items()):
    exec(compile(extra_code, f"hub.extraConfig.{extra_name}", "exec"))  # noqa: S102
