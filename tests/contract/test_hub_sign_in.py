"""Signing in to a real hub with the chart's configuration and the role's password hashes."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_process import Browser, running_hub
from jupyterhub_chart import ROOT, Object, values

FILTER = ROOT / "ansible/roles/jupyterhub/filter_plugins/argon2_hashes.py"
KEY = "ab" * 32
PASSWORDS = {"astronomer": "a-good-Password-1", "observer": "another-Password-2"}


def argon2_hashes(passwords: dict[str, str]) -> dict[str, str]:
    """The role's filter, loaded as Ansible does."""
    spec = importlib.util.spec_from_file_location("argon2_hashes", FILTER)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    hashes: dict[str, str] = module.argon2_hashes(passwords, KEY)
    return hashes


def with_users(passwords: dict[str, str], **settings: Any) -> Object:
    """The chart's values with these users."""
    content = values()
    content["cull"] = {"enabled": False}
    config = content["hub"]["config"]
    config["Authenticator"]["allowed_users"] = list(passwords)
    config["NativeAuthenticator"] = {
        "password_hashes": argon2_hashes(passwords),
        "trusted_proxies": ["127.0.0.0/8"],
        **settings,
    }
    return content


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A hub with two users."""
    with running_hub(with_users(PASSWORDS), tmp_path_factory.mktemp("hub")) as url:
        yield url


def test_the_right_password_is_let_in(hub: str) -> None:
    browser = Browser(hub, "192.0.2.1")
    answer = browser.sign_in("observer", PASSWORDS["observer"])
    assert answer.status_code == 302
    home = browser.get("/hub/home")
    assert home.status_code == 200
    assert "Start my server" in home.text
    assert "observer" in home.text


def test_all_cookies_are_for_https_and_the_sessions_not_for_scripts(hub: str) -> None:
    browser = Browser(hub, "192.0.2.1")
    page = browser.get("/hub/login")
    answer = browser.sign_in("observer", PASSWORDS["observer"])
    issued = [
        value
        for each in (page, answer)
        for name, value in each.raw.headers.items()
        if name == "Set-Cookie"
    ]
    assert {cookie.split("=")[0] for cookie in issued} >= {"_xsrf", "jupyterhub-hub-login"}
    for cookie in issued:
        assert "; Secure" in cookie
        # The page's own script sends the XSRF token back, so that one cookie is readable.
        assert cookie.startswith("_xsrf=") or "; HttpOnly" in cookie


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("observer", "wrong"),
        ("observer", ""),
        ("observer", PASSWORDS["astronomer"]),
        ("observer", PASSWORDS["observer"].upper()),
        ("stranger", "a-good-Password-1"),
        ("stranger", ""),
        ("", ""),
        ("obs%20erver\u2028", "ü\u0000"),
        ("o" * 5000, "p" * 5000),
    ],
)
def test_a_wrong_password_and_a_stranger_are_refused_alike(
    hub: str, username: str, password: str
) -> None:
    browser = Browser(hub, "192.0.2.2")
    answer = browser.sign_in(username, password)
    assert answer.status_code == 403
    assert "Invalid username or password" in answer.text
    assert browser.get("/hub/home").status_code == 302


def test_a_form_of_another_site_is_refused(hub: str) -> None:
    browser = Browser(hub, "192.0.2.3")
    form = {"username": "observer", "password": PASSWORDS["observer"]}
    answer = browser.send("POST", "/hub/login", data=form)
    assert answer.status_code == 403
    assert browser.get("/hub/home").status_code == 302


def test_nobody_signs_up(hub: str) -> None:
    assert Browser(hub).get("/hub/signup").status_code == 404


def test_only_the_admin_sees_the_admins_page(hub: str) -> None:
    admin, user = Browser(hub, "192.0.2.4"), Browser(hub, "192.0.2.4")
    admin.sign_in("astronomer", PASSWORDS["astronomer"])
    user.sign_in("observer", PASSWORDS["observer"])
    assert admin.get("/hub/admin").status_code == 200
    assert user.get("/hub/admin").status_code == 403


def test_guessing_is_slowed_down_where_it_comes_from(hub: str) -> None:
    mallory = Browser(hub, "192.0.2.66")
    for _ in range(5):
        assert mallory.sign_in("astronomer", "guess").status_code == 403
    limited = mallory.sign_in("astronomer", PASSWORDS["astronomer"])
    assert limited.status_code == 429
    assert 0 < int(limited.headers["Retry-After"]) <= 300
    assert "Too many failed sign-ins. Wait 5 min" in limited.text
    # What the client writes into the header itself does not make it another client.
    mallory.session.headers["X-Forwarded-For"] = "203.0.113.9, 192.0.2.66"
    assert mallory.sign_in("astronomer", PASSWORDS["astronomer"]).status_code == 429
    # The user is not shut out by it, nor are others at that address.
    elsewhere = Browser(hub, "192.0.2.5")
    assert elsewhere.sign_in("astronomer", PASSWORDS["astronomer"]).status_code == 302
    assert Browser(hub, "192.0.2.66").sign_in("observer", PASSWORDS["observer"]).status_code == 302


def test_who_is_taken_off_the_list_loses_session_and_tokens(tmp_path: Path) -> None:
    with running_hub(with_users(PASSWORDS), tmp_path) as url:
        browser = Browser(url)
        browser.sign_in("observer", PASSWORDS["observer"])
        browser.get("/hub/home")
        made = browser.send(
            "POST",
            "/hub/api/users/observer/tokens",
            json={"note": "test"},
            headers={"X-XSRFToken": browser.xsrf, "Sec-Fetch-Mode": "cors"},
        )
        assert made.status_code == 201, made.text
        token = {"Authorization": f"token {made.json()['token']}"}
        assert Browser(url).get("/hub/api/user", headers=token).ok
    remaining = {"astronomer": PASSWORDS["astronomer"]}
    with running_hub(with_users(remaining), tmp_path) as url:
        answer = Browser(url).get("/hub/api/user", headers=token)
        assert answer.status_code in {401, 403}
        browser.url = url
        assert browser.get("/hub/home").status_code == 302
        assert browser.sign_in("observer", PASSWORDS["observer"]).status_code == 403


def test_the_sign_in_page_is_whole_without_the_internet_and_labelled(hub: str) -> None:
    page = Browser(hub).get("/hub/login").text
    assert "<title>Armillary</title>" in page
    assert not re.findall(r"""(?:src|href|action)=["'](?:https?:)?//[^"']*""", page)
    for field in ("username_input", "password_input"):
        assert f'<label for="{field}">' in page
    assert '<html lang="en">' in page


def test_hashes_are_the_same_on_every_run_and_different_for_each_user() -> None:
    passwords = {"alice": "same", "bob": "same"}
    first, second = argon2_hashes(passwords), argon2_hashes(passwords)
    assert first == second
    assert first["alice"] != first["bob"]
    assert "same" not in "".join(first.values())
