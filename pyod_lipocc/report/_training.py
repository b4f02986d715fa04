"""The course of the training, and the parameters with "auto" resolved."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from torch import nn

from pyod_lipocc._parameters import check_parameters, is_missing
from pyod_lipocc.recipe import Recipe
from pyod_lipocc.report._figures import Chart, lines, number, thinned
from pyod_lipocc.report._text import text

__all__ = ["history", "parameters"]


def history(detector: Any) -> list[Chart]:
    """Draw the course of the training."""
    figures = detector.history_
    steps = thinned(np.arange(1.0, len(figures) + 1))
    inside = {
        "data inside": thinned(figures.recall),
        "negatives inside": thinned(figures.false_positives),
        "gradient norm": thinned(figures.gradient_norm),
    }
    top = max(1.0, *(np.nanmax(curve, initial=0.0) for curve in inside.values()))
    return [
        lines(
            "loss",
            "Loss at each step of the training",
            f"From {number(figures.loss[0])} to {number(figures.loss[-1])}.",
            steps,
            {"loss": thinned(figures.loss)},
            x_label="step",
            y_label="loss",
        ),
        lines(
            "inside",
            "Share of the data and of the negatives that the network has inside, and its gradient",
            f"At the end {number(100 * figures.recall[-1])} % of the data and "
            f"{number(100 * figures.false_positives[-1])} % of the negatives are inside; the "
            f"gradient has the norm {number(figures.gradient_norm[-1])}.",
            steps,
            inside,
            x_label="step",
            y_label="share, norm",
            y_range=(0.0, 1.05 * top),
        ),
    ]


def parameters(detector: Any) -> list[tuple[str, str, str]]:
    """Return each parameter, as given and as resolved; "auto" is resolved by the rows."""
    values = detector.get_params(deep=False)
    defaults = type(detector)().get_params(deep=False)
    known = {name: defaults[name] if is_missing(v) else v for name, v in values.items()}
    check_parameters(known, type(detector).__name__)
    distance = detector.distance_
    training = Recipe.of(known | {"device": None}).training(
        distance.network,
        distance.scaling.length_to_network(distance.margin),
        distance.scaling.domain_to_network(distance.domain),
    )
    resolved = {name: text(value) for name, value in vars(training).items()} | {
        "network": _layers(distance.network),
        "margin": number(distance.margin),
        "domain": text(distance.domain),
        "learning_rate": text(training.schedule),
    }
    return [
        (name, text(value), resolved[name] if isinstance(value, str) and value == "auto" else "")
        for name, value in values.items()
    ]


def _layers(network: nn.Module) -> str:
    """Name the kinds of layers, and count the weights."""
    leaves = [type(m).__name__ for m in network.modules() if next(m.children(), None) is None]
    kinds = [f"{count} {kind}" if count > 1 else kind for kind, count in Counter(leaves).items()]
    n_weights = sum(weight.numel() for weight in network.parameters())
    return f"{', '.join(kinds)}; {n_weights:,} weights"
