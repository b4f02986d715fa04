"""What a certificate is worth: detectors on MNIST whose test images are attacked.

For each l2 size the attack raises the scores of images of the class and lowers those of other
digits, inside the range of the pixels. It follows the gradient of the score where there is one, and
queries the score of IForest. The ROC AUC under attack is an upper bound of that under the worst
attack; a certified ROC AUC is a lower bound.

A finished pair of a detector and a digit is kept under ``benchmarks/outputs/under-attack``.

    python -m benchmarks.studies.under_attack
    python -m benchmarks.studies.under_attack --data digits --digits 0 --images 20 --output attack
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pyod.models.base import BaseDetector
from pyod.models.deep_svdd import DeepSVDD
from pyod.models.iforest import IForest
from pyod.models.knn import KNN
from pyod.models.ocsvm import OCSVM
from sklearn.metrics import roc_auc_score
from torch import Tensor

from benchmarks import OUTPUTS, RESULTS
from benchmarks.benchmark_utils.lipocc import DIGEST
from benchmarks.benchmark_utils.measure import limited_threads
from benchmarks.report.tables import markdown
from benchmarks.studies import ONE_CLASS, save_arrays
from pyod_lipocc import LipOCC
from pyod_lipocc.attacks import nes_l2, pgd_l2
from pyod_lipocc.datasets import OneClassDataset
from pyod_lipocc.domains import Box
from pyod_lipocc.metrics import certified_roc_auc_score

RADII = (0, 8, 16, 36, 72)  # of 255
PIXELS = Box(0.0, 1.0)
GRADIENTS = partial(pgd_l2, n_restarts=1, domain=PIXELS, random_state=0)
N_STARTS, N_DIRECTIONS = 2, 8  # a forest is flat at most images: the second start is beside it
QUERIES = partial(
    nes_l2,
    n_restarts=N_STARTS,
    n_directions=N_DIRECTIONS,
    domain=PIXELS,
    random_state=0,
)


class Target(NamedTuple):
    """A fitted detector, and the attack on it."""

    detector: BaseDetector
    attack: Callable[..., Tensor]
    lipschitz_constant: float = np.inf


def of_lipocc(data: OneClassDataset) -> Target:
    detector = LipOCC(
        novelty=True, standardize=False, image_shape=data.image_shape, random_state=0
    ).fit(data.X_train)
    attack = partial(GRADIENTS, detector.to_torch())
    return Target(detector, attack, detector.lipschitz_constant_)


def of_knn(data: OneClassDataset) -> Target:
    """Return the mean distance to 5 neighbours, which moves at most as far as an image."""
    rows = torch.from_numpy(data.X_train).double()
    detector = KNN(n_neighbors=5, method="mean").fit(rows.numpy())

    def score(x: Tensor) -> Tensor:
        nearest = rows[torch.cdist(x.detach(), rows).topk(5, largest=False).indices]
        return torch.linalg.vector_norm(x.unsqueeze(1) - nearest, dim=2).mean(dim=1)

    return Target(detector, partial(GRADIENTS, score), 1.0)


def of_ocsvm(data: OneClassDataset) -> Target:
    detector = OCSVM().fit(data.X_train)
    machine = detector.detector_
    vectors = torch.from_numpy(machine.support_vectors_)
    weights, width = torch.from_numpy(machine.dual_coef_[0]), 1 / data.X_train.shape[1]

    def score(x: Tensor) -> Tensor:
        squares = (x**2).sum(1, keepdim=True) + (vectors**2).sum(1) - 2 * x @ vectors.T
        return -torch.exp(-width * squares) @ weights

    return Target(detector, partial(GRADIENTS, score))


def of_deep_svdd(data: OneClassDataset) -> Target:
    np.random.seed(0)  # noqa: NPY002  it shuffles with NumPy's global generator
    detector = DeepSVDD(data.X_train.shape[1], random_state=0, verbose=0).fit(data.X_train)
    mean, scale = (torch.from_numpy(v) for v in (detector.scaler_.mean_, detector.scaler_.scale_))

    def score(x: Tensor) -> Tensor:
        standardised = ((x - mean) / scale).float()
        return ((detector.model_(standardised) - detector.c_) ** 2).sum(dim=1).double()

    return Target(detector, partial(GRADIENTS, score))


def of_iforest(data: OneClassDataset) -> Target:
    detector = IForest(random_state=0).fit(data.X_train)
    return Target(
        detector,
        partial(QUERIES, lambda x: torch.from_numpy(detector.decision_function(x.numpy()))),
    )


TARGETS: dict[str, Callable[[OneClassDataset], Target]] = {
    "LipOCC": of_lipocc,
    "KNN": of_knn,
    "OCSVM": of_ocsvm,
    "DeepSVDD": of_deep_svdd,
    "IForest": of_iforest,
}


def choose(data: OneClassDataset, n: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return n test images of the class and n of the others, and their labels."""
    order = np.random.default_rng(0).permutation(len(data.y_test))
    chosen = np.concatenate([order[data.y_test[order] == label][:n] for label in (0, 1)])
    return data.X_test[chosen].astype(np.float64), data.y_test[chosen]


