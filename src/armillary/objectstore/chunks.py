"""Uploads in chunks, as Spark, Hadoop and newer clients send them; boto3 sends some of these forms never, some over TLS alone.

https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import zlib
from dataclasses import dataclass
from urllib.parse import quote

import requests
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
CHUNK = 65536
_EMPTY = hashlib.sha256(b"").hexdigest()


class _Signer(S3SigV4Auth):  # type: ignore[misc]
    """Signs headers that say that the body comes in chunks, or a request without a body."""

    def __init__(self, key: tuple[str, str], region: str, form: str) -> None:
        super().__init__(Credentials(*key), "s3", region)
        self._form = form

    def payload(self, request: AWSRequest) -> str:
        return self._form


@dataclass(frozen=True)
class Sender:
    """Sends requests that it signs by itself."""

    endpoint: str
    """URL of S3."""
    region: str
    key: tuple[str, str]
    """Access and secret."""
    verify: str | bool
    """Path of the authority's certificate, or whether to trust the public ones."""
    timeout: float
    """Seconds."""

    def get(self, path: str) -> requests.Response:
        """Send a GET, such as of `/bucket`."""
        request = AWSRequest("GET", f"{self.endpoint}{path}")
        _Signer(self.key, self.region, _EMPTY).add_auth(request)
        return requests.get(
            request.url, headers=dict(request.headers), verify=self.verify, timeout=self.timeout
        )

    def put_signed(self, bucket: str, name: str, data: bytes) -> requests.Response:
        """Upload an object in chunks, each signed with what came before."""
        chunks = [*(data[at : at + CHUNK] for at in range(0, len(data), CHUNK)), b""]
        length = sum(len(_head(chunk, "0" * 64)) + len(chunk) + 2 for chunk in chunks)
        signer = _Signer(self.key, self.region, SIGNED)
        request = self._begin(signer, bucket, name, len(data), {"Content-Length": str(length)})
        signature = request.headers["Authorization"].rpartition("Signature=")[2]
        scope = signer.credential_scope(request)
        signing_key = f"AWS4{self.key[1]}".encode()
        for part in scope.split("/"):
            signing_key = hmac.digest(signing_key, part.encode(), "sha256")
        what = [SIGNED.removeprefix("STREAMING-"), request.context["timestamp"], scope]
        body = b""
        for chunk in chunks:
            text = "\n".join([*what, signature, _EMPTY, hashlib.sha256(chunk).hexdigest()])
            signature = hmac.digest(signing_key, text.encode(), "sha256").hex()
            body += _head(chunk, signature) + chunk + b"\r\n"
        return self._put(request, body)

    def put_with_trailer(
        self, bucket: str, name: str, data: bytes, checksum: str | None = None
    ) -> requests.Response:
        """Upload an object in a chunk, with its CRC-32 at the end.

        Args:
            bucket: where to.
            name: the object's.
            data: what is in it.
            checksum: another checksum than the right one.
        """
        checksum = checksum or base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
        body = (
            f"{len(data):x}\r\n".encode()
            + data
            + f"\r\n0\r\nx-amz-checksum-crc32:{checksum}\r\n\r\n".encode()
        )
        headers = {"X-Amz-Trailer": "x-amz-checksum-crc32", "Content-Length": str(len(body))}
        signer = _Signer(self.key, self.region, TRAILER)
        return self._put(self._begin(signer, bucket, name, len(data), headers), body)

    def _begin(
        self, signer: _Signer, bucket: str, name: str, size: int, headers: dict[str, str]
    ) -> AWSRequest:
        chunked = {"Content-Encoding": "aws-chunked", "X-Amz-Decoded-Content-Length": str(size)}
        url = f"{self.endpoint}/{bucket}/{quote(name)}"
        request = AWSRequest("PUT", url, headers={**chunked, **headers})
        signer.add_auth(request)
        return request

    def _put(self, request: AWSRequest, body: bytes) -> requests.Response:
        headers = dict(request.headers)
        return requests.put(
            request.url, body, headers=headers, verify=self.verify, timeout=self.timeout
        )


def _head(chunk: bytes, signature: str) -> bytes:
    return f"{len(chunk):x};chunk-signature={signature}\r\n".encode()
