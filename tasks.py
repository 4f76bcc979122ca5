"""Armillary's commands: `uv run invoke --list`, and `uv run invoke --help COMMAND`."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn

from invoke import task
from rich.console import Console

# Invoke switches the cache of compiled modules off for all that comes after, and each command would compile 1400 of them, for seconds.
sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode)

CONSOLE = Console(highlight=False)

WHICH = {
    "cloud": "Which cloud's cluster.yml to take from inventories/: local (this machine) or openstack.",
    "cluster": "Another cluster: the name of a folder in inventories/, or the path of a cluster.yml.",
}


def _interrupt(*_: object) -> NoReturn:
    """Take a lost terminal or a polite kill for Ctrl-C: what was started is stopped in good order."""
    raise KeyboardInterrupt


def _ends_well(command: Callable[..., int | None]) -> Callable[..., None]:
    """Turn a command's answer into the exit code: 0 good, 1 wrong, 2 could not tell."""

    @wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        from armillary.commands.common import CommandFailed

        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            # nohup, and the shell for what runs in the background, have them ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _interrupt)
        try:
            code = command(*arguments, **options)
        except CommandFailed as failure:
            print(f"\n{failure}", file=sys.stderr)
            code = failure.code
        except RuntimeError as failure:
            # Every error that Armillary foresees is one, and says what to do.
            print(f"\n{failure}", file=sys.stderr)
            code = 1
        except KeyboardInterrupt:
            print("\nStopped.", file=sys.stderr)
            code = 1
        sys.exit(code or 0)

    return run


@task(
    help={
        **WHICH,
        "replace": "A host that may be destroyed and made anew; may be given several times.",
        "converge": "Run every role again, also where nothing it depends on has changed.",
        "tags": "Run this role alone, such as registry; may be given several times.",
        "bundle": "Take everything from this file of `invoke bundle`, now and later; `none` ends that.",
    },
    iterable=["replace", "tags"],
)
@_ends_well
def up(_, cloud="local", cluster=None, replace=None, converge=False, tags=None, bundle=None):
    """Make the cluster what its cluster.yml says, from wherever it stands."""
    from armillary.commands.up import up

    up(
        CONSOLE,
        cloud=cloud,
        cluster=cluster,
        replace=replace or (),
        converge=converge,
        tags=tags or (),
        bundle=bundle,
    )


@task(help={**WHICH, "output": "The file to write; <cluster>-bundle.tar here if none is named."})
@_ends_well
def bundle(_, cloud="local", cluster=None, output=None):
    """Write one file with all that the cluster needs in a closed network."""
    from armillary.commands.bundle import bundle

    bundle(CONSOLE, cloud=cloud, cluster=cluster, output=output)


@task(
    help={
        **WHICH,
        "with_data": "Delete the volumes, keys and passwords too; wants the cluster's name typed.",
        "yes_lose": "The cluster's name, in place of typing it when asked.",
    }
)
@_ends_well
def down(_, cloud="local", cluster=None, with_data=False, yes_lose=None):
    """Take the cluster down; its data stays unless --with-data is given."""
    from armillary.commands.down import down

    down(CONSOLE, cloud=cloud, cluster=cluster, with_data=with_data, yes_lose=yes_lose)


@task(help=WHICH)
@_ends_well
def plan(_, cloud="local", cluster=None):
    """Show what `up` would do, and do nothing."""
    from armillary.commands.plan import plan

    plan(CONSOLE, cloud=cloud, cluster=cluster)


@task(
    help={
        **WHICH,
        "unit": "Only the tests that need no cluster.",
        "verify": "Only the proof that the running cluster works.",
        "json": "Print one JSON object instead of pytest's output.",
        "select": "Only tests whose names match (pytest's -k).",
    }
)
@_ends_well
def test(_, cloud="local", cluster=None, unit=False, verify=False, json=False, select=None):
    """Run the project's tests; if a cluster is up, prove that it works."""
    from armillary.commands.test import test

    return test(
        CONSOLE,
        cloud=cloud,
        cluster=cluster,
        unit=unit,
        verify=verify,
        as_json=json,
        select=select,
    )


