"""Which authorities this machine trusts."""

from __future__ import annotations

import os
from pathlib import Path

BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)


def certificates() -> Path | None:
    """Return the bundle of CA certificates which this machine trusts, None when it has none."""
    chosen = [os.environ.get(name) for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT")]
    for path in [*filter(None, chosen), *BUNDLES]:
        if Path(path).is_file():
            return Path(path)
    return None
