"""Find out what an object store can do, by doing it: objects below a name of their own, which are deleted again."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import boto3
import requests
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from armillary.objectstore.abilities import Abilities
from armillary.objectstore.access import Access
from armillary.objectstore.chunks import Sender

TIMEOUT = 60.0
PART = 5 * 2**20
"""S3's least size of a part but the last."""
SMALL = b"armillary " * 1000
PREFIX = ".armillary-probe-"
NO_S3 = "no answer of S3"
CONDITION_FAILED = (409, 412)
FULL = ("EntityTooLarge", "QuotaExceeded", "413", "InsufficientStorage", "507")
REASONS = (
    (
        ("SignatureDoesNotMatch", "InvalidAccessKeyId"),
        "It does not accept the key of `{who}`. Was it deleted there? On OpenStack, its S3 may not ask Keystone for keys "
        "(s3api and s3token in Swift's pipeline, rgw_s3_auth_use_keystone in Ceph's): ask who runs the cloud.",
    ),
    (
        ("RequestTimeTooSkewed",),
        "This machine's clock and the store's differ by more than it allows. Set this one: `timedatectl set-ntp true`.",
    ),
    (
        ("AccessDenied",),
        "It keeps `{who}` from writing to its own container; or it cannot look up who may, since its container server is down.",
    ),
    (("NoSuchBucket",), "It has no container {bucket} for S3; by Swift's own protocol it may have one."),
    (
        FULL[:3],
        "{bucket} has no room for the 6 MiB that the probe takes for a moment. Delete something, or raise its quota.",
    ),
    (
        FULL[3:],
        "Its disks are full. Delete something, or make its volumes larger in cluster.yml.",
    ),
    (("ServiceUnavailable", "InternalError", "SlowDown", "503", "500"), "It is not well; its log says more."),
    (("MethodNotAllowed", "NotImplemented", NO_S3), "It does not speak S3 as clients need it: ask who runs the cloud for s3api or Ceph's gateway."),
)  # fmt: skip


class ObjectStoreError(RuntimeError):
    """The object store cannot be used; the message says why and what to do.

    Args:
        message: that.
        full: whether it only has no room.
    """

    def __init__(self, message: str, *, full: bool = False) -> None:
        super().__init__(message)
        self.full = full


def probe(access: Access, writer: str, bucket: str) -> Abilities:
    """Return what an object store can do.

    Args:
        access: how it is opened.
        writer: whose key to use.
        bucket: the container, by its name in the store; 6 MiB are written there for a moment.

    Raises:
        ObjectStoreError: it lacks what everybody needs, or does not answer; says what and why.
    """
    with _trusting(access) as verify:
        look = _Look(access, writer, bucket, verify)
        try:
            return look.all()
        except (BotoCoreError, requests.RequestException) as error:
            raise ObjectStoreError(
                f"The object store at {access.endpoint} does not answer: {error}"
            ) from error


def health(access: Access, reader: str, bucket: str, timeout: float) -> str:
    """Return what is wrong with an object store that is asked to list a container; nothing where it does.

    Args:
        access: how it is opened.
        reader: whose key to use.
        bucket: the container, by its name in the store.
        timeout: seconds.
    """
    key = access.keys[reader]
    with _trusting(access) as verify:
        sender = Sender(access.endpoint, access.region, (key.access, key.secret), verify, timeout)
        try:
            answer = sender.get(f"/{bucket}?max-keys=1")
        except requests.RequestException as error:
            return f"{access.endpoint} does not answer: {error}"
    if answer.ok:
        return ""
    code = _tag("Code", answer.text)
    said = f"{access.endpoint} answered {answer.status_code} {code} {_tag('Message', answer.text)}"
    if code == "AccessDenied":
        # Who may is written in the container.
        said += " (so says Swift, too, when its container server is down)"
    return said.strip()


@contextmanager
def _trusting(access: Access) -> Iterator[str | bool]:
    """Give what requests and boto3 take for whom to trust."""
    if not access.ca:
        yield True
        return
    with TemporaryDirectory() as scratch:
        file = Path(scratch) / "ca.crt"
        file.write_text(access.ca)
        yield str(file)


