"""Who failed to sign in, from where and how often."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address

Network = IPv4Network | IPv6Network


def client_address(forwarded_for: Iterable[str], peer: str, trusted: Iterable[Network]) -> str:
    """The address a request came from: the last one in the chain that is no proxy of ours.

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

    Not shared between hubs and gone after a restart: the window is minutes, the hub is one.
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
