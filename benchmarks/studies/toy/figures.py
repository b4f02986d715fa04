"""Figures and tables of the toy experiment, from the files of its runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from PIL import Image

from benchmarks.report.tables import markdown
from pyod_lipocc.datasets import SHAPE_NAMES, TOY_NAMES
from pyod_lipocc.plotting import plot_contours, plot_histograms

TITLES = {
    "lipocc": "LipOCC",
    "lipocc-averaged": "LipOCC, averaged",
    "lipocc-decay": "LipOCC, decay",
    "lipocc-apart": "LipOCC, apart",
    "conventional": "conventional",
    "ocsvm": "OCSVM",
    "iforest": "IForest",
}
NETWORKS = tuple(model for model in TITLES if model not in ("ocsvm", "iforest"))
PAPER_SETS = tuple(name for name in TOY_NAMES if name not in SHAPE_NAMES)
PAPER_TABLE_3 = {
    "one-cloud": "26.66",
    "two-circles": "122.84",
    "two-blobs": "1421.41",
    "blob-and-cloud": "53.90",
    "two-moons": "258.73",
}

Piece = dict[str, Any]
Pieces = dict[tuple[str, str], Piece]


def load_pieces(cache: Path) -> Pieces:
    """Read every finished pair of a set and a detector."""
    pieces = {}
    for name in TOY_NAMES:
        for model in TITLES:
            path = cache / f"{name}.{model}.npz"
            if path.exists():
                with np.load(path) as archive:
                    pieces[name, model] = dict(archive)
    return pieces


def draw_contours(ax: Axes, piece: Piece) -> None:
    """Draw the level lines over the window of the set, with the data."""
    half_width = float(piece["half_width"])
    window = (-half_width, half_width, -half_width, half_width)
    resolution = len(piece["grid"])
    plot_contours(
        lambda _: piece["grid"].ravel(), window, X=piece["points"], resolution=resolution, ax=ax
    )
    ax.set(xticks=[], yticks=[])


def draw_histograms(ax: Axes, piece: Piece) -> None:
    """Draw the scores of the data and of uniform points of the ball."""
    plot_histograms({"data": piece["scores"], "U(B)": piece["ball_scores"]}, ax=ax)
    ax.set(ylabel=None, yticks=[])


def save_grid(
    path: Path,
    pieces: Pieces,
    draw: Callable[[Axes, Piece], None],
    models: Sequence[str],
    sets: Sequence[str],
) -> None:
    """Draw a row for each detector that was run on any of the sets, a column for each set."""
    models = [model for model in models if any((name, model) in pieces for name in sets)]
    if not models:
        return
    figure, axes = plt.subplots(
        len(models),
        len(sets),
        figsize=(2.2 * len(sets), 2.3 * len(models)),
        layout="constrained",
        squeeze=False,
    )
    for row, model in zip(axes, models, strict=True):
        for ax, name in zip(row, sets, strict=True):
            if (name, model) in pieces:
                draw(ax, pieces[name, model])
            else:
                ax.text(0.5, 0.5, "not run", ha="center", transform=ax.transAxes)
                ax.set(xticks=[], yticks=[])
    for ax, name in zip(axes[0], sets, strict=True):
        ax.set_title(name)
    for row, model in zip(axes, models, strict=True):
        row[0].set_ylabel(TITLES[model])
    picture = BytesIO()
    figure.savefig(picture, dpi=90)
    plt.close(figure)
    # A palette makes the file three times smaller.
    Image.open(picture).convert("RGB").quantize(96).save(path, optimize=True)


def lipschitz_table(pieces: Pieces) -> str:
    """Return the largest gradient norms over the training rows (the paper's Table 3)."""

    def cell(name: str, model: str) -> str:
        piece = pieces.get((name, model))
        if piece is None:
            return "not run"
        largest = f"{piece['gradient_norms'].max():.4g}"
        bound = float(piece["lipschitz_constant"])
        return f"{largest} ({bound:.7f})" if np.isfinite(bound) else largest

    rows = [["set", *(TITLES[model] for model in NETWORKS), "conventional, paper"]]
    for name in TOY_NAMES:
        cells = (cell(name, model) for model in NETWORKS)
        rows.append([name, *cells, PAPER_TABLE_3.get(name, "")])
    return markdown(rows)


def distance_table(pieces: Pieces) -> str:
    """Return the errors of the scores as signed distances, where the true distance is known."""
    header = ["shape", "detector", "mean error", "mean error within 0.5", "largest error"]
    rows = [[*header, "mean abs(1 - abs(grad f))"]]
    for (name, model), piece in pieces.items():
        if name not in SHAPE_NAMES or model not in NETWORKS:
            continue
        error, norms = np.abs(piece["ball_errors"]), piece["ball_gradient_norms"]
        near = np.abs(piece["ball_scores"] - piece["ball_errors"]) < 0.5
        figures = [error.mean(), error[near].mean(), error.max(), np.abs(1 - norms).mean()]
        rows.append([name, TITLES[model], *(f"{figure:.4f}" for figure in figures)])
    return markdown(rows, labels=2)


def run_table(pieces: Pieces) -> str:
    """Return the settings of each training, and how it ended."""
    rows = [["set", "detector", "data inside", "gradient norm at the negatives", "settings"]]
    for (name, model), piece in pieces.items():
        settings = json.loads(str(piece["settings"]))
        inside = f"{(piece['scores'] > 0).mean():.3f}"
        norm = f"{piece['history_gradient_norm'][-5:].mean():.3f}" if model in NETWORKS else ""
        described = ", ".join(f"{key} {value}" for key, value in settings.items())
        rows.append([name, TITLES[model], inside, norm, described])
    return markdown(rows, labels=2)


README = """\
# The paper's toy experiment

    make toy DEVICE=cuda

The networks have the paper's width, 2-512-512-512-512-1; others: `--hidden`. Eight trainings of
10,000 steps take about four minutes of a GPU side by side (an H200 made what is here, a CPU
"apart"), and without `--device cuda` about 20 minutes of one core each. Finished pairs of a set and
a detector are kept in `cache/` and not run again; `--draw-only` redraws what is there.

All LipOCC's rows have the paper's loss, lambda = 100, m, T = 4, Algorithm 1 as printed, RMSprop,
10,000 steps and B, the ball of radius 5.

- **LipOCC**: the paper's settings, with RMSprop's default rate of 1e-3; its last step.
- **averaged**: the same training, ending with the average of the weights over about the last 200
  steps.
- **decay**: the rate falls linearly from 1e-3 to 1e-6, as in the authors' code.
- **apart**: as decay, with a gap between Q0 and the data, as the paper's Definition 2 asks. 95 % of
  a batch's rows have another row within the width of the gap.
- **conventional**: a ReLU network with cross-entropy and Adam, whose negatives are made by
  Algorithm 1 on itself.

At a constant rate the last steps still move the levels; the other rows are free of this. "Averaged"
and "decay" leave out parts of the clouds all the same. Q0 = U(B) has points in the support, and
Algorithm 1 moves these points to the first gap in the support, which they widen. Let the rows have
density p and the negatives density q. For a score that rises above m the loss gains p - q and pays
lambda q, so that the score is flat, at S = 0, where p < (1 + lambda) q. On the disc p is .3, and
(1 + lambda) q is 1.3 for uniform negatives with the paper's lambda and B: the depth inside is not
learned there, and the zero level of "decay" has spots. "Apart" has next to no negatives in the
support, as Theorem 1 assumes. Its zero level hugs all five sets of the paper, in one cloud with
fingers and islands at outlying rows, and its levels are the closest to the distance.

One seed. The five sets of the paper have 1,000 rows, mean 0 and variance 1. The three shapes have
4,000 rows, are not standardised and have radius 1, so that errors are shares of the radius. Figures
over B are taken at 10,000 uniform points.

## Figures 1 and 3: level lines

![Level lines of the detectors on five sets](contours.png)

Red: the zero level. Positive (blue) is inside.

## Figure 4: scores of the data and of uniform points of B

![Histograms of scores](histograms.png)

## Table 3: largest gradient norm over the training rows

In brackets the proven bound. LipOCC standardises the rows once more, by the 95 % of them on which
it trains. Its bound, in the units of the set, is 1 over the least of these scales.

{lipschitz}\

## Shapes with a known signed distance

![Level lines on the shapes](shapes.png)

Errors of the score against the true signed distance over B, in radii; "within 0.5" keeps the points
at most half a radius from the boundary. A distance function has gradient norm 1.

{distance}\

## Runs

"Data inside" is the share of the training rows with a positive score; "gradient norm at the
negatives" is the mean over the last 5 % of the training.

{runs}\
"""


def draw_all(output: Path) -> None:
    """Write the figures and the README with the tables."""
    plt.switch_backend("Agg")
    pieces = load_pieces(output / "cache")
    save_grid(output / "contours.png", pieces, draw_contours, list(TITLES), PAPER_SETS)
    save_grid(output / "shapes.png", pieces, draw_contours, NETWORKS, SHAPE_NAMES)
    save_grid(output / "histograms.png", pieces, draw_histograms, NETWORKS, PAPER_SETS)
    text = README.format(
        lipschitz=lipschitz_table(pieces),
        distance=distance_table(pieces),
        runs=run_table(pieces),
    )
    (output / "README.md").write_text(text)