@task(help={**WHICH, "json": "Print one JSON object."})
@_ends_well
def status(_, cloud="local", cluster=None, json=False):
    """Tell what runs, since when, what is wrong and why."""
    from armillary.commands.status import status

    return status(CONSOLE, cloud=cloud, cluster=cluster, as_json=json)


@task(help={**WHICH, "json": "Print one JSON object."})
@_ends_well
def doctor(_, cloud="local", cluster=None, json=False):
    """Tell what this machine and the cloud lack for the cluster; make nothing."""
    from armillary.commands.doctor import doctor

    return doctor(CONSOLE, cloud=cloud, cluster=cluster, as_json=json)


@task(help={**WHICH, "json": "Print one JSON object."})
@_ends_well
def orphans(_, cloud="local", cluster=None, json=False):
    """List what is left in the cloud of clusters that no state on this machine knows."""
    from armillary.commands.orphans import orphans

    return orphans(CONSOLE, cloud=cloud, cluster=cluster, as_json=json)


@task(
    help={
        **WHICH,
        "list": "Only show the backups there are.",
        "json": "Print one JSON object.",
    }
)
@_ends_well
def backup(_, cloud="local", cluster=None, list=False, json=False):
    """Back up the shared spaces now, and show the backups there are."""
    from armillary.commands.backup import backup

    backup(CONSOLE, cloud=cloud, cluster=cluster, only_list=list, as_json=json)


@task(
    positional=["path"],
    help={
        **WHICH,
        "path": "What to bring back, as users see it: /srv/shared/homes/astronomer/notes.ipynb.",
        "snapshot": "Which backup, as `invoke backup --list` shows it; the latest if none is named.",
        "in_place": "Put it where it was, over what is there; without this it comes beside.",
    },
)
@_ends_well
def restore(_, path, snapshot="latest", cloud="local", cluster=None, in_place=False):
    """Bring back a file or a directory of a shared space from a backup."""
    from armillary.commands.backup import restore

    restore(CONSOLE, snapshot=snapshot, path=path, cloud=cloud, cluster=cluster, in_place=in_place)


@task(name="open", help={**WHICH, "json": "Print one JSON object."})
@_ends_well
def open_(_, cloud="local", cluster=None, json=False):
    """Print the URLs of the running cluster and how to log in."""
    from armillary.commands.access import show_urls

    show_urls(CONSOLE, cloud=cloud, cluster=cluster, as_json=json)


@task(help={**WHICH, "user": "The user's name, as in cluster.yml."})
@_ends_well
def password(_, user, cloud="local", cluster=None):
    """Print the password that was generated for a user."""
    from armillary.commands.access import password

    print(password(user, cloud=cloud, cluster=cluster))


@task(help={**WHICH, "host": "The host's name, such as worker-1."})
@_ends_well
def ssh(_, host, cloud="local", cluster=None):
    """Open a shell on a host."""
    from armillary.commands.access import ssh

    ssh(host, cloud=cloud, cluster=cluster)


@task(
    help={
        **WHICH,
        "component": "registry, balancer, kubelet, containerd; or a Deployment such as hub, "
        "or with its namespace, such as kube-system/coredns.",
        "lines": "How many lines.",
    }
)
@_ends_well
def logs(_, component, cloud="local", cluster=None, lines=200):
    """Show the log of a component."""
    from armillary.commands.access import logs

    logs(component, cloud=cloud, cluster=cluster, lines=lines)


@task(
    help={
        "cloud": "local; or sandbox, which `invoke sandbox up` has made.",
        "cold": "Measure the first `up` with empty caches too: half an hour more. With sandbox: make that anew.",
        "spawns": "How many times a user's server is started.",
    }
)
@_ends_well
def bench(_, cloud="local", cold=False, spawns=20):
    """Measure on a cluster of its own, and write docs/reference/benchmarks.md."""
    from armillary.commands.bench import bench

    return bench(cloud=cloud, cold=cold, spawns=spawns)


@task(
    positional=["action"],
    help={"action": "up, down or status.", "json": "With status: print one JSON object."},
)
@_ends_well
def sandbox(_, action, json=False):
    """Make, show or remove a disposable OpenStack on this machine: sandbox up, sandbox status."""
    from armillary.commands.sandbox import sandbox

    return sandbox(CONSOLE, action, as_json=json)
