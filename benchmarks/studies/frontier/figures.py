"""Figure of the frontier: curves of each parameter, and a map of all sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.studies.frontier.functions import (
    COUNTS,
    ISOLATED_COUNTS,
    ISOLATIONS,
    LARGEST,
    VARIANCES,
)
from benchmarks.studies.frontier.sums import SUMMED, WEIGHTS, Results, label

STYLES: dict[str, dict[str, Any]] = {
    "explore": {"linestyle": "-", "marker": "o"},
    "report": {"linestyle": "--", "marker": "x"},
}
TICKS = (1, 2, 5, 10, 20, 50)
ADDED = ("dense 10", "principal 0.9")

Curve = Mapping[float, str]


def draw(results: Sequence[Results]) -> Figure:
    """Return a row of panels for each protocol."""
    figure = Figure(figsize=(17, 4.2 * len(results)), layout="constrained")
    for row, found in zip(figure.subplots(len(results), 5, squeeze=False), results, strict=True):
        curves(row[0], found, found.singles, neighbours())
        row[0].set_xscale("log")
        row[0].set_xticks(TICKS, map(str, TICKS))
        row[0].minorticks_off()
        row[0].set_xlabel("k, nearest rows")
        curves(row[1], found, found.singles, isolations())
        row[1].set_xlabel("beta, isolation")
        curves(row[2], found, found.singles, principals())
        row[2].set_xlabel("variance held, principal subspace")
        curves(row[3], found, found.sums, added(SUMMED[found.protocol][0]))
        row[3].set_xlabel(f"weight, added to {SUMMED[found.protocol][0]}")
        scatter(row[4], found)
        row[0].set_ylabel(f"{found.protocol}: mean ROC AUC, %")
    return figure


def neighbours() -> dict[str, Curve]:
    return {
        "mean of the k nearest": {k: f"nearest {k}" for k in COUNTS},
        "k-th nearest": {k: f"{k}th nearest" for k in LARGEST},
    }


def isolations() -> dict[str, Curve]:
    return {
        f"mean of {k}": {0: f"nearest {k}"} | {b: f"isolation {b:g}, {k}" for b in ISOLATIONS}
        for k in ISOLATED_COUNTS
    }


def principals() -> dict[str, Curve]:
    return {"residual": {variance: f"principal {variance:g}" for variance in VARIANCES}}


def added(base: str) -> dict[str, Curve]:
    """Return the weighted pairs of the neighbours with another function."""
    return {
        name: {0.0: base} | {weight: label({base: 1.0, name: weight}) for weight in WEIGHTS}
        for name in ADDED
    }


def curves(axes: Axes, results: Results, values: pd.DataFrame, lines: dict[str, Curve]) -> None:
    """Draw ROC AUC against a parameter on both groups of sets, LipOCC in grey."""
    for group, style in STYLES.items():
        found = results.mean(values, group)
        for place, (name, points) in enumerate(lines.items()):
            axes.plot(
                list(points),
                found[list(points.values())],
                color=f"C{place}",
                label=name if group == "explore" else None,
                markersize=5,
                **style,
            )
        default = results.mean(results.singles, group)["LipOCC"]
        axes.axhline(default, color="0.6", linestyle=style["linestyle"], linewidth=1)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


def scatter(axes: Axes, results: Results) -> None:
    """Draw every sum by its means on the two groups."""

    def place(values: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
        return results.mean(values, "explore"), results.mean(values, "report")

    terms = pd.Series(results.terms)
    for number in sorted(terms.unique()):
        chosen = results.sums[terms == number]
        axes.plot(
            *place(chosen), ".", color=f"C{number - 1}", alpha=0.5,
            label=f"sums of {number}" if number > 1 else "functions",
        )  # fmt: skip
    for name, marker in {"LipOCC": "*", "IForest": "^", "INNE": "D"}.items():
        axes.plot(
            *place(results.singles.loc[[name]]), marker, color="black", label=name,
            markersize=14 if marker == "*" else 7,
        )  # fmt: skip
    best = results.mean(results.sums, "explore").idxmax()
    axes.plot(
        *place(results.sums.loc[[best]]), "o", color="none", markeredgecolor="black",
        markersize=10, label="best on explore",
    )  # fmt: skip
    axes.set_xlabel("explore, %")
    axes.set_ylabel("report, %")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
