"""Hosts as testinfra sees them."""

from __future__ import annotations

from collections.abc import Callable

from testinfra.host import Host

HostOf = Callable[[str], Host]
"""Gives a host of the cluster by its name."""
