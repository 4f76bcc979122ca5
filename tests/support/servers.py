"""A cluster of servers in an OpenStack project, which tests make and take down."""

from __future__ import annotations

import shlex
from functools import cached_property
from pathlib import Path

from armillary.clouds.contract import Thing, things_of
from armillary.clouds.openstack import OpenStack
from armillary.paths import ROOT
from armillary.tools.process import run
from armillary.tools.terraform import Terraform, TerraformError
from support.lab import Lab


def lacking_provider(state: Path) -> str:
    """Return, in one line, why Terraform cannot have the official provider here; empty when it can.

    Args:
        state: a directory for Terraform's own files.
    """
    try:
        Terraform(ROOT / "terraform" / "openstack" / "data", state).init()
    except TerraformError as error:
        return " ".join(str(error).split())
    return ""


class ServerLab(Lab):
    """A lab whose hosts are reached by ssh alone."""

    @cached_property
    def cloud(self) -> OpenStack:
        """The project the cluster is in."""
        return OpenStack(self.cluster, self.paths)

    def on_host(self, host: str, *argv: str, timeout: float = 120) -> str:
        """Run a program on a host, as root, and return what it prints."""
        command = ["ssh", "-F", str(self.paths.ssh_config), host, "sudo", shlex.join(argv)]
        return run(command, timeout=timeout).stdout.strip()

    def things(self) -> list[Thing]:
        """Return what the cloud has of the cluster.

        Raises:
            CloudError: it cannot be asked.
        """
        return things_of(self.cloud, self.paths)
