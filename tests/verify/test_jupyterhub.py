"""JupyterHub, through its front door: what a user can do, and what others cannot do to him."""

from __future__ import annotations

import json
import secrets
import statistics
from collections.abc import Callable, Iterator
from http.cookies import SimpleCookie
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import requests
from support.hub import HubSession, Kernel, SignInRefused
from support.inventory import Inventory
from support.kube import Kube
from support.waiting import patient

from armillary.models.cluster import Cluster
from armillary.models.endpoints import Endpoints
from armillary.paths import ROOT, ClusterPaths
from armillary.secrets import load

SHUT = {403, 404}
NAMESPACE = "jupyterhub"
Visit = Callable[..., HubSession]

COREDNS_METRICS = 9153
PORTS = {
    "services": (22, 443, 5000, 7443),
    "control_plane": (22, 6443, 10250),
    "worker": (22, 8443, 10250),
}
"""Role of a host: what listens there."""

LIMITS = """
import os
from pathlib import Path
from typing import Any

def first(*files):
    return next(path.read_text() for path in map(Path, files) if path.exists())

def memory():
    return int(first("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"))

def processors():
    if (limit := Path("/sys/fs/cgroup/cpu.max")).exists():
        quota, period = limit.read_text().split()
    else:
        cpu = Path("/sys/fs/cgroup/cpu")
        quota, period = ((cpu / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
    return int(quota) / int(period)
"""

FIND = (
    "lambda word: sorted(__import__('subprocess').run(['grep', '-rlsI', '--include=verify-*', word,"
    " '/home', '/srv', '/mnt', '/media', '/tmp', '/var'], capture_output=True, text=True)"
    ".stdout.split())"
)
"""A Python function that looks for a word in files, wherever volumes might be mounted."""

PROBE = """
import json, os, socket, urllib.request
from concurrent.futures import ThreadPoolExecutor

def hub_version():
    with urllib.request.urlopen(os.environ["JUPYTERHUB_API_URL"] + "/", timeout=10 * PATIENCE) as answer:
        return json.load(answer)["version"]

def connects(target):
    host, _, port = target.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 2 * PATIENCE).close()
    except OSError:
        return False
    return True

def reached(targets):
    with ThreadPoolExecutor(len(targets)) as pool:
        return [target for target, there in zip(targets, pool.map(connects, targets)) if there]
"""


@pytest.fixture(scope="module")
def url(endpoints: Endpoints) -> str:
    """Where the hub is."""
    found = endpoints.get("hub")
    if found is None:
        pytest.skip("the cluster has no JupyterHub")
    return found.url


@pytest.fixture(scope="module")
def visit(url: str, paths: ClusterPaths) -> Iterator[Visit]:
    """Opens a browser for a user, with the right password unless another is given."""
    passwords = load(paths)["jupyterhub"]["users"]
    browsers: list[HubSession] = []

    def open_browser(user: str, password: str | None = None) -> HubSession:
        word = passwords[user] if password is None else password
        browsers.append(HubSession(url, paths.pki / "ca.crt", user, word))
        return browsers[-1]

    yield open_browser
    for browser in browsers:
        browser.close()


@pytest.fixture(scope="module")
def users(visit: Visit, cluster: Cluster) -> tuple[HubSession, HubSession]:
    """Two who have signed in and whose servers do not run; the second is no administrator.

    Who is at work is left alone.
    """
    assert cluster.components.jupyterhub is not None
    settings = cluster.components.jupyterhub.authenticator
    idle: list[HubSession] = []
    for user in settings.users:
        browser = visit(user.name)
        browser.login()
        if not browser.is_running():
            idle.append(browser)
        plain = [each for each in idle if each.user not in settings.admins]
        if len(idle) > 1 and plain:
            return next(each for each in idle if each is not plain[0]), plain[0]
    pytest.fail(
        f"of the {len(settings.users)} users in cluster.yml, two are wanted whose servers do not "
        "run, one of them no administrator. Stop a server in the hub's control panel, or add users"
    )


@pytest.fixture(scope="module")
def owner(users: tuple[HubSession, HubSession]) -> Iterator[HubSession]:
    """A user whose server runs, with the profile that the form has chosen."""
    browser = users[0]
    try:
        browser.start_server()
        yield browser
    finally:
        browser.stop_server()


