"""Artifacts: one content, one key, the same bytes; and nothing half-built stays."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import textwrap
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from armillary.artifacts import (
    Artifact,
    ArtifactError,
    ManifestError,
    archive_artifact,
    artifact_key,
    artifact_path,
    build_all,
    build_artifact,
    load_manifest,
    verify_artifact,
)
from armillary.building import STAGING
from armillary.paths import ROOT
from armillary.tools import go
from armillary.tools.process import Completed

DEPENDENCY = "example.org/greeting"


def make_root(root: Path, **changes: object) -> Artifact:
    """Lay a checkout with one artifact, `hello`: two programs of one small module."""
    folder = root / "artifacts" / "hello"
    folder.mkdir(parents=True)
    (folder / "go.mod").write_text("module armillary/artifacts/hello\n\ngo 1.26\n")
    (folder / "go.sum").write_text("")
    (folder / "main.go").write_text(
        'package main\n\nvar version = "unset"\n\nfunc main() { println("hello", version) }\n'
    )
    (folder / "again").mkdir()
    (folder / "again" / "main.go").write_text('package main\n\nfunc main() { println("again") }\n')
    (folder / "main_test.go").write_text("package main\n")
    write_manifest(root, **changes)
    return load_manifest(root).get("hello")


def write_manifest(root: Path, **changes: object) -> None:
    entry = {
        "name": "hello",
        "version": "1.2.3",
        "licence": "BSD-3-Clause",
        "binaries": {"hello": ".", "again": "./again"},
        "variables": {"main.version": "v{version}"},
        **changes,
    }
    (root / "artifacts" / "artifacts.yml").write_text(json.dumps({"artifacts": [entry]}))


def run_binary(path: Path) -> str:
    return subprocess.run([path], capture_output=True, text=True, check=True, timeout=30).stderr


@pytest.fixture(scope="session")
def warm_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache in which Go's own runtime is compiled, which takes most of a small build's time."""
    cache = tmp_path_factory.mktemp("warm")
    root = tmp_path_factory.mktemp("root")
    build_artifact(make_root(root), cache=cache, root=root)
    return go.Caches.under(cache).packages


@pytest.fixture
def cache(tmp_path: Path, warm_packages: Path) -> Path:
    """An empty artifact cache that shares compiled packages with the other tests."""
    packages = go.Caches.under(tmp_path / "cache").packages
    packages.parent.mkdir(parents=True)
    packages.symlink_to(warm_packages)
    return tmp_path / "cache"


# --- keys ---


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("go.sum", "example.org/x v1.0.0 h1:AAAA=\n"),
        ("go.mod", "module armillary/artifacts/hello\n\ngo 1.25\n"),
        ("main.go", "package main\n\nfunc main() {}\n"),
        ("again/main.go", "package main\n\nfunc main() {}\n"),
        ("again/template.html", "embedded, perhaps"),
    ],
)
def test_key_changes_with_each_file_of_the_module(tmp_path: Path, file: str, text: str) -> None:
    entry = make_root(tmp_path)
    before = artifact_key(entry, tmp_path)
    (tmp_path / "artifacts" / "hello" / file).write_text(text)
    assert artifact_key(entry, tmp_path) != before


@pytest.mark.parametrize(
    "changes",
    [
        {"version": "1.2.4"},
        {"variables": {"main.version": "other"}},
        {"binaries": {"hello": "."}},
        {"binaries": {"hello": "./again", "again": "."}},
        {"tags": ["netgo"]},
        {"cgo": True},
        {"static": True},
    ],
)
def test_key_changes_with_what_the_compiler_is_told(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    before = artifact_key(make_root(tmp_path), tmp_path)
    write_manifest(tmp_path, **changes)
    assert artifact_key(load_manifest(tmp_path).get("hello"), tmp_path) != before


@pytest.mark.parametrize(
    ("function", "value"),
    [("version", "go1.26.99"), ("target", {"GOOS": "linux", "GOARCH": "riscv64"})],
)
def test_key_changes_with_the_toolchain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, value: object
) -> None:
    entry = make_root(tmp_path)
    before = artifact_key(entry, tmp_path)
    monkeypatch.setattr(go, function, lambda: value)
    assert artifact_key(entry, tmp_path) != before


