"""The limit on failed sign-ins, and whose failures they are."""

from __future__ import annotations

import sys
from ipaddress import ip_network
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "charts/jupyterhub/files/hub"))

from failures import FailedSignIns, client_address

PROXIES = [ip_network("10.77.0.0/24"), ip_network("10.244.0.0/16")]


class Clock:
    """Time that passes when told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_failures_below_the_limit_do_not_wait() -> None:
    failures = FailedSignIns(300, Clock())
    for _ in range(4):
        failures.add("mallory")
    assert failures.wait("mallory", 5) == 0


def test_reaching_the_limit_waits_until_enough_failures_are_old() -> None:
    clock = Clock()
    failures = FailedSignIns(300, clock)
    for _ in range(5):
        failures.add("mallory")
        clock.now += 10
    assert failures.wait("mallory", 5) == 250  # the first is 50 s old
    clock.now += 249
    assert failures.wait("mallory", 5) == 1
    clock.now += 1
    assert failures.wait("mallory", 5) == 0


def test_one_key_does_not_wait_for_another() -> None:
    failures = FailedSignIns(300, Clock())
    for _ in range(5):
        failures.add("mallory")
    assert failures.wait("alice", 5) == 0


def test_a_success_forgets_the_failures() -> None:
    failures = FailedSignIns(300, Clock())
    for _ in range(5):
        failures.add("alice")
    failures.forget("alice")
    assert failures.wait("alice", 5) == 0


def test_taking_back_leaves_earlier_failures() -> None:
    failures = FailedSignIns(300, Clock())
    for _ in range(5):
        failures.add("address")
    failures.add("address")
    failures.take_back("address")
    assert failures.wait("address", 5) > 0
    failures.take_back("address")
    assert failures.wait("address", 5) == 0


def test_memory_is_bounded_and_the_oldest_key_goes_first() -> None:
    failures = FailedSignIns(300, Clock(), keys=100)
    for number in range(101):
        failures.add(f"user{number}")
    assert failures.wait("user0", 1) == 0
    assert failures.wait("user1", 1) > 0


@pytest.mark.parametrize(
    ("forwarded", "peer", "expected"),
    [
        ([], "192.0.2.7", "192.0.2.7"),
        (["192.0.2.7", "10.244.1.5"], "10.244.2.9", "192.0.2.7"),
        # What the client claims stands left of what our proxies saw.
        (["203.0.113.1", "192.0.2.7", "10.244.1.5"], "10.244.2.9", "192.0.2.7"),
        (["nonsense", "192.0.2.7"], "10.244.2.9", "192.0.2.7"),
        (["nonsense"], "10.244.2.9", "10.244.2.9"),
        # A peer that is no proxy of ours says nothing about others.
        (["203.0.113.1"], "192.0.2.7", "192.0.2.7"),
        # All of it is ours: a request from inside.
        (["10.77.0.30"], "10.244.2.9", "10.77.0.30"),
        (["2001:db8::7"], "10.244.2.9", "2001:db8::7"),
    ],
)
def test_client_address(forwarded: list[str], peer: str, expected: str) -> None:
    assert client_address(forwarded, peer, PROXIES) == expected