@pytest.fixture(scope="module")
def guest(users: tuple[HubSession, HubSession]) -> Iterator[HubSession]:
    """Another user whose server runs."""
    browser = users[1]
    try:
        browser.start_server()
        yield browser
    finally:
        browser.stop_server()


@pytest.fixture
def kernel(owner: HubSession) -> Iterator[Kernel]:
    """A new kernel on the first user's server."""
    with owner.kernel() as running:
        yield running


@pytest.fixture
def word() -> str:
    """What nobody wrote before."""
    return secrets.token_hex(16)


@pytest.fixture
def nobody(url: str, paths: ClusterPaths) -> Iterator[requests.Session]:
    """Somebody who has not signed in."""
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(paths.pki / "ca.crt")
        yield session


def test_a_wrong_password_is_refused(visit: Visit, users: tuple[HubSession, HubSession]) -> None:
    """And opens nothing; the right one does, a moment later."""
    name = users[0].user
    wrong = visit(name, "wrong")
    with pytest.raises(SignInRefused) as refused:
        wrong.login()
    assert refused.value.status == 403
    assert "/hub/login" in wrong.page("hub/home").url
    assert wrong.call("GET", f"hub/api/users/{name}").status_code == 403
    visit(name).login()


def test_a_name_nobody_has_is_refused(visit: Visit, users: tuple[HubSession, HubSession]) -> None:
    """In the same words, so that nobody learns which names there are."""
    pages = []
    for name in (users[0].user, f"nobody-{secrets.token_hex(4)}"):
        browser = visit(name, "wrong")
        with pytest.raises(SignInRefused) as refused:
            browser.login()
        pages.append(refused.value.status)
    assert pages == [403, 403]
    visit(users[0].user).login()


def test_cookies_are_for_https_and_not_for_scripts(owner: HubSession) -> None:
    """All of them: the hub's, and those of the user's own server."""
    names = set()
    for header in owner.cookies_set:
        for name, cookie in SimpleCookie(header).items():
            if not cookie.value:
                continue  # It takes one away.
            names.add(name)
            assert cookie["secure"], header
            # Pages' scripts read this one: it says where a request comes from, not whose it is.
            assert cookie["httponly"] or name == "_xsrf", header
    assert names >= {
        "jupyterhub-hub-login",
        "jupyterhub-session-id",
        f"jupyterhub-user-{owner.user}",
    }


def test_a_start_is_told_step_by_step(owner: HubSession) -> None:
    """Who waits sees what for: Kubernetes' own events, then that the server is ready."""
    told = [event["progress"] for event in owner.events]
    assert all(before <= after for before, after in pairwise(told))
    assert owner.events[-1]["ready"]
    assert any("assigned" in event["message"] for event in owner.events), owner.events


def test_the_default_profile_is_what_runs(
    kernel: Kernel, cluster: Cluster, inventory: Inventory
) -> None:
    """Its image; no more memory and processors than it says, by the host's kernel; not as root."""
    assert cluster.components.jupyterhub is not None
    profile = next(p for p in cluster.components.jupyterhub.profiles if p.default)
    images = inventory.variables["armillary_images"]
    kernel.execute(LIMITS)
    assert kernel.value("os.environ['JUPYTER_IMAGE']") == images.get(profile.image, profile.image)
    assert kernel.value("memory()") == profile.memory_limit.mib * 2**20
    assert kernel.value("processors()") == profile.cpu_limit
    assert kernel.value("os.getuid()") != 0


def test_the_welcome_notebook_runs(kernel: Kernel, owner: HubSession) -> None:
    """As the user finds it in the home: a real image, a real catalogue, and what comes of both."""
    folder = ROOT / "notebooks"
    notebook = json.loads(owner.download("examples/welcome.ipynb"))
    cells = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    ran = [kernel.execute(source, timeout=120) for source in cells]
    assert any(each.shown("image/png") for each in ran), "no picture was drawn"
    found = json.loads(ran[-1].text)
    pixels = _pixels(folder / "m1-dss.fits")
    rows = (folder / "m1-ned.vot").read_text().count("<TR>")
    # From the files, without any of the notebook's packages ...
    assert found["pixels"] == len(pixels)
    assert found["median"] == statistics.median(pixels)
    assert found["catalogue"] == rows
    # ... and what is known of the Crab Nebula: 6' by 4' at most, and a pulsar near its middle.
    assert 5 < found["area_arcmin2"] < 24
    assert found["offset_arcsec"] < 60
    assert 0 < found["near_pulsar"] <= rows
    assert found["peaks"] > 10


