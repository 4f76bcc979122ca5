"""What an object store was found to be able to do; programs that use it are set accordingly."""

from __future__ import annotations

from pydantic import Field, ValidationError

from armillary.files import write
from armillary.models.parts import Part
from armillary.paths import ClusterPaths


class Abilities(Part):
    """What a probe has seen. All stores here take signatures of version 4, paths, ranges and uploads in parts; else `up` stops."""

    endpoint: str = Field(description="The store that was asked.")
    server: str = Field(description="What it calls itself; empty where it does not say.")
    region: str = Field(description="What requests have to be signed for.")
    chunked_signed: bool = Field(
        description="Takes uploads of unknown end, each chunk signed (STREAMING-AWS4-HMAC-SHA256-PAYLOAD)."
    )
    chunked_trailer: bool = Field(
        description="Takes uploads with their checksum at the end (STREAMING-UNSIGNED-PAYLOAD-TRAILER)."
    )
    checksums: bool = Field(
        description="Compares an upload with the checksum that came with it (x-amz-checksum-*), and refuses another."
    )
    checksums_of_parts: bool = Field(description="The same for each part of an upload in parts.")
    conditional_put: bool = Field(
        description="Writes an object only where there is none, if asked so (If-None-Match: *)."
    )
    conditional_multipart: bool = Field(description="The same for an upload in parts.")
    conditional_replace: bool = Field(
        description="Replaces an object only if it is the one that was read (If-Match)."
    )
    delete_many: bool = Field(description="Deletes many objects in one request.")
    copy_object: bool = Field(
        description="Copies an object without its data going through the client."
    )


def read(paths: ClusterPaths) -> Abilities | None:
    """Return what the cluster's store can do; None before a probe has seen it."""
    try:
        return Abilities.model_validate_json(paths.object_store.read_text())
    except (FileNotFoundError, ValidationError):
        return None


def keep(paths: ClusterPaths, found: Abilities) -> None:
    """Write down what the cluster's store can do."""
    write(paths.object_store, found.model_dump_json(indent=2) + "\n")
