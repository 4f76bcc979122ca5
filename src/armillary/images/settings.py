"""What a build takes from this machine and leaves no trace of in the image: mirrors, indexes, CAs.

The directory made here is mounted at /mnt while a Containerfile's RUN lines run. It may hold the
user's passwords for a mirror, so it is readable by its owner alone and goes when the build ends.
"""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
from pathlib import Path

from armillary.tools import apt, apt_config, uv
from armillary.tools.certificates import certificates

STEPS = Path(__file__).parent / "steps"
INSIDE = "/mnt"
"""Where the directory is seen by RUN lines."""
CACHE_INSIDE = "/media"
"""Where downloaded packages are kept from one build to the next."""

# What says where packages come from; the rest of a user's settings has no place in an image.
HANDED = re.compile(
    r"UV_(DEFAULT_INDEX|INDEX.*|EXTRA_INDEX_URL|INSECURE_HOST|HTTP_.*|NATIVE_TLS|SYSTEM_CERTS)"
    r"|npm_config_(?!cache|prefix|userconfig|globalconfig|cafile).*|(https?|all|no)_proxy",
    re.IGNORECASE,
)


def write_settings(directory: Path, *, suite: str) -> None:
    """Fill `directory` with this machine's package settings and the steps Containerfiles call.

    Raises:
        LookupError: apt knows no archive for `suite`; the message says how to add one.
        CommandMissing: uv is not installed.
        CommandError: apt could not tell.
    """
    directory.mkdir(mode=0o700, parents=True)
    binaries = directory / "bin"
    binaries.mkdir()
    for step in STEPS.iterdir():
        shutil.copyfile(step, binaries / step.name)
        (binaries / step.name).chmod(0o755)
    shutil.copyfile(uv.program(), binaries / "uv")
    (binaries / "uv").chmod(0o755)
    if bundle := certificates():
        shutil.copyfile(bundle, directory / "ca.crt")
    (directory / "sources.list").write_text("\n".join(debian_archives(suite)) + "\n")
    options = [
        f'Dir::Etc::SourceList "{INSIDE}/sources.list";',
        'Dir::Etc::SourceParts "-";',
        f'Dir::Etc::netrc "{INSIDE}/auth.conf";',
        f'Dir::Etc::netrcparts "{INSIDE}/auth.conf.d";',
        f'Dir::State::Lists "{CACHE_INSIDE}/apt/lists";',
        f'Dir::Cache::archives "{CACHE_INSIDE}/apt/archives";',
        'Dir::Cache::pkgcache "";',
        'Dir::Cache::srcpkgcache "";',
        # The directory is closed to the user that apt would otherwise become to download.
        'APT::Sandbox::User "root";',
        'Acquire::Languages "none";',
        'Binary::apt-get::APT::Keep-Downloaded-Packages "true";',
        *apt_config.acquire_options(),
    ]
    if bundle:
        options.append(f'Acquire::https::CaInfo "{INSIDE}/ca.crt";')
    (directory / "apt.conf").write_text("\n".join(options) + "\n")
    (directory / "auth.conf.d").mkdir()
    for path in apt_config.credentials():
        shutil.copyfile(path, directory / "auth.conf.d" / path.name)
    exports = {
        **_pip_index(),
        **{name: value for name, value in os.environ.items() if HANDED.fullmatch(name)},
        **_files(directory),
    }
    if bundle:
        for name in ("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "npm_config_cafile"):
            exports[name] = f"{INSIDE}/ca.crt"
    (directory / "environment").write_text(
        "".join(f"export {name}={shlex.quote(value)}\n" for name, value in sorted(exports.items()))
    )


def debian_archives(suite: str) -> list[str]:
    """Return lines of sources.list: this machine's mirrors for a suite and its updates.

    A machine whose apt points to a snapshot of the archive builds from that snapshot.

    Raises:
        LookupError: there are none; the message says how to add one.
    """
    lines = _archives(suite)
    if not lines:
        # On a new machine the lists, from which apt knows whose an archive is, are not there yet.
        apt.update()
        lines = _archives(suite)
    if not any(line.split()[2] == suite for line in lines):
        raise LookupError(
            f"apt on this machine knows no Debian archive for {suite}, from which images are "
            "built. Add one to /etc/apt/sources.list.d and run `apt-get update`."
        )
    return lines


def _archives(suite: str) -> list[str]:
    wanted = {suite, f"{suite}-updates", f"{suite}-security"}
    return [
        f"deb {source.uri} {source.suite} main"
        for source in apt.sources()
        if source.suite in wanted
    ]


def _files(directory: Path) -> dict[str, str]:
    """Copy the clients' configuration files; return the variables that point to the copies."""
    home = Path.home()
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    candidates = {
        "UV_CONFIG_FILE": (
            os.environ.get("UV_CONFIG_FILE"),
            config / "uv" / "uv.toml",
            "/etc/uv/uv.toml",
        ),
        "NETRC": (os.environ.get("NETRC"), home / ".netrc"),
        "npm_config_userconfig": (os.environ.get("NPM_CONFIG_USERCONFIG"), home / ".npmrc"),
        "npm_config_globalconfig": (
            os.environ.get("NPM_CONFIG_GLOBALCONFIG"),
            "/etc/npmrc",
            "/usr/local/etc/npmrc",
        ),
    }
    found: dict[str, str] = {}
    for variable, paths in candidates.items():
        for path in paths:
            if path and Path(path).is_file():
                shutil.copyfile(path, directory / variable)
                found[variable] = f"{INSIDE}/{variable}"
                break
    return found


def _pip_index() -> dict[str, str]:
    """Return pip's index settings in uv's words: uv does not read pip's configuration."""
    home = Path.home()
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    # https://pip.pypa.io/en/stable/topics/configuration/: later ones win.
    parser = configparser.RawConfigParser()
    parser.read(
        [
            "/etc/xdg/pip/pip.conf",
            "/etc/pip.conf",
            home / ".pip" / "pip.conf",
            config / "pip" / "pip.conf",
            os.environ.get("PIP_CONFIG_FILE") or os.devnull,
        ],
        encoding="utf-8",
    )
    settings: dict[str, str] = {}
    for option, variable in (
        ("index-url", "UV_DEFAULT_INDEX"),
        ("extra-index-url", "UV_INDEX"),
        ("trusted-host", "UV_INSECURE_HOST"),
    ):
        chosen = os.environ.get(f"PIP_{option.upper().replace('-', '_')}")
        if words := (chosen or parser.get("global", option, fallback="") or "").split():
            settings[variable] = " ".join(words)
    return settings
