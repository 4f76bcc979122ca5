"""A project of OpenStack that is played on loopback: openstacksdk is the real one, what it asks is answered from a dictionary.

A test changes what there is and looks at what is said of it; no cloud, real or not, can be made to lack eight things at once.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import openstack
import yaml
from openstack.connection import Connection

PROJECT = "2f1b0f5e9c6e4d0f8f3d6c1d1f0b7a11"
SERVICES = {
    "identity": "identity/v3",
    "compute": "compute/v2.1",
    "network": "network",
    "image": "image",
    "block-storage": "volume/v3",
    "object-store": f"object/v1/AUTH_{PROJECT}",
    "load-balancer": "balancer",
}
VERSIONS = {
    "identity/v3": ("version", "v3.14", {}),
    "compute/v2.1": ("version", "v2.1", {"version": "2.90", "min_version": "2.1"}),
    "network": ("versions", "v2.0", {}),
    "image": ("versions", "v2.15", {}),
    "volume/v3": ("versions", "v3.0", {"version": "3.70", "min_version": "3.0"}),
    "balancer": ("versions", "v2.26", {}),
}
PATHS = {"network": "network/v2.0", "image": "image/v2", "balancer": "balancer/v2.0"}
"""Where the version is that a service's root names."""


def room(limit: int, used: int = 0) -> dict[str, int]:
    """Return one of Neutron's quotas."""
    return {"limit": limit, "used": used, "reserved": 0}


def flavor(name: str, cpus: int, memory_mib: int, disk_gib: int) -> dict[str, Any]:
    """Return a flavor as Nova tells it."""
    return {"id": name, "name": name, "vcpus": cpus, "ram": memory_mib, "disk": disk_gib}


class Headers(dict[str, str]):
    """An answer that is headers alone."""


class Project:
    """What there is; `answers` may be changed at any time.

    Attributes:
        answers: by path without a leading slash, what is answered to GET; a number is a status without a body.
        offered: the services of the catalogue.
        skew: how far the cloud's clock is from this machine's.
    """

    def __init__(self) -> None:
        self.offered = set(SERVICES)
        self.skew = timedelta(0)
        self.answers: dict[str, Any] = {
            "compute/v2.1/limits": {
                "limits": {
                    "absolute": {
                        **{"maxTotalInstances": 10, "totalInstancesUsed": 0},
                        **{"maxTotalCores": 40, "totalCoresUsed": 0},
                        **{"maxTotalRAMSize": 81920, "totalRAMUsed": 0},
                        **{"maxServerGroups": 10, "totalServerGroupsUsed": 0},
                        "maxServerGroupMembers": 10,
                    }
                }
            },
            "compute/v2.1/flavors/detail": {
                "flavors": [flavor("m1.medium", 2, 4096, 40), flavor("m1.large", 4, 8192, 80)]
            },
            "compute/v2.1/os-availability-zone": zones("nova"),
            "volume/v3/limits": {
                "limits": {
                    "absolute": {
                        **{"maxTotalVolumes": 20, "totalVolumesUsed": 0},
                        **{"maxTotalVolumeGigabytes": 1000, "totalGigabytesUsed": 0},
                    }
                }
            },
            "volume/v3/types": {"volume_types": [{"id": "1", "name": "rbd"}]},
            "volume/v3/os-availability-zone": zones("nova"),
            f"network/v2.0/quotas/{PROJECT}/details": {
                "quota": {
                    **{"network": room(10), "subnet": room(10), "router": room(10)},
                    **{"port": room(100), "floatingip": room(10)},
                    **{"security_group": room(20), "security_group_rule": room(200)},
                }
            },
            "network/v2.0/networks": {
                "networks": [{"id": "n1", "name": "public", "router:external": True}]
            },
            "network/v2.0/subnets": {"subnets": []},
            "network/v2.0/floatingips": {"floatingips": []},
            "image/v2/images": {
                "images": [image("debian-12", "2026-11-01T00:00:00Z")],
                "schema": "/v2/schemas/images",
            },
            f"object/v1/AUTH_{PROJECT}": [],
            "compute/v2.1/servers/detail": {"servers": []},
            "compute/v2.1/os-server-groups": {"server_groups": []},
            "network/v2.0/ports": {"ports": []},
            "network/v2.0/routers": {"routers": []},
            "network/v2.0/security-groups": {"security_groups": []},
            "volume/v3/snapshots/detail": {"snapshots": []},
            "volume/v3/volumes/detail": {"volumes": []},
            "identity/v3/users/user/application_credentials": {"application_credentials": []},
            f"balancer/v2.0/lbaas/quotas/{PROJECT}": {
                "quota": {
                    **{"load_balancer": 5, "listener": 10, "pool": 10},
                    **{"member": 50, "health_monitor": 10},
                }
            },
            **{
                f"balancer/v2.0/lbaas/{kind}": {kind: []}
                for kind in ("loadbalancers", "listeners", "pools", "healthmonitors")
            },
        }

    def container(self, name: str, mark: str) -> None:
        """Put a container into Swift."""
        account = f"object/v1/AUTH_{PROJECT}"
        self.answers[account].append({"name": name, "count": 3, "bytes": 4096})
        self.answers[f"{account}/{name}"] = Headers(X_Container_Meta_Armillary_Cluster=mark)

    def limits(self, service: str, **values: int) -> None:
        """Set limits of Nova (`compute/v2.1`) or Cinder (`volume/v3`), by their own names."""
        self.answers[f"{service}/limits"]["limits"]["absolute"] |= values

    def token(self, at: str) -> dict[str, Any]:
        """Return Keystone's answer to who signs in."""
        now = datetime.now(UTC) + self.skew
        catalog = [
            {
                "type": kind,
                "name": kind,
                "id": kind,
                "endpoints": [
                    {
                        **{"id": kind, "interface": "public", "region_id": "here"},
                        **{"region": "here", "url": f"{at}/{SERVICES[kind]}"},
                    }
                ],
            }
            for kind in sorted(self.offered)
        ]
        domain = {"id": "default", "name": "Default"}
        return {
            "token": {
                "methods": ["password"],
                "user": {"id": "user", "name": "user", "domain": domain},
                "project": {"id": PROJECT, "name": "science", "domain": domain},
                "roles": [{"id": "member", "name": "member"}],
                "issued_at": f"{now:%Y-%m-%dT%H:%M:%S.000000Z}",
                "expires_at": f"{now + timedelta(days=1):%Y-%m-%dT%H:%M:%S.000000Z}",
                "catalog": catalog,
            }
        }


