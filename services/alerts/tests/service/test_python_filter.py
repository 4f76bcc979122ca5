"""Hostile and wrong filters in Python: every alert has an outcome, the runner lives, the owner is told why."""

from __future__ import annotations

import math
import signal
import threading
from typing import Any

import pytest
from armillary_alerts.python_filter.limits import MIB, JailLimits
from armillary_alerts.python_filter.sandbox import FilterBroken, Outcome, Sandbox

#: Short, so that a hanging filter costs a test seconds. Processor time: a loaded machine makes no difference.
LIMITS = JailLimits(batch_seconds=1, load_seconds=30, memory=512 * MIB, faults=2)


def alerts(count: int) -> list[dict[str, Any]]:
    """Alerts as a filter sees them, a NaN and a null among their values."""
    return [
        {"alert_id": number, "mag": 18.5, "drb": math.nan, "rb": None} for number in range(count)
    ]


def run(code: str, count: int = 3, limits: JailLimits = LIMITS) -> tuple[list[Outcome], Sandbox]:
    """Run a filter over alerts."""
    with Sandbox(code, limits) as sandbox:
        outcomes = sandbox.run(alerts(count))
    assert len(outcomes) == count, "an alert without an outcome"
    return outcomes, sandbox


def function(*lines: str) -> str:
    """A filter with these lines in it."""
    return "import os, sys\n\ndef filter(alert):\n" + "".join(f"    {line}\n" for line in lines)


def test_a_filter_passes_and_rejects() -> None:
    outcomes, sandbox = run(function("return alert['alert_id'] % 2 == 0"), 4)
    assert [each.kind for each in outcomes] == ["passed", "rejected", "passed", "rejected"]
    assert (sandbox.stopped, sandbox.restarts) == ("", 0)


def test_what_a_filter_returns_goes_with_the_alert() -> None:
    code = "import math\n" + function(
        "return {'bright': alert['mag'] < 19, 'no_score': math.isnan(alert['drb'])}"
    )
    outcomes, _ = run(code)
    assert outcomes[0] == Outcome("passed", {"bright": True, "no_score": True})


def test_numpy_can_be_used() -> None:
    outcomes, _ = run("import numpy\n" + function("return numpy.isnan(alert['drb'])"))
    assert [each.kind for each in outcomes] == ["passed"] * 3


def test_one_that_fails_on_every_tenth_alert_keeps_the_others() -> None:
    outcomes, sandbox = run(
        function(
            "if alert['alert_id'] % 10 == 9:",
            "    raise ValueError('no tenth, please')",
            "return True",
        ),
        40,
    )
    failed = [number for number, each in enumerate(outcomes) if each.kind == "failed"]
    assert failed == [9, 19, 29, 39]
    assert outcomes[9].reason == "ValueError: no tenth, please (line 5)"
    assert (sandbox.stopped, sandbox.restarts) == ("", 0)


def test_one_that_passes_everything_is_let() -> None:
    """What it may send is the runner's and the gate's business: limits.alerts_per_hour, and the share of a backtest."""
    outcomes, _ = run(function("return True"), 500, JailLimits())
    assert {each.kind for each in outcomes} == {"passed"}


def test_an_endless_loop_is_ended_and_the_filter_stopped() -> None:
    outcomes, sandbox = run(function("while alert['alert_id'] != 0:", "    pass", "return True"), 5)
    assert [each.kind for each in outcomes] == ["passed", *["failed"] * 4]
    assert (
        outcomes[1].reason
        == "the filter took more than 1 s of processor time with a batch, or slept"
    )
    assert outcomes[4].reason.startswith(
        "stopped: 2 faults in 10 minutes; the last: the filter took more than"
    )
    assert sandbox.restarts == 2


def test_one_that_sleeps_is_ended_too() -> None:
    """It uses no processor time; the clock runs all the same."""
    limits = JailLimits(batch_seconds=0.1, memory=512 * MIB, faults=1)
    outcomes, sandbox = run("import time\n" + function("time.sleep(3600)"), 2, limits)
    assert [each.kind for each in outcomes] == ["failed"] * 2
    assert "or slept" in sandbox.stopped


def test_one_bad_alert_does_not_take_the_others_with_it() -> None:
    """The alert that the process died of is failed, and a new process goes on behind it."""
    outcomes, sandbox = run(
        function("if alert['alert_id'] == 3:", "    os._exit(7)", "return True"), 6
    )
    assert [each.kind for each in outcomes] == ["passed"] * 3 + ["failed"] + ["passed"] * 2
    assert "ended with a batch (exit code 7)" in outcomes[3].reason
    assert (sandbox.stopped, sandbox.restarts) == ("", 1)


def test_ten_gigabytes_are_refused() -> None:
    outcomes, sandbox = run(function("return len(bytearray(10 << 30)) > 0"))
    assert {each.reason for each in outcomes} == {"MemoryError: the filter may use 512 MiB"}
    assert sandbox.stopped == ""