def test_the_tools_of_the_virtual_observatory_are_there(kernel: Kernel) -> None:
    """Each of the packages that cluster.yml's users are promised, and they work together."""
    kernel.execute(
        "import astropy, astroquery, pyvo, ipyaladin, numpy, pandas, pyarrow\n"
        "import matplotlib, plotly, bokeh, ipywidgets",
        timeout=120,
    )
    kernel.execute("import plotly.express as px; figure = px.scatter(x=[1, 2], y=[3, 4])")
    assert kernel.value("pandas.DataFrame({'a': [1, 2]}).a.sum().item()") == 3


def test_the_home_outlives_the_server(owner: HubSession, word: str) -> None:
    """Written by the file browser and by a kernel, both are there when the server starts anew."""
    by_browser, by_kernel = f"verify-{word[:6]}-a.txt", f"verify-{word[:6]}-b.txt"
    owner.upload(by_browser, word.encode())
    with owner.kernel() as kernel:
        kernel.execute(
            f"__import__('pathlib').Path.home().joinpath('{by_kernel}').write_text('{word}')"
        )
    try:
        owner.stop_server()
        assert owner.call("GET", f"{owner.server_path}api/contents/{by_browser}").status_code >= 400
        owner.start_server()
        assert [owner.download(file).decode() for file in (by_browser, by_kernel)] == [word, word]
    finally:
        for file in (by_browser, by_kernel):
            owner.delete(file)


def test_a_user_cannot_read_anothers_files(owner: HubSession, guest: HubSession, word: str) -> None:
    """Neither in the own server's file system, wherever one looks, nor at the other's address."""
    file = f"verify-{word[:6]}.txt"
    owner.upload(file, word.encode())
    try:
        with owner.kernel() as kernel:
            assert kernel.value(f"({FIND})('{word}')") == [f"/home/jovyan/{file}"]
        with guest.kernel() as kernel:
            assert kernel.value(f"({FIND})('{word}')") == []
        for path in (f"files/{file}", f"api/contents/{file}?content=1", "lab", "api/kernels"):
            for answer in (
                guest.page(f"{owner.server_path}{path}"),
                guest.call("GET", f"{owner.server_path}{path}"),
            ):
                assert answer.status_code in SHUT, f"{answer.url}: {answer.status_code}"
                assert word not in answer.text
    finally:
        owner.delete(file)


def test_a_user_cannot_touch_anothers_server(owner: HubSession, guest: HubSession) -> None:
    """Not see, stop or start it, nor make a token in the other's name."""
    path = f"hub/api/users/{owner.user}"
    for method, below in (
        ("GET", ""),
        ("DELETE", "/server"),
        ("POST", "/server"),
        ("POST", "/tokens"),
        ("GET", "/tokens"),
    ):
        assert guest.call(method, path + below).status_code in SHUT, f"{method} {path}{below}"
    assert owner.is_running()


def test_only_administrators_see_who_there_is(guest: HubSession) -> None:
    """A plain user's list is himself or nothing, and the control panel stays shut."""
    answer = guest.call("GET", "hub/api/users")
    if answer.status_code != 403:
        assert [user["name"] for user in answer.json()] == [guest.user]
    assert guest.page("hub/admin").status_code == 403
    assert guest.call("POST", "hub/api/users/somebody-new").status_code in SHUT
    assert guest.call("GET", "hub/api/proxy").status_code == 403


def test_a_made_up_token_is_refused(
    owner: HubSession, nobody: requests.Session, url: str, word: str
) -> None:
    """By the hub and by a server; the one the user made is taken, until it is revoked."""
    tokens = f"hub/api/users/{owner.user}/tokens"
    paths = (f"hub/api/users/{owner.user}", f"{owner.server_path}api/contents")

    def asked_with(token: str) -> set[int]:
        headers = {"Authorization": f"token {token}"}
        return {
            nobody.get(url + path, headers=headers, timeout=patient(20)).status_code
            for path in paths
        }

    assert asked_with(word) == {403}
    made = owner.call("POST", tokens, json={"note": "verify", "expires_in": 300})
    assert made.status_code == 201
    assert asked_with(made.json()["token"]) == {200}
    assert owner.call("DELETE", f"{tokens}/{made.json()['id']}").status_code == 204
    assert (
        nobody.get(
            url + paths[0],
            headers={"Authorization": f"token {made.json()['token']}"},
            timeout=patient(20),
        ).status_code
        == 403
    )


