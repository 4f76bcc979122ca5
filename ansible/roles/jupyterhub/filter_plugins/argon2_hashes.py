"""Hash users' passwords on the controller: a cluster never holds the passwords themselves."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping

from ansible.errors import AnsibleFilterError
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id


def argon2_hashes(passwords: Mapping[str, str], key: str) -> dict[str, str]:
    """Return the argon2id hash (PHC string) of each password, by user name.

    The salt is derived from the cluster's key, the name and the password: the same on every run,
    so that a run that changes nothing restarts no hub, and different for each user and cluster.
    Costs are those of RFC 9106, section 4, second recommended option.

    Args:
        passwords: password by user name.
        key: a secret of the cluster, at least 32 characters.

    Raises:
        AnsibleFilterError: the key is too short, or a password is empty.
    """
    if len(key) < 32:
        raise AnsibleFilterError("argon2_hashes: the key must have at least 32 characters")
    hashes = {}
    for name, password in passwords.items():
        if not password:
            raise AnsibleFilterError(f"argon2_hashes: user {name} has no password")
        message = f"jupyterhub\0{name}\0{password}".encode()
        salt = hmac.digest(key.encode(), message, hashlib.sha256)[:16]
        hashes[name] = Argon2id(
            salt=salt, length=32, iterations=3, lanes=4, memory_cost=64 * 1024
        ).derive_phc_encoded(password.encode())
    return hashes


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Return the filters by the name templates use."""
        return {"argon2_hashes": argon2_hashes}
