"""Images of other projects' registries, copied as they are."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from armillary.building import locked, replacing
from armillary.images import kept
from armillary.images.build import ImageError
from armillary.images.kept import BuiltImage
from armillary.models.values import split_reference
from armillary.tools import skopeo
from armillary.tools.process import CommandError, CommandMissing, CommandTimeout, tail

TIMEOUT = 1800.0
# https://docs.docker.com/docker-hub/usage/
LIMITED = re.compile(r"toomanyrequests|status(code)?: 429|too many requests", re.IGNORECASE)
REFUSED = re.compile(
    r"unauthorized|authentication required|denied|status(code)?: 40[13]", re.IGNORECASE
)
UNKNOWN = re.compile(r"manifest unknown|name unknown|not found|status(code)?: 404", re.IGNORECASE)
UNTRUSTED = re.compile("x509|certificate")

Result = TypeVar("Result")
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Upstream:
    """An image of another project."""

    name: str
    """What the cluster calls it."""
    reference: str
    """Registry, path, tag or digest."""
    target: str
    """`<repository>:<tag>` in the cluster's registry."""
    every_platform: bool

    @property
    def registry(self) -> str:
        """Return the registry it is in."""
        return split_reference(self.reference)[0]

    @property
    def folder(self) -> str:
        """Return the name of its directory in the cache, which no other image has."""
        plain = re.sub("[^a-z0-9._-]+", "-", self.name.lower())
        if plain == self.name:
            return plain
        return f"{plain}-{hashlib.sha256(self.name.encode()).hexdigest()[:8]}"

    @property
    def pinned(self) -> str | None:
        """Return the digest that is in its reference."""
        return split_reference(self.reference)[3] or None

    def home(self, cache: Path, digest: str) -> Path:
        """Return its directory in the cache."""
        platforms = "-all" if self.every_platform else ""
        return cache / "images" / self.folder / f"upstream-{digest[7:]}{platforms}"


def further(reference: str, *, every_platform: bool) -> Upstream:
    """Return what cluster.yml asks for by its full reference: below its registry's name in the cluster's own."""
    registry, path, tag, digest = split_reference(reference)
    place = f"{registry.replace(':', '-')}/{path}"
    return Upstream(
        reference, reference, f"{place}:{tag or digest.replace(':', '-')}", every_platform
    )


def digest(image: Upstream, progress: Progress) -> str:
    """Return the digest an image has in its registry now.

    Raises:
        ImageError: the registry does not say.
    """
    progress(f"{image.name}: asking {image.registry} for its digest")
    return _tried(image, lambda: skopeo.digest(image.reference), progress)


def copy(image: Upstream, digest: str, cache: Path, progress: Progress) -> BuiltImage:
    """Return an image from the cache; copy it from its registry, by digest, when it is not there.

    Raises:
        ImageError: it could not be copied.
    """
    home = image.home(cache, digest)
    if found := kept.read(image.name, image.target, home):
        return found
    home.parent.mkdir(parents=True, exist_ok=True)
    with locked(home.parent / ".lock", lambda: progress(f"{image.name}: another run copies it")):
        if found := kept.read(image.name, image.target, home):
            return found
        started = time.monotonic()
        registry, path, _, _ = split_reference(image.reference)
        exact = f"{registry}/{path}@{digest}"
        with replacing(home) as staging:

            def fetch() -> None:
                progress(f"{image.name}: copying from {registry}")
                skopeo.fetch(exact, staging, every_platform=image.every_platform, timeout=TIMEOUT)

            _tried(image, fetch, progress)
            held = kept.file_digest(staging / "manifest.json")
            if image.every_platform and held != digest:
                raise ImageError(image.name, f"{exact} came as {held}.", "Run it again.")
            kept.write_record(
                image.name,
                image.target,
                staging,
                held,
                time.monotonic() - started,
                copied=exact,
            )
    if found := kept.read(image.name, image.target, home, built=True):
        return found
    raise ImageError(image.name, f"what was written to {home} is not whole.", "Run it again.")


def _tried(image: Upstream, do: Callable[[], Result], progress: Progress) -> Result:
    """Do something with a registry, again where that may help."""
    for attempt in range(1, skopeo.ATTEMPTS + 1):
        try:
            return do()
        except CommandMissing as error:
            raise ImageError(
                image.name, str(error), f"Run `apt-get install {error.program}`, then again."
            ) from error
        except (CommandError, CommandTimeout) as error:
            # What has had enough requests (`LIMITED`) is not among what passes.
            if attempt == skopeo.ATTEMPTS or not skopeo.PASSING.search(error.completed.stderr):
                raise _failed(image, error) from error
            progress(
                f"{image.name}: {image.registry} failed ({attempt} of {skopeo.ATTEMPTS}), trying again"
            )
            time.sleep(skopeo.PAUSE * 2 ** (attempt - 1))
    raise AssertionError


def _failed(image: Upstream, error: CommandError | CommandTimeout) -> ImageError:
    said, registry = error.completed.stderr, image.registry
    if LIMITED.search(said):
        what = f"{registry} has had enough requests from this address for now."
        hint = (
            f"Log in (`skopeo login {registry}`: Docker Hub lets those who did have more), or wait some hours; then run "
            "the same command again: what is copied stays."
        )
    elif UNTRUSTED.search(said):
        what = f"{registry} shows a certificate that this machine does not trust."
        hint = (
            "If it is your site's own, add its authority to this machine (/usr/local/share/ca-certificates, then "
            "`update-ca-certificates`); then run the same command again."
        )
    elif UNKNOWN.search(said):
        what = f"{registry} does not have {image.reference}, or no longer by the digest in mirror.lock.yml."
        hint = "Look at the reference. To take what the tag means now, remove its line from mirror.lock.yml."
    elif REFUSED.search(said):
        what = f"{registry} does not let the user this machine is known as read {image.reference}."
        hint = f"Log in with `skopeo login {registry}`, then run the same command again."
    else:
        what = f"{image.reference} could not be copied."
        hint = (
            f"See whether {registry} can be reached from here. A site's own copy of a registry is named in "
            "/etc/containers/registries.conf (containers-registries.conf(5)); `images.source: build` makes the platform's "
            "images here."
        )
    return ImageError(
        image.name,
        what,
        hint,
        command=" ".join(error.completed.argv),
        last=tail(error.completed, 5),
    )
