"""Parts that the sample cluster.yml files offer and leave off, switched on: what a sysadmin does by taking `#` away."""

from __future__ import annotations

import re
from typing import Any

import yaml

from armillary.paths import ROOT


def sample(name: str) -> str:
    """Return the text of `inventories/<name>/cluster.yml`."""
    return (ROOT / "inventories" / name / "cluster.yml").read_text()


def switched_on(text: str, part: str) -> str:
    """Return a cluster.yml in which each block that begins with `# <part>:` is there."""

    def there(found: re.Match[str]) -> str:
        return re.sub(r"^( *)# ", r"\1", found[0], flags=re.MULTILINE)

    block = rf"^( *)# {re.escape(part)}:.*\n(?:\1#   .*\n?)*"
    switched, count = re.subn(block, there, text, flags=re.MULTILINE)
    assert count, f"no part is called {part}"
    return switched


def with_kafka(name: str) -> dict[str, Any]:
    """Return a sample cluster.yml, read, with Kafka."""
    found: dict[str, Any] = yaml.safe_load(switched_on(sample(name), "kafka"))
    return found
