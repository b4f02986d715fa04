"""The toy experiment of Béthune & Serrurier (2022): LipOCC beside other detectors in the plane.

Trains every detector on every set, one file for each pair under ``OUTPUT/cache``, and draws figures
and tables from the files that are there. A finished pair is not run again: a run that was killed
goes on where it was.

    python -m benchmarks.studies.toy                # the paper's settings: hours on one core
    python -m benchmarks.studies.toy --device cuda  # minutes
    python -m benchmarks.studies.toy --sets two-moons --hidden 64 64 --max-iter 200 --output toy
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pyod.models.iforest import IForest
from pyod.models.ocsvm import OCSVM
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from benchmarks import RESULTS
from benchmarks.studies import save_arrays
from benchmarks.studies.toy.figures import Piece, draw_all
from pyod_lipocc import LipOCC
from pyod_lipocc.datasets import SHAPE_NAMES, TOY_NAMES, load_toy, toy_signed_distance
from pyod_lipocc.domains import Ball
from pyod_lipocc.lipschitz import dense
from pyod_lipocc.losses import binary_cross_entropy
from pyod_lipocc.negatives import Away, uniform
from pyod_lipocc.training import History, LinearDecay, ProgressBar, WeightAveraging, train

Settings = dict[str, Any]

VARIANTS: dict[str, Settings] = {
    "lipocc-averaged": {"averaged": 0.02},
    "lipocc-decay": {"learning_rate": [1e-3, 1e-6]},
    "lipocc-apart": {"learning_rate": [1e-3, 1e-6], "apart": 0.95},
}
RADIUS = 5.0
RESOLUTION = 300
WINDOWS = {"one-cloud": 5.0, "blob-and-cloud": 4.0}  # half width of the picture; 3 elsewhere


class Trained(NamedTuple):
    """A detector as the figures see it: `score` is positive inside, `network` differentiable."""

    score: Callable[[np.ndarray], np.ndarray]
    network: Callable[[torch.Tensor], torch.Tensor] | None = None
    history: History | None = None
    lipschitz_constant: float = np.inf


def load_points(name: str) -> np.ndarray:
    """Sample a set; the paper's sets get mean 0 and variance 1, shapes stay as they are."""
    if name in SHAPE_NAMES:
        return load_toy(name, 4000, random_state=0)
    return StandardScaler().fit_transform(load_toy(name, 1000, random_state=0))


def settings_of(model: str, name: str, options: argparse.Namespace) -> Settings:
    """Return everything that the result of a pair depends on."""
    if model == "ocsvm":
        return {"kernel": "rbf", "nu": 0.05, "gamma": 0.5}
    if model == "iforest":
        return {"contamination": 0.05}
    paper = {
        "hidden": options.hidden,
        "max_iter": options.max_iter,
        "margin": 0.1 if name == "blob-and-cloud" else 0.05,
        "batch_size": 256,
        "n_newton_steps": 4,
        "learning_rate": 1e-3,
    }
    return paper | VARIANTS.get(model, {})


def spacing(points: np.ndarray, share: float) -> float:
    """Return the distance within which a share of the points has another point."""
    distances, _ = NearestNeighbors(n_neighbors=1).fit(points).kneighbors()
    return float(np.quantile(distances, share))


def fit_lipocc(
    points: np.ndarray, settings: Settings, standardize: bool, options: argparse.Namespace
) -> Trained:
    """Train LipOCC through its public API.

    The setting `averaged` is the share of the steps, the last, whose weights are averaged. `apart`
    is the share of a batch's rows that have another row within the gap between Q0 and the data.
    """
    arguments = dict(settings)
    if isinstance(rates := arguments["learning_rate"], list):
        arguments["learning_rate"] = LinearDecay(*rates)
    if share := arguments.pop("averaged", 0.0):
        arguments["callbacks"] = [WeightAveraging(share)]
    arguments["negatives"] = uniform
    if share := arguments.pop("apart", 0.0):
        distance = spacing(points[: arguments["batch_size"]], share)
        arguments["negatives"] = Away(uniform, distance)
    detector = LipOCC(
        novelty=True,
        network=partial(dense, hidden=arguments.pop("hidden")),
        **arguments,
        regularization=100.0,
        optimizer="rmsprop",
        domain=Ball(RADIUS),
        standardize=standardize,
        device=options.device,
        random_state=0,
        verbose=options.verbose,
    ).fit(points)
    scorer = detector.to_torch().cpu()
    return Trained(
        detector.signed_distance,
        lambda x: -scorer(x),
        detector.history_,
        detector.lipschitz_constant_,
    )


