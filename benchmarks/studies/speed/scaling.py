"""How the cost of fitting and scoring grows with the rows and with the features."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.report.tables import markdown
from benchmarks.studies.speed.question import Question, Rows
from benchmarks.studies.speed.timing import Effort, interleaved, span

FEATURES, ROWS = 20, 2_000
SIZES = {"n": (1_000, 10_000, 100_000, 1_000_000), "d": (2, 20, 200, 2_000)}
QUICK_SIZES = {"n": (100, 200), "d": (2, 4)}
MEANING = {"n": f"rows (of {FEATURES} features)", "d": f"features (of {ROWS:,} rows)"}


def fit(effort: Effort, X: NDArray) -> None:
    """Fit a new detector."""
    effort.detector().fit(X)


def measure(effort: Effort) -> Rows:
    """Time a default fit, and scoring the training rows, at each size."""
    rng = np.random.default_rng(0)
    rows = []
    effort.detector(max_iter=1).fit(rng.normal(size=(64, 2)))
    for axis, sizes in (QUICK_SIZES if effort.quick else SIZES).items():
        data = {
            size: rng.normal(size=(size, FEATURES) if axis == "n" else (ROWS, size))
            for size in sizes
        }
        fits = {size: partial(fit, effort, X) for size, X in data.items()}
        scorings = {
            size: partial(effort.detector().fit(X).decision_function, X) for size, X in data.items()
        }
        fitting = interleaved(fits, effort.fits, warm=False)
        scoring = interleaved(scorings, effort.repeats)
        rows += [
            {"axis": axis, "size": size, "fit": fitting[size], "score": scoring[size]}
            for size in sizes
        ]
    return rows


def slope(rows: Rows, what: str) -> float:
    """Return the exponent p of seconds ~ size**p, by least squares on logarithms."""
    sizes = [row["size"] for row in rows]
    return float(np.polyfit(np.log(sizes), np.log([min(row[what]) for row in rows]), 1)[0])


def text(rows: Rows) -> str:
    """Return the seconds at each size and the slopes."""
    lines = []
    for axis, meaning in MEANING.items():
        part = [row for row in rows if row["axis"] == axis]
        lines += [
            [f"{row['size']:,} {meaning}", span(row["fit"]), span(row["score"], 1e-3)]
            for row in part
        ]
        for name, some in (("all sizes", part), ("the last two", part[-2:])):
            slopes = [f"**{slope(some, what):.2f}**" for what in ("fit", "score")]
            lines.append([f"slope in {axis}, {name}", *slopes])
    return (
        "Default fit (three rounds at most), and `decision_function` on the training rows. The "
        "slope is\nthe exponent p of seconds ~ size^p.\n\n"
        + markdown([["size", "fit, s", "score, ms"], *lines])
        + "\n![Cost against size](speed-scaling.png)\n"
    )


def draw(rows: Rows, folder: Path) -> None:
    """Plot seconds against size, both logarithmic."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, (axis, meaning) in zip(figure.subplots(ncols=2), MEANING.items(), strict=True):
        part = [row for row in rows if row["axis"] == axis]
        for what in ("fit", "score"):
            label = f"{what}, slope {slope(part, what):.2f}"
            sizes, seconds = [row["size"] for row in part], [min(row[what]) for row in part]
            axes.loglog(sizes, seconds, marker="o", label=label)
        axes.set(xlabel=meaning, ylabel="seconds")
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(folder / "speed-scaling.png", dpi=100, metadata={"Software": None})


QUESTION = Question("Cost against the number of rows and features", measure, text, draw)
