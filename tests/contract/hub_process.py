"""A real JupyterHub of the hub image's versions, with the files that the chart mounts."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from jupyterhub_chart import ROOT, Object, one, render

from armillary.building import locked
from armillary.paths import cache_home

START_LIMIT = 60.0

# What the test machine lacks: a cluster, a proxy and the place of the database.
LOCAL = """
from jupyterhub.proxy import Proxy

class NoProxy(Proxy):
    routes = {{}}
    should_start = False
    async def add_route(self, routespec, target, data):
        self.routes[routespec] = {{"routespec": routespec, "target": target, "data": data}}
    async def delete_route(self, routespec):
        self.routes.pop(routespec, None)
    async def get_all_routes(self):
        return self.routes

c.JupyterHub.proxy_class = NoProxy
c.JupyterHub.spawner_class = "simple"
c.JupyterHub.hub_bind_url = c.JupyterHub.hub_connect_url = "http://127.0.0.1:{port}"
c.JupyterHub.db_url = "sqlite:///{state}/jupyterhub.sqlite"
"""


def hub_python() -> Path:
    """Return a Python with the packages of the hub image's lock, installed once per lock."""
    lock = ROOT / "images" / "hub" / "requirements.txt"
    key = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    environment = cache_home() / "tests" / f"hub-{key}"
    done = environment / "done"
    environment.parent.mkdir(parents=True, exist_ok=True)
    with locked(environment.parent / "lock"):
        if not done.exists():
            _install(lock, environment)
            done.touch()
    return environment / "bin" / "python"


def _install(lock: Path, environment: Path) -> None:
    uv = os.environ.get("UV") or shutil.which("uv")
    assert uv, "uv, which this project is run with, is not on the PATH"
    python = environment / "bin" / "python"
    subprocess.run(
        [uv, "venv", "--quiet", "--clear", "--python", "3.11", str(environment)], check=True
    )
    subprocess.run(
        # As the image does it: what the lock leaves out stays out.
        [uv, "pip", "sync", "--quiet", "--python", python, "--require-hashes", lock],
        check=True,
    )


def lay_out(content: Object, directory: Path) -> Path:
    """Write what the hub's pod finds beside its configuration; return the configuration file."""
    objects = render(content)
    volumes = one(objects, "Deployment", "hub")["spec"]["template"]["spec"]["volumes"]
    sources = next(each["projected"]["sources"] for each in volumes if each["name"] == "config")
    for source in sources:
        kind = "ConfigMap" if "configMap" in source else "Secret"
        reference = source["configMap" if kind == "ConfigMap" else "secret"]
        data = one(objects, kind, reference["name"])["data"]
        for item in reference["items"]:
            file = directory / item["path"]
            file.parent.mkdir(parents=True, exist_ok=True)
            raw = data[item["key"]]
            file.write_bytes(raw.encode() if kind == "ConfigMap" else base64.b64decode(raw))
    return directory / "jupyterhub_config.py"


def environment(configuration: Path) -> dict[str, str]:
    """The environment of the hub's container."""
    return {
        "HOME": str(configuration.parent),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(configuration.parent),
        "POD_NAMESPACE": "jupyterhub",
    }


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running_hub(content: Object, state: Path) -> Iterator[str]:
    """Run a hub with the chart's values; yield its URL. Its database is in `state` and survives."""
    port = free_port()
    extra = content["hub"].setdefault("extraConfig", {})
    extra["local"] = LOCAL.format(port=port, state=state)
    configuration = lay_out(content, state / f"etc-{port}")
    with (state / f"hub-{port}.log").open("w+") as log:
        process = subprocess.Popen(
            [str(hub_python()), "-m", "jupyterhub", "--upgrade-db", "--config", str(configuration)],
            cwd=state,
            env=environment(configuration),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(process, f"{url}/hub/health", Path(log.name))
            yield url
        finally:
            process.terminate()
            process.wait(timeout=20)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the hub ended:\n{log.read_text()[-3000:]}"
        try:
            if requests.get(url, timeout=5).ok:
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"no answer from {url} in {START_LIMIT} s:\n{log.read_text()[-3000:]}")


class Browser:
    """What a browser does with the hub's pages, following no redirect.

    TLS would end in front of the hub: cookies marked Secure are sent over plain HTTP here.
    """

    def __init__(self, url: str, address: str = "192.0.2.7") -> None:
        self.url = url
        self.session = requests.Session()
        self.session.headers["X-Forwarded-For"] = address
        self.session.headers["Sec-Fetch-Mode"] = "navigate"

    def send(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send a request."""
        answer = self.session.request(
            method, f"{self.url}{path}", allow_redirects=False, timeout=20, **options
        )
        for cookie in self.session.cookies:
            cookie.secure = False
        return answer

    def get(self, path: str, **options: Any) -> requests.Response:
        """Get a page."""
        return self.send("GET", path, **options)

    def sign_in(self, username: str, password: str) -> requests.Response:
        """Fill in the form and send it."""
        self.get("/hub/login")
        form = {"username": username, "password": password, "_xsrf": self.xsrf}
        return self.send("POST", "/hub/login", data=form)

    @property
    def xsrf(self) -> str:
        """The token that forms carry."""
        return next(
            (str(cookie.value) for cookie in self.session.cookies if cookie.name == "_xsrf"), ""
        )
