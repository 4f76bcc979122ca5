"""`invoke open`, `password`, `ssh` and `logs`: ways into a running cluster."""

from __future__ import annotations

from typing import NoReturn

from rich.console import Console

from armillary import secrets
from armillary.commands.common import CommandFailed, load, selection
from armillary.commands.up import show_access
from armillary.stages.contract import Context
from armillary.stages.provision import output
from armillary.tools.process import replace_by
from armillary.tools.terraform import TerraformError

UNITS = {
    "registry": ("services", "armillary-registry@*"),
    "balancer": ("services", "haproxy"),
    "objectstore": ("services", "armillary-objectstore*"),
    "kafka": ("kafka", "armillary-kafka*"),
    "kubelet": ("worker", "kubelet"),
    "containerd": ("worker", "containerd"),
}
"""Components that are systemd units: the role of the host to look at, and the unit's name."""


def show_urls(
    console: Console, *, cloud: str = "local", cluster: str | None = None, as_json: bool = False
) -> None:
    """Print where the cluster is reached.

    Raises:
        CommandFailed: it is not up.
    """
    context = _running(cloud, cluster)
    if as_json:
        console.print_json(context.paths.endpoints.read_text())
    else:
        show_access(console, context, selection(cloud, cluster))


def password(user: str, *, cloud: str = "local", cluster: str | None = None) -> str:
    """Return the password generated for a user of JupyterHub, or for `kafka/USER`.

    Raises:
        CommandFailed: there is no such user; names those there are.
    """
    kept = secrets.load(load(cloud, cluster).paths)
    users: dict[str, str] = dict(kept.get("jupyterhub", {}).get("users", {}))
    users |= {
        f"kafka/{name}": word for name, word in kept.get("kafka", {}).get("users", {}).items()
    }
    if user not in users:
        known = ", ".join(sorted(users)) or "nobody, for the cluster was never up"
        raise CommandFailed(f"No user is called {user}. There is: {known}.")
    return users[user]


def ssh(host: str, *, cloud: str = "local", cluster: str | None = None) -> NoReturn:
    """Become an ssh session on a host.

    Raises:
        CommandFailed: there is no such host; names those there are.
    """
    replace_by(ssh_command(load(cloud, cluster), host))


def logs(
    component: str, *, cloud: str = "local", cluster: str | None = None, lines: int = 200
) -> NoReturn:
    """Become the program that shows a component's log.

    Raises:
        CommandFailed: the cluster is not up.
    """
    context = _running(cloud, cluster)
    if component in UNITS:
        role, unit = UNITS[component]
        hosts = [each for each in context.cluster.expanded_hosts() if each.role == role]
        if not hosts:
            raise CommandFailed(f"Cluster {context.cluster.name} has no hosts of role {role}.")
        host = hosts[0]
        command = ["sudo", "journalctl", "-u", unit, "-n", str(lines), "--no-pager"]
        replace_by([*ssh_command(context, host.name), *command])
    namespace, _, name = component.rpartition("/")
    replace_by(
        [
            str(context.supply.artifact("kubernetes").bin_dir / "kubectl"),
            f"--kubeconfig={context.paths.kubeconfig}",
            f"--namespace={namespace or 'jupyterhub'}",
            "logs",
            f"--tail={lines}",
            "--all-containers",
            f"deployment/{name}",
        ]
    )


def _running(cloud: str, cluster: str | None) -> Context:
    context = load(cloud, cluster)
    if not context.paths.endpoints.exists():
        raise CommandFailed(f"Cluster {context.cluster.name} is not up; `invoke up` makes it.")
    return context


def ssh_command(context: Context, host: str) -> list[str]:
    """Return the command that opens a shell on a host, or runs there what is put behind it.

    Raises:
        CommandFailed: there is no such host; names those there are.
    """
    try:
        hosts = output(context)["hosts"]
    except (TerraformError, KeyError):
        raise CommandFailed("There are no hosts yet; `invoke up` makes them.") from None
    if host not in hosts:
        raise CommandFailed(f"No host is called {host}. There are: {', '.join(sorted(hosts))}.")
    return ["ssh", "-F", str(context.paths.ssh_config), host]
