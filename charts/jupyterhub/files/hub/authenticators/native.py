"""Sign-in with a list of users and the argon2 hashes of their passwords.

The list is configuration, not state: who is not in it cannot sign in, and nobody can sign up.
Why this and not an authenticator off the shelf: docs/decisions/0008-authenticator.md.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from math import ceil
from typing import Any

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from jupyterhub.auth import Authenticator
from tornado.web import HTTPError
from traitlets import Dict, Integer, List, Unicode, validate

Network = IPv4Network | IPv6Network

# RFC 9106, section 4, second recommended option. Verified against for names that are not in the list, so that
# the time an answer takes does not tell which names are.
NOBODY = Argon2id(
    salt=b"nobody signs in!", length=32, iterations=3, lanes=4, memory_cost=64 * 1024
).derive_phc_encoded(b"")


def client_address(forwarded_for: Iterable[str], peer: str, trusted: Iterable[Network]) -> str:
    """The address a request came from: the last one in the chain that is not a proxy of ours.

    Earlier entries of X-Forwarded-For are the client's own claim.
    """
    networks = tuple(trusted)
    chain = [entry.strip() for entry in forwarded_for] + [peer]
    nearest = peer
    for entry in reversed(chain):
        try:
            address = ip_address(entry)
        except ValueError:
            return nearest
        nearest = entry
        if not any(address in network for network in networks):
            return nearest
    return nearest


class FailedSignIns:
    """Counts failures per key in a sliding window, for a bounded number of keys.

    Not shared between hubs and gone after a restart, which is right for one hub: the window is minutes.
    """

    def __init__(
        self, window: float, clock: Callable[[], float] = time.monotonic, keys: int = 10_000
    ) -> None:
        self.window = window
        self.clock = clock
        self.keys = keys
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def wait(self, key: str, limit: int) -> float:
        """Seconds until `key` has fewer than `limit` failures in the window; 0 when it has now."""
        times = self._failures.get(key)
        if not times:
            return 0.0
        now = self.clock()
        while times and now - times[0] >= self.window:
            times.popleft()
        return times[-limit] + self.window - now if len(times) >= limit else 0.0

    def add(self, key: str) -> None:
        """Record a failure now. Forgets the key that failed longest ago when there are too many."""
        self._failures.setdefault(key, deque(maxlen=1000)).append(self.clock())
        self._failures.move_to_end(key)
        while len(self._failures) > self.keys:
            self._failures.popitem(last=False)

    def take_back(self, key: str) -> None:
        """Take back the last recorded failure of a key."""
        times = self._failures.get(key)
        if times:
            times.pop()

    def forget(self, key: str) -> None:
        """Forget the failures of a key that proved itself."""
        self._failures.pop(key, None)


class NativeAuthenticator(Authenticator):
    """Users and password hashes from the hub's configuration."""

    password_hashes = Dict(
        value_trait=Unicode(),
        key_trait=Unicode(),
        config=True,
        help="Argon2id hash (PHC string) of each user's password, by user name.",
    )
    failures_per_name_and_address = Integer(
        5, min=1, config=True, help="Failed sign-ins of one user from one address until it must wait."
    )
    failures_per_address = Integer(
        50, min=1, config=True, help="Failed sign-ins from one address, whoever the user, until it must wait."
    )
    failures_per_name = Integer(
        100, min=1, config=True, help="Failed sign-ins of one user, wherever from, until all must wait."
    )
    failure_window = Integer(300, min=1, config=True, help="Seconds a failed sign-in counts.")
    trusted_proxies = List(
        Unicode(), config=True, help="CIDRs of the proxies in front of the hub, which say who they forward for."
    )

    @validate("password_hashes")
    def _only_argon2id(self, proposal: Any) -> Any:
        for name, phc in proposal.value.items():
            if not phc.startswith("$argon2id$"):
                raise ValueError(
                    f"NativeAuthenticator.password_hashes[{name!r}] is not an argon2id hash ($argon2id$...)"
                )
        return proposal.value

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._failures = FailedSignIns(self.failure_window)
        self._networks = [ip_network(cidr) for cidr in self.trusted_proxies]
        # 64 MiB each: the hub's memory limit is for a few at once, not for as many as there are requests.
        self._verifications = asyncio.Semaphore(2)

    def _address(self, handler: Any) -> str:
        request = handler.request
        forwarded = ",".join(request.headers.get_list("X-Forwarded-For"))
        return client_address(
            forwarded.split(",") if forwarded else [], request.connection.context.address[0], self._networks
        )

    def _refuse_when_limited(self, buckets: dict[str, int], username: str, address: str) -> None:
        wait = max(self._failures.wait(key, limit) for key, limit in buckets.items())
        if wait > 0:
            self.log.warning(
                "Sign-in of %r from %s refused: too many failures, %.0f s to wait", username, address, wait
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
        # Counted before the work and taken back after it: otherwise as many guesses as fit into the time of
        # one verification would pass the limit together.
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
        """Whether a signed-in user is still in the list: who was taken off it loses sessions and tokens too."""
        return user.name in self.password_hashes


def _password_is(password: str, phc: str) -> bool:
    try:
        Argon2id.verify_phc_encoded(password.encode(), phc)
    except (InvalidKey, ValueError):
        return False
    return True
