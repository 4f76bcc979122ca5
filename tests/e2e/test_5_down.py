"""`down` keeps data and nothing else; `up` finds it again; `down --with-data` leaves nothing."""

from __future__ import annotations

import secrets
from pathlib import Path

from support import traces
from support.lab import FIRST, Lab
from support.registry import with_file
from support.traces import DATA, Traces

from armillary.secrets import load

FILE = "kept-by-down.txt"


def test_a_wrong_name_deletes_nothing(running: Lab) -> None:
    """Neither typed nor given; and the question names all that would be lost."""
    there, volumes = running.lives(), running.volumes()
    typed = running.invoke("down", "--with-data", code=1, input="local\n")
    given = running.invoke("down", "--with-data", "--yes-lose", "local", code=1)
    for done in (typed, given):
        assert "nothing was touched" in done.stderr
        for volume in running.cluster.terraform_variables("data")["volumes"]:
            assert f"volume {volume} " in done.stdout
    assert running.lives() == there
    assert running.volumes() == volumes


def test_down_keeps_data_and_up_finds_it(running: Lab, before: Traces, tmp_path: Path) -> None:
    """Homes, the registry's images and passwords are there again; hosts and network are new."""
    content = secrets.token_bytes(1000)
    with running.browser("astronomer") as browser:
        browser.start_server()
        browser.upload(FILE, content)
        browser.stop_server()
    registry, account = running.registry(), running.account("push")
    debian = registry.pull(account, running.inventory().image("debian"), tmp_path / "layout")
    image = with_file(debian, "etc/kept", content.hex())
    reference = registry.push(account, image, "armillary-e2e/kept")
    kept, volumes = load(running.paths), running.volumes()

    running.invoke("down")
    left = traces.look().more_than(before, running.name)
    assert set(left) <= {DATA}, left
    assert running.instances() == []
    assert load(running.paths) == kept
    running.invoke("status", code=2)
    assert "is left out" in running.invoke("test", "--verify", code=2).stdout
    running.invoke("down")

    running.invoke("up", timeout=FIRST)
    assert running.volumes() == volumes
    assert load(running.paths) == kept
    registry.pull(account, reference, tmp_path / "again")
    registry.delete(account, "armillary-e2e/kept", image.digest)
    with running.browser("astronomer") as browser:
        browser.start_server()
        assert browser.download(FILE) == content
        browser.delete(FILE)
        browser.stop_server()


def test_down_with_data_leaves_nothing(running: Lab, before: Traces) -> None:
    state = running.paths.root
    running.invoke("down", "--with-data", input=f"{running.name}\n")
    assert traces.look().more_than(before, running.name) == {}
    assert not state.exists()
    assert "nothing to take down" in _one_line(running.invoke("down").stdout)


def _one_line(text: str) -> str:
    return " ".join(text.split())