def zones(*names: str) -> dict[str, Any]:
    """Return zones as Nova and Cinder tell them."""
    return {
        "availabilityZoneInfo": [
            {"zoneName": name, "zoneState": {"available": True}} for name in names
        ]
    }


def image(name: str, created: str, **more: Any) -> dict[str, Any]:
    """Return an image as Glance tells it."""
    return {
        **{"id": f"{name}-{created}", "name": name, "status": "active"},
        **{"created_at": created, "min_disk": 3, "min_ram": 0},
        **more,
    }


@contextmanager
def played(project: Project) -> Iterator[str]:
    """Serve a project; gives the address of its Keystone."""

    class Handler(BaseHTTPRequestHandler):
        def _say(self, status: int, body: Any = None, **headers: str) -> None:
            text = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(text)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self._say(201, project.token(address), X_Subject_Token="token")

        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            path, asked = path.strip("/"), parse_qs(query)
            if path in VERSIONS:
                self._say(200, _versions(path, address))
                return
            found = project.answers.get(path, 404)
            if isinstance(found, int):
                self._say(found)
            elif isinstance(found, Headers):
                self._say(204, **found)
            else:
                self._say(200, _named(found, asked["name"][0]) if "name" in asked else found)

        do_HEAD = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"{address}/identity/v3"
        finally:
            server.shutdown()


def _named(answer: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the answer with those of a name alone in its list."""
    return {
        key: [each for each in value if each["name"] == name] if isinstance(value, list) else value
        for key, value in answer.items()
    }


def _versions(path: str, address: str) -> dict[str, Any]:
    kind, name, more = VERSIONS[path]
    found = {
        **{"id": name, "status": "stable" if path.startswith("identity") else "CURRENT"},
        "links": [{"rel": "self", "href": f"{address}/{PATHS.get(path, path)}/"}],
        **more,
    }
    return {kind: found if kind == "version" else [found]}


def entry(auth_url: str, **more: Any) -> dict[str, Any]:
    """Return an entry of clouds.yaml that opens the project."""
    auth = {
        **{"auth_url": auth_url, "username": "user", "password": "secret"},
        **{"project_id": PROJECT, "user_domain_id": "default"},
    }
    return {"auth": auth, "region_name": "here", **more}


def clouds_yaml(path: Path, auth_url: str, name: str = "openstack") -> Path:
    """Write a clouds.yaml with one entry."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({"clouds": {name: entry(auth_url)}}))
    return path


@contextmanager
def signed_in(project: Project) -> Iterator[Connection]:
    """Serve a project and sign in to it."""
    with (
        played(project) as auth_url,
        openstack.connect(
            load_yaml_config=False, load_envvars=False, **entry(auth_url)
        ) as connection,
    ):
        connection.authorize()
        yield connection
