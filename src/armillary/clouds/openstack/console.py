"""Hosts' ssh keys out of their console logs, which come by the cloud's API and by no network to trust.

cloud-init prints the public keys at the first boot:
https://cloudinit.readthedocs.io/en/latest/reference/modules.html#mod-cc-keys-to-console
"""

from __future__ import annotations

import re

BLOCK = re.compile(
    r"-----BEGIN SSH HOST KEY KEYS-----(?P<keys>.*?)-----END SSH HOST KEY KEYS-----", re.DOTALL
)
KEY = re.compile(r"(ssh-ed25519 AAAA[0-9A-Za-z+/=]+)")


def host_key(log: str) -> str | None:
    """Return the ed25519 key of the last boot that printed one: type and base64; None if none did."""
    blocks = BLOCK.findall(log.replace("\r", ""))
    for block in reversed(blocks):
        found = KEY.search(block)
        if found:
            return found.group(1)
    return None
