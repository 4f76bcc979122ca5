"""What the JupyterHub chart accepts, and what it makes of it."""

from __future__ import annotations

import base64
import shutil
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml
from jupyterhub_chart import (
    CHART,
    COOKIE_SECRET,
    CRYPT_KEY,
    HASH,
    PROXY_TOKEN,
    Object,
    one,
    pods,
    render,
    run,
    values,
)
from pod_security import violations


def changed(path: str, value: Any) -> Object:
    """The values with one of them set."""
    content = values()
    level: Any = content
    *parents, last = path.split(".")
    for key in parents:
        level = level.setdefault(key, {})
    level[last] = value
    return content


@pytest.fixture(scope="module")
def objects() -> list[Object]:
    """The chart as a cluster gets it."""
    return render(values())


def test_lint() -> None:
    result = run(["lint", "--strict"], values())
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("httpRoute.enabled", True, "additional properties 'httpRoute' not allowed"),
        ("hub.cookiesecret", "x", "additional properties 'cookiesecret' not allowed"),
        ("hub.existingSecret", "mine", "additional properties 'existingSecret' not allowed"),
        ("hub.pdb.enabled", True, "additional properties 'pdb' not allowed"),
        ("hub.db.type", "postgres", "at '/hub/db/type': value must be one of"),
        ("hub.config.authenticator", {}, "'authenticator' does not match pattern"),
        ("hub.cookieSecret", "short", "at '/hub/cookieSecret'"),
        ("proxy.https.enabled", True, "at '/proxy/https/enabled': value must be false"),
        ("proxy.traefik.image", {}, "additional properties 'traefik' not allowed"),
        ("singleuser.uid", 0, "at '/singleuser/uid': minimum"),
        ("singleuser.storage.type", "hostPath", "at '/singleuser/storage/type'"),
        ("singleuser.storage.static.pvcName", "", "at '/singleuser/storage/static/pvcName'"),
        ("singleuser.allowPrivilegeEscalation", True, "value must be false"),
        ("singleuser.cloudMetadata.blockWithIptables", True, "value must be false"),
        ("singleuser.networkPolicy.clusterCIDRs", ["10.0.0.0"], "does not match pattern"),
        ("singleuser.memory.limits", "1G", "additional properties 'limits' not allowed"),
        ("singleuser.startTimeout", "5m", "at '/singleuser/startTimeout': got string"),
        ("scheduling.userScheduler.enabled", True, "value must be false"),
        ("scheduling.userPlaceholder.replicas", 3, "value must be 0"),
        ("prePuller.hook.enabled", True, "value must be false"),
        ("cull.timeout", "1h", "at '/cull/timeout': got string"),
        ("fullnameOverride", "mine", "at '/fullnameOverride'"),
    ],
)
def test_what_does_not_work_is_refused_by_name(path: str, value: Any, said: str) -> None:
    result = run(["template", "jupyterhub"], changed(path, value))
    assert result.returncode != 0
    assert said in result.stderr


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("hub.image.name", None, "hub.image.name: set the image to run"),
        ("hub.image.tag", "5", "hub.image: a name with a digest"),
        (
            "singleuser.networkPolicy.egressAllowRules",
            {"nonPrivateIPs": False, "privateIPs": True},
            "privateIPs without nonPrivateIPs is not supported",
        ),
        (
            "hub.extraFiles",
            {"motd": {"mountPath": "/etc/motd", "data": {"a": 1}}},
            "use stringData",
        ),
    ],
)
def test_what_a_schema_cannot_see_is_refused_too(path: str, value: Any, said: str) -> None:
    result = run(["template", "jupyterhub"], changed(path, value))
    assert result.returncode != 0
    assert said in result.stderr


