"""What the service is told by its operator: one YAML file, with paths of files for what is secret."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import Field, ValidationError

from armillary_alerts.service.desk import Rules
from armillary_alerts.settings import Part, SettingsError, StoreSettings


class HubSettings(Part):
    """Where JupyterHub is."""

    api_url: str = Field(description="Of its API, as pods reach it.")
    token: Path = Field(description="File with this service's token at the hub.")
    prefix: str = Field(
        default="/services/alerts/",
        pattern=r"^/(.*/)?$",
        description="Where browsers find this service.",
    )
    hub_prefix: str = Field(
        default="/hub/", pattern=r"^/(.*/)?$", description="Where browsers find the hub."
    )


class PublicKafka(Part):
    """Kafka as notebooks and programs outside reach it."""

    bootstrap_servers: str
    security_protocol: str = "SASL_SSL"
    ca: Path | None = Field(
        default=None, description="Certificates that the brokers' are checked against."
    )


class Stage(Part):
    """A stage of the stream, and what it reads."""

    group: str
    topics: list[str] = Field(min_length=1)


class PythonFilters(Part):
    """Filters in Python; without this part there are none."""

    namespace: str
    image: str
    cpu: str = "500m"
    memory_mib: int = Field(default=1024, ge=64)
    priority_class: str | None = None
    trial_url: str
    trial_ca: Path | None = None


class Listen(Part):
    """Where the service listens."""

    http: int | None = Field(
        default=8000, description="Port behind the hub's proxy, which ends TLS."
    )
    https: int | None = Field(default=8443, description="Port for notebooks.")
    metrics: int | None = Field(default=6443, description="Port for Kubernetes' API server.")
    host: str = "0.0.0.0"  # noqa: S104 - a pod's; what may come in is the NetworkPolicy's
    certificate: Path | None = None
    key: Path | None = None
    front_proxy_ca: Path | None = Field(
        default=None, description="The authority of Kubernetes' front proxy."
    )


class Settings(Part):
    """The whole file."""

    hub: HubSettings
    kafka: Path = Field(
        description="JSON file of librdkafka's settings, for this service's account."
    )
    public_kafka: PublicKafka
    accounts_secret: Path = Field(description="File that accounts' passwords are derived from.")
    replication: int = Field(default=1, ge=1, description="Copies of each topic.")
    partitions: int = Field(
        default=6, ge=1, description="Of the stream's topics: so many workers can share one."
    )
    stage_accounts: dict[str, Path] = Field(
        default_factory=dict,
        description="Files with the passwords of the stages' accounts, which the service makes.",
    )
    archive: StoreSettings | None = Field(default=None, description="Where the archive is.")
    rules: Rules = Rules()
    stages: dict[str, Stage] = Field(default_factory=dict)
    python_filters: PythonFilters | None = None
    listen: Listen = Listen()
    namespace: str = Field(
        default="alerts", description="Where the workers run that Kubernetes scales."
    )


def load(path: Path) -> Settings:
    """Read the settings.

    Raises:
        SettingsError: the file is missing or wrong; says where.
    """
    try:
        return Settings.model_validate(yaml.safe_load(path.read_text()))
    except (OSError, yaml.YAMLError) as error:
        raise SettingsError(f"{path}: {error}") from error
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()
        )
        raise SettingsError(f"{path}: {problems}") from error


def secret(path: Path) -> str:
    """Return what a file holds, without the end of its line.

    Raises:
        SettingsError: it cannot be read, or is empty.
    """
    try:
        found = path.read_text().strip()
    except OSError as error:
        raise SettingsError(f"{path}: {error}") from error
    if not found:
        raise SettingsError(f"{path} is empty.")
    return found