@pytest.mark.parametrize(
    "lines",
    [
        ("while True:", "    os.fork()"),
        ("import subprocess", "return bool(subprocess.run(['true']))"),
        ("os.execv('/bin/true', ['true'])",),
        ("import socket", "socket.create_connection(('127.0.0.1', 22), 1)"),
        ("import socket", "socket.socket(socket.AF_UNIX).connect('/run/x')"),
        ("os.kill(os.getppid(), 9)",),
        ("return open('/etc/passwd').read() != ''",),
        ("return bool(os.listdir('/'))",),
        ("return open(f'/proc/{os.getppid()}/environ').read() != ''",),
        ("open('/tmp/left-behind', 'w').write('x')",),
        ("open('/dev/shm/left-behind', 'w').write('x')",),
        ("os.memfd_create('hidden')",),
    ],
    ids=lambda lines: lines[-1],
)
def test_what_a_filter_must_not_do_is_refused(lines: tuple[str, ...]) -> None:
    outcomes, sandbox = run(function(*lines, "return True"), 1)
    assert outcomes[0].kind == "failed"
    assert "Error: [Errno" in outcomes[0].reason, outcomes[0].reason
    assert ("Operation not permitted" in outcomes[0].reason) or (
        "Permission denied" in outcomes[0].reason
    )
    assert sandbox.restarts == 0


def test_threads_without_end_end_at_the_memory() -> None:
    lines = (
        "import threading, time",
        "while True:",
        "    threading.Thread(target=time.sleep, args=(60,)).start()",
    )
    before = threading.active_count()
    outcomes, _ = run(function(*lines), 1)
    assert outcomes[0].kind == "failed"
    assert threading.active_count() == before


def test_a_filter_sees_nothing_of_its_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_PASSWORD", "a-secret-of-the-runner")
    outcomes, _ = run(
        function("return {'environment': str(dict(os.environ)), 'arguments': str(sys.argv)}"), 1
    )
    assert "a-secret-of-the-runner" not in str(outcomes[0].annotations)


def test_what_it_prints_goes_nowhere() -> None:
    outcomes, _ = run(
        function("print('x' * 100000)", "sys.stderr.write('y' * 100000)", "return True")
    )
    assert [each.kind for each in outcomes] == ["passed"] * 3


def test_forged_answers_are_no_answers() -> None:
    """The pipe to the runner is the filter's own: what it writes there can only hurt its owner's alerts."""
    lines = (
        "for number in range(3, 30):",
        "    try:",
        "        os.write(number, b'junk' * 100)",
        "    except OSError:",
        "        pass",
        "return True",
    )
    outcomes, sandbox = run(function(*lines), 5)
    assert {each.kind for each in outcomes} == {"failed"}
    assert "the filter's process answered" in sandbox.stopped


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("1", "TypeError: filter(alert) returned int; return True, False or a dict"),
        ("None", "TypeError: filter(alert) returned NoneType; return True, False or a dict"),
        ("{'x': float('nan')}", "ValueError: the dict that filter(alert) returned is no JSON"),
        ("{'x': {1, 2}}", "TypeError: the dict that filter(alert) returned is no JSON"),
        (
            "{'x': 'a' * 100000}",
            "ValueError: filter(alert) returned 100009 bytes; 65536 are allowed",
        ),
        ("sys.exit(3)", "SystemExit: 3 (line 4)"),
    ],
)
def test_a_wrong_answer_is_explained(answer: str, reason: str) -> None:
    outcomes, _ = run(function(f"return {answer}"), 1)
    assert outcomes[0].kind == "failed"
    assert outcomes[0].reason.startswith(reason)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("def filter(alert) return 1", "SyntaxError: expected ':' (line 1)"),
        (
            "def fliter(alert): return True",
            "ValueError: the code defines no function `filter(alert)`",
        ),
        ("import nosuchmodule", "ModuleNotFoundError: No module named 'nosuchmodule' (line 1)"),
        ("x = 1\nraise RuntimeError('on purpose')", "RuntimeError: on purpose (line 2)"),
        (
            "open('/etc/passwd')",
            "PermissionError: [Errno 13] Permission denied: '/etc/passwd' (line 1)",
        ),
        ("import os; os._exit(4)", "the filter's process ended while it was loaded (exit code 4)"),
        ("while True: pass", "the filter took more than 2 s of processor time while it was loaded"),
    ],
)
def test_code_that_does_not_load_is_explained(code: str, reason: str) -> None:
    with Sandbox(code, JailLimits(load_seconds=2, memory=512 * MIB)) as sandbox:
        with pytest.raises(FilterBroken) as caught:
            sandbox.start()
        assert str(caught.value).startswith(reason)
        assert [each.kind for each in sandbox.run(alerts(2))] == ["failed"] * 2
        assert sandbox.stopped


def test_one_that_fails_on_every_alert_is_stopped() -> None:
    limits = JailLimits(failures=50)
    with Sandbox(function("raise KeyError('ra_deg')"), limits) as sandbox:
        sandbox.run(alerts(30))
        assert not sandbox.stopped
        sandbox.run(alerts(30))
        assert sandbox.stopped == "60 alerts in a row failed; the last: KeyError: 'ra_deg' (line 4)"


def test_a_killed_process_is_replaced() -> None:
    """As the kernel does when the pod is out of memory."""
    with Sandbox(function("return True"), LIMITS) as sandbox:
        sandbox.start()
        assert sandbox._channel
        sandbox._channel.process.send_signal(signal.SIGKILL)
        outcomes = sandbox.run(alerts(3))
    assert [each.kind for each in outcomes] == ["failed", "passed", "passed"]
    assert "signal 9" in outcomes[0].reason