def fit_conventional(
    points: np.ndarray, settings: Settings, standardize: bool, options: argparse.Namespace
) -> Trained:
    """Train a network without constraint: ReLU, cross-entropy, Algorithm 1 on itself."""
    device = options.device
    generator = torch.Generator(device).manual_seed(0)
    rows = torch.from_numpy(points).float().to(device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = torch.nn.Sequential()
        for width, wider in pairwise([2, *settings["hidden"]]):
            network.extend([torch.nn.Linear(width, wider), torch.nn.ReLU()])
        network.append(torch.nn.Linear(settings["hidden"][-1], 1)).to(device)
    rate, size = settings["learning_rate"], (settings["batch_size"],)
    draw = partial(torch.randint, len(rows), size, generator=generator, device=device)
    history = train(
        network,
        iter(lambda: rows[draw()], None),
        domain=Ball(RADIUS).expand(2).to(torch.float32, torch.device(device)),
        margin=settings["margin"],
        loss=binary_cross_entropy,
        optimizer=torch.optim.Adam(network.parameters()),
        schedule=LinearDecay(rate, rate),
        max_iter=settings["max_iter"],
        n_newton_steps=settings["n_newton_steps"],
        callbacks=[ProgressBar("conventional")] if options.verbose else [],
        generator=generator,
    )
    network.cpu().double().requires_grad_(False)

    def score(x: np.ndarray) -> np.ndarray:
        return network(torch.from_numpy(x)).reshape(-1).numpy()

    return Trained(score, network, history)


def fit_ocsvm(
    points: np.ndarray, settings: Settings, standardize: bool, options: argparse.Namespace
) -> Trained:
    """Fit PyOD's one-class SVM; its own boundary is the zero level."""
    detector = OCSVM(**settings, contamination=0.05).fit(points)
    return Trained(lambda x: -detector.decision_function(x))


def fit_iforest(
    points: np.ndarray, settings: Settings, standardize: bool, options: argparse.Namespace
) -> Trained:
    """Fit PyOD's isolation forest; its threshold is the zero level."""
    detector = IForest(**settings, random_state=0).fit(points)
    return Trained(lambda x: detector.threshold_ - detector.decision_function(x))


MODELS = {
    **dict.fromkeys(["lipocc", *VARIANTS], fit_lipocc),
    "ocsvm": fit_ocsvm,
    "iforest": fit_iforest,
    "conventional": fit_conventional,
}


def gradient_norms(
    network: Callable[[torch.Tensor], torch.Tensor], points: np.ndarray
) -> np.ndarray:
    """Return the l2 norm of the gradient at each point."""
    x = torch.from_numpy(points).requires_grad_(True)
    (gradient,) = torch.autograd.grad(network(x).sum(), x)
    return torch.linalg.vector_norm(gradient, dim=1).numpy()


def measure(name: str, points: np.ndarray, trained: Trained) -> Piece:
    """Evaluate everything that the figures and tables show."""
    half_width = WINDOWS.get(name, 3.0)
    axis = np.linspace(-half_width, half_width, RESOLUTION)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    ball = Ball(RADIUS).expand(2).sample(10_000, torch.Generator().manual_seed(1)).numpy()
    piece: Piece = {
        "half_width": half_width,
        "points": points.astype(np.float32),
        "grid": trained.score(grid).reshape(RESOLUTION, RESOLUTION).astype(np.float32),
        "scores": trained.score(points).astype(np.float32),
        "ball_scores": trained.score(ball).astype(np.float32),
        "lipschitz_constant": trained.lipschitz_constant,
    }
    if trained.network is not None:
        piece["gradient_norms"] = gradient_norms(trained.network, points)
        piece["ball_gradient_norms"] = gradient_norms(trained.network, ball)
    if name in SHAPE_NAMES:
        piece["ball_errors"] = trained.score(ball) - toy_signed_distance(name, ball)
    if trained.history is not None:
        for field, column in vars(trained.history).items():
            parts = np.array_split(column, min(100, len(column)))
            piece[f"history_{field}"] = np.array([part.mean() for part in parts])
    return piece


def run(name: str, model: str, options: argparse.Namespace) -> None:
    """Train and measure one pair, unless its file is there with these settings."""
    path = options.output / "cache" / f"{name}.{model}.npz"
    settings = settings_of(model, name, options)
    if path.exists() and json.loads(str(np.load(path)["settings"])) == settings:
        return
    points = load_points(name)
    start = time.perf_counter()
    trained = MODELS[model](points, settings, name not in SHAPE_NAMES, options)
    seconds = time.perf_counter() - start
    piece = measure(name, points, trained)
    save_arrays(path, settings=json.dumps(settings), **piece)
    print(f"{name:15} {model:15} {seconds:7.1f} s", flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is missing, then draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sets", nargs="+", default=TOY_NAMES, choices=TOY_NAMES)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--hidden", nargs="+", type=int, default=[512] * 4)
    parser.add_argument("--max-iter", type=int, default=10_000)
    parser.add_argument("--output", type=Path, default=RESULTS / "toy")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--draw-only", action="store_true", help="train nothing")
    parser.add_argument("--verbose", action="store_true", default=sys.stderr.isatty())
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    if not options.draw_only:
        for model in options.models:
            for name in options.sets:
                run(name, model, options)
    draw_all(options.output)


if __name__ == "__main__":
    main()
