"""One digit of MNIST against the other nine: the paper's settings with a dense network, time-boxed.

Margin, lambda, batch and T are those of the paper's MNIST experiment (in [0, 1] pixels), the
sampler is over-relaxed as in its authors' code. A callback of one's own stops the training.

    LIPOCC_DATA=... python examples/mnist_one_class.py --digits 0 8 --minutes 10
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from sklearn.metrics import roc_auc_score

from pyod_lipocc import LipOCC
from pyod_lipocc.datasets import load_digits_one_class, load_mnist
from pyod_lipocc.domains import Box
from pyod_lipocc.lipschitz import dense
from pyod_lipocc.metrics import best_threshold_accuracy, certified_roc_auc_score
from pyod_lipocc.sampler import newton_raphson
from pyod_lipocc.training import Callback

RADII = (8, 16, 36, 72)  # of 255


class TimeBox(Callback):
    """Stop after a number of seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def begin(self, max_iter: int) -> None:
        """Start the clock."""
        self._end = time.perf_counter() + self.seconds

    def step(self, iteration: int, metrics: Mapping[str, torch.Tensor]) -> bool:
        """Tell whether time is up."""
        return time.perf_counter() >= self._end


def run(digit: int, options: argparse.Namespace) -> str:
    """Train on one digit; return its row of the table."""
    data = (load_digits_one_class if options.embedded else load_mnist)(digit)
    n_features = data.X_train.shape[1]
    detector = LipOCC(
        network=partial(dense, hidden=options.hidden),
        # 2 % of the largest norm of an image, as in the paper; there in [-1, 1] pixels
        margin=0.02 * (2 * n_features) ** 0.5 / 2,
        regularization=200.0,
        n_newton_steps=16,
        sampler=partial(newton_raphson, step_range=(0.0, 20.0)),
        domain=Box(0.0, 1.0),
        standardize=False,
        image_shape=data.image_shape,
        max_iter=1_000_000,
        batch_size=128,
        learning_rate=1e-3,
        callbacks=[TimeBox(60 * options.minutes)],
        random_state=0,
    ).fit(data.X_train)
    scores = detector.decision_function(data.X_test)
    bound = detector.lipschitz_constant_
    certified = [
        100 * certified_roc_auc_score(data.y_test, scores, r / 255, lipschitz_constant=bound)
        for r in RADII
    ]
    cells = [
        f"{100 * roc_auc_score(data.y_test, scores):.2f}",
        f"{100 * best_threshold_accuracy(data.y_test, scores):.2f}",
        *(f"{value:.2f}" for value in certified),
        f"{detector.history_.gradient_norm[-100:].mean():.3f}",
        f"{detector.n_iter_}",
    ]
    return f"| {digit} | " + " | ".join(cells) + " |"


def main() -> None:
    """Run the digits one after the other and print, or write, the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--digits", type=int, nargs="+", default=[0, 8])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--hidden", type=int, nargs="+", default=[512, 512])
    parser.add_argument("--embedded", action="store_true", help="scikit-learn's 8 x 8 digits")
    parser.add_argument("--output", type=Path, help="markdown file; default: standard output")
    options = parser.parse_args()
    torch.set_num_threads(1)
    certified = [f"certified {r}/255" for r in RADII]
    command = f"--digits {' '.join(map(str, options.digits))} --minutes {options.minutes:g}"
    header = ["digit", "ROC AUC", "accuracy", *certified, "gradient norm", "steps"]
    lines = [
        f"Made by `python examples/mnist_one_class.py {command}`.",
        f"LipOCC, dense network {options.hidden}, {options.minutes:g} minutes a digit, one thread.",
        "Percent; the gradient norm is that at the negatives, mean of the last 100 steps.",
        "",
        "| " + " | ".join(header) + " |",
        "|---" * len(header) + "|",
        *(run(digit, options) for digit in options.digits),
    ]
    text = "\n".join(lines) + "\n"
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
