"""One digit of MNIST against the other nine, with the paper's settings.

Margin, lambda, Adam at 1e-3 and, by default, batch and T are those of the paper's MNIST experiment,
here in [0, 1] pixels. The sampler is over-relaxed as in the authors' code. ``--authors`` takes the
rest of that code: RMSprop, augmented digits for half of the initial negatives, and a level of
-1.5 m beyond which no negative is moved back. The callback `TimeBox` stops the training and keeps
the time. Some minutes of a CPU suffice for the dense network and for a narrow convolutional one:

    LIPOCC_DATA=... python examples/mnist_one_class.py --digits 0 8 --minutes 10
    LIPOCC_DATA=... python examples/mnist_one_class.py --network conv --width 32 --digits 0 3 8

The paper's own network and schedule (Table 2 at width 128, 1,000 epochs) are for a GPU:

    LIPOCC_DATA=... python examples/mnist_one_class.py --network conv --full --device cuda
"""

from __future__ import annotations

import argparse
import math
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from _extras import require_mnist
from sklearn.metrics import roc_auc_score

from pyod_lipocc import LipOCC
from pyod_lipocc.datasets import OneClassDataset, load_digits_one_class, load_mnist
from pyod_lipocc.domains import Box
from pyod_lipocc.lipschitz import OrthogonalConv2d, ReshapedConv2d, conv, dense
from pyod_lipocc.metrics import best_threshold_accuracy, certified_roc_auc_score
from pyod_lipocc.negatives import ImageAugmentation, Mixture, uniform
from pyod_lipocc.sampler import newton_raphson
from pyod_lipocc.training import Callback

RADII = (8, 16, 36, 72)  # of 255
CONVOLUTIONS = {"reshaped": ReshapedConv2d, "orthogonal": OrthogonalConv2d}
EPOCHS = 1000
PAPER = {"width": 128, "batch": 128, "newton_steps": 16, "convolution": "reshaped"}
RATE = 1e-3


class TimeBox(Callback):
    """Stop after a number of seconds; keep the seconds of each step in `laps`.

    A fit copies its callbacks, and the copies share the list.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.laps: list[float] = []

    def begin(self, max_iter: int, network: torch.nn.Module) -> None:
        """Start the clock."""
        self._last = time.perf_counter()
        self._end = self._last + self.seconds

    def step(self, iteration: int, metrics: Mapping[str, torch.Tensor]) -> bool:
        """Tell whether time is up."""
        metrics["loss"].item()  # waits for a GPU: a lap is a whole step
        now = time.perf_counter()
        self.laps.append(now - self._last)
        self._last = now
        return now >= self._end

    def rate(self, progress: float) -> float:
        """Return a learning rate that falls linearly to 0 as time runs out."""
        return RATE * max(0.0, 1 - sum(self.laps) / self.seconds)


def network(options: argparse.Namespace) -> Callable[..., torch.nn.Module]:
    """Return the builder of the chosen network."""
    if options.network == "dense":
        return partial(dense, hidden=options.hidden)
    return partial(conv, width=options.width, convolution=CONVOLUTIONS[options.convolution])


def described(options: argparse.Namespace) -> str:
    """Return the chosen network in words."""
    if options.network == "dense":
        return f"dense network {options.hidden}"
    return f"convolutional network of Table 2, width {options.width}, {options.convolution} kernels"


def fit(data: OneClassDataset, options: argparse.Namespace, box: TimeBox, max_iter: int) -> LipOCC:
    """Train on the images of one digit."""
    paper = {
        # 2 % of the largest norm of an image, as in the paper; there in [-1, 1] pixels
        "margin": 0.02 * (2 * data.X_train.shape[1]) ** 0.5 / 2,
        "regularization": 200.0,
        "n_newton_steps": options.newton_steps,
        "sampler": partial(newton_raphson, step_range=(0.0, 1.25 * options.newton_steps)),
        "domain": Box(0.0, 1.0),
        "max_iter": max_iter,
        "learning_rate": box.rate if options.decay else RATE,
    }
    if options.authors:
        paper |= {
            "optimizer": "rmsprop",
            "sampler": partial(paper["sampler"], residual=torch.relu, level=-1.5),
            "negatives": Mixture((uniform, ImageAugmentation(data.image_shape, noise=0.05))),
        }
    return LipOCC(
        novelty=True,
        network=network(options),
        **({} if options.defaults else paper),
        standardize=False,
        image_shape=data.image_shape,
        batch_size=options.batch,
        callbacks=[box],
        device=options.device,
        random_state=0,
    ).fit(data.X_train)


def full_schedule(data: OneClassDataset, batch: int) -> int:
    """Return the number of steps of the paper's epochs."""
    return EPOCHS * math.ceil(len(data.X_train) / batch)


