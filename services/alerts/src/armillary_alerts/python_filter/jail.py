"""The jail that a filter's process shuts itself into before it reads a line of the user's.

Three locks of the kernel's, each a well-kept door of its own: resource limits, Landlock (which files can be opened) and seccomp
(which system calls can be made). None needs root, and none can be undone by the process. The pod around it has no network but
Kafka's and no token of Kubernetes'; this is what keeps a filter from its own runner's credentials, and from others' memory.
"""

from __future__ import annotations

import errno
import os
import resource
import sys
import sysconfig
from pathlib import Path

import landlock
import pyseccomp

from armillary_alerts.python_filter.limits import JailLimits

#: clone(2): what tells a new thread from a new process.
CLONE_THREAD = 0x00010000

NETWORK = ("socket", "connect", "bind", "listen", "accept", "accept4", "sendmmsg", "recvmmsg")
#: io_uring makes system calls that seccomp does not see.
AROUND = ("io_uring_setup", "io_uring_enter", "io_uring_register")
PROCESSES = (
    *("fork", "vfork", "execve", "execveat", "ptrace", "process_vm_readv", "process_vm_writev"),
    *("kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_open"),
    *("pidfd_send_signal", "pidfd_getfd", "setpriority", "sched_setaffinity", "prlimit64"),
)
#: Memory that the limit of the address space does not count.
MEMORY = ("shmget", "shmat", "msgget", "semget", "memfd_create", "memfd_secret", "userfaultfd")
SYSTEM = (
    *("mount", "umount2", "unshare", "setns", "chroot", "pivot_root", "bpf", "perf_event_open"),
    *("keyctl", "add_key", "request_key", "reboot", "swapon", "swapoff", "init_module"),
    *("finit_module", "delete_module", "kexec_load", "quotactl", "acct", "settimeofday"),
    *("clock_settime", "sethostname", "setdomainname", "personality"),
)


class JailError(RuntimeError):
    """This kernel lacks a lock: no user's code is run without it."""


def readable() -> list[Path]:
    """Return what a filter may read: Python, its packages, the system's libraries and time zones."""
    packages = [Path(path) for path in sys.path if path]
    places = [
        *(
            Path(sysconfig.get_path(name))
            for name in ("stdlib", "platstdlib", "purelib", "platlib")
        ),
        *packages,
        *(
            Path(path)
            for path in ("/usr/lib", "/usr/share/zoneinfo", "/lib", "/lib64", "/dev/null")
        ),
        *(Path(path) for path in ("/etc/ld.so.cache", "/etc/localtime", "/dev/urandom")),
    ]
    return [place for place in dict.fromkeys(places) if place.exists()]


def shut(limits: JailLimits) -> None:
    """Shut this process in, for good.

    Raises:
        JailError: the kernel has no Landlock or no seccomp.
    """
    allowed = readable()
    _limit(limits)
    _files(allowed)
    _calls()


def _limit(limits: JailLimits) -> None:
    for what, value in {
        resource.RLIMIT_AS: limits.memory,
        resource.RLIMIT_NOFILE: limits.open_files,
        # No file grows, wherever one might be writable.
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }.items():
        resource.setrlimit(what, (value, value))


def _files(allowed: list[Path]) -> None:
    access = landlock.FSAccess
    rules = landlock.Ruleset()
    try:
        for place in allowed:
            rights = access.READ_FILE | access.EXECUTE
            rules.allow(place, rules=rights | access.READ_DIR if place.is_dir() else rights)
        rules.apply()
    except (OSError, landlock.LandlockError) as error:
        raise JailError(
            f"This kernel does not shut files off from a process ({error}). Filters in Python need "
            "Linux 5.13 or newer, with landlock among those of its boot option `lsm=`."
        ) from error


def _calls() -> None:
    refused = pyseccomp.ERRNO(errno.EPERM)
    jail = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    for name in (*NETWORK, *AROUND, *PROCESSES, *MEMORY, *SYSTEM):
        _refuse(jail, refused, name)
    # Threads stay possible, processes do not; clone3 hides its flags, and the C library then asks clone.
    jail.add_rule(refused, "clone", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, CLONE_THREAD, 0))
    _refuse(jail, pyseccomp.ERRNO(errno.ENOSYS), "clone3")
    try:
        jail.load()
    except OSError as error:
        raise JailError(
            f"This kernel does not refuse system calls to a process ({error}). Filters in Python need seccomp."
        ) from error


def _refuse(jail: pyseccomp.SyscallFilter, answer: int, name: str) -> None:
    try:
        jail.add_rule(answer, name)
    except (OSError, ValueError):
        # A call that this machine's libseccomp has no name for is one that it does not have.
        if name in NETWORK or name in ("execve", "ptrace"):
            raise JailError(f"seccomp cannot refuse {name} here.") from None


def close_inherited(keep: int) -> None:
    """Close every file descriptor above `keep`."""
    os.closerange(keep + 1, 4096)
