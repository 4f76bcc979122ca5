"""With one file and no network a whole cluster is made: the network is cut, and the caches are empty.

What others publish comes into the file as they publish it (`images.source: mirror`); this machine plays them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from support import upstream
from support.lab import Lab, lines_of

from armillary.bundle import contents
from armillary.clouds import host_image, incusd
from armillary.files import read_yaml
from armillary.images import build_all, read_manifests
from armillary.mirror import lock
from armillary.tools import go
from armillary.tools.process import run

ALONE = """
set -e
kept=$(mktemp -d)
mount --rbind /sys/fs/cgroup "$kept"
mount -t sysfs sysfs /sys
mount --rbind "$kept" /sys/fs/cgroup
awk '$2 ~ "^/var/lib/incus/" {print $2}' /proc/self/mounts | sort -r | xargs -r umount
mount --bind "$1" /var/lib/incus
ip link set lo up
echo ready
exec cat
"""
"""Run in network and mount namespaces of their own: /sys shows the devices of the former, and the groups as before. Incus
has another directory, and so another daemon than the one that may run outside, which has networks."""
MINUTES = 900.0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory for it all, which is large."""
    path = tmp_path_factory.mktemp("closed")
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def published(place: Path) -> Iterator[upstream.Upstream]:
    """What their projects publish of all that a cluster takes from elsewhere: what was built of it here."""
    folder = place / "upstream"
    folder.mkdir()
    images = [image for image in read_manifests()[0].images if image.upstream]
    registries = {str(image.upstream).partition("/")[0] for image in images}
    with upstream.play(folder, sorted(registries)) as world:
        for image, built in zip(images, build_all([one.name for one in images]), strict=True):
            world.push(built, str(image.upstream).partition("/")[2], image.tag)
        for artifact in read_manifests()[1].artifacts:
            if artifact.upstream:
                world.downloads.publish(artifact)
        yield world
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def config(lab: Lab, place: Path, published: upstream.Upstream) -> Path:
    """The lab's cluster.yml, but that it takes what others publish."""
    urls = [
        url
        for artifact in read_manifests()[1].artifacts
        for url in artifact.downloads(go.architecture())
    ]
    images = {"source": "mirror", "downloads": published.places(urls)}
    content = read_yaml(lab.config) | {"images": images}
    (place / "observatory").mkdir()
    path = place / "observatory" / "cluster.yml"
    path.write_text(json.dumps(content))
    return path


@pytest.fixture(scope="module")
def file(lab: Lab, place: Path, config: Path, published: upstream.Upstream) -> Path:
    """The bundle, made where there are networks."""
    led = [f"{name}={value}" for name, value in published.environment.items()]
    outside = Lab(config, lab.scratch, command=("env", *led, *lab.command))
    target = place / "e2e-bundle.tar"
    outside.invoke("bundle", "--output", str(target), timeout=MINUTES)
    return target


