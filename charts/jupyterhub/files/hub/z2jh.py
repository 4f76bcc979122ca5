"""The chart's values, as the hub reads them.

Named as Zero to JupyterHub's module: users' `hub.extraConfig` does `from z2jh import get_config`.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

VALUES = Path(__file__).parent / "secret" / "values.yaml"


@lru_cache
def _values() -> dict[str, Any]:
    with VALUES.open(encoding="utf-8") as stream:
        values = yaml.safe_load(stream)
    if not isinstance(values, dict):
        raise TypeError(
            f"{VALUES}: expected a mapping of chart values, found {type(values).__name__}"
        )
    return values


def get_config(key: str, default: Any = None) -> Any:
    """The value at a dotted key (`singleuser.memory.limit`), or `default` where there is none."""
    value: Any = _values()
    for level in key.split("."):
        if not isinstance(value, dict) or level not in value:
            return default
        value = value[level]
    return value


def set_config_if_not_none(section: Any, trait: str, key: str) -> None:
    """Set `section.trait` to the value at `key`, unless that is missing or null."""
    value = get_config(key)
    if value is not None:
        setattr(section, trait, value)
