"""components.alerts: what must hold in it, and between it and the rest."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from armillary.models.parts import Alerts
from armillary.models.rules import Draft, check

SOURCE = {
    "name": "fink",
    "survey": "ztf",
    "brokers": ["kafka.example.org:9092"],
    "topics": ["^fink_.*"],
}
NEEDED = frozenset({"jupyterhub", "kafka", "object_store", "alerts"})


def findings(settings: dict[str, Any], components: frozenset[str] = NEEDED) -> dict[str, str]:
    """Return what is wrong, by path below components.alerts: what, and what to do."""
    draft = Draft(alerts=Alerts.model_validate(settings), components=components)
    return {
        ".".join(map(str, found.path[2:])): f"{found.wrong}: {found.fix}" for found in check(draft)
    }


def test_the_least_that_can_be_written_is_right() -> None:
    assert findings({}) == {}
    assert findings({"sources": [SOURCE], "replayer": {}}) == {}


@pytest.mark.parametrize("missing", ["jupyterhub", "kafka", "object_store"])
def test_what_alerts_stand_on_must_be_there(missing: str) -> None:
    said = findings({}, NEEDED - {missing})
    assert f"alerts need `components.{missing}`" in said[""]
    assert f"`{missing}" in said[""] or f"add `{missing}" in said[""]


@pytest.mark.parametrize(
    ("settings", "path", "said"),
    [
        ({"sources": [SOURCE, SOURCE]}, "sources.1.name", "the name of source 1 as well"),
        (
            {"sources": [{**SOURCE, "username": "me"}]},
            "sources.0.username",
            "`me` has no password: add `password_file`",
        ),
        (
            {"sources": [{**SOURCE, "password_file": "/root/p"}]},
            "sources.0.password_file",
            "a password of nobody",
        ),
        (
            {
                "sources": [
                    {
                        **SOURCE,
                        "username": "me",
                        "password_file": "/root/p",
                        "tls": False,
                        "mechanism": "PLAIN",
                    }
                ]
            },
            "sources.0.mechanism",
            "PLAIN without TLS sends the password in the clear: write `tls: true`",
        ),
        (
            {"stages": {"filter": {"least": 3, "most": 2}}},
            "stages.filter.least",
            "3 is more than most, 2",
        ),
        (
            {"partitions": 2, "stages": {"annotate": {"most": 3}}},
            "stages.annotate.most",
            "3 pods for 2 partitions",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place(settings: dict[str, Any], path: str, said: str) -> None:
    found = findings(settings)
    assert said in found[path], found


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"sources": [{**SOURCE, "brokers": ["kafka.example.org"]}]},
            "is not the address of a broker",
        ),
        (
            {"sources": [{**SOURCE, "brokers": ["kafka.example.org:99999"]}]},
            "is not the address of a broker",
        ),
        ({"sources": [{**SOURCE, "survey": "gaia"}]}, "'lsst' or 'ztf'"),
        ({"sources": [{**SOURCE, "topics": []}]}, "at least 1"),
        ({"share_limit": 5}, "is too many as a share"),
        ({"share_limit": 0}, "is too few as a share"),
        ({"stages": {"filters": {}}}, "Extra inputs"),
        ({"replayer": {"rate": 0}}, "0 is too few alerts a second"),
        ({"python_filters": {"memory": "1GB"}}, "GiB"),
    ],
)
def test_a_wrong_value_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Alerts.model_validate(settings)
    assert said in str(caught.value)
