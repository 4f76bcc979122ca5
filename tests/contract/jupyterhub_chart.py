"""The JupyterHub chart, rendered by the helm that clusters are installed with."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import Any

import pytest
import yaml

from armillary.paths import cache_home

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "jupyterhub"
COOKIE_SECRET = "c00c1e" + "0" * 58
PROXY_TOKEN = "proxy-token-" + "1" * 32
CRYPT_KEY = "ab" * 32
HASH = "$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA"

Object = dict[str, Any]


def helm() -> str:
    """The helm program that `invoke artifacts` builds, or the machine's."""
    built = sorted(
        cache_home().glob("artifacts/helm/*/bin/helm"), key=lambda path: path.stat().st_mtime
    )
    found = str(built[-1]) if built else which("helm")
    if not found:
        pytest.skip("there is no helm yet: `uv run invoke artifacts` builds it")
    return found


def values() -> Object:
    """Values as the role gives them."""
    return {
        "global": {"chartDigest": "0"},
        "hub": {
            "image": {"name": "registry.test:5000/armillary/hub@sha256:" + "a" * 64},
            "cookieSecret": COOKIE_SECRET,
            "config": {
                "JupyterHub": {"authenticator_class": "authenticators.native.NativeAuthenticator"},
                "CryptKeeper": {"keys": [CRYPT_KEY]},
                "Authenticator": {"allowed_users": ["astronomer"], "admin_users": ["astronomer"]},
                "NativeAuthenticator": {"password_hashes": {"astronomer": HASH}},
            },
        },
        "proxy": {"secretToken": PROXY_TOKEN, "chp": {"image": {"name": "proxy", "tag": "1"}}},
        "singleuser": {
            "image": {"name": "notebook", "tag": "1"},
            "networkPolicy": {"clusterCIDRs": ["192.0.2.0/24", "10.244.0.0/16"]},
            "storage": {
                "type": "static",
                "static": {"pvcName": "homes", "hostPath": "/srv/shared/homes"},
                "extraVolumes": [{"name": "examples", "configMap": {"name": "example-notebooks"}}],
                "extraVolumeMounts": [{"name": "examples", "mountPath": "/home/jovyan/examples"}],
            },
            "profileList": [
                {"display_name": "one", "kubespawner_override": {"image": "notebook:1"}},
                {
                    "display_name": "two",
                    "default": True,
                    "kubespawner_override": {"image": "notebook:2"},
                    "profile_options": {
                        "image": {
                            "display_name": "Image",
                            "choices": {
                                "three": {
                                    "display_name": "three",
                                    "kubespawner_override": {"image": "notebook:3"},
                                }
                            },
                        }
                    },
                },
            ],
        },
        "scheduling": {"podPriority": {"enabled": True}},
        "prePuller": {"pause": {"image": {"name": "pause", "tag": "1"}}},
        "ingress": {
            "enabled": True,
            "ingressClassName": "armillary",
            "hosts": ["hub.test"],
            "tls": [{"hosts": ["hub.test"], "secretName": "hub-tls"}],
        },
    }


def run(
    arguments: list[str], content: Object, chart: Path = CHART
) -> subprocess.CompletedProcess[str]:
    """Run helm with values on standard input."""
    return subprocess.run(
        [helm(), *arguments, str(chart), "--values", "-"],
        input=yaml.safe_dump(content),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def render(content: Object, chart: Path = CHART) -> list[Object]:
    """Return the objects the chart makes of values."""
    result = run(["template", "jupyterhub", "--namespace", "jupyterhub"], content, chart)
    assert result.returncode == 0, result.stderr
    return [each for each in yaml.safe_load_all(result.stdout) if each]


def one(objects: list[Object], kind: str, name: str) -> Object:
    """Return the one object of a kind and name."""
    found = [each for each in objects if each["kind"] == kind and each["metadata"]["name"] == name]
    assert len(found) == 1, f"{len(found)} of {kind}/{name}"
    return found[0]


def pods(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Yield the pod specification of each object that makes pods, with its name."""
    for each in objects:
        if each["kind"] in {"Deployment", "DaemonSet", "StatefulSet", "Job"}:
            yield each["metadata"]["name"], each["spec"]["template"]["spec"]
