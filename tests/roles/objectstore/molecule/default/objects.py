"""What a scenario does with an object store: `objects.py ENDPOINT CA SECRETS STEP`; SECRETS is a file of {name: {access, secret}}."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from armillary.objectstore.access import Access, Key
from armillary.objectstore.probe import probe

DATA = bytes(range(256)) * 16384  # 4 MiB


def main(endpoint: str, ca: str, secrets: str, step: str) -> None:
    keys = json.loads(Path(secrets).read_text())

    def s3(name: str) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id=keys[name]["access"],
            aws_secret_access_key=keys[name]["secret"],
            verify=ca,
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )

    steps = {
        "store": lambda: store(s3),
        "read": lambda: read(s3),
        "refuse": lambda: refuse(s3),
        "probe": lambda: print(ask(endpoint, ca, keys)),
    }
    steps[step]()


def store(s3: Any) -> None:
    s3("alerts").put_object(Bucket="mol-archive", Key="night/1.parquet", Body=DATA)
    s3("spark").put_object(Bucket="mol-private", Key="secret", Body=b"1")


def read(s3: Any) -> None:
    got = s3("spark").get_object(Bucket="mol-archive", Key="night/1.parquet")["Body"].read()
    assert got == DATA


def refuse(s3: Any) -> None:
    calls = [
        ("AccessDenied", lambda: s3("alerts").get_object(Bucket="mol-private", Key="secret")),
        ("AccessDenied", lambda: s3("spark").put_object(Bucket="mol-archive", Key="k", Body=b"1")),
        (
            "EntityTooLarge",
            lambda: s3("alerts").put_object(Bucket="mol-archive", Key="k", Body=DATA * 4),
        ),
    ]
    for code, call in calls:
        answered = "no error"
        try:
            call()
        except ClientError as error:
            answered = error.response["Error"]["Code"]
        assert answered == code


def ask(endpoint: str, ca: str, keys: dict[str, Any]) -> str:
    opened = {name: Key(**key) for name, key in keys.items()}
    containers = {"archive": "mol-archive"}
    access = Access(endpoint, "RegionOne", Path(ca).read_text(), containers, opened, True, "")
    return probe(access, "alerts", "mol-archive").model_dump_json()


if __name__ == "__main__":
    main(*sys.argv[1:])
