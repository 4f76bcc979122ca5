"""A cluster's generated secrets: made once, kept in one file that its owner alone may read."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from typing import Any

import yaml
from cryptography.fernet import Fernet

from armillary.files import read_yaml, write_secret
from armillary.models.cluster import Cluster
from armillary.paths import ClusterPaths

WORD_LENGTH = 20
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
    kafka = cluster.components.kafka
    if kafka is not None or "kafka" in kept:
        wanted["kafka"] = _kafka(
            kept.get("kafka", {}), {user.name for user in kafka.users} if kafka else set()
        )
    if cluster.backup:
        # Without it no backup can be read: it is never made anew while the file lives.
        wanted["backup"] = kept.get("backup") or {"password": secrets.token_urlsafe(32)}
    if cluster.has_own_object_store:
        wanted["own_object_store"] = _own_object_store(cluster, kept.get("own_object_store", {}))
    for name in ("object_store", "own_object_store"):
        if name in kept and name not in wanted:
            # What is stored is there for whoever declares it again.
            wanted[name] = kept[name]
    _write(paths, wanted)
    return wanted


def _own_object_store(cluster: Cluster, kept: Mapping[str, Any]) -> dict[str, Any]:
    """Return the secrets of an object store on the services host; keys of those who are named no more go."""
    keys = kept.get("s3", {})
    return {
        "hash_prefix": kept.get("hash_prefix") or secrets.token_hex(16),
        "hash_suffix": kept.get("hash_suffix") or secrets.token_hex(16),
        "token_key": kept.get("token_key") or Fernet.generate_key().decode(),
        "operator": kept.get("operator") or new_password(),
        "s3": {
            name: keys.get(name) or {"access": f"{cluster.name}:{name}", "secret": new_password()}
            for name in cluster.s3_keys
        },
    }


def _kafka(kept: Mapping[str, Any], users: set[str]) -> dict[str, Any]:
    """Return Kafka's secrets; those of users who are gone stay, for who comes back has the same."""
    known = kept.get("users", {})
    return {
        # What tells this Kafka's storage from others', as Kafka writes such ids.
        "cluster_id": kept.get("cluster_id")
        or base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("="),
        "metrics": kept.get("metrics") or new_password(),
        "users": {
            **known,
            **{name: known.get(name) or new_password() for name in sorted({"admin", *users})},
        },
    }


def keep_object_store(paths: ClusterPaths, access: Mapping[str, Any] | None) -> None:
    """Remember how the cluster's containers in the cloud's own store are opened; None where there are none.

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