@dataclass
class _Look:
    access: Access
    writer: str
    bucket: str
    verify: str | bool

    def __post_init__(self) -> None:
        key = self.access.keys[self.writer]
        self.key = (key.access, key.secret)
        self.prefix = f"{PREFIX}{uuid.uuid4().hex[:12]}/"

    def all(self) -> Abilities:
        region, server = self._region()
        self.sender = Sender(self.access.endpoint, region, self.key, self.verify, TIMEOUT)
        self.s3 = boto3.client(
            "s3",
            endpoint_url=self.access.endpoint,
            region_name=region,
            aws_access_key_id=self.key[0],
            aws_secret_access_key=self.key[1],
            verify=self.verify,
            config=Config(
                s3={"addressing_style": "path"},
                # What is asked is what is sent, and no more.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                retries={"total_max_attempts": 2},
                connect_timeout=10,
                read_timeout=TIMEOUT,
            ),
        )
        try:
            with self._needed("store an object, list it and read a part of it"):
                self._round_trip()
            with self._needed("take an upload in parts"):
                self._multipart()
            return Abilities(
                endpoint=self.access.endpoint,
                server=server,
                region=region,
                chunked_signed=self._takes(self.sender.put_signed),
                chunked_trailer=self._takes(self.sender.put_with_trailer),
                checksums=self._compares_checksums(),
                checksums_of_parts=self._compares_checksums_of_parts(),
                conditional_put=self._writes_once(self._put_once),
                conditional_multipart=self._writes_once(self._upload_once),
                conditional_replace=self._replaces_what_was_read(),
                delete_many=self._deletes_many(),
                copy_object=self._copies(),
            )
        finally:
            self._tidy()

    def _region(self) -> tuple[str, str]:
        """Return the region the store wants requests signed for, which Keystone need not know, and what it is."""
        region = self.access.region
        for _ in range(2):
            sender = Sender(self.access.endpoint, region, self.key, self.verify, TIMEOUT)
            answer = sender.get(f"/{self.bucket}?max-keys=1")
            if answer.ok:
                return region, answer.headers.get("Server", "")
            code = _tag("Code", answer.text) or NO_S3
            wanted = _tag("Region", answer.text)
            if code != "AuthorizationHeaderMalformed" or not wanted or wanted == region:
                break
            region = wanted
        raise self._refusal("list a container", code, _tag("Message", answer.text) or answer.reason)

    def _round_trip(self) -> None:
        name = f"{self.prefix}round trip, ångström"
        place = {"Bucket": self.bucket, "Key": name}
        self.s3.put_object(**place, Body=SMALL, Metadata={"sky": "m31"})
        listed = self.s3.list_objects_v2(Bucket=self.bucket, Prefix=self.prefix)
        _expect(
            [each["Key"] for each in listed.get("Contents", [])] == [name], "the listing lacks it"
        )
        got = self.s3.get_object(**place, Range="bytes=10-19")
        _expect(got["Body"].read() == SMALL[10:20], "a range of it is not what was asked for")
        _expect(got["Metadata"] == {"sky": "m31"}, "its metadata are not what was stored")
        self.s3.delete_object(**place)

    def _multipart(self) -> None:
        place = {"Bucket": self.bucket, "Key": f"{self.prefix}parts"}
        self._upload(place, [b"1" * PART, b"2"])
        _expect(
            self.s3.head_object(**place)["ContentLength"] == PART + 1, "the object has another size"
        )
        got = self.s3.get_object(**place, Range=f"bytes={PART - 1}-{PART}")["Body"].read()
        _expect(got == b"12", "the parts are not in order")
        self.s3.delete_object(**place)
        begun = self.s3.create_multipart_upload(**place)["UploadId"]
        self.s3.upload_part(**place, UploadId=begun, PartNumber=1, Body=b"1")
        self.s3.abort_multipart_upload(**place, UploadId=begun)
        left = self.s3.list_multipart_uploads(Bucket=self.bucket, Prefix=self.prefix)
        _expect(not left.get("Uploads"), "an upload that was given up is still there")

    def _takes(self, send: Callable[[str, str, bytes], requests.Response]) -> bool:
        """Tell whether an upload arrives as it was sent; some stores keep the marks of chunks in the object."""
        name = f"{self.prefix}chunks"
        if not send(self.bucket, name, SMALL * 20).ok:
            return False
        kept: bytes = self.s3.get_object(Bucket=self.bucket, Key=name)["Body"].read()
        return kept == SMALL * 20

    def _compares_checksums(self) -> bool:
        right, wrong = _sha256(SMALL), _sha256(b"")

        def put(checksum: str) -> None:
            self.s3.put_object(
                Bucket=self.bucket,
                Key=f"{self.prefix}checksum",
                Body=SMALL,
                ChecksumSHA256=checksum,
            )

        trailer = self.sender.put_with_trailer(
            self.bucket, f"{self.prefix}trailer", SMALL, "AAAAAA=="
        )
        return self._can(put, right) and not self._can(put, wrong) and not trailer.ok

    def _compares_checksums_of_parts(self) -> bool:
        place = {"Bucket": self.bucket, "Key": f"{self.prefix}checksums"}

        def upload(checksum: str) -> None:
            begun = self.s3.create_multipart_upload(**place, ChecksumAlgorithm="SHA256")["UploadId"]
            try:
                made = self.s3.upload_part(
                    **place, UploadId=begun, PartNumber=1, Body=SMALL, ChecksumSHA256=checksum
                )
                part = {"PartNumber": 1, "ETag": made["ETag"], "ChecksumSHA256": checksum}
                self.s3.complete_multipart_upload(
                    **place, UploadId=begun, MultipartUpload={"Parts": [part]}
                )
            except ClientError:
                self.s3.abort_multipart_upload(**place, UploadId=begun)
                raise

        return self._can(upload, _sha256(SMALL)) and not self._can(upload, _sha256(b""))

    def _writes_once(self, write: Callable[[dict[str, str]], Any]) -> bool:
        """Tell whether the second of two who write the same new object is refused, and the first's stays."""
        place = {"Bucket": self.bucket, "Key": f"{self.prefix}{write.__name__}"}
        if not self._can(write, place):
            return False
        first = self.s3.head_object(**place)["LastModified"]
        try:
            write(place)
        except ClientError as error:
            same: bool = self.s3.head_object(**place)["LastModified"] == first
            return _code(error)[1] in CONDITION_FAILED and same
        return False

    def _put_once(self, place: dict[str, str]) -> None:
        self.s3.put_object(**place, Body=SMALL, IfNoneMatch="*")

    def _upload_once(self, place: dict[str, str]) -> None:
        self._upload(place, [SMALL], IfNoneMatch="*")

    def _replaces_what_was_read(self) -> bool:
        place = {"Bucket": self.bucket, "Key": f"{self.prefix}replaced"}
        first = self.s3.put_object(**place, Body=b"1")["ETag"]

        def replace(data: bytes) -> None:
            self.s3.put_object(**place, Body=data, IfMatch=first)

        return self._can(replace, b"2") and not self._can(replace, b"3")

    def _deletes_many(self) -> bool:
        names = [f"{self.prefix}many/{number}" for number in range(3)]
        for name in names:
            self.s3.put_object(Bucket=self.bucket, Key=name, Body=b"1")

        def delete() -> None:
            objects = {"Objects": [{"Key": name} for name in names]}
            self.s3.delete_objects(Bucket=self.bucket, Delete=objects)

        if not self._can(delete):
            return False
        left = self.s3.list_objects_v2(Bucket=self.bucket, Prefix=f"{self.prefix}many/")
        return not left.get("Contents")

    def _copies(self) -> bool:
        source = {"Bucket": self.bucket, "Key": f"{self.prefix}copied"}
        self.s3.put_object(**source, Body=SMALL)
        target = {"Bucket": self.bucket, "Key": f"{self.prefix}copy"}
        if not self._can(lambda: self.s3.copy_object(**target, CopySource=source)):
            return False
        kept: bytes = self.s3.get_object(**target)["Body"].read()
        return kept == SMALL

    def _upload(self, place: dict[str, str], data: list[bytes], **condition: str) -> None:
        begun = self.s3.create_multipart_upload(**place)["UploadId"]
        try:
            parts = [
                {
                    "PartNumber": number,
                    "ETag": self.s3.upload_part(
                        **place, UploadId=begun, PartNumber=number, Body=part
                    )["ETag"],
                }
                for number, part in enumerate(data, start=1)
            ]
            self.s3.complete_multipart_upload(
                **place, UploadId=begun, MultipartUpload={"Parts": parts}, **condition
            )
        except ClientError:
            self.s3.abort_multipart_upload(**place, UploadId=begun)
            raise

    def _can(self, call: Callable[..., Any], *arguments: Any) -> bool:
        """Tell whether the store does it; that it is full or ill says nothing about that.

        Raises:
            ObjectStoreError: it is.
        """
        try:
            call(*arguments)
        except ClientError as error:
            code, status = _code(error)
            if status in (413, 500, 503, 507):
                raise self._refusal("store an object", code, str(error)) from error
            return False
        return True

    @contextmanager
    def _needed(self, what: str) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            code, _ = _code(error)
            raise self._refusal(what, code, str(error)) from error
        except _Otherwise as error:
            raise self._refusal(what, "", str(error)) from error

    def _refusal(self, what: str, code: str, said: str) -> ObjectStoreError:
        reason = next((text for codes, text in REASONS if code in codes), "")
        shown = f"{code}: {said}" if code and code not in said else said
        told = reason.format(who=self.writer, bucket=self.bucket)
        return ObjectStoreError(
            f"The object store at {self.access.endpoint} cannot {what} (container {self.bucket}): {shown}\n{told}".strip(),
            full=code in FULL,
        )

    def _tidy(self) -> None:
        """Delete what was stored. What cannot be deleted now is small, and its name says whose it is."""
        with contextlib.suppress(BotoCoreError, ClientError):
            listed = self.s3.list_objects_v2(Bucket=self.bucket, Prefix=self.prefix)
            for each in listed.get("Contents", []):
                self.s3.delete_object(Bucket=self.bucket, Key=each["Key"])


class _Otherwise(Exception):
    """The store did something else than it was asked."""


def _expect(right: bool, otherwise: str) -> None:
    if not right:
        raise _Otherwise(otherwise)


def _code(error: ClientError) -> tuple[str, int]:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return str(error.response["Error"].get("Code") or status), int(status)


def _sha256(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def _tag(name: str, text: str) -> str:
    found = re.search(rf"<{name}>([^<]*)</{name}>", text)
    return found.group(1) if found else ""