def test_a_file_written_for_zero_to_jupyterhub_is_accepted() -> None:
    content = values()
    theirs = yaml.safe_load(
        """
        hub:
          config:
            JupyterHub: {admin_access: false}
            Authenticator: {admin_users: [alice]}
          extraConfig:
            00-first: |
              c.KubeSpawner.extra_labels = {"team": "survey"}
          extraEnv: {LANG: C.UTF-8, FROM: {valueFrom: {secretKeyRef: {name: s, key: k}}}}
          extraFiles:
            motd: {mountPath: /etc/motd, stringData: "hello"}
          services: {bot: {apiToken: "0123456789abcdef", admin: false}}
          loadRoles: {bot: {scopes: [list:users], services: [bot]}}
          networkPolicy: {egress: [{ports: [{port: 5432}]}]}
        proxy:
          service: {type: NodePort, nodePorts: {http: 30080}}
          https: {enabled: false}
        singleuser:
          cpu: {limit: 2, guarantee: 0.1}
          memory: {limit: 2G, guarantee: 512M}
          storage: {type: dynamic, capacity: 5Gi, dynamic: {storageClass: fast}}
          extraEnv: {EDITOR: vim}
          extraFiles:
            settings.json: {mountPath: /etc/jupyter/more.json, data: {a: 1}, mode: 420}
          cloudMetadata: {blockWithIptables: false}
          networkPolicy: {egress: [{to: [{ipBlock: {cidr: 10.9.0.0/16}}]}]}
          extraNodeAffinity: {required: [{matchExpressions: [{key: a, operator: Exists}]}]}
          initContainers: [{name: init, image: "init:1"}]
        scheduling: {userScheduler: {enabled: false}, userPlaceholder: {enabled: false}}
        prePuller: {hook: {enabled: false}, extraImages: {more: {name: more, tag: "1"}}}
        cull: {enabled: true, timeout: 1800, every: 300, maxAge: 86400, users: true}
        debug: {enabled: true}
        custom: {anything: [1, 2]}
        """
    )
    for section, theirs_section in theirs.items():
        content[section] = {**content.get(section, {}), **theirs_section}
    content["hub"]["image"] = values()["hub"]["image"]
    content["singleuser"]["image"] = values()["singleuser"]["image"]
    made = render(content)
    assert one(made, "Service", "proxy-public")["spec"]["ports"][0]["nodePort"] == 30080
    puller = one(made, "DaemonSet", "continuous-image-puller")["spec"]["template"]["spec"]
    assert {"init:1", "more:1"} <= {each["image"] for each in puller["initContainers"]}
    settings = one(made, "Secret", "singleuser")["data"]["settings.json"]
    assert yaml.safe_load(base64.b64decode(settings)) == {"a": 1}


def test_every_pod_is_restricted(objects: list[Object]) -> None:
    found = {name: violations(spec) for name, spec in pods(objects)}
    assert found == {"hub": [], "proxy": [], "continuous-image-puller": []}


def test_every_container_has_a_read_only_root_and_a_memory_limit(objects: list[Object]) -> None:
    for name, spec in pods(objects):
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, name
            assert container["resources"]["limits"]["memory"], name


@pytest.mark.parametrize("secret", [COOKIE_SECRET, PROXY_TOKEN, CRYPT_KEY, HASH])
def test_secrets_are_in_secrets_only(objects: list[Object], secret: str) -> None:
    encoded = base64.b64encode(secret.encode()).decode().rstrip("=")
    holders = {
        each["kind"]
        for each in objects
        if secret in (text := yaml.safe_dump(each, width=10**6))
        or encoded in text
        or any(
            secret in base64.b64decode(data).decode()
            for data in (each.get("data") or {}).values()
            if each["kind"] == "Secret"
        )
    }
    assert holders == {"Secret"}


def test_no_pod_gets_a_secret_by_environment(objects: list[Object]) -> None:
    for name, spec in pods(objects):
        for container in spec["containers"]:
            for variable in container.get("env", []):
                assert "secretKeyRef" not in variable.get("valueFrom", {}), name
            assert "envFrom" not in container, name


def test_only_the_hub_talks_to_kubernetes(objects: list[Object]) -> None:
    for name, spec in pods(objects):
        assert spec.get("automountServiceAccountToken", True) is (name == "hub")
    rules = one(objects, "Role", "hub")["rules"]
    allowed = {
        (resource, verb)
        for rule in rules
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert {resource for resource, _ in allowed} == {"pods", "events"}
    assert not any("*" in pair for pair in allowed)
    assert not [each for each in objects if each["kind"].startswith("ClusterRole")]


def restarted(before: Object, after: Object) -> set[str]:
    """The Deployments and DaemonSets whose pods a change of values would replace."""
    templates = [
        {
            each["metadata"]["name"]: each["spec"]["template"]
            for each in render(content)
            if each["kind"] in {"Deployment", "DaemonSet"}
        }
        for content in (before, after)
    ]
    return {name for name in templates[0] if templates[0][name] != templates[1].get(name)}


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("global.chartDigest", "1", set()),
        ("ingress.annotations", {"a": "b"}, set()),
        ("hub.networkPolicy.egress", [{"ports": [{"port": 5432}]}], set()),
        ("hub.db.pvc.annotations", {"a": "b"}, set()),
        ("proxy.service.type", "NodePort", set()),
        ("singleuser.networkPolicy.clusterCIDRs", ["192.0.2.0/24"], set()),
        ("prePuller.extraImages", {"more": {"name": "more"}}, {"continuous-image-puller"}),
        ("singleuser.memory", {"limit": "3G"}, {"hub"}),
        ("hub.cookieSecret", "ff" * 32, {"hub"}),
        ("hub.config.Authenticator.admin_users", [], {"hub"}),
        ("proxy.chp.resources", {"limits": {"memory": "1Gi"}}, {"proxy"}),
        ("proxy.secretToken", "another-token-" + "2" * 32, {"hub", "proxy"}),
    ],
)
def test_only_what_a_change_touches_restarts(path: str, value: Any, expected: set[str]) -> None:
    assert restarted(values(), changed(path, value)) == expected


