"""A cluster's generated secrets: made once, kept in one file that its owner alone may read."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import yaml

from armillary.files import read_yaml, write_secret
from armillary.models.cluster import Cluster
from armillary.paths import ClusterPaths

WORD_LENGTH = 20
#: Each stage of the alert pipeline has an account of its own in Kafka.
ALERT_STAGES = ("ingest", "simulate", "annotate", "feedback", "filter", "archive")
ALPHABET = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"


def ensure(paths: ClusterPaths, cluster: Cluster) -> dict[str, Any]:
    """Return the cluster's secrets, making those that are missing; what is there never changes."""
    kept = load(paths)
    registry = kept.get("registry", {})
    hub = kept.get("jupyterhub", {})
    jupyterhub = cluster.components.jupyterhub
    users = {user.name for user in jupyterhub.authenticator.users} if jupyterhub else set()
    wanted: dict[str, Any] = {
        "registry": {
            account: registry.get(account) or {"username": account, "password": new_password()}
            for account in ("push", "pull")
        },
        "jupyterhub": {
            "cookie_secret": hub.get("cookie_secret") or secrets.token_hex(32),
            "proxy_token": hub.get("proxy_token") or secrets.token_hex(32),
            "crypt_key": hub.get("crypt_key") or secrets.token_hex(32),
            "users": {
                **hub.get("users", {}),
                **{
                    name: hub.get("users", {}).get(name) or new_password() for name in sorted(users)
                },
            },
        },
    }
    if cluster.components.alerts:
        alerts = kept.get("alerts", {})
        stages = alerts.get("stages", {})
        wanted["alerts"] = {
            "hub_token": alerts.get("hub_token") or secrets.token_hex(32),
            # Passwords of users' accounts in Kafka are derived from it.
            "accounts_secret": alerts.get("accounts_secret") or secrets.token_hex(32),
            "stages": {
                name: stages.get(name) or secrets.token_urlsafe(24) for name in ALERT_STAGES
            },
        }
    elif "alerts" in kept:
        wanted["alerts"] = kept["alerts"]
    if cluster.backup:
        # Without it no backup can be read: it is never made anew while the file lives.
        wanted["backup"] = kept.get("backup") or {"password": secrets.token_urlsafe(32)}
    if "object_store" in kept:
        wanted["object_store"] = kept["object_store"]
    _write(paths, wanted)
    return wanted


def keep_object_store(paths: ClusterPaths, access: Mapping[str, str] | None) -> None:
    """Remember how the cluster's containers are opened; None where there are none.

    Args:
        paths: the cluster's state directory.
        access: what `Cloud.object_store` gives.
    """
    kept = load(paths)
    if kept.get("object_store") == access:
        return
    kept.pop("object_store", None)
    if access is not None:
        kept["object_store"] = dict(access)
    _write(paths, kept)


def _write(paths: ClusterPaths, content: Mapping[str, Any]) -> None:
    text = yaml.safe_dump({"armillary_secrets": dict(content)}, sort_keys=True)
    write_secret(paths.secrets, text)


def load(paths: ClusterPaths) -> dict[str, Any]:
    """Return the secrets there are; an empty mapping before the first `up`."""
    try:
        content = read_yaml(paths.secrets) or {}
    except FileNotFoundError:
        return {}
    found: dict[str, Any] = content.get("armillary_secrets", {})
    return found


def new_password() -> str:
    """Return a password of 116 bits that survives being read out over a telephone."""
    return "".join(secrets.choice(ALPHABET) for _ in range(WORD_LENGTH))