def test_key_of_a_c_program_changes_with_the_c_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = make_root(tmp_path, cgo=True, apt=["libc6-dev"])
    monkeypatch.setattr(go, "c_packages", lambda packages: {"libc6-dev": "2.36-9"})
    before = artifact_key(entry, tmp_path)
    monkeypatch.setattr(go, "c_packages", lambda packages: {"libc6-dev": "2.36-10"})
    assert artifact_key(entry, tmp_path) != before


def test_key_stays_when_something_else_changes(tmp_path: Path) -> None:
    entry = make_root(tmp_path)
    before = artifact_key(entry, tmp_path)
    folder = tmp_path / "artifacts" / "hello"
    (tmp_path / "artifacts" / "other").mkdir()
    (tmp_path / "artifacts" / "other" / "main.go").write_text("package main\n")
    (folder / "main_test.go").write_text("package main\n\n// More tests.\n")
    (folder / ".main.go.swp").write_text("an editor's")
    os.utime(folder / "main.go", (0, 0))
    write_manifest(tmp_path, licence="MIT")
    assert artifact_key(load_manifest(tmp_path).get("hello"), tmp_path) == before


def test_key_does_not_depend_on_where_the_checkout_lies(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "elsewhere" / "two"
    assert artifact_key(make_root(one), one) == artifact_key(make_root(two), two)


# --- bytes ---


def test_two_checkouts_with_their_own_caches_give_the_same_bytes(tmp_path: Path) -> None:
    digests = []
    for place in ("one", "somewhere/else"):
        root = tmp_path / place
        built = build_artifact(make_root(root), cache=root / "cache", root=root)
        assert run_binary(built.bin_dir / "hello") == "hello v1.2.3\n"
        digests.append(built.binaries)
    assert digests[0] == digests[1]
    assert digests[0]["hello"] != digests[0]["again"]


def test_settings_of_the_user_do_not_reach_the_binaries(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = make_root(tmp_path)
    # os/user is C where cgo is on.
    (tmp_path / "artifacts" / "hello" / "main.go").write_text(
        'package main\n\nimport "os/user"\n\nfunc main() { println(user.Current()) }\n'
    )
    monkeypatch.setenv("CGO_ENABLED", "0")
    plain = build_artifact(entry, cache=cache, root=tmp_path)
    mine = tmp_path / "go-env"
    mine.write_text("GOFLAGS=-tags=mine\nGOAMD64=v3\nGOEXPERIMENT=nogreenteagc\n")
    monkeypatch.setenv("GOENV", str(mine))
    monkeypatch.setenv("GOFLAGS", "-race")
    monkeypatch.setenv("GOAMD64", "v2")
    monkeypatch.setenv("CGO_ENABLED", "1")
    shutil.rmtree(cache / "artifacts")
    again = build_artifact(entry, cache=cache, root=tmp_path)
    assert again.built
    assert again.binaries == plain.binaries


def test_manifest_json_names_what_lies_beside_it(tmp_path: Path, cache: Path) -> None:
    entry = make_root(tmp_path)
    built = build_artifact(entry, cache=cache, root=tmp_path)
    home = artifact_path(entry, cache=cache, root=tmp_path)
    assert built.bin_dir == home / "bin"
    known = json.loads((home / "manifest.json").read_text())
    assert known["key"] == built.key == home.name
    for name, each in known["binaries"].items():
        content = (home / "bin" / name).read_bytes()
        assert each["sha256"] == built.binaries[name] == hashlib.sha256(content).hexdigest()
        assert each["size"] == len(content)


def test_archive_is_the_same_from_two_caches_and_holds_the_binaries(
    tmp_path: Path, cache: Path, warm_packages: Path
) -> None:
    entry = make_root(tmp_path)
    other = tmp_path / "other"
    (other / "go").mkdir(parents=True)
    go.Caches.under(other).packages.symlink_to(warm_packages)
    one = archive_artifact(entry, cache=cache, root=tmp_path)
    built = build_artifact(entry, cache=other, root=tmp_path)
    for binary in built.binaries:
        os.utime(built.bin_dir / binary, (0, 0))
    two = archive_artifact(entry, cache=other, root=tmp_path)
    assert one.read_bytes() == two.read_bytes()
    with tarfile.open(one) as archive:
        members = archive.getmembers()
        assert [member.name for member in members] == ["again", "hello"]
        assert {(member.mode, member.uid, member.mtime) for member in members} == {(0o755, 0, 0)}
        for member in members:
            packed = archive.extractfile(member)
            assert packed is not None
            assert hashlib.sha256(packed.read()).hexdigest() == built.binaries[member.name]


# --- the cache ---


def test_what_is_built_is_not_built_again(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_root(tmp_path)
    (first,) = build_all(cache=cache, root=tmp_path)

    def no_build(*args: object, **kwargs: object) -> Completed:
        raise AssertionError("go was called")

    monkeypatch.setattr(go, "build", no_build)
    (second,) = build_all(["hello"], cache=cache, root=tmp_path)
    assert (first.built, second.built) == (True, False)
    assert second.binaries == first.binaries
    assert second.bin_dir == first.bin_dir


@pytest.mark.parametrize("damage", ["cut", "gone", "manifest"])
def test_a_damaged_artifact_is_built_again(tmp_path: Path, cache: Path, damage: str) -> None:
    entry = make_root(tmp_path)
    built = build_artifact(entry, cache=cache, root=tmp_path)
    binary = built.bin_dir / "hello"
    match damage:
        case "cut":
            os.truncate(binary, 1000)
        case "gone":
            binary.unlink()
        case "manifest":
            (built.bin_dir.parent / "manifest.json").write_text('{"binaries"')
    again = build_artifact(entry, cache=cache, root=tmp_path)
    assert again.built
    assert run_binary(binary) == "hello v1.2.3\n"


def test_verify_names_a_binary_that_was_altered(tmp_path: Path, cache: Path) -> None:
    entry = make_root(tmp_path)
    built = build_artifact(entry, cache=cache, root=tmp_path)
    assert verify_artifact(entry, cache=cache, root=tmp_path, rebuild=True) == []
    with (built.bin_dir / "again").open("r+b") as file:
        file.seek(2000)
        file.write(b"altered")
    in_place, rebuilt = (
        verify_artifact(entry, cache=cache, root=tmp_path),
        verify_artifact(entry, cache=cache, root=tmp_path, rebuild=True),
    )
    assert len(in_place) == len(rebuilt) == 1
    assert "again" in in_place[0]
    assert not list((cache / "artifacts").glob(".verify-*"))


def test_two_builders_at_once_build_once(tmp_path: Path, cache: Path) -> None:
    entry = make_root(tmp_path)
    lines: list[str] = []
    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(build_artifact, entry, cache=cache, root=tmp_path, progress=lines.append)
            for _ in range(2)
        ]
    assert sorted(run.result().built for run in runs) == [False, True]
    assert sum("building hello" in line for line in lines) == 1


def test_a_killed_build_leaves_nothing_and_the_next_one_succeeds(
    tmp_path: Path, cache: Path
) -> None:
    entry = make_root(tmp_path)
    program = textwrap.dedent(
        f"""
        import time
        from pathlib import Path
        from armillary.artifacts import build_artifact, load_manifest

        def progress(line):
            if "building again" in line:  # the second binary: the first is compiled
                print("half", flush=True)
                time.sleep(600)

        root = Path({str(tmp_path)!r})
        entry = load_manifest(root).get("hello")
        build_artifact(entry, cache=Path({str(cache)!r}), root=root, progress=progress)
        """
    )
    builder = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert builder.stdout is not None
    assert builder.stdout.readline() == "half\n"
    home = artifact_path(entry, cache=cache, root=tmp_path)
    (staging,) = home.parent.glob(f"{STAGING}*")
    assert list(staging.rglob("bin/hello")), "the first binary was to be there"
    assert not home.exists()
    builder.send_signal(signal.SIGKILL)
    builder.wait(30)
    builder.stdout.close()

    assert not home.exists()
    built = build_artifact(entry, cache=cache, root=tmp_path)
    assert built.built
    assert run_binary(built.bin_dir / "again") == "again\n"
    assert not list(home.parent.glob(f"{STAGING}*"))


def test_an_interrupt_during_a_compile_leaves_nothing(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = make_root(tmp_path)
    real = go.build

    def interrupted(*args: object, **kwargs: object) -> Completed:
        real(*args, **kwargs)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(go, "build", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_artifact(entry, cache=cache, root=tmp_path)
    home = artifact_path(entry, cache=cache, root=tmp_path)
    assert [path.name for path in home.parent.iterdir()] == [".lock"]
    monkeypatch.setattr(go, "build", real)
    assert build_artifact(entry, cache=cache, root=tmp_path).built


# --- errors ---


@pytest.fixture
def module_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module proxy in a directory, with one module in it."""
    versions = tmp_path / "proxy" / DEPENDENCY / "@v"
    versions.mkdir(parents=True)
    go_mod = f"module {DEPENDENCY}\n\ngo 1.26\n"
    (versions / "list").write_text("v1.0.0\n")
    (versions / "v1.0.0.info").write_text('{"Version": "v1.0.0"}')
    (versions / "v1.0.0.mod").write_text(go_mod)
    with zipfile.ZipFile(versions / "v1.0.0.zip", "w") as module:
        module.writestr(f"{DEPENDENCY}@v1.0.0/go.mod", go_mod)
        module.writestr(
            f"{DEPENDENCY}@v1.0.0/greeting.go", 'package greeting\n\nconst Word = "hi"\n'
        )
    monkeypatch.setenv("GOPROXY", (tmp_path / "proxy").as_uri())
    monkeypatch.setenv("GOSUMDB", "off")
    return tmp_path / "proxy"


def module_sum(proxy: Path) -> str:
    """Return the go.sum of the proxy's only module, as Go defines it (h1)."""

    def h1(files: dict[str, bytes]) -> str:
        listed = "".join(
            f"{hashlib.sha256(content).hexdigest()}  {name}\n"
            for name, content in sorted(files.items())
        )
        return "h1:" + base64.b64encode(hashlib.sha256(listed.encode()).digest()).decode()

    versions = proxy / DEPENDENCY / "@v"
    with zipfile.ZipFile(versions / "v1.0.0.zip") as module:
        tree = {name: module.read(name) for name in module.namelist()}
    of_mod = h1({"go.mod": (versions / "v1.0.0.mod").read_bytes()})
    return f"{DEPENDENCY} v1.0.0 {h1(tree)}\n{DEPENDENCY} v1.0.0/go.mod {of_mod}\n"


def depend(root: Path, go_sum: str) -> Artifact:
    """Make `hello` import the proxy's module."""
    entry = make_root(root, binaries={"hello": "."}, variables={})
    folder = root / "artifacts" / "hello"
    (folder / "go.mod").write_text(
        f"module armillary/artifacts/hello\n\ngo 1.26\n\nrequire {DEPENDENCY} v1.0.0\n"
    )
    (folder / "main.go").write_text(
        f'package main\n\nimport "{DEPENDENCY}"\n\nfunc main() {{ println(greeting.Word) }}\n'
    )
    (folder / "go.sum").write_text(go_sum)
    return entry


def test_modules_come_from_the_users_proxy(tmp_path: Path, cache: Path, module_proxy: Path) -> None:
    root = tmp_path / "root"
    built = build_artifact(depend(root, module_sum(module_proxy)), cache=cache, root=root)
    assert run_binary(built.bin_dir / "hello") == "hi\n"


def test_a_module_that_go_sum_does_not_know_is_refused(
    tmp_path: Path, cache: Path, module_proxy: Path
) -> None:
    root = tmp_path / "root"
    entry = depend(root, module_sum(module_proxy))
    with zipfile.ZipFile(module_proxy / DEPENDENCY / "@v" / "v1.0.0.zip", "a") as module:
        module.writestr(f"{DEPENDENCY}@v1.0.0/evil.go", "package greeting\n")
    with pytest.raises(ArtifactError) as caught:
        build_artifact(entry, cache=cache, root=root)
    error = caught.value
    assert error.name == "hello"
    assert "go build" in error.command
    assert "checksum mismatch" in error.last_lines
    assert len(error.last_lines.splitlines()) <= 20
    assert "do not go on" in error.hint
    assert "artifacts/hello/go.sum" in error.hint
    assert all(part in str(error) for part in (error.command, error.last_lines, error.hint))
    assert not artifact_path(entry, cache=cache, root=root).exists()


@pytest.mark.parametrize(
    ("lose", "hint"),
    [("go.sum", "Run `go mod tidy` in artifacts/hello"), ("proxy", "GOPROXY")],
)
def test_each_failure_says_what_to_do(
    tmp_path: Path,
    cache: Path,
    module_proxy: Path,
    monkeypatch: pytest.MonkeyPatch,
    lose: str,
    hint: str,
) -> None:
    root = tmp_path / "root"
    entry = depend(root, "" if lose == "go.sum" else module_sum(module_proxy))
    if lose == "proxy":
        # Port 9 of this machine: nothing answers there.
        monkeypatch.setenv("GOPROXY", "http://127.0.0.1:9")
    with pytest.raises(ArtifactError, match=hint):
        build_artifact(entry, cache=cache, root=root)


def test_a_program_that_does_not_compile_shows_the_line(tmp_path: Path, cache: Path) -> None:
    entry = make_root(tmp_path)
    (tmp_path / "artifacts" / "hello" / "main.go").write_text("package main\n\nfunc main() { x }\n")
    with pytest.raises(ArtifactError, match=r"main\.go:3:15: undefined: x"):
        build_artifact(entry, cache=cache, root=tmp_path)


def test_missing_debian_packages_are_named(tmp_path: Path, cache: Path) -> None:
    entry = make_root(tmp_path, cgo=True, apt=["libc-bin", "no-such-package-dev"])
    with pytest.raises(ArtifactError, match="`apt-get install no-such-package-dev`"):
        build_artifact(entry, cache=cache, root=tmp_path)


# --- the manifest ---


def test_the_projects_own_manifest_fits_its_lock_files() -> None:
    manifest = load_manifest(ROOT)
    assert {"kubernetes", "containerd", "runc", "etcd", "coredns"} <= set(manifest.names())
    for entry in manifest.artifacts:
        lock = {"go": "go.sum", "python": "requirements.txt", "maven": "checksums.sha256"}
        assert (ROOT / entry.folder / lock[entry.kind]).is_file(), entry.name


def test_programs_of_ours_are_built_from_services(tmp_path: Path, cache: Path) -> None:
    make_root(tmp_path)
    (tmp_path / "services").mkdir()
    (tmp_path / "artifacts" / "hello").rename(tmp_path / "services" / "greeter")
    write_manifest(tmp_path, source="services/greeter")
    (built,) = build_all(cache=cache, root=tmp_path)
    assert run_binary(built.bin_dir / "hello") == "hello v1.2.3\n"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"versoin": "1.0.0"}, r"artifacts\.0\.versoin"),
        ({"version": "1.0"}, r"artifacts\.0\.version"),
        ({"binaries": {}}, r"artifacts\.0\.binaries"),
        ({"variables": {"main.version": "two words"}}, r"artifacts\.0\.variables"),
        ({"variables": {"main.version": "{commit}"}}, "may hold {version}"),
        ({"source": "services/none"}, "services/none/go.mod is missing"),
        ({"module": "example.org/x"}, "does not require example.org/x"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        make_root(tmp_path, **changes)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("require example.org/x v1.2.4", "says 1.2.3, .*go.mod requires 1.2.4"),
        ("replace example.org/x => ../x", r"by the folder \.\./x"),
    ],
)
def test_a_go_mod_that_does_not_fit_is_named(tmp_path: Path, line: str, message: str) -> None:
    make_root(tmp_path)
    go_mod = tmp_path / "artifacts" / "hello" / "go.mod"
    go_mod.write_text(f"{go_mod.read_text()}\n{line}\n")
    write_manifest(tmp_path, module="example.org/x")
    with pytest.raises(ManifestError, match=message):
        load_manifest(tmp_path)


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path, cache: Path) -> None:
    make_root(tmp_path)
    with pytest.raises(ManifestError, match=r"'helo'.* has: hello"):
        build_all(["helo"], cache=cache, root=tmp_path)
