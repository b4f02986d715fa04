"""Tables in markdown, and the numbers in their cells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd


def markdown(rows: Sequence[Sequence[object]], labels: int = 1) -> str:
    """Return a table whose first row is its header.

    The first `labels` columns stand to the left, the others to the right.
    """
    header, *body = rows
    rule = [*["---"] * labels, *["---:"] * (len(header) - labels)]
    lines = ("| " + " | ".join(map(str, row)) + " |" for row in [header, rule, *body])
    return "\n".join(lines) + "\n"


def percent(values: pd.Series) -> str:
    """Return "mean ± standard deviation" in percent; the mean alone of a single value."""
    if not values.count():
        return "-"
    spread = f" ± {100 * values.std():.1f}" if values.count() > 1 else ""
    return f"{100 * values.mean():.1f}{spread}"


def seconds(values: pd.Series) -> str:
    """Return the mean with three decimals below 1, else with one."""
    value = values.mean()
    if np.isnan(value):
        return "-"
    return f"{value:.3f}" if value < 1 else f"{value:.1f}"