def attacked(target: Target, X: NDArray, y: NDArray, radius: float, n_steps: int) -> float:
    """Return the ROC AUC after the attack on each image, by the detector's own scores."""
    X = X.copy()
    for label, direction in ((0, "raise"), (1, "lower")):
        rows = torch.from_numpy(X[y == label])
        X[y == label] = target.attack(rows, radius, direction=direction, n_steps=n_steps).numpy()
    return roc_auc_score(y, target.detector.decision_function(X))


def curves(name: str, digit: int, options: argparse.Namespace) -> dict[str, NDArray]:
    """Return ROC AUCs at the radii: under attack, and certified where anything is."""
    path = options.cache / options.data / f"{name}-{digit}.npz"
    key = json.dumps([DIGEST, options.images, options.steps])
    if not path.exists() or str(np.load(path)["key"]) != key:
        data = ONE_CLASS[options.data](digit)
        X, y = choose(data, options.images)
        target = TARGETS[name](data)
        scores = target.detector.decision_function(X)
        reached = [attacked(target, X, y, radius / 255, options.steps) for radius in RADII[1:]]
        found = {"attacked": [roc_auc_score(y, scores), *reached]}
        if np.isfinite(constant := target.lipschitz_constant):
            radii = np.array(RADII) / 255
            found["certified"] = certified_roc_auc_score(
                y, scores, radii, lipschitz_constant=constant
            )
        save_arrays(path, key=key, **found)
        print(data.name, name, flush=True)
    return {kind: values for kind, values in np.load(path).items() if kind != "key"}


def draw(means: dict[str, NDArray]) -> Figure:
    figure = Figure(figsize=(6, 4), layout="constrained")
    ax = figure.subplots()
    for curve, values in means.items():
        name, _, kind = curve.partition(", ")
        color = f"C{list(TARGETS).index(name)}"
        style = "o-" if kind == "attacked" else "--"
        ax.plot(RADII, 100 * values, style, color=color, markersize=4, label=curve)
    ax.set(xlabel="l2 size of the attack, in 255ths of the range of a pixel", ylabel="ROC AUC, %")
    ax.set(ylim=(-2, 102))
    ax.grid(alpha=0.3)
    ax.legend(fontsize=8)
    return figure


PAGE = """\
# Under attack

Made by `{command}`. Code: pyod_lipocc {digest}.

Every detector has its defaults and is trained on one digit; {n} test images of that digit and {n}
of the others are attacked. Each attack moves an image by an l2 distance, inside [0, 1] pixels: up
in score if it is of the digit, down if not. Attacks follow gradients for {n_steps} steps;
IForest, which has none, is queried {queries:,} times an image. ROC AUC in percent, mean of the
digits: {digits}. Under attack it is an upper bound: a better attack may be found. The certified
figures are lower bounds: no attack can be better. DeepSVDD standardises each pixel: its attack
moves those that hardly vary.

{table}
![ROC AUC against the size of the attack](under-attack.png)
"""


def main(argv: Sequence[str]) -> None:
    """Attack, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", choices=ONE_CLASS, default="mnist")
    parser.add_argument("--digits", nargs="+", type=int, default=[3, 8])
    parser.add_argument("--detectors", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--images", type=int, default=100, help="of the class, and of the others")
    parser.add_argument("--steps", type=int, default=10, help="of an attack")
    parser.add_argument("--cache", type=Path, default=OUTPUTS / "under-attack", help="a folder")
    parser.add_argument("--output", type=Path, default=RESULTS, help="a folder")
    options = parser.parse_args(argv)
    with limited_threads(1):
        found = {
            name: [curves(name, digit, options) for digit in options.digits]
            for name in options.detectors
        }
    means = {
        f"{name}, {kind}": np.mean([of_digit[kind] for of_digit in digits], axis=0)
        for name, digits in found.items()
        for kind in digits[0]
    }
    header = ["detector", "no attack", *(f"{radius}/255" for radius in RADII[1:])]
    rows = [[name, *(f"{100 * value:.1f}" for value in values)] for name, values in means.items()]
    options.output.mkdir(parents=True, exist_ok=True)
    draw(means).savefig(options.output / "under-attack.png", dpi=100, metadata={"Software": None})
    text = PAGE.format(
        command=shlex.join(["python", "-m", "benchmarks.studies.under_attack", *argv]),
        digest=DIGEST,
        n=options.images,
        n_steps=options.steps,
        queries=N_STARTS * (options.steps + 1) * (2 * N_DIRECTIONS + 1),
        digits=", ".join(map(str, options.digits)),
        table=markdown([header, *rows]),
    )
    (options.output / "under-attack.md").write_text(text, encoding="utf-8")
    print(options.output / "under-attack.md")


if __name__ == "__main__":
    main(sys.argv[1:])
