"""The chart of alerts, rendered by the helm that clusters are installed with."""

from __future__ import annotations

from typing import Any

from jupyterhub_chart import ROOT, Object, run

CHART = ROOT / "charts" / "alerts"
SECRETS = {
    "admin": "kafka-admin-password",
    "token": "hub-token-of-the-service",
    "derived": "ab" * 32,
    "annotate": "password-of-annotate",
    "archive": "password-of-archive",
    "key": "key-of-the-object-store",
    "tls": "-----BEGIN PRIVATE KEY-----",
}


def values() -> Object:
    """Values as the role gives them."""
    return {
        "global": {"chartDigest": "0"},
        "image": "registry.test:5000/armillary/alerts@sha256:" + "a" * 64,
        "kafka": {
            "bootstrapServers": "kafka-1.test:9093",
            "ca": "-----BEGIN CERTIFICATE-----\nkafka",
            "cidrs": ["192.0.2.14/32"],
            "admin": {"username": "admin", "password": SECRETS["admin"]},
        },
        "archive": {
            "url": "s3://test-alerts/archive",
            "endpoint": "https://services-1.test:8443",
            "accessKey": "alerts",
            "secretKey": SECRETS["key"],
            "cidrs": ["192.0.2.10/32"],
            "port": 8443,
        },
        "hub": {"apiUrl": "http://hub.jupyterhub.svc:8081/hub/api", "token": SECRETS["token"]},
        "stages": {
            "annotate": {
                "args": ["annotate"],
                "group": "alerts-annotate",
                "topics": ["alerts.raw"],
                "minReplicas": 1,
                "maxReplicas": 4,
                "lagPerReplica": 2000,
                "password": SECRETS["annotate"],
            },
            "archive": {
                "args": ["archive"],
                "group": "alerts-archive",
                "topics": ["alerts.annotated"],
                "minReplicas": 1,
                "maxReplicas": 1,
                "password": SECRETS["archive"],
                "archive": True,
            },
        },
        "service": {
            "certificate": "-----BEGIN CERTIFICATE-----\nservice",
            "key": SECRETS["tls"],
            "accountsSecret": SECRETS["derived"],
        },
        "autoscaling": {
            "ca": "-----BEGIN CERTIFICATE-----\nauthority",
            "frontProxyCa": "-----BEGIN CERTIFICATE-----\nfront",
            "hosts": ["192.0.2.0/24"],
        },
        "pythonFilters": {
            "trial": {
                "certificate": "-----BEGIN CERTIFICATE-----\ntrial",
                "key": SECRETS["tls"],
                "ca": "-----BEGIN CERTIFICATE-----\nauthority",
            }
        },
    }


def rendered(content: Object) -> tuple[int, str]:
    """Return helm's exit code, and what it says or makes."""
    done = run(["template", "alerts", "--namespace", "alerts"], content, CHART)
    return done.returncode, done.stdout if done.returncode == 0 else done.stderr


def changed(path: str, value: Any) -> Object:
    """The values with one of them set."""
    content = values()
    level: Any = content
    *parents, last = path.split(".")
    for key in parents:
        level = level.setdefault(key, {})
    level[last] = value
    return content
