"""Put images into a cluster's registry, each once."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path

from armillary.images.build import ImageError, Progress
from armillary.images.kept import BuiltImage
from armillary.tools.process import CommandError, CommandMissing, CommandTimeout, Completed, tail
from armillary.tools.registry_uploads import cancel, refusal
from armillary.tools.skopeo import ATTEMPTS, PASSING, PAUSE, PushError, Registry

TIMEOUT = 900.0
# A volume with a quota (btrfs) says the latter.
FULL = re.compile("no space left on device|disk quota exceeded")


def push(
    images: Sequence[BuiltImage],
    registry: str,
    *,
    authfile: Path | None = None,
    ca: Path | None = None,
    address: str | None = None,
    progress: Progress = lambda line: None,
) -> dict[str, str]:
    """Have the images in a registry; nothing is uploaded that is there.

    Args:
        images: what to push, bases first, so that their layers are mounted and not sent again.
        registry: `host:port` as the cluster's hosts call it.
        authfile: containers-auth.json(5), mode 0600, with a user that may push.
        ca: the CA certificate (PEM) that signed the registry's.
        address: `host:port` at which this machine reaches it, if that is another.
        progress: called with a line for each image.

    Returns:
        Image name: `<registry>/<repository>@sha256:...`.

    Raises:
        ImageError: it could not be done; the images before it are there, and the next call goes on.
    """
    target = Registry(address or registry, authfile, ca)
    pushed: dict[str, str] = {}
    for image in images:
        _push(image, target, progress)
        pushed[image.name] = f"{registry}/{image.repository}@{image.digest}"
    return pushed


def _push(image: BuiltImage, target: Registry, progress: Progress) -> None:
    where = f"{target.address}/{image.reference}"
    for attempt in range(1, ATTEMPTS + 1):
        try:
            if target.digest(image.repository, image.tag) == image.digest:
                progress(f"{image.name}: is in the registry")
                return
            progress(f"{image.name}: pushing {image.size / 1e6:.0f} MB to {where}")
            target.push(image.source, image.repository, image.tag, timeout=TIMEOUT)
            return
        except CommandMissing as error:
            raise ImageError(
                image.name, str(error), f"Run `apt-get install {error.program}`, then again."
            ) from error
        except CommandTimeout as error:
            raise _failed(image, where, error.completed) from error
        except CommandError as error:
            said = error.completed.stderr
            if not PASSING.search(said):
                raise _failed(image, where, error.completed) from error
            # Asked before the upload is taken back: after that the disk has room again.
            why = refusal(target.address, image.repository, authfile=target.authfile, ca=target.ca)
            for upload in error.uploads if isinstance(error, PushError) else ():
                cancel(target.address, upload, authfile=target.authfile, ca=target.ca)
            if FULL.search(why):
                raise _full(image, target, error.completed) from error
            if attempt == ATTEMPTS:
                raise _failed(image, where, error.completed) from error
            progress(f"{image.name}: the registry failed ({attempt} of {ATTEMPTS}), trying again")
            time.sleep(PAUSE * 2 ** (attempt - 1))


def _full(image: BuiltImage, target: Registry, completed: Completed) -> ImageError:
    return ImageError(
        image.name,
        f"the disk of the registry {target.address} is full; there is no room for this image's "
        f"layers ({image.size / 1e6:.0f} MB).",
        "Free some space (remove images no longer used and collect garbage) or enlarge the "
        "registry's volume in cluster.yml, then run the same command again.",
        command=" ".join(completed.argv),
        last=tail(completed),
    )


def _failed(image: BuiltImage, where: str, completed: Completed) -> ImageError:
    said = completed.stderr
    host = where.partition("/")[0]
    if "authentication required" in said or "unauthorized" in said or "denied" in said:
        what = f"the registry {host} refuses the user and password that were given."
        hint = (
            "Compare the registry's user list with the cluster's secrets.yml; `up` sets both anew."
        )
    elif "x509" in said or "certificate" in said:
        what = f"the registry {host} shows a certificate that the cluster's CA did not sign."
        hint = (
            "Check that this address is the cluster's registry; `up` issues its certificate anew."
        )
    elif "connection refused" in said or "no such host" in said or "no route" in said:
        what = f"the registry {host} does not answer."
        hint = "See whether its service runs on the services host and no firewall is in the way."
    elif PASSING.search(said):
        what = f"the registry {host} failed {ATTEMPTS} times."
        hint = "Read the registry's log on the services host, then run the same command again."
    else:
        what = f"it could not be pushed to {where}."
        hint = "Run the same command again after correcting this; what is pushed stays pushed."
    return ImageError(
        image.name, what, hint, command=" ".join(completed.argv), last=tail(completed)
    )
