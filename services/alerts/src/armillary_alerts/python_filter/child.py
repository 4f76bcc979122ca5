"""A filter's process: shut in, then the user's code. Speaks frames of JSON with its runner.

    in   {"code": ..., "name": ...}          once; the answer is {"loaded": true} or {"error": ...}
    in   [alert, alert, ...]                 a batch; for each alert one answer, as soon as it is known:
    out  true | false | {...} | {"__error__": "ValueError: ..."}

Nothing it sends is believed but as JSON of a bounded size: whatever the user's code does to this file's objects, it can forge
answers for its owner's filter and nothing else.
"""

from __future__ import annotations

import json
import linecache
import os
import traceback
from collections.abc import Callable
from typing import Any

from armillary_alerts.python_filter.channel import ERROR, HEADER, frame
from armillary_alerts.python_filter.jail import JailError, close_inherited, shut
from armillary_alerts.python_filter.limits import JailLimits

FUNCTION = "filter"
WHERE = "<filter>"


def main() -> None:
    """Serve batches until the runner closes the pipe."""
    answers = os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    # What the user prints goes nowhere, and never between the answers.
    os.dup2(null, 1)
    os.dup2(null, 2)
    close_inherited(max(answers, null))
    settings = _read()
    limits = JailLimits(**settings["limits"])
    try:
        shut(limits)
        function = load(settings["code"])
    except JailError as error:
        _write(answers, {"jail": str(error)})
        return
    except BaseException as error:
        _write(answers, {"error": explain(error)})
        return
    _write(answers, {"loaded": True})
    while True:
        batch = _read()
        if batch is None:
            return
        for alert in batch:
            _write(answers, _decide(function, alert, limits))


def load(code: str) -> Callable[[dict[str, Any]], Any]:
    """Run the user's file and return the function it defines.

    Raises:
        ValueError: it defines no function of that name.
        BaseException: whatever the code raises.
    """
    # So that a traceback shows the user's own lines.
    linecache.cache[WHERE] = (len(code), None, code.splitlines(keepends=True), WHERE)
    space: dict[str, Any] = {"__name__": "filter", "__builtins__": __builtins__}
    exec(compile(code, WHERE, "exec", dont_inherit=True), space)  # noqa: S102 - it is what this is for
    function = space.get(FUNCTION)
    if not callable(function):
        raise ValueError(f"the code defines no function `{FUNCTION}(alert)`")
    return function  # type: ignore[no-any-return]


def explain(error: BaseException) -> str:
    """Return an error in one line, with the line of the user's code that it comes from."""
    lines = [
        f"line {frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == WHERE
    ]
    if isinstance(error, SyntaxError) and error.filename == WHERE:
        lines = [f"line {error.lineno}"]
    said = "".join(traceback.format_exception_only(type(error), error)[-1:]).strip()
    return f"{said[:500]} ({lines[-1]})" if lines else said[:500]


def _decide(
    function: Callable[[dict[str, Any]], Any], alert: dict[str, Any], limits: JailLimits
) -> Any:
    try:
        answer = function(alert)
    except MemoryError:
        return {ERROR: f"MemoryError: the filter may use {limits.memory >> 20} MiB"}
    except BaseException as error:
        return {ERROR: explain(error)}
    if type(answer).__name__ in ("bool", "bool_"):
        return bool(answer)
    if not isinstance(answer, dict):
        return {
            ERROR: f"TypeError: filter(alert) returned {type(answer).__name__}; return True, False or a dict"
        }
    try:
        size = len(json.dumps(answer, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        return {
            ERROR: f"{type(error).__name__}: the dict that filter(alert) returned is no JSON: {error}"
        }
    if size > limits.result_bytes:
        return {
            ERROR: f"ValueError: filter(alert) returned {size} bytes; {limits.result_bytes} are allowed"
        }
    return answer


def _read() -> Any:
    header = _exactly(HEADER.size)
    if header is None:
        return None
    (size,) = HEADER.unpack(header)
    body = _exactly(size)
    return None if body is None else json.loads(body)


def _exactly(size: int) -> bytes | None:
    parts, missing = [], size
    while missing:
        part = os.read(0, min(missing, 1 << 20))
        if not part:
            return None
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _write(descriptor: int, answer: Any) -> None:
    try:
        data = memoryview(frame(answer))
    except MemoryError:
        data = memoryview(frame({ERROR: "MemoryError"}))
    while data:
        data = data[os.write(descriptor, data) :]
