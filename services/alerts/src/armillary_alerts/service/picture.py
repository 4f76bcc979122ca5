"""What a filter would have sent, as a picture: where on the sky, and when in the night."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

Values = npt.NDArray[np.float64]

#: Told apart by brightness as well as by hue: for the colour-blind, and on paper.
INK, ALL, PASSED, GRID = "#1b2733", "#b8c4cf", "#c2410c", "#dde3e9"
#: More points than this are drawn as density.
POINTS = 5000
MINUTES = 10


def draw(title: str, seen: Values, passed: Values) -> bytes:
    """Return a PNG.

    Args:
        title: what it is of.
        seen: right ascension and declination (deg, ICRS) and time (MJD) of every alert, one row each.
        passed: of those that passed.
    """
    figure = Figure(figsize=(9, 7.2), dpi=110, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 1, height_ratios=[2.4, 1])
    figure.suptitle(title, color=INK, fontsize=13, x=0.02, ha="left")
    _sky(figure.add_subplot(grid[0], projection="mollweide"), seen, passed)
    _rate(figure.add_subplot(grid[1]), seen, passed)
    out = io.BytesIO()
    # No version of matplotlib's in it: the same night gives the same bytes.
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def _sky(axes: Any, seen: Values, passed: Values) -> None:
    axes.set_facecolor("white")
    axes.grid(color=GRID, linewidth=0.6)
    if len(seen):
        step = max(1, len(seen) // (4 * POINTS))
        axes.scatter(
            *_place(seen[::step]),
            s=2,
            color=ALL,
            linewidths=0,
            label=f"all {len(seen):,}",
            rasterized=True,
        )
    if len(passed):
        step = max(1, len(passed) // POINTS)
        axes.scatter(
            *_place(passed[::step]),
            s=16,
            color=PASSED,
            edgecolors="white",
            linewidths=0.4,
            label=f"passed {len(passed):,}",
        )
    # Right ascension grows to the left, as seen from inside the sphere.
    axes.set_xticks(
        np.radians(np.arange(-150, 151, 60)),
        [f"{(-degrees) % 360:.0f}°" for degrees in range(-150, 151, 60)],
    )
    axes.tick_params(colors=INK, labelsize=8)
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1.02, -0.08),
        frameon=False,
        labelcolor=INK,
        fontsize=9,
        markerscale=2,
    )
    axes.set_title(
        "Right ascension and declination (ICRS)", color=INK, fontsize=9, loc="left", pad=12
    )


def _place(rows: Values) -> tuple[Values, Values]:
    longitude = -np.radians((rows[:, 0] + 180) % 360 - 180)
    return longitude, np.radians(rows[:, 1])


def _rate(axes: Any, seen: Values, passed: Values) -> None:
    if len(seen):
        first = np.floor(seen[:, 2].min() * 24) / 24
        last = max(np.ceil(seen[:, 2].max() * 24) / 24, first + 1 / 24)
        edges = np.linspace(first, last, round((last - first) * 24 * 60 / MINUTES) + 1)
        hours = (edges - np.floor(first)) * 24
        for rows, colour in ((seen, ALL), (passed, PASSED)):
            if len(rows):
                counts, _ = np.histogram(rows[:, 2], edges)
                axes.stairs(counts, hours, fill=True, color=colour)
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(bottom=0)
        axes.set_xlim(hours[0], hours[-1])
    axes.set_xlabel("Hours after 0h (TAI) of the first exposure's day", color=INK, fontsize=9)
    axes.set_ylabel(f"Alerts in {MINUTES} minutes", color=INK, fontsize=9)
    axes.grid(axis="y", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
