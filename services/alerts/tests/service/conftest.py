"""The service on this machine: a real Kafka with users and rights, a real JupyterHub, an archive of two nights."""

from __future__ import annotations

import importlib.util
import json
import secrets
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
import requests
import uvicorn
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

ROOT = Path(__file__).parents[4]
# The platform's own helpers: its hub, its chart, its Kafka.
sys.path += [str(ROOT / "tests"), str(ROOT / "tests" / "contract")]

from armillary_alerts import topics  # noqa: E402
from armillary_alerts.archive import ALERTS, PARTITIONING  # noqa: E402
from armillary_alerts.client import Alerts  # noqa: E402
from armillary_alerts.service import trial  # noqa: E402
from armillary_alerts.service.app import create_app  # noqa: E402
from armillary_alerts.service.settings import Settings  # noqa: E402
from armillary_alerts.service.state import Service  # noqa: E402
from hub_process import running_hub  # noqa: E402
from jupyterhub_chart import values  # noqa: E402
from rows import NIGHTS, night_of_alerts  # noqa: E402
from support.waiting import until  # noqa: E402

USERS = ("astronomer", "observer", "admin-ada")
SERVICE_TOKEN = secrets.token_hex(16)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Kafka with rights: nothing is allowed that was not given."""
    support = pytest.importorskip("support.kafka")
    with support.broker(
        tmp_path_factory.mktemp("kafka"), users={"stage": "stage-secret"}
    ) as broker:
        admin = broker.admin()
        wanted = [
            NewTopic(
                name,
                2,
                1,
                config={"cleanup.policy": "compact" if name in topics.COMPACTED else "delete"},
            )
            for name in topics.DECLARED
        ]
        for answer in admin.create_topics(wanted).values():
            answer.result(30)
        # The stages of the stream, all in one: they have tests of their own.
        everything = [
            AclBinding(
                kind,
                name,
                ResourcePatternType.PREFIXED,
                "User:stage",
                "*",
                AclOperation.ALL,
                AclPermissionType.ALLOW,
            )
            for kind, name in (
                (ResourceType.TOPIC, "alerts."),
                (ResourceType.TOPIC, "filter."),
                (ResourceType.GROUP, "alerts."),
            )
        ]
        for answer in admin.create_acls(everything).values():
            answer.result(30)
        yield broker


def hub_services(services: dict[str, Any]) -> dict[str, Any]:
    """The role's filter, loaded as Ansible does."""
    path = ROOT / "ansible/roles/jupyterhub/filter_plugins/hub_services.py"
    spec = importlib.util.spec_from_file_location("hub_services", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: dict[str, Any] = module.hub_services(services)
    return found


@dataclass(frozen=True)
class HubAtHand:
    """A hub, and tokens of its users."""

    url: str
    tokens: dict[str, str]
    others: dict[str, str]
    """Tokens that lack the scope that opens the service."""


@pytest.fixture(scope="session")
def service_port() -> int:
    """Where the service will listen: the hub has to know before it begins."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory, service_port: int) -> Iterator[HubAtHand]:
    """The platform's hub, with the service and its roles as the role `jupyterhub` declares them."""
    state = tmp_path_factory.mktemp("hub")
    maker = secrets.token_hex(16)
    content = values()
    content["cull"] = {"enabled": False}
    content["ingress"] = {"enabled": False}
    config = content["hub"]["config"]
    config["JupyterHub"]["authenticator_class"] = "dummy"
    config["Authenticator"] = {"allowed_users": list(USERS), "admin_users": ["admin-ada"]}
    config["DummyAuthenticator"] = {"password": "only-here"}
    declared = {
        "url": f"http://127.0.0.1:{service_port}",
        "api_token": SERVICE_TOKEN,
        "scopes": ["read:roles:users"],
    }
    given = hub_services({"alerts": declared})["hub"]
    config |= given["config"]
    content["hub"] |= {"services": given["services"], "loadRoles": given["loadRoles"]}
    content["hub"]["services"]["maker"] = {"apiToken": maker}
    content["hub"]["loadRoles"]["maker"] = {
        "services": ["maker"],
        "scopes": ["admin:users", "tokens", "access:services"],
    }
    with running_hub(content, state) as url:
        head = {"Authorization": f"token {maker}"}

        def token(user: str, scopes: list[str]) -> str:
            requests.post(f"{url}/hub/api/users/{user}", headers=head, timeout=20)
            answer = requests.post(
                f"{url}/hub/api/users/{user}/tokens",
                headers=head,
                json={"scopes": scopes},
                timeout=20,
            )
            assert answer.ok, answer.text
            return str(answer.json()["token"])

        yield HubAtHand(
            url,
            {user: token(user, ["access:services!service=alerts"]) for user in USERS},
            {"astronomer": token("astronomer", ["read:users:name!user"])},
        )


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two nights of alerts."""
    folder = tmp_path_factory.mktemp("archive")
    for night in NIGHTS:
        table = night_of_alerts(night)
        table = table.append_column("hpx", pa.array([7] * table.num_rows, pa.int32()))
        ds.write_dataset(
            table,
            folder / ALERTS,
            format="parquet",
            partitioning=PARTITIONING,
            existing_data_behavior="overwrite_or_ignore",
        )
    return folder


@pytest.fixture(scope="session")
def trial_url() -> Iterator[str]:
    """The pod that tries Python filters, as a thread."""
    with serving(trial.create_app(), None) as url:
        yield url


class serving:
    """An app, served on loopback until the block ends."""

    def __init__(self, app: Any, port: int | None, **tls: Any) -> None:
        settings = {
            "host": "127.0.0.1",
            "port": port or 0,
            "log_level": "warning",
            "lifespan": "off",
        }
        self._server = uvicorn.Server(uvicorn.Config(app, **settings, **tls))
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> str:
        self._thread.start()
        until(lambda: self._server.started, "the app listens", 60)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(20)


@pytest.fixture(scope="session")
def service(
    tmp_path_factory: pytest.TempPathFactory,
    kafka: Any,
    hub: HubAtHand,
    archive: Path,
    trial_url: str,
    service_port: int,
) -> Iterator[Service]:
    """The service, started."""
    folder = tmp_path_factory.mktemp("service")
    (folder / "kafka.json").write_text(json.dumps(kafka.client("admin")))
    (folder / "token").write_text(SERVICE_TOKEN + "\n")
    (folder / "secret").write_text(secrets.token_hex(32))
    settings = Settings.model_validate(
        {
            "hub": {"api_url": f"{hub.url}/hub/api", "token": folder / "token"},
            "kafka": folder / "kafka.json",
            "public_kafka": {
                "bootstrap_servers": kafka.bootstrap,
                "security_protocol": "SASL_PLAINTEXT",
            },
            "accounts_secret": folder / "secret",
            "archive": {"url": str(archive)},
            "stages": {
                "annotate": {"group": "alerts-annotate", "topics": [topics.RAW]},
                "archive": {"group": "alerts-archive", "topics": [topics.ANNOTATED]},
            },
            "python_filters": {
                "namespace": "alerts-filters",
                "image": "alerts",
                "trial_url": trial_url,
            },
        }
    )
    made = Service(settings)
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="session")
def url(service: Service, service_port: int) -> Iterator[str]:
    """Where the service answers."""
    with serving(create_app(service, secure=False), service_port) as root:
        yield f"{root}/services/alerts/"


Clients = Callable[[str], Alerts]


@pytest.fixture(scope="session")
def client(url: str, hub: HubAtHand) -> Clients:
    """The client library, as a user's notebook has it."""
    return lambda user: Alerts(url, hub.tokens[user])