def run(digit: int, options: argparse.Namespace) -> str:
    """Train on one digit; return its row of the table."""
    data = options.load(digit)
    box = TimeBox(math.inf if options.full else 60 * options.minutes)
    max_iter = full_schedule(data, options.batch) if options.full else 1_000_000
    detector = fit(data, options, box, max_iter)
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
        f"{1e3 * sum(box.laps) / len(box.laps):.0f}",
    ]
    return f"| {digit} | " + " | ".join(cells) + " |"


def projection(options: argparse.Namespace) -> str:
    """Return a sentence with the cost of the paper's schedule here, from a few of its steps."""
    data = options.load(options.digits[0])
    paper = argparse.Namespace(**vars(options) | PAPER | {"defaults": False})
    few = replace(data, X_train=data.X_train[: paper.batch])
    box = TimeBox(math.inf)
    fit(few, paper, box, max_iter=4)
    lap = min(box.laps[1:])  # the first also sets things up
    steps = full_schedule(data, paper.batch)
    return (
        f"At width {paper.width} a step takes {lap:.2f} s: the paper's {EPOCHS:,} epochs, "
        f"{steps:,} steps, would take {lap * steps / 3600:.1f} hours for digit "
        f"{options.digits[0]} on this machine; `--full --device cuda` runs them on a GPU."
    )


def parse() -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--digits", type=int, nargs="+", default=[0, 8])
    parser.add_argument("--network", choices=("dense", "conv"), default="dense")
    parser.add_argument("--hidden", type=int, nargs="+", default=[512, 512], help="dense")
    parser.add_argument("--width", type=int, help="conv; default: 32, with --full the paper's 128")
    parser.add_argument("--convolution", choices=CONVOLUTIONS, default=PAPER["convolution"])
    parser.add_argument("--batch", type=int, default=PAPER["batch"])
    parser.add_argument("--newton-steps", type=int, default=PAPER["newton_steps"], help="T")
    parser.add_argument("--minutes", type=float, default=15.0, help="of a digit")
    parser.add_argument("--full", action="store_true", help="the paper's schedule instead")
    parser.add_argument("--decay", action="store_true", help="learning rate falls to 0 in time")
    parser.add_argument(
        "--defaults",
        action="store_true",
        help="LipOCC's own margin, lambda, T, sampler, steps and rate instead of the paper's",
    )
    parser.add_argument("--authors", action="store_true", help="as in the authors' code")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--embedded", action="store_true", help="scikit-learn's 8 x 8 digits")
    parser.add_argument("--output", type=Path, help="markdown file, beside standard output")
    options = parser.parse_args()
    options.width = options.width or (PAPER["width"] if options.full else 32)
    options.load = load_digits_one_class if options.embedded else load_mnist
    return options


def report(options: argparse.Namespace) -> Iterator[str]:
    """Run the digits one after the other; yield each line when it is known."""
    certified = [f"certified {r}/255" for r in RADII]
    header = ["digit", "ROC AUC", "accuracy", *certified, "gradient norm", "steps", "ms a step"]
    length = f"{EPOCHS:,} epochs" if options.full else f"{options.minutes:g} minutes"
    place = f"threads: {options.threads}" if options.device == "cpu" else options.device
    yield f"# One class of MNIST, {described(options)}"
    yield ""
    yield f"Made by `python examples/mnist_one_class.py {shlex.join(sys.argv[1:])}`."
    yield f"LipOCC, {described(options)}, batch {options.batch},"
    settings = "LipOCC's own settings" if options.defaults else f"T {options.newton_steps}"
    settings += ", as in the authors' code" if options.authors else ""
    yield f"{settings}, at most {length} a digit, {place}."
    yield "Percent; the gradient norm is that at the negatives, mean of the last 100 steps."
    yield ""
    yield "| " + " | ".join(header) + " |"
    yield "|---" * len(header) + "|"
    for digit in options.digits:
        yield run(digit, options)
    if options.network == "conv" and not options.full:
        yield ""
        yield projection(options)


def main() -> None:
    """Print the report as it grows, and write it."""
    options = parse()
    if not options.embedded:
        require_mnist()
    torch.set_num_threads(options.threads)
    lines = []
    for line in report(options):
        print(line, flush=True)
        lines.append(line)
    if options.output:
        options.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
