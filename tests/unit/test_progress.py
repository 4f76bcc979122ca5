"""The progress display: stages, expected and real times, what is waited for; live on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console
from support.waiting import until

from armillary.report.progress import Progress, duration

STAGES = (("provision", "Provision hosts", 20.0), ("configure", "Configure hosts", 187.0))
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


class Screen:
    """A console and all that was ever printed on it."""

    def __init__(self, *, terminal: bool) -> None:
        self.file = io.StringIO()
        self.console = Console(
            file=self.file, force_terminal=terminal, color_system=None, width=100, height=40
        )
        self.progress = Progress(self.console, "Cluster science on cloud local")

    @property
    def text(self) -> str:
        """What was printed, without what moves the cursor."""
        return CONTROL.sub("", self.file.getvalue())

    @property
    def last(self) -> list[str]:
        """The lines of the table as it was last drawn."""
        frame = self.text[max(0, self.text.rfind(self.progress.heading)) :]
        return [" ".join(line.split()) for line in frame.splitlines() if line.strip()]

    def sees(self, *words: str) -> None:
        """Wait until a line of the table as it is now has these words."""
        until(
            lambda: any(all(word in line for word in words) for line in self.last),
            f"a line with {words}",
            5,
            pause=0.05,
            why=lambda: "\n".join(self.last),
        )


def test_a_terminal_shows_the_whole_run_while_it_runs() -> None:
    screen = Screen(terminal=True)
    with screen.progress.run(STAGES) as progress:
        with progress.stage("provision") as line:
            screen.sees("▸ Provision hosts", "of ~20 s")
            screen.sees("· Configure hosts", "of ~3 min 07 s")
            progress.say("waiting for the ssh key of worker-1")
            screen.sees("waiting for the ssh key of worker-1")
            line.outcome = "changed"
        with progress.stage("configure") as line:
            screen.sees("✓ Provision hosts", "of ~20 s")
            screen.sees("▸ Configure hosts")
            line.outcome = "unchanged"
    assert screen.last[0] == "Cluster science on cloud local"
    assert re.fullmatch(r"✓ Provision hosts \d\.\d s of ~20 s", screen.last[1])
    assert re.fullmatch(r"✓ Configure hosts \d\.\d s", screen.last[2])
    assert "waiting for" not in "\n".join(screen.last)
    # Plain lines are for logs.
    assert "about 20 s" not in screen.text


def test_a_terminal_shows_where_it_broke_off() -> None:
    screen = Screen(terminal=True)
    with (
        pytest.raises(RuntimeError),
        screen.progress.run(STAGES) as progress,
        progress.stage("provision"),
    ):
        raise RuntimeError
    assert screen.last[1].startswith("✗ Provision hosts")
    assert screen.last[2].startswith("· Configure hosts")
    # The cursor is there again.
    assert screen.file.getvalue().rindex("\x1b[?25h") > screen.file.getvalue().rindex("\x1b[?25l")


def test_a_log_gets_a_line_for_each_thing_that_happens() -> None:
    screen = Screen(terminal=False)
    with screen.progress.run(STAGES) as progress:
        with progress.stage("provision") as line:
            progress.say("terraform plan, data")
            progress.say("terraform plan, data")
            progress.say("terraform apply, data")
            line.outcome = "changed"
        with pytest.raises(KeyboardInterrupt), progress.stage("configure"):
            progress.say("role [brackets] and a line that is longer than the console is wide " * 3)
            raise KeyboardInterrupt
    lines = re.sub(r"\b\d\.\d s\b", "N s", screen.file.getvalue()).splitlines()
    assert lines[:5] == [
        "Cluster science on cloud local",
        "  Provision hosts (about 20 s)",
        *(f"        0 s  {doing}" for doing in ("terraform plan, data", "terraform apply, data")),
        "✓ Provision hosts: changed, N s",
    ]
    assert lines[5] == "  Configure hosts (about 3 min 07 s)"
    assert "role [brackets]" in lines[6]
    assert lines[7] == "✗ Configure hosts: failed, N s"
    assert len(lines) == 8
    assert "\x1b" not in screen.file.getvalue()


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (99.4, "99 s"),
        (99.6, "1 min 40 s"),
        (187, "3 min 07 s"),
        (3599.7, "60 min 00 s"),
    ],
)
def test_a_time_is_said_as_people_say_it(seconds: float, said: str) -> None:
    assert duration(seconds) == said
