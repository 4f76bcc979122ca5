"""Use a hub as a person does: `hub.py HOST ADDRESS CA USER PASSWORD`."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from support.hub import HubSession, SignInRefused


def main(host: str, address: str, ca: Path, user: str, password: str) -> None:
    """Be refused with a wrong password; with the right one start a server, use it, stop it."""
    look_up = socket.getaddrinfo

    # No name server knows a scenario's names.
    def known(name: Any, *rest: Any, **options: Any) -> Any:
        return look_up(address if name == host else name, *rest, **options)

    socket.getaddrinfo = known
    url = f"https://{host}/"
    with HubSession(url, ca, user, "wrong") as stranger:
        with pytest.raises(SignInRefused) as refused:
            stranger.login()
        assert refused.value.status == 403
        assert stranger.page("hub/home").url.startswith(f"{url}hub/login")
    with HubSession(url, ca, user, password) as person:
        person.login()
        # Of a verification that failed.
        person.stop_server()
        person.start_server()
        with person.kernel() as kernel:
            assert kernel.value("6 * 7") == 42
        person.upload("word.txt", b"kept")
        person.stop_server()
        assert person.call("GET", f"{person.server_path}api/contents/word.txt").status_code >= 400
        person.start_server()
        assert person.download("word.txt") == b"kept"
        person.stop_server()


if __name__ == "__main__":
    host, address, ca, user, password = sys.argv[1:]
    main(host, address, Path(ca), user, password)
