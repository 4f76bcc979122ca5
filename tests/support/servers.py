"""A cluster of servers in an OpenStack project, which tests make and take down."""

from __future__ import annotations

import shlex
from functools import cached_property

from armillary.clouds import CloudError
from armillary.clouds.contract import Thing
from armillary.clouds.openstack import OpenStack
from armillary.tools.process import CommandError, run
from support.lab import Lab


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

    def host_does(self, host: str, *argv: str) -> bool:
        """Tell whether a program on a host ends well; not while the host cannot be reached."""
        try:
            self.on_host(host, *argv)
        except CommandError:
            return False
        return True

    def things(self) -> list[Thing]:
        """Return what the cloud has of the cluster.

        Raises:
            CloudError: it cannot be asked.
        """
        mark = self.cloud.mark(self.paths)
        if mark is None:
            raise CloudError(f"{self.name} never was")
        return [thing for thing in self.cloud.things() if thing.mark == mark]
