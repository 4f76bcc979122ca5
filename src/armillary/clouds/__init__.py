"""What differs between clouds; nothing else may ask which cloud it is."""

from __future__ import annotations

from armillary.clouds.contract import Cloud, CloudError
from armillary.clouds.local import Local

CLOUDS = {"local": Local}


def cloud_of(name: str) -> Cloud:
    """Return the cloud of this name.

    Raises:
        CloudError: this release has none of that name.
    """
    try:
        return CLOUDS[name]()
    except KeyError:
        raise CloudError(
            f"cloud `{name}` is not in this release; it knows: {', '.join(sorted(CLOUDS))}."
        ) from None
