"""Figures 2 and 5 of the paper.

    python examples/figures.py synthesis                  # Figure 2: ten samples of each digit
    python examples/figures.py histograms --data mnist    # Figure 5: train, test and other digits

Digits are scikit-learn's, 8 x 8, which are embedded; with ``--data mnist`` they are read from
LIPOCC_DATA or downloaded. Samples are the first that `LipOCC.sample` returns, without selection.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _extras import require_mnist
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score

from pyod_lipocc import LipOCC
from pyod_lipocc.datasets import OneClassDataset, load_digits_one_class, load_mnist
from pyod_lipocc.plotting import plot_histograms, plot_images

Draw = Callable[[argparse.Namespace], Figure]

LOADERS: dict[str, Callable[[int], OneClassDataset]] = {
    "digits": load_digits_one_class,
    "mnist": load_mnist,
}


def build(options: argparse.Namespace, **settings: Any) -> LipOCC:
    """Return an unfitted detector of the chosen network."""
    return LipOCC(
        novelty=True,
        network=options.network,
        max_iter="auto" if options.max_iter is None else options.max_iter,
        threshold="boundary",
        random_state=0,
        verbose=options.verbose,
        **settings,
    )


def fit_digit(digit: int, options: argparse.Namespace) -> tuple[LipOCC, OneClassDataset]:
    """Train on the images of one digit, in units of pixels."""
    data = LOADERS[options.data](digit)
    detector = build(options, standardize=False, image_shape=data.image_shape)
    detector.fit(data.X_train)
    print(f"{options.data} {digit}: trained on {len(data.X_train)} images", flush=True)
    return detector, data


def grid(n_panels: int, panel: tuple[float, float]) -> tuple[Figure, Iterator[Any]]:
    """Return a figure of five panels in a line, and its axes."""
    columns = min(5, n_panels)
    lines = -(-n_panels // columns)
    size = (columns * panel[0], lines * panel[1])
    figure, axes = plt.subplots(lines, columns, figsize=size, layout="constrained", squeeze=False)
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.06)
    for ax in axes.flat[n_panels:]:
        ax.set_axis_off()
    return figure, iter(axes.flat)


def draw_synthesis(options: argparse.Namespace) -> Figure:
    """Draw ten samples of each digit, uncurated (the paper's Figure 2)."""
    figure, axes = grid(len(options.digits), (2.4, 1.3))
    for digit, ax in zip(options.digits, axes, strict=False):
        detector, data = fit_digit(digit, options)
        samples = detector.sample(10, random_state=0)
        inside = np.count_nonzero(detector.signed_distance(samples) > 0)
        plot_images(samples, data.image_shape, n_columns=5, limits=(0.0, 1.0), ax=ax)
        ax.set_title(f"{digit}: {inside} of 10 inside", fontsize=9)
    return figure


def draw_histograms(options: argparse.Namespace) -> Figure:
    """Draw the scores of train, test and other digits (the paper's Figure 5)."""
    figure, axes = grid(len(options.digits), (3.0, 2.4))
    for digit, ax in zip(options.digits, axes, strict=False):
        detector, data = fit_digit(digit, options)
        test = detector.signed_distance(data.X_test)
        groups = {
            "train": detector.signed_distance(data.X_train),
            "test": test[data.y_test == 0],
            "OOD": test[data.y_test == 1],
        }
        plot_histograms(groups, threshold=0.0, ax=ax)
        auroc = 100 * roc_auc_score(data.y_test, -test)
        ax.set_title(f"{digit}: AUROC {auroc:.2f}", fontsize=9)
        ax.set(ylabel=None, yticks=[])
        if digit != options.digits[0]:
            ax.get_legend().remove()
    figure.supxlabel("signed distance", fontsize=9)
    return figure


FIGURES: dict[str, Draw] = {
    "synthesis": draw_synthesis,
    "histograms": draw_histograms,
}


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("figures", nargs="+", choices=FIGURES)
    parser.add_argument("--data", choices=LOADERS, default="digits")
    parser.add_argument("--digits", nargs="+", type=int, default=list(range(10)))
    parser.add_argument("--network", default="auto", help="a name that LipOCC takes")
    parser.add_argument("--max-iter", type=int, help="the detector's own where left out")
    parser.add_argument("--output", type=Path, default=Path("figures"), help="a folder")
    parser.add_argument("--verbose", action="store_true")
    return parser.parse_args()


def main() -> None:
    """Draw the figures asked for."""
    plt.switch_backend("Agg")
    torch.set_num_threads(1)
    options = parse()
    if options.data == "mnist":
        require_mnist()
    options.output.mkdir(parents=True, exist_ok=True)
    for name in options.figures:
        figure = FIGURES[name](options)
        of_digits = name in ("synthesis", "histograms", "certified")
        path = options.output / (f"{name}-{options.data}.png" if of_digits else f"{name}.png")
        figure.savefig(path, dpi=100)
        plt.close(figure)
        print(path.resolve())


if __name__ == "__main__":
    main()
