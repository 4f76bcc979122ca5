"""The pods that the hub would make for users, from the chart's values by the real KubeSpawner."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hub_process import environment, hub_python, lay_out
from jupyterhub_chart import Object, values
from pod_security import violations

# Prints the manifest of the pod of each user named on the command line.
PRINT = """
import asyncio, json, sys
from types import SimpleNamespace
from kubespawner import KubeSpawner
from kubernetes_asyncio.client import ApiClient
from jupyterhub.objects import Hub
from traitlets.config.loader import PyFileConfigLoader

config = PyFileConfigLoader(sys.argv[1]).load_config()

async def manifest(name):
    user = SimpleNamespace(name=name, escaped_name=name, id=1, url=f"/user/{name}/", settings={})
    spawner = KubeSpawner(_mock=True, config=config, hub=Hub(), user=user, api_token="t")
    spawner.user_options = {"profile": "two"} if config.KubeSpawner.profile_list else {}
    await spawner.load_user_options()
    pod = await spawner.get_pod_manifest()
    hook = spawner.pre_spawn_hook
    home = spawner._expand_user_properties(hook.sub_path) if hook else None
    return {"pod": ApiClient().sanitize_for_serialization(pod), "home": home}

async def main():
    return {name: await manifest(name) for name in sys.argv[2:]}

print(json.dumps(asyncio.run(main())))
"""

# KubeSpawner wants to know a cluster when it is made; a manifest is made without asking it.
NO_CLUSTER = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "none",
    "contexts": [{"name": "none", "context": {"cluster": "none", "user": "none"}}],
    "clusters": [{"name": "none", "cluster": {"server": "https://127.0.0.1:1"}}],
    "users": [{"name": "none", "user": {}}],
}


def pods_of(content: Object, users: list[str], directory: Path) -> dict[str, Any]:
    """Return {user: {pod: manifest, home: path the hub makes}}."""
    configuration = lay_out(content, directory)
    kubeconfig = directory / ".kube" / "config"
    kubeconfig.parent.mkdir()
    kubeconfig.write_text(json.dumps(NO_CLUSTER))
    result = subprocess.run(
        [str(hub_python()), "-c", PRINT, str(configuration), *users],
        env=environment(configuration),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


def home_mounts(pod: Object) -> list[Object]:
    """The mounts of the claim with the homes."""
    volumes = {
        each["name"]
        for each in pod["spec"]["volumes"]
        if each.get("persistentVolumeClaim", {}).get("claimName") == "homes"
    }
    return [
        each for each in pod["spec"]["containers"][0]["volumeMounts"] if each["name"] in volumes
    ]


def test_a_users_pod_is_restricted_and_has_no_way_to_kubernetes(tmp_path: Path) -> None:
    pod = pods_of(values(), ["alice"], tmp_path)["alice"]["pod"]
    assert violations(pod["spec"]) == []
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["spec"]["containers"][0]["securityContext"]["runAsUser"] == 1000
    assert pod["spec"]["priorityClassName"] == "jupyterhub-default-priority"
    labels = pod["metadata"]["labels"]
    assert labels["component"] == "singleuser-server"
    assert labels["app.kubernetes.io/instance"] == "jupyterhub"
    assert "hub.jupyter.org/network-access-singleuser" not in labels


# Names an identity provider may give: none leaves the space, no two share a home.
NAMES = [
    "alice",
    "alice-",
    "a.lice",
    "a-lice",
    "../alice",
    "/etc",
    "al/ice",
    "ålice",
    "Alice S",
    "x" * 200,
]


def test_a_pod_mounts_its_users_home_only_and_the_hub_makes_that_very_one(tmp_path: Path) -> None:
    found = pods_of(values(), NAMES, tmp_path)
    homes = {}
    for name, each in found.items():
        mounts = home_mounts(each["pod"])
        assert [mount["mountPath"] for mount in mounts] == ["/home/jovyan"], name
        homes[name] = mounts[0]["subPath"]
        assert homes[name] == each["home"], name
        assert "/" not in homes[name], name
        assert homes[name] not in {"", ".", ".."}, name
    assert len(set(homes.values())) == len(NAMES)
    assert homes["alice"] == "alice"


def test_a_profile_decides_image_and_resources(tmp_path: Path) -> None:
    content = values()
    override = {"image": "notebook:2", "cpu_limit": 2, "mem_limit": "2G", "mem_guarantee": "512M"}
    content["singleuser"]["profileList"][1] = {
        "display_name": "two",
        "kubespawner_override": override,
    }
    container = pods_of(content, ["alice"], tmp_path)["alice"]["pod"]["spec"]["containers"][0]
    assert container["image"] == "notebook:2"
    assert container["resources"]["limits"] == {"cpu": 2, "memory": 2 * 1024**3}
    assert container["resources"]["requests"]["memory"] == 512 * 1024**2


def test_administrators_files_and_configuration_arrive(tmp_path: Path) -> None:
    content = values()
    content["singleuser"]["extraFiles"] = {
        "a.json": {"mountPath": "/etc/jupyter/a.json", "data": {"a": 1}, "mode": 0o444}
    }
    content["singleuser"]["extraEnv"] = {"EDITOR": "vim"}
    content["hub"]["extraConfig"] = {
        "10-later": "c.KubeSpawner.extra_labels = {'team': 'late'}",
        "00-first": "c.KubeSpawner.extra_labels = {'team': 'early'}",
        "20-reads": "import z2jh\nc.KubeSpawner.extra_annotations = z2jh.get_config('custom')",
    }
    content["custom"] = {"survey": "ztf"}
    pod = pods_of(content, ["alice"], tmp_path)["alice"]["pod"]
    container = pod["spec"]["containers"][0]
    assert {"name": "EDITOR", "value": "vim"} in container["env"]
    assert {"name": "files", "mountPath": "/etc/jupyter/a.json", "subPath": "a.json"} in container[
        "volumeMounts"
    ]
    assert pod["metadata"]["labels"]["team"] == "late"
    assert pod["metadata"]["annotations"]["survey"] == "ztf"


def test_each_user_has_a_claim_with_dynamic_storage(tmp_path: Path) -> None:
    content = values()
    content["singleuser"]["storage"] = {"type": "dynamic", "dynamic": {"storageClass": "fast"}}
    found = pods_of(content, ["alice", "bob"], tmp_path)
    claims = {
        name: next(
            volume["persistentVolumeClaim"]["claimName"]
            for volume in each["pod"]["spec"]["volumes"]
            if "persistentVolumeClaim" in volume
        )
        for name, each in found.items()
    }
    assert claims["alice"] != claims["bob"]
    assert "alice" in claims["alice"]


@pytest.mark.parametrize(("purpose", "field"), [("require", "required"), ("prefer", "preferred")])
def test_users_pods_go_where_they_are_to_go(tmp_path: Path, purpose: str, field: str) -> None:
    content = values()
    content["scheduling"]["userPods"] = {"nodeAffinity": {"matchNodePurpose": purpose}}
    affinity = pods_of(content, ["alice"], tmp_path)["alice"]["pod"]["spec"]["affinity"]
    assert list(affinity["nodeAffinity"]) == [f"{field}DuringSchedulingIgnoredDuringExecution"]
