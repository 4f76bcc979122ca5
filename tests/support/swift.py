"""An object store on this machine, for tests: Swift with its S3, from the role's own templates and the locked packages.

with swift.serve(tmp_path, ["alerts", "spark"]) as store:
    store.have({"archive": Container(write=["alerts"], read=["spark"], quota=2**20)})
    store.s3("alerts").put_object(Bucket="archive", Key="a", Body=b"1")
"""

from __future__ import annotations

import base64
import getpass
import importlib.util
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import jinja2
import requests
import yaml
from botocore.config import Config
from cryptography.fernet import Fernet

from armillary.artifacts import build_artifact, load_manifest
from armillary.objectstore.access import Access
from armillary.objectstore.access import Key as AccessKey
from armillary.paths import ROOT
from support.ports import free_ports
from support.waiting import until

ROLE = ROOT / "ansible" / "roles" / "objectstore"
ACCOUNT = "test"
SERVERS = ("account", "container", "object", "proxy")


@dataclass(frozen=True)
class Key:
    """What opens an account by S3, and by Swift's own protocol."""

    access: str
    secret: str


@dataclass(frozen=True)
class Container:
    """A container: who may read, who may also write, and how many bytes it holds at most."""

    read: Sequence[str] = ()
    write: Sequence[str] = ()
    quota: int | None = None


@dataclass
class Store:
    """A Swift on loopback."""

    folder: Path
    url: str
    keys: Mapping[str, Key]
    """Name of a service or user: its key."""
    region: str = "us-east-1"
    home: Path | None = None
    ports: Sequence[int] = ()
    """Of the four servers."""
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def s3(self, name: str, **settings: Any) -> Any:
        """Return an S3 client of boto3 for one of the keys.

        Args:
            name: whose.
            settings: more of `botocore.config.Config`.
        """
        key = self.keys[name]
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name=self.region,
            aws_access_key_id=key.access,
            aws_secret_access_key=key.secret,
            config=Config(
                s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, **settings
            ),
        )

    def have(self, containers: Mapping[str, Container]) -> list[str]:
        """Make containers as the role does, and close all others; return those that were not so already."""
        module = _module()
        operator = self.keys["operator"]
        return list(
            module.apply(
                module.Swift(self.url, operator.access, operator.secret, None),
                [
                    {
                        "name": name,
                        "quota_bytes": each.quota,
                        "read": [self.keys[one].access for one in each.read],
                        "write": [self.keys[one].access for one in each.write],
                    }
                    for name, each in containers.items()
                ],
            )
        )

    def token(self, name: str) -> dict[str, str]:
        """Return the header that opens Swift's own protocol, below `<url>/v1/AUTH_test`."""
        key = self.keys[name]
        headers = {"X-Auth-User": key.access, "X-Auth-Key": key.secret}
        answer = requests.get(f"{self.url}/auth/v1.0", headers=headers, timeout=30)
        answer.raise_for_status()
        return {"X-Auth-Token": answer.headers["X-Auth-Token"]}

    def upkeep(self, program: str, kind: str) -> None:
        """Run one of Swift's daemons once, such as `object-updater` with the configuration `object-server`."""
        subprocess.run(
            [
                *_swift(f"swift-{program}", self.home or _home()),
                str(self.folder / f"{kind}.conf"),
                "once",
            ],
            check=True,
            capture_output=True,
            timeout=120,
        )

    def stop(self, server: str) -> None:
        """End one of the four servers."""
        process = self.processes.pop(server)
        process.send_signal(signal.SIGTERM)
        process.wait(20)

    def start(self, server: str) -> None:
        """Start one of the four servers, in the process group of the first."""
        log = (self.folder / f"{server}.log").open("ab")
        first = next(iter(self.processes.values()), None)
        self.processes[server] = subprocess.Popen(
            [
                *_swift(f"swift-{server}-server", self.home or _home()),
                str(self.folder / f"{server}-server.conf"),
                "--verbose",
            ],
            stdout=log,
            stderr=log,
            process_group=first.pid if first else 0,
        )
        log.close()

    def log(self) -> str:
        """Return the last of what the servers said."""
        parts = [self.folder / f"{server}.log" for server in SERVERS]
        return "\n".join(path.read_text()[-2000:] for path in parts if path.exists())

    def access(self, containers: Sequence[str], region: str | None = None) -> Access:
        """Return how it is opened, as Armillary has it."""
        keys = {name: AccessKey(key.access, key.secret) for name, key in self.keys.items()}
        names = {name: name for name in containers}
        return Access(self.url, region or self.region, "", names, keys, True, "")

    def answers(self) -> bool:
        """Tell whether all four servers work."""
        for server, process in self.processes.items():
            assert process.poll() is None, f"{server} ended:\n{self.log()}"
        try:
            return all(
                requests.get(f"http://127.0.0.1:{port}/healthcheck", timeout=5).ok
                for port in self.ports
            )
        except requests.RequestException:
            return False


