"""The module that sets an OpenStack up makes what is missing, and nothing twice."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

from armillary.paths import ROOT

MODULE = ROOT / "ansible" / "plugins" / "modules" / "openstack_objects.py"
IMAGE = {
    "name": "debian-12",
    "key": "new",
    "file": "/disk",
    "disk_format": "qcow2",
    "container_format": "bare",
    "kernel": None,
    "ramdisk": None,
    "properties": {},
}


@pytest.fixture
def objects() -> Any:
    """The module's class on a cloud that does as it is told."""
    spec = importlib.util.spec_from_file_location("openstack_objects", MODULE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Objects(MagicMock(), "RegionOne")


def test_what_is_there_is_not_made(objects: Any) -> None:
    objects.projects(["there"])
    objects.cloud.identity.create_project.assert_not_called()
    assert objects.made == []


def test_what_is_missing_is_made(objects: Any) -> None:
    objects.cloud.compute.find_flavor.return_value = None
    objects.flavors([{"name": "m1.small", "vcpus": 1, "ram": 1024, "disk": 4}])
    objects.cloud.compute.create_flavor.assert_called_once_with(
        name="m1.small", vcpus=1, ram=1024, disk=4
    )
    assert objects.made == ["flavor m1.small"]


def test_a_role_that_is_held_is_not_given_again(objects: Any) -> None:
    identity = objects.cloud.identity
    identity.role_assignments.return_value = [SimpleNamespace(role={"id": "id of admin"})]
    identity.find_role.side_effect = lambda name, **_: SimpleNamespace(id=f"id of {name}")
    user = {"name": "nova", "password": "x", "project": "service", "roles": ["admin", "service"]}
    objects.users([user])
    (given,) = identity.assign_project_role_to_user.call_args_list
    assert given.args[2].id == "id of service"


def test_an_endpoint_that_moved_is_corrected(objects: Any) -> None:
    identity = objects.cloud.identity
    identity.services.return_value = [SimpleNamespace(id="s")]
    known = [
        SimpleNamespace(interface="public", url="https://old"),
        SimpleNamespace(interface="internal", url="http://same"),
    ]
    identity.endpoints.return_value = known
    urls = {"public": "https://new", "internal": "http://same"}
    objects.services([{"name": "nova", "type": "compute", "endpoints": urls}])
    identity.update_endpoint.assert_called_once_with(known[0], url="https://new")
    identity.create_endpoint.assert_not_called()


@pytest.mark.parametrize(
    ("key", "status", "again"),
    [("new", "active", False), ("old", "active", True), ("new", "queued", True)],
)
def test_an_image_is_uploaded_anew_when_it_is_another(
    objects: Any, key: str, status: str, again: bool
) -> None:
    glance = objects.cloud.image
    glance.find_image.return_value = SimpleNamespace(
        id="i", status=status, properties={"armillary_key": key}
    )
    objects.images([IMAGE])
    assert glance.delete_image.called is again
    assert glance.create_image.called is again


def test_a_disk_is_tied_to_its_kernel(objects: Any) -> None:
    glance = objects.cloud.image
    glance.find_image.return_value = None
    glance.create_image.side_effect = lambda name, **_: SimpleNamespace(id=f"id of {name}")
    objects.images([{**IMAGE, "name": "kernel"}, {**IMAGE, "kernel": "kernel"}])
    assert glance.create_image.call_args.kwargs["kernel_id"] == "id of kernel"


def test_a_quota_is_set_when_it_differs(objects: Any) -> None:
    objects.cloud.get_compute_quotas.return_value = SimpleNamespace(cores=16, ram=1)
    objects.quotas({"armillary": {"compute": {"cores": 16}}})
    objects.cloud.set_compute_quotas.assert_not_called()
    objects.quotas({"armillary": {"compute": {"cores": 8}}})
    objects.cloud.set_compute_quotas.assert_called_once_with("armillary", cores=8)