def test_a_new_version_of_the_chart_restarts_nothing(tmp_path: Path) -> None:
    newer = tmp_path / "jupyterhub"
    shutil.copytree(CHART, newer)
    description = newer / "Chart.yaml"
    description.write_text(description.read_text().replace("version: 0.1.0", "version: 9.9.9"))
    templates = [
        {
            each["metadata"]["name"]: each["spec"]["template"]
            for each in made
            if each["kind"] == "Deployment"
        }
        for made in (render(values()), render(values(), newer))
    ]
    assert templates[0] == templates[1]


def test_images_of_all_profiles_are_pulled_ahead(objects: list[Object]) -> None:
    spec = one(objects, "DaemonSet", "continuous-image-puller")["spec"]["template"]["spec"]
    assert [each["image"] for each in spec["initContainers"]] == [
        "notebook:1",
        "notebook:2",
        "notebook:3",
    ]


def test_users_reach_the_world_but_not_the_cluster(objects: list[Object]) -> None:
    egress = one(objects, "NetworkPolicy", "singleuser")["spec"]["egress"]
    blocks = [to["ipBlock"] for rule in egress for to in rule.get("to", []) if "ipBlock" in to]
    assert [block["cidr"] for block in blocks] == ["0.0.0.0/0"]
    shut = [ip_network(cidr) for cidr in blocks[0]["except"]]
    for closed in ("169.254.169.254/32", "192.0.2.10/32", "10.244.1.1/32", "10.96.0.1/32"):
        assert any(ip_network(closed).subnet_of(network) for network in shut), closed
    for open_to in ("1.1.1.1/32", "8.8.8.8/32"):
        assert not any(ip_network(open_to).subnet_of(network) for network in shut), open_to


def test_private_addresses_open_on_request_but_never_the_clusters_own() -> None:
    content = changed("singleuser.networkPolicy.egressAllowRules", {"privateIPs": True})
    egress = one(render(content), "NetworkPolicy", "singleuser")["spec"]["egress"]
    excluded = [to["ipBlock"]["except"] for rule in egress for to in rule["to"] if "ipBlock" in to]
    assert excluded == [["169.254.0.0/16", "192.0.2.0/24", "10.244.0.0/16"]]


def test_users_are_reached_by_the_proxy_and_the_hub_only(objects: list[Object]) -> None:
    ingress = one(objects, "NetworkPolicy", "singleuser")["spec"]["ingress"]
    label = "hub.jupyter.org/network-access-singleuser"
    assert ingress == [
        {
            "ports": [{"port": 8888, "protocol": "TCP"}],
            "from": [{"podSelector": {"matchLabels": {label: "true"}}}],
        }
    ]
    holders = {
        each["metadata"]["name"]
        for each in objects
        if each["kind"] in {"Deployment", "DaemonSet"}
        and label in each["spec"]["template"]["metadata"]["labels"]
    }
    assert holders == {"hub", "proxy"}


def test_all_else_in_the_namespace_reaches_nothing(objects: list[Object]) -> None:
    spec = one(objects, "NetworkPolicy", "default-deny")["spec"]
    assert spec == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_homes_are_kept_and_given_to_nobody_else(objects: list[Object]) -> None:
    spec = one(objects, "PersistentVolume", "jupyterhub-homes")["spec"]
    assert spec["persistentVolumeReclaimPolicy"] == "Retain"
    assert (spec["claimRef"]["namespace"], spec["claimRef"]["name"]) == ("jupyterhub", "homes")
    assert spec["hostPath"] == {"path": "/srv/shared/homes", "type": "Directory"}
    claim = one(objects, "PersistentVolumeClaim", "homes")["spec"]
    assert (claim["volumeName"], claim["storageClassName"]) == ("jupyterhub-homes", "")


def test_a_hub_restart_leaves_the_proxy_alone(objects: list[Object]) -> None:
    hub = one(objects, "Deployment", "hub")["spec"]
    assert hub["strategy"] == {"type": "Recreate"}
    selectors = [
        one(objects, "Service", name)["spec"]["selector"]["component"]
        for name in ("hub", "proxy-public")
    ]
    assert selectors == ["hub", "proxy"]
