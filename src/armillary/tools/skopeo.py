"""skopeo: copy images from OCI layouts to a registry and look at what a registry has."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from armillary.tools.process import CommandError, Completed, run

ATTEMPTS = 4
PAUSE = 2.0
"""Seconds before the second attempt; twice as many before each one after that."""

# What skopeo says when trying again may help: the registry restarts, or the line is bad.
PASSING = re.compile(
    r"HTTP status:? 5\d\d|status code 5\d\d|connection re(fused|set)|broken pipe"
    r"|unexpected EOF|i/o timeout|TLS handshake timeout|Internal Server Error|Bad Gateway"
    r"|Service Unavailable",
    re.IGNORECASE,
)
UPLOAD = re.compile(r"PATCH (https://[^\s\"\\]+)")


class PushError(CommandError):
    """skopeo could not copy an image to a registry."""

    def __init__(self, completed: Completed) -> None:
        lines = completed.stderr.splitlines()
        told = "\n".join(line for line in lines if "level=debug" not in line)
        super().__init__(replace(completed, stdout="", stderr=told))
        self.uploads = tuple(dict.fromkeys(UPLOAD.findall(completed.stderr)))
        """The URLs of the uploads it had begun."""


@dataclass(frozen=True)
class Registry:
    """A registry and how this machine gets in."""

    address: str
    """`host:port`."""
    authfile: Path | None = None
    """containers-auth.json(5), which keeps the password out of the process list."""
    ca: Path | None = None
    """The CA certificate (PEM) that signed the registry's."""

    def digest(self, repository: str, tag: str) -> str | None:
        """Return the digest of an image's manifest in the registry, None when it has no such image.

        Raises:
            CommandError: the registry did not answer, or refused the user.
        """
        with self._options("") as options:
            try:
                manifest = self._skopeo(
                    "inspect",
                    "--raw",
                    *options,
                    f"docker://{self.address}/{repository}:{tag}",
                    timeout=60,
                ).stdout
            except CommandError as error:
                text = error.completed.stderr
                # https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes
                if "manifest unknown" in text or "name unknown" in text:
                    return None
                raise
        return "sha256:" + hashlib.sha256(manifest.encode()).hexdigest()

    def push(self, source: str, repository: str, tag: str, *, timeout: float) -> None:
        """Copy an image to the registry, as it is, with all platforms it has there.

        Args:
            source: the image, as containers-transports(5) names it.
            repository: its path in the registry.
            tag: its tag there.
            timeout: seconds.

        Raises:
            PushError: skopeo failed.
            CommandTimeout, CommandMissing: see `tools.process.run`.
        """
        with self._options("dest-") as options:
            try:
                self._skopeo(
                    # Nothing else tells the address of an upload that was cut off.
                    "--debug",
                    "copy",
                    "--all",
                    "--preserve-digests",
                    *options,
                    source,
                    f"docker://{self.address}/{repository}:{tag}",
                    timeout=timeout,
                )
            except CommandError as error:
                raise PushError(error.completed) from error

    @contextmanager
    def _options(self, side: str) -> Iterator[list[str]]:
        """Yield the options for authentication and trust, of one side of a copy."""
        options = [f"--{side}authfile={self.authfile}"] if self.authfile else []
        with tempfile.TemporaryDirectory(prefix="armillary-ca-") as directory:
            if self.ca:
                # skopeo takes a directory, in which it reads *.crt.
                shutil.copyfile(self.ca, Path(directory) / "ca.crt")
                options.append(f"--{side}cert-dir={directory}")
            yield options

    def _skopeo(self, *arguments: str, timeout: float) -> Completed:
        # The cluster's registry is never behind the proxy through which packages come.
        direct = {
            name: ",".join(filter(None, [os.environ.get(name), self.address.rpartition(":")[0]]))
            for name in ("NO_PROXY", "no_proxy")
        }
        return run(["skopeo", *arguments], timeout=timeout, env=direct)


def digest(reference: str, *, timeout: float = 60) -> str:
    """Return the digest that a registry gives for an image, asked as this machine's user is known to it.

    Which other place stands for a registry is looked up in containers-registries.conf(5), user and password in
    containers-auth.json(5).

    Args:
        reference: registry, path, and tag or digest.
        timeout: seconds.

    Raises:
        CommandError, CommandTimeout, CommandMissing: see `tools.process.run`.
    """
    shown = run(["skopeo", "inspect", "--raw", f"docker://{reference}"], timeout=timeout)
    return "sha256:" + hashlib.sha256(shown.stdout.encode()).hexdigest()


def fetch(reference: str, directory: Path, *, every_platform: bool, timeout: float) -> None:
    """Copy an image from a registry into a directory, as it is there.

    Args:
        reference: registry, path, and tag or digest.
        directory: where to; `dir:` in containers-transports(5).
        every_platform: all that it has, or that of this machine.
        timeout: seconds.

    Raises:
        CommandError, CommandTimeout, CommandMissing: see `tools.process.run`.
    """
    run(
        [
            *("skopeo", "copy", "--quiet", "--preserve-digests"),
            *(["--all"] if every_platform else []),
            f"docker://{reference}",
            f"dir:{directory}",
        ],
        timeout=timeout,
    )