@pytest.fixture(scope="module")
def inside(place: Path) -> Iterator[tuple[str, ...]]:
    """What runs a program where there is no network but what it makes itself."""
    own = place / "incus"
    own.mkdir(mode=0o711)
    with subprocess.Popen(
        ["unshare", "--net", "--mount", "sh", "-c", ALONE, "sh", str(own)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"ready\n"
        prefix = ("nsenter", f"--target={holder.pid}", "--net", "--mount")
        assert run([*prefix, "ip", "route"], timeout=10).stdout == ""
        yield prefix


@pytest.fixture(scope="module")
def closed(
    lab: Lab, file: Path, place: Path, config: Path, inside: tuple[str, ...]
) -> Iterator[Lab]:
    """The same cluster's commands, typed in the bundle's own checkout where the network is cut."""
    checkout = place / "armillary"
    installer = place / "install.sh"
    run(["tar", "-C", str(place), "-xf", str(file), installer.name], timeout=60)
    run([*inside, "sh", str(installer), str(file), str(checkout)], timeout=MINUTES, on_line=print)
    environment = {
        "ARMILLARY_CACHE_HOME": str(place / "cache"),
        "PATH": f"{checkout / '.venv' / 'bin'}:{os.environ['PATH']}",
        "UV_NO_SYNC": "1",
        "VIRTUAL_ENV": str(checkout / ".venv"),
    }
    found = Lab(
        config,
        lab.scratch,
        command=(
            *inside,
            # Another mount namespace is entered at its root.
            *("env", f"--chdir={checkout}"),
            *(f"{name}={value}" for name, value in environment.items()),
            *("uv", "run", "invoke"),
        ),
        root=checkout,
    )
    yield found
    if found.paths.root.exists():
        found.invoke("down", "--with-data", "--yes-lose", found.name)


def test_a_bundle_is_not_begun_where_it_cannot_be_written(lab: Lab, place: Path) -> None:
    said = lab.invoke("bundle", "--output", str(place / "missing" / "e2e.tar"), code=1).stderr
    assert "does not exist" in said


def test_a_bundle_that_was_damaged_is_refused(lab: Lab, file: Path, place: Path) -> None:
    """Nothing is made, and nothing is left of what was unpacked."""
    bad = place / "damaged.tar"
    shutil.copyfile(file, bad)
    with bad.open("r+b") as stream:
        stream.seek(-100_000_000, os.SEEK_END)
        stream.write(b"\xff" * 4096)
    caches = place / "other-cache"
    damaged = Lab(
        lab.config, lab.scratch, command=("env", f"ARMILLARY_CACHE_HOME={caches}", *lab.command)
    )
    said = damaged.invoke("up", "--bundle", str(bad), code=1).stderr
    assert "was damaged or altered" in said
    assert [path.name for path in (caches / "bundles").iterdir()] == [".lock"]
    assert not lab.paths.root.exists()
    bad.unlink()


def test_a_bundle_brings_the_packages_of_a_bare_machine(
    file: Path, place: Path, inside: tuple[str, ...]
) -> None:
    """Incus and all it needs, installed by apt on a Debian that has none of it."""
    tree = place / "machine"
    image = host_image.build(print) / "rootfs.squashfs"
    run(["unsquashfs", "-quiet", "-no-progress", "-dest", str(tree), str(image)], timeout=300)
    run(["tar", "-C", str(tree), "-xf", str(file), contents.MACHINE], timeout=300)
    (tree / "etc/apt/sources.list").write_text(f"deb [trusted=yes] file:/{contents.MACHINE} ./\n")
    (tree / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
    (tree / "usr/sbin/policy-rc.d").chmod(0o755)
    (tree / "etc/apt/apt.conf.d/99test").write_text('APT::Sandbox::User "root";\n')
    within = [*inside, "chroot", str(tree), "env", "DEBIAN_FRONTEND=noninteractive"]
    run([*within, "apt-get", "--quiet", "update"], timeout=60)
    wanted = [*incusd.INCUS, *incusd.PACKAGES, "skopeo", "openssh-client"]
    run([*within, "apt-get", "--yes", "--no-install-recommends", "install", *wanted], timeout=300)
    assert (tree / incusd.DAEMON.relative_to("/")).is_file()
    assert run([*within, "skopeo", "--version"], timeout=60).stdout.startswith("skopeo")
    shutil.rmtree(tree)


def test_up_makes_the_cluster_with_the_network_cut(closed: Lab, file: Path) -> None:
    closed.invoke("up", "--bundle", str(file), timeout=MINUTES)
    # The whole proof runs on the cluster that was made where there are networks; here, what came by the bundle.
    chosen = "image_pushed or welcome_notebook or names_of_services or another_reads"
    done = closed.invoke("test", "--verify", "--select", chosen, timeout=MINUTES)
    assert lines_of(done, " passed", " in ")


def test_what_runs_is_what_was_published(closed: Lab, place: Path, inside: tuple[str, ...]) -> None:
    """The digests of Kubernetes' own pods are those that the lock file was given where there are networks."""
    known = lock.read(place / "observatory" / lock.NAME)
    kubectl = next((place / "cache").glob("bundles/*/artifacts/kubernetes/*/bin/kubectl"))
    asked = ("get", "pods", "--namespace=kube-system", "--output=json")
    listed = run(
        [*inside, str(kubectl), f"--kubeconfig={closed.paths.kubeconfig}", *asked], timeout=60
    )
    running = _digests(json.loads(listed.stdout))
    for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"):
        (wanted,) = {
            digest for reference, digest in known.images.items() if f"/{name}:" in reference
        }
        assert running[name] == {wanted}


def _digests(pods: Mapping[str, Any]) -> dict[str, set[str]]:
    """Return the digests of the images that run, by the last part of their names."""
    found: dict[str, set[str]] = {}
    for pod in pods["items"]:
        for status in pod["status"]["containerStatuses"]:
            path, _, digest = status["imageID"].partition("@")
            found.setdefault(path.rpartition("/")[2], set()).add(digest)
    return found


def test_later_commands_remember_the_bundle(closed: Lab, file: Path) -> None:
    assert "Nothing to change" in closed.invoke("up").stdout
    closed.invoke("down")


def test_without_it_up_says_that_it_is_cut_off(closed: Lab) -> None:
    """Which shows that it was: in empty caches everything is to be built, and no registry answers."""
    said = closed.invoke("up", "--bundle", "none", code=1).stderr
    assert "registry of Go modules" in said
    assert "cannot be reached" in said
