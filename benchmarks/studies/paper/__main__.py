"""The MNIST experiment of Béthune & Serrurier (2022): Tables 1 and 2, Figures 2 and 5.

Trains each network on each digit, one file for each pair under ``benchmarks/outputs/paper``, and
makes the page from the files that are there. A finished pair is not run again: a run that was
killed goes on where it was. The page takes OCSVM, IForest and DeepSVDD from the runs that
``make benchmark`` keeps.

    python -m benchmarks.studies.paper                   # width 16, 20 minutes on two cores
    python -m benchmarks.studies.paper --device cuda     # the paper's width, 128
    python -m benchmarks.studies.paper --networks as-printed --steps 47000 --device cuda
    python -m benchmarks.studies.paper --data digits --digits 0 --output digits
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed

from benchmarks import OUTPUTS, RESULTS
from benchmarks.benchmark_utils.lipocc import DIGEST, gradient_norm
from benchmarks.benchmark_utils.measure import Stopwatch, limited_threads
from benchmarks.studies import ONE_CLASS, save_arrays
from benchmarks.studies.paper.page import Cell, report
from pyod_lipocc import LipOCC
from pyod_lipocc.datasets import OneClassDataset
from pyod_lipocc.domains import Box
from pyod_lipocc.lipschitz import ReshapedConv2d, conv
from pyod_lipocc.negatives import uniform
from pyod_lipocc.sampler import newton_raphson

NETWORKS = ("default", "dense", "norm-preserving", "conv", "as-printed")
N_SAMPLES, N_TRAIN = 4, 1000  # shown in the figures


def settings_of(name: str, n_pixels: int, options: argparse.Namespace) -> dict[str, Any]:
    """Return the parameters of a row of Table 1."""
    if name == "default":
        return {}
    if name == "conv":
        return {"network": partial(conv, width=options.width)}
    if name != "as-printed":
        return {"network": name}
    return {
        "network": partial(conv, width=options.width, convolution=ReshapedConv2d),
        # 2 % of the largest norm of an image, as in the paper; there in [-1, 1] pixels
        "margin": 0.02 * (2 * n_pixels) ** 0.5 / 2,
        "regularization": 200.0,
        "n_newton_steps": 16,
        "sampler": newton_raphson,
        "negatives": uniform,
        "domain": Box(0.0, 1.0),
        "batch_size": 128,
        "learning_rate": 1e-3,
        "max_iter": options.steps,
    }


def train(name: str, data: OneClassDataset, options: argparse.Namespace) -> Cell:
    """Fit a network on a digit; return all that the page shows of it."""
    settings = settings_of(name, data.X_train.shape[1], options)
    detector = LipOCC(
        novelty=True,
        standardize=False,
        image_shape=data.image_shape,
        threshold="boundary",
        device=options.device,
        random_state=0,
        **settings,
    )
    with Stopwatch() as fit:
        detector.fit(data.X_train)
    return {
        "train": detector.signed_distance(data.X_train[:N_TRAIN]),
        "test": detector.signed_distance(data.X_test),
        "y": data.y_test,
        "samples": detector.sample(N_SAMPLES, random_state=0),
        "lipschitz_constant": detector.lipschitz_constant_,
        "gradient_norm": gradient_norm(detector, data.X_test),
        "steps": detector.n_iter_,
        "seconds": fit.seconds if options.device else fit.cpu_seconds,
    }


def path_of(name: str, digit: int, options: argparse.Namespace) -> Path:
    """Return the file of a network and a digit."""
    return options.cache / options.data / f"{name}-{digit}.npz"


def run(name: str, digit: int, options: argparse.Namespace) -> None:
    """Train a network on a digit, unless its file is there and of this code."""
    path = path_of(name, digit, options)
    steps = options.steps if name == "as-printed" else None
    key = json.dumps([DIGEST, options.device, options.width, steps])
    if not path.exists() or str(np.load(path)["key"]) != key:
        with limited_threads(1):
            save_arrays(path, key=key, **train(name, ONE_CLASS[options.data](digit), options))
        print(f"{options.data} {digit}: {name}", flush=True)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", choices=ONE_CLASS, default="mnist")
    parser.add_argument("--digits", nargs="+", type=int, default=list(range(10)))
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--steps", type=int, default=50, help="of as-printed; the paper: 47,000")
    parser.add_argument("--device", help="as LipOCC takes it")
    parser.add_argument("--width", type=int, help="default: 16 on a CPU, else the paper's 128")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--draw-only", action="store_true", help="train nothing")
    parser.add_argument("--cache", type=Path, default=OUTPUTS / "paper", help="a folder")
    parser.add_argument("--output", type=Path, default=RESULTS, help="a folder")
    options = parser.parse_args(argv)
    if options.device == "cpu":
        options.device = None
    options.width = options.width or (128 if options.device else 16)
    return options


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is missing, then write the page."""
    options = parse(argv)
    pairs = [(name, digit) for name in options.networks for digit in options.digits]
    if not options.draw_only:
        Parallel(options.jobs)(delayed(run)(*pair, options) for pair in pairs)
    files = {pair: path_of(*pair, options) for pair in pairs}
    report({pair: dict(np.load(file)) for pair, file in files.items() if file.exists()}, options)


if __name__ == "__main__":
    main()
