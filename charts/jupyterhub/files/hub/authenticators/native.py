"""Sign-in with a list of users and the argon2 hashes of their passwords.

The list is configuration, not state: who is not in it cannot sign in, and nobody can sign up.
Why this and not an authenticator off the shelf: docs/decisions/0008-authenticator.md.
"""

from __future__ import annotations

import asyncio
from ipaddress import ip_network
from math import ceil
from typing import Any

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from failures import FailedSignIns, client_address
from jupyterhub.auth import Authenticator
from tornado.web import HTTPError
from traitlets import Dict, Integer, List, Unicode, validate

# RFC 9106, section 4, second recommended option. Verified against for names that are not in the
# list, so that the time an answer takes does not tell which names are.
NOBODY = Argon2id(
    salt=b"nobody signs in!", length=32, iterations=3, lanes=4, memory_cost=64 * 1024
).derive_phc_encoded(b"")


class NativeAuthenticator(Authenticator):
    """Users and password hashes from the hub's configuration."""

    password_hashes = Dict(
        value_trait=Unicode(),
        key_trait=Unicode(),
        config=True,
        help="Argon2id hash (PHC string) of each user's password, by user name.",
    )
    failures_per_name_and_address = Integer(
        5,
        min=1,
        config=True,
        help="Failed sign-ins of one user from one address until it must wait.",
    )
    failures_per_address = Integer(
        50,
        min=1,
        config=True,
        help="Failed sign-ins from one address, whoever the user, until it must wait.",
    )
    failures_per_name = Integer(
        100,
        min=1,
        config=True,
        help="Failed sign-ins of one user, wherever from, until all must wait.",
    )
    failure_window = Integer(300, min=1, config=True, help="Seconds a failed sign-in counts.")
    trusted_proxies = List(
        Unicode(),
        config=True,
        help="CIDRs of the proxies in front of the hub, which say who they forward for.",
    )

    @validate("password_hashes")
    def _only_argon2id(self, proposal: Any) -> Any:
        for name, phc in proposal.value.items():
            if not phc.startswith("$argon2id$"):
                raise ValueError(
                    f"NativeAuthenticator.password_hashes[{name!r}] does not start with $argon2id$"
                )
        return proposal.value

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._failures = FailedSignIns(self.failure_window)
        self._networks = [ip_network(cidr) for cidr in self.trusted_proxies]
        # 64 MiB each: the hub's memory limit is for a few at once.
        self._verifications = asyncio.Semaphore(2)

    def _address(self, handler: Any) -> str:
        request = handler.request
        forwarded = ",".join(request.headers.get_list("X-Forwarded-For"))
        return client_address(
            forwarded.split(",") if forwarded else [],
            request.connection.context.address[0],
            self._networks,
        )

    def _refuse_when_limited(self, buckets: dict[str, int], username: str, address: str) -> None:
        wait = max(self._failures.wait(key, limit) for key, limit in buckets.items())
        if wait > 0:
            self.log.warning(
                "Sign-in of %r from %s refused: too many failures, %.0f s to wait",
                username,
                address,
                wait,
            )
            error = HTTPError(
                429, f"Too many failed sign-ins. Wait {ceil(wait / 60)} min, then try again."
            )
            error.headers = {"Retry-After": str(ceil(wait))}
            raise error

    async def authenticate(self, handler: Any, data: dict[str, str]) -> str | None:
        """The user's name when the password is the user's, None when not.

        Raises:
            HTTPError: 429 after too many failures, before the password is looked at.
        """
        username = self.normalize_username(data.get("username", ""))[:255]
        password = data.get("password", "")
        address = self._address(handler)
        pair, name, where = f"pair {address} {username}", f"name {username}", f"address {address}"
        buckets = {
            pair: self.failures_per_name_and_address,
            where: self.failures_per_address,
            name: self.failures_per_name,
        }
        self._refuse_when_limited(buckets, username, address)
        # Counted before the work and taken back after it: otherwise as many guesses as fit into
        # the time of one verification would pass the limit together.
        for key in buckets:
            self._failures.add(key)
        async with self._verifications:
            known = await asyncio.to_thread(
                _password_is, password, self.password_hashes.get(username, NOBODY)
            )
        if not (known and username in self.password_hashes):
            return None
        self._failures.forget(pair)
        self._failures.take_back(where)
        self._failures.take_back(name)
        return username

    async def refresh_user(self, user: Any, handler: Any = None) -> bool:
        """Whether a user is still in the list: who is not loses sessions and tokens too."""
        return user.name in self.password_hashes


def _password_is(password: str, phc: str) -> bool:
    try:
        Argon2id.verify_phc_encoded(password.encode(), phc)
    except (InvalidKey, ValueError):
        return False
    return True
