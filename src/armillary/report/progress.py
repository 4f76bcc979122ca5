"""The progress display of a run: stages, expected and real times, what is being waited for."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

MARKS = {
    "waiting": ("·", "dim"),
    "running": ("▸", "bold cyan"),
    "changed": ("✓", "green"),
    "unchanged": ("✓", "dim green"),
    "failed": ("✗", "bold red"),
}


@dataclass
class Line:
    """One stage as the display shows it."""

    name: str
    title: str
    expected: float
    outcome: str = "waiting"
    seconds: float = 0.0
    doing: str = ""
    started: float = field(default=0.0, repr=False)


class Progress:
    """Show a run as a live table on a terminal, as plain lines elsewhere (logs, pipes, CI)."""

    def __init__(self, console: Console, heading: str) -> None:
        self.console = console
        self.heading = heading
        self.lines: list[Line] = []
        self._live: Live | None = None
        self._current: Line | None = None

    @contextmanager
    def run(self, stages: Sequence[tuple[str, str, float]]) -> Iterator[Progress]:
        """Show these stages (name, title, expected seconds) while the block runs."""
        self.lines = [Line(*stage) for stage in stages]
        if not self.console.is_terminal:
            self.console.print(self.heading, highlight=False)
            yield self
            return
        with Live(
            get_renderable=self._render, console=self.console, refresh_per_second=4
        ) as self._live:
            yield self
        self._live = None

    def expect(self, name: str, seconds: float) -> None:
        """Correct how long a stage is expected to take."""
        next(line for line in self.lines if line.name == name).expected = seconds

    @contextmanager
    def stage(self, name: str) -> Iterator[Line]:
        """Time one stage; the block sets `outcome` to changed or unchanged."""
        line = next(line for line in self.lines if line.name == name)
        line.outcome, line.started = "running", time.monotonic()
        self._current = line
        self._plain(f"  {line.title} (about {duration(line.expected)})")
        try:
            yield line
        except BaseException:
            line.outcome = "failed"
            raise
        finally:
            line.seconds = time.monotonic() - line.started
            self._current = None
            mark, _ = MARKS[line.outcome]
            self._plain(f"{mark} {line.title}: {line.outcome}, {duration(line.seconds)}")

    def say(self, doing: str) -> None:
        """Tell what the running stage does or waits for."""
        if self._current is None or self._current.doing == doing:
            return
        self._current.doing = doing
        self._plain(f"    {time.monotonic() - self._current.started:5.0f} s  {doing}")

    def _plain(self, text: str) -> None:
        if self._live is None and not self.console.is_terminal:
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _render(self) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        table.add_column(width=1)
        table.add_column(min_width=34)
        table.add_column(justify="right", min_width=8)
        table.add_column(justify="right", min_width=10, style="dim")
        for line in self.lines:
            mark, style = MARKS[line.outcome]
            spent = time.monotonic() - line.started if line.outcome == "running" else line.seconds
            table.add_row(
                Text(mark, style),
                Text(line.title, style if line.outcome in ("running", "failed") else ""),
                Text("" if line.outcome == "waiting" else duration(spent)),
                Text(f"of ~{duration(line.expected)}" if line.outcome != "unchanged" else ""),
            )
        doing = self._current.doing if self._current else ""
        width = max(20, self.console.width - 6)
        return Group(
            Text(self.heading, "bold"), Text(), table, Text(f"    {doing[:width]}", "dim italic")
        )


def duration(seconds: float) -> str:
    """Return a time as people say it: `4.2 s`, `41 s`, `3 min 07 s`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60:02d} s"
