"""Packets from Avro files."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import fastavro

from armillary_alerts import avro


def packets(paths: Sequence[Path]) -> Iterator[tuple[bytes, str]]:
    """Give packets of files and directories, each with its file's name.

    A file with one packet is given as it is, even if it is broken: the stream shall tell. Of one with several, each is
    written anew as a file of its own.

    Raises:
        OSError: a file cannot be read.
        ValueError: there is no file at all.
    """
    files: list[Path] = []
    for path in paths:
        files += sorted(path.rglob("*.avro")) if path.is_dir() else [path]
    if not files:
        raise ValueError(f"No Avro files are in {', '.join(map(str, paths))}.")
    for file in files:
        data = file.read_bytes()
        try:
            avro.open_container(data)
            several = False
        except avro.PacketError as error:
            several = "records; one is expected" in str(error)
        if not several:
            yield data, file.name
            continue
        reader = fastavro.reader(io.BytesIO(data))
        for number, record in enumerate(reader):
            out = io.BytesIO()
            assert reader.writer_schema is not None
            fastavro.writer(out, reader.writer_schema, [record])
            yield out.getvalue(), f"{file.name}#{number}"