def test_who_has_not_signed_in_sees_the_form_and_no_more(
    owner: HubSession, nobody: requests.Session, url: str
) -> None:
    for path in ("hub/home", "hub/admin", "hub/spawn", f"{owner.server_path}lab"):
        answer = nobody.get(url + path, timeout=patient(20))
        assert "/hub/login" in answer.url, path
    for path in ("hub/api/users", "hub/api/proxy", f"{owner.server_path}api/kernels"):
        assert nobody.get(url + path, timeout=patient(20)).status_code == 403, path


def test_a_notebook_reaches_the_hub_and_nothing_of_the_cluster(
    kernel: Kernel,
    owner: HubSession,
    guest: HubSession,
    kube: Kube,
    inventory: Inventory,
    cluster: Cluster,
) -> None:
    """Not hosts, not services, not other pods, not the cloud's metadata.

    A pod that no policy binds does reach them, so it is the policy that keeps the notebook out.
    """
    kernel.execute(f"PATIENCE = {patient(1)}\n{PROBE}")
    assert kernel.value("hub_version()")
    services = kube.core.list_namespaced_service
    api = services("default", field_selector="metadata.name=kubernetes").items[0].spec.cluster_ip
    dns = kube.core.list_namespaced_pod("kube-system", label_selector="k8s-app=kube-dns").items[0]
    listening = [f"{api}:443", f"{dns.status.pod_ip}:{COREDNS_METRICS}"]
    for host in inventory.hosts.values():
        listening += [f"{host.address}:{port}" for port in _open_to_pods(cluster, host.role)]
    with kube.namespace() as namespace:
        kube.start_pod(namespace, "free", inventory.image("debian"))
        kube.running(namespace, "free")
        silent = [k for k, v in kube.reach(namespace, "free", listening).items() if v is None]
    assert silent == [], "nothing answers there, so a notebook's silence would prove nothing"
    # These keep the free pod out as well; that they answer is seen by what they serve all along.
    proxy = services(NAMESPACE, field_selector="metadata.name=proxy-api").items[0]
    shut = [
        *listening,
        f"{proxy.spec.cluster_ip}:8001",
        f"{_pod(kube, guest).status.pod_ip}:8888",
        "169.254.169.254:80",
    ]
    reached = kernel.value(f"reached({shut})")
    assert not reached, (
        f"a notebook on {_pod(kube, owner).spec.node_name} reaches {', '.join(reached)}"
    )


def _open_to_pods(cluster: Cluster, role: str) -> tuple[int, ...]:
    """Return the ports of a host that its cloud lets pods reach, be there a policy or not.

    docs/reference/openstack.md has the security groups' rules.
    """
    if cluster.openstack is None or (cluster.network.backend == "host-gw" and role != "services"):
        return PORTS[role]
    return {"services": (443,), "control_plane": (6443,)}.get(role, ())


def _pod(kube: Kube, user: HubSession) -> Any:
    """Return the pod of a user's server."""
    label = f"hub.jupyter.org/username={user.user}"
    return kube.core.list_namespaced_pod(NAMESPACE, label_selector=label).items[0]


def _pixels(path: Path) -> list[int]:
    """Return the pixels of a FITS image of 16-bit integers, by the letter of the standard."""
    content = path.read_bytes()
    cards = {}
    for start in range(0, len(content), 80):
        card = content[start : start + 80].decode("ascii")
        if card.startswith("END "):
            break
        key, _, value = card.partition("=")
        cards[key.strip()] = value.partition("/")[0].strip()
    first = (start // 2880 + 1) * 2880
    count = int(cards["NAXIS1"]) * int(cards["NAXIS2"])
    raw = content[first : first + 2 * count]
    assert cards["BITPIX"] == "16"
    return [int.from_bytes(raw[i : i + 2], "big", signed=True) for i in range(0, len(raw), 2)]