@contextmanager
def serve(
    folder: Path,
    accounts: Sequence[str] = ("alerts", "spark"),
    *,
    devices: Sequence[str] = ("d1",),
    replicas: int = 1,
    left_out: Sequence[str] = (),
    home: Path | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Iterator[Store]:
    """Run Swift (a proxy and three servers, one process group) until the block ends.

    Args:
        folder: for all its files; needs a file system with extended attributes.
        accounts: services and users that have a key each, beside `operator`, who may do all.
        devices: directories that stand for volumes.
        replicas: how often each object is kept.
        left_out: middlewares to take out of the proxy's pipeline, for a store that can do less.
        home: the directory of another Swift than the locked one, with `bin` and `lib`.
        settings: variables of the role, to have other values.
    """
    ports = free_ports(len(SERVERS))
    keys = {name: Key(f"{ACCOUNT}:{name}", f"secret-of-{name}") for name in ("operator", *accounts)}
    known = {
        **_role("defaults"),
        **_role("vars"),
        "objectstore_configuration": str(folder),
        "objectstore_cache": str(folder),
        "objectstore_user": getpass.getuser(),
        "objectstore_scheme": "http",
        "objectstore_account": ACCOUNT,
        "objectstore_accounts": {name: {"secret": key.secret} for name, key in keys.items()},
        "objectstore_region": Store.region,
        "objectstore_ports": dict(zip(SERVERS, ports[:3], strict=False)),
        "objectstore_proxy_port": ports[3],
        "objectstore_devices_root": str(folder / "devices"),
        "objectstore_devices_are_volumes": False,
        "objectstore_reserve": 0,
        "objectstore_secrets": {
            "hash_prefix": "prefix",
            "hash_suffix": "suffix",
            "token_key": Fernet.generate_key().decode(),
        },
        **(settings or {}),
    }
    for device in devices:
        (folder / "devices" / device).mkdir(parents=True, exist_ok=True)
    _configure(folder, known, left_out)
    _rings(folder, known, devices, replicas, home or _home())
    store = Store(folder, f"http://127.0.0.1:{ports[3]}", keys, home=home, ports=ports)
    try:
        for server in SERVERS:
            store.start(server)
        until(store.answers, "Swift answers", 180, why=store.log)
        yield store
    finally:
        for server in list(store.processes):
            store.stop(server)


def _configure(folder: Path, known: Mapping[str, Any], left_out: Sequence[str]) -> None:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ROLE / "templates"), trim_blocks=True, keep_trailing_newline=True
    )  # fmt: skip
    environment.filters["b64encode"] = lambda text: base64.b64encode(text.encode()).decode()
    for name in ("swift", "proxy-server", "object-expirer"):
        text = environment.get_template(f"{name}.conf.j2").render(known)
        lines = [
            " ".join(word for word in line.split(" ") if word not in left_out)
            if line.startswith("pipeline =")
            else line
            for line in text.splitlines()
        ]
        (folder / f"{name}.conf").write_text("\n".join(lines) + "\n")
    for kind in SERVERS[:3]:
        text = environment.get_template("server.conf.j2").render(known, objectstore_kind=kind)
        (folder / f"{kind}-server.conf").write_text(text)


def _rings(
    folder: Path, known: Mapping[str, Any], devices: Sequence[str], replicas: int, home: Path
) -> None:
    declaration = {
        "directory": str(folder),
        "ip": known["objectstore_bind"],
        "replicas": replicas,
        "part_power": 4,
        "ports": known["objectstore_ports"],
        "devices": dict.fromkeys(devices, 1),
    }
    subprocess.run(
        [_python(), "-IS", str(ROLE / "files" / "rings.py"), str(home / "lib")],
        input=json.dumps(declaration).encode(),
        capture_output=True,
        check=True,
    )


def _swift(program: str, home: Path) -> list[str]:
    """Return the command that runs a program of Swift's with a Python that its compiled modules fit."""
    return [_python(), "-IS", str(home / "bin" / program)]


@cache
def _python() -> str:
    """Return Python 3.11: the system's, or what uv knows of."""
    for each in ("/usr/bin/python3", sys.executable):
        told = [each, "-c", "import sys; print(sys.version_info[:2] == (3, 11))"]
        if os.access(each, os.X_OK) and subprocess.check_output(told, text=True).strip() == "True":
            return each
    return subprocess.check_output(shlex.split("uv python find 3.11"), text=True).strip()


@cache
def _home() -> Path:
    return build_artifact(load_manifest(ROOT).get("swift")).bin_dir / "swift"


@cache
def _module() -> ModuleType:
    """Return the Ansible module that makes containers."""
    path = ROOT / "ansible" / "plugins" / "modules" / "swift_containers.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _role(folder: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROLE / folder / "main.yml").read_text())
    return found
