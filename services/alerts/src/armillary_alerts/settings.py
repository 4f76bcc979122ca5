"""What the stages of the stream are told by the operator: one YAML file, with paths of files for what is secret."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from armillary_alerts.annotate.catalog import Catalog
from armillary_alerts.archive import Store, open_store


class SettingsError(ValueError):
    """The settings cannot be used; says which and why."""


class Part(BaseModel):
    """What all parts share."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class StoreSettings(Part):
    """An object store or a directory."""

    url: str = Field(description="s3://bucket/prefix, or a directory.")
    endpoint: str | None = Field(default=None, description="https://host:port of the store.")
    ca: Path | None = None
    region: str = "us-east-1"
    access_key: Path | None = Field(default=None, description="File with the key's name.")
    secret_key: Path | None = Field(default=None, description="File with the key.")

    def open(self) -> Store:
        """Open it.

        Raises:
            ArchiveError: its address cannot be understood.
            SettingsError: a key's file cannot be read.
        """
        return open_store(
            self.url,
            access_key=_secret(self.access_key),
            secret_key=_secret(self.secret_key),
            endpoint=self.endpoint,
            ca=self.ca,
            region=self.region,
        )


class SchemaSettings(Part):
    """Where schemas of numbered packets are (Confluent's wire format)."""

    registry: str | None = Field(default=None, description="URL of a schema registry.")
    registry_user: Path | None = Field(default=None, description="File with `user:password`.")
    ca: Path | None = None
    directory: Path | None = Field(
        default=None, description="Directory with files <number>.avsc: complete schemas."
    )


class Source(Part):
    """An outside Kafka that alerts come from."""

    name: str = Field(pattern=r"^[a-z0-9_-]+$", description="What the ledger calls it.")
    kafka: Path = Field(description="JSON file of librdkafka's settings for it.")
    topics: tuple[str, ...] = Field(
        min_length=1, description="Names, or patterns that begin with ^."
    )
    group: str = "armillary"
    schema_in_key: bool = Field(
        default=False, description="The message's key is the packet's schema, as Fink sends it."
    )
    start: Literal["earliest", "latest"] = Field(
        default="earliest", description="Where to begin when it was never read before."
    )


class ArchiveSettings(Part):
    """How the archive is written."""

    store: StoreSettings
    rows: int = Field(
        default=50_000, ge=1, description="Rows that are held before they are written."
    )
    seconds: float = Field(default=60.0, gt=0, description="The longest they are held.")
    memory_mib: int = Field(default=256, ge=16, description="The most memory held rows take.")
    compact_below_mib: int = Field(
        default=64, ge=1, description="Files smaller than that are put together."
    )


class Settings(Part):
    """The whole file."""

    kafka: Path = Field(description="JSON file of librdkafka's settings, for the workers' account.")
    instance: str = Field(
        default_factory=socket.gethostname,
        description="This worker's name. One that comes back under its old name frees at once what it left undone.",
    )
    group: str = Field(default="alerts", description="First part of the consumer groups' names.")
    batch: int = Field(default=500, ge=1, description="Packets that are worked on at once.")
    linger: float = Field(default=0.25, gt=0, description="Seconds to wait for a batch to fill.")
    buffer_mib: int = Field(default=64, ge=1, description="Messages fetched ahead, in MiB.")
    transaction_seconds: float = Field(
        default=15.0,
        ge=5,
        description="After so long the broker ends what a dead worker left undone.",
    )
    session_seconds: float = Field(
        default=10.0, ge=6, description="After so long without a sign a worker counts as dead."
    )
    sources: tuple[Source, ...] = ()
    schemas: SchemaSettings = SchemaSettings()
    catalogs_store: StoreSettings | None = None
    catalogs: tuple[Catalog, ...] = ()
    catalogs_memory_mib: int = Field(default=512, ge=16)
    archive: ArchiveSettings | None = None
    filter_seconds: float = Field(
        default=1.0, gt=0, description="Processor time for all filters on one batch."
    )
    filter_memory_mib: int = Field(default=512, ge=64)
    metrics_port: int | None = Field(
        default=9100, description="Where Prometheus asks; null: nowhere."
    )
    metrics_host: str = "0.0.0.0"  # noqa: S104 - a pod's; what may come in is the NetworkPolicy's

    def kafka_settings(self) -> dict[str, Any]:
        """Return librdkafka's settings for the workers' account.

        Raises:
            SettingsError: they cannot be read.
        """
        return read_kafka(self.kafka)


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


def read_kafka(path: Path) -> dict[str, Any]:
    """Read a JSON file of librdkafka's settings.

    Raises:
        SettingsError: it cannot be read, or names no brokers.
    """
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: {error}") from error
    if not isinstance(found, dict) or "bootstrap.servers" not in found:
        raise SettingsError(f"{path}: a JSON object with bootstrap.servers is needed.")
    return found


def _secret(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text().strip()
    except OSError as error:
        raise SettingsError(f"{path}: {error}") from error
