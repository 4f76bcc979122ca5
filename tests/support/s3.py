"""As much of S3 as a round trip takes: requests signed with AWS Signature Version 4."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

import requests


@dataclass(frozen=True)
class S3:
    """One account of one S3 service."""

    url: str
    access: str
    secret: str
    region: str
    ca: str

    def call(self, method: str, path: str, body: bytes = b"") -> requests.Response:
        """Send one signed request; buckets and objects are paths."""
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        scope = f"{now[:8]}/{self.region}/s3/aws4_request"
        headers = {
            "host": urlsplit(self.url).netloc,
            "x-amz-content-sha256": hashlib.sha256(body).hexdigest(),
            "x-amz-date": now,
        }
        names = ";".join(sorted(headers))
        canonical = "\n".join(
            [
                method,
                path,
                "",
                *(f"{name}:{headers[name]}" for name in sorted(headers)),
                "",
                names,
                headers["x-amz-content-sha256"],
            ]
        )
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        key = f"AWS4{self.secret}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.digest(
            key, f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{digest}".encode(), "sha256"
        ).hex()
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.access}/{scope}, SignedHeaders={names}, "
            f"Signature={signature}"
        )
        return requests.request(
            method, self.url + path, data=body, headers=headers, verify=self.ca, timeout=60
        )
