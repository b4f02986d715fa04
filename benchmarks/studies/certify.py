"""Attack the certificates: count the points that break a proven bound, and measure its slack.

Every network is fitted on every set. Projected gradient descent and natural evolution strategies
attack its score, which is also compared at pairs of near points. Scores and labels come from the
detector's own methods. Two claims are tested at each attacked point:

- bound: the score changes by at most the Lipschitz constant times the distance, plus rounding;
- radius: the label stays the same within the certified radius.

    python -m benchmarks.studies.certify                    # about a million points
    python -m benchmarks.studies.certify --fraction 0.01    # a quick look
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.preprocessing import StandardScaler

from benchmarks import RESULTS
from benchmarks.report.tables import markdown
from pyod_lipocc import LipOCC
from pyod_lipocc.attacks import nes_l2, pgd_l2
from pyod_lipocc.datasets import load_digits_one_class, load_odds, load_toy
from pyod_lipocc.lipschitz import NearestSubspace, conv, conv_deep, dense

Floats = NDArray[np.float64]
Parameters = dict[str, dict[str, Any]]
Search = Callable[..., torch.Tensor]

N_POINTS = 1_000_000
SHARES = {"pgd": 0.25, "nes": 0.05, "pairs": 0.7}
NEAREST, FARTHEST = 1e-9, 1.0  # distances of pairs, in units of the typical deviation


SEARCHES: dict[str, Search] = {
    "pgd": partial(pgd_l2, n_steps=10, n_restarts=2),
    "nes": partial(nes_l2, n_steps=20, n_directions=4),
}

TABULAR: Parameters = {
    "dense": {"network": partial(dense, hidden=(64, 64))},
    "auto": {"network": "auto"},
    "nearest-subspace": {"network": "nearest-subspace", "novelty": True},
}


class Case(NamedTuple):
    """A set, and the parameters of the detector that is fitted on it."""

    data: str
    network: str
    X_train: Floats
    X_test: Floats
    parameters: dict[str, Any]


def cases(embedded: bool) -> Iterator[Case]:
    """Yield a toy set, digits, two tables of scikit-learn, one in raw units, and one of ODDS."""
    subspaces = partial(NearestSubspace, n_components=8)
    moons = load_toy("two-moons", 1000, random_state=0)
    toy = {
        "inscribed-balls": {"network": "inscribed-balls", "novelty": True},
        "k-subspaces": {"network": partial(subspaces, n_directions=1)},
    }
    yield from _networks("two-moons", moons[::2], moons[1::2], TABULAR | toy)

    digits = load_digits_one_class(0)
    images = {
        "k-subspaces": {"network": partial(subspaces, n_directions=4)},
        "conv": {"network": partial(conv, width=8, depth=2)},
        "conv-deep": {"network": partial(conv_deep, stages=((1, 6), (1, 8)))},
    }
    pixels = {"standardize": False, "image_shape": digits.image_shape}
    X_train, X_test = (X.astype(np.float64) for X in (digits.X_train, digits.X_test))
    yield from _networks(digits.name, X_train, X_test, TABULAR | images, **pixels)

    X, y = load_wine(return_X_y=True)
    yield from _networks("wine, raw units", X[y == 1][::2], X, TABULAR)
    X, y = load_breast_cancer(return_X_y=True)
    yield from _networks("breast-cancer", *_standardized(X[y == 1][::2], X), TABULAR)
    if not embedded:
        cardio = load_odds("cardio")
        parts = _standardized(cardio.X[cardio.y == 0][::2], cardio.X)
        yield from _networks("ODDS cardio", *parts, TABULAR)


def _standardized(X_train: Floats, X_test: Floats) -> tuple[Floats, Floats]:
    scaler = StandardScaler().fit(X_train)
    return scaler.transform(X_train), scaler.transform(X_test)


def _networks(
    data: str, X_train: Floats, X_test: Floats, networks: Parameters, **common: Any
) -> Iterator[Case]:
    for name, parameters in networks.items():
        yield Case(data, name, X_train, X_test, parameters | common)


class Trial:
    """A fitted detector under attack, and what the attacks have achieved.

    Attributes
    ----------
    n_points, broken_bounds, broken_labels : int
        Attacked points, and those that break a claim.
    ratios : dict of str to list of ndarray
        By attack, the changes of the score over their bounds.
    radii : ndarray
        Certified radii of the attacked rows.
    rounding : float
        Largest bound of the rounding error of two scores.
    """

    def __init__(self, case: Case, max_iter: int) -> None:
        self.case = case
        self.detector = LipOCC(max_iter=max_iter, random_state=0, **case.parameters)
        self.detector.fit(case.X_train)
        self.certificate = self.detector.distance_.certificate
        self.scorer = self.detector.to_torch()
        self.n_points = self.broken_bounds = self.broken_labels = 0
        self.ratios: dict[str, list[Floats]] = {name: [] for name in SHARES}
        self.radii = np.empty(0)
        self.rounding = 0.0

    def ratio(self, attack: str, statistic: Callable[[Floats], float]) -> float:
        return float(statistic(np.concatenate(self.ratios[attack])))

    def run(self, n_points: int, rng: np.random.Generator) -> None:
        """Attack at about the number of points given."""
        counts = {name: max(4, math.ceil(share * n_points)) for name, share in SHARES.items()}
        for name, search in SEARCHES.items():
            X = self.rows(counts[name], rng)
            self.push_far(name, search, X[: len(X) // 2], rng)
            self.push_to_threshold(name, search, X[len(X) // 2 :], rng)
        X = self.rows(counts["pairs"], rng)
        length = NEAREST * (FARTHEST / NEAREST) ** rng.uniform(size=len(X))
        direction = rng.normal(size=X.shape)
        unit = direction / np.linalg.norm(direction, axis=1, keepdims=True)
        self.compare("pairs", X, X + (length * self.detector.scaling_.scale.mean())[:, None] * unit)

    def rows(self, n_rows: int, rng: np.random.Generator) -> Floats:
        """Draw rows of both parts and blur them: no two are the same."""
        pool = np.concatenate([self.case.X_train, self.case.X_test])
        blur = 0.1 * self.case.X_train.std(axis=0) * rng.normal(size=(n_rows, pool.shape[1]))
        return pool[rng.integers(len(pool), size=n_rows)] + blur

    def push_far(self, name: str, search: Search, X: Floats, rng: np.random.Generator) -> None:
        """Change the scores as far as balls of 1% to 100% of the smallest deviation allow."""
        radius = self.detector.scaling_.scale.min() * 10 ** rng.uniform(-2, 0, size=len(X))
        self.push(name, search, X, radius, "both", rng)

    def push_to_threshold(
        self, name: str, search: Search, X: Floats, rng: np.random.Generator
    ) -> None:
        """Push the scores towards the threshold as far as the certified balls allow."""
        scores = self.detector.decision_function(X)
        radii = self.certificate.radius(X, scores, self.detector.threshold_)
        self.radii = np.append(self.radii, radii)
        for outlying, direction in ((False, "raise"), (True, "lower")):
            chosen = (scores > self.detector.threshold_) == outlying
            if chosen.any():
                self.push(name, search, X[chosen], radii[chosen], direction, rng)

    def push(
        self,
        name: str,
        search: Search,
        X: Floats,
        radius: Floats,
        direction: str,
        rng: np.random.Generator,
    ) -> None:
        """Attack rows within their balls."""
        rows, balls = torch.from_numpy(X), torch.from_numpy(radius)
        moved = search(self.scorer, rows, balls, direction=direction, random_state=rng)
        self.compare(name, X, moved.numpy())

    def compare(self, name: str, X: Floats, moved: Floats) -> None:
        """Count broken claims at pairs of rows."""
        distance = np.linalg.norm(moved - X, axis=1)
        # The computed distance may be off by the rounding of its sum, in either direction.
        doubt = (X.shape[1] + 8) * np.finfo(np.float64).eps
        scores = self.detector.decision_function(X)
        change = np.abs(self.detector.decision_function(moved) - scores)
        error = self.certificate.error(X) + self.certificate.error(moved)
        constant = self.certificate.lipschitz_constant
        broken = change > constant * distance * (1 + doubt) + error
        radii = self.certificate.radius(X, scores, self.detector.threshold_)
        inside = distance * (1 + doubt) <= radii
        switched = inside & (self.detector.predict(X) != self.detector.predict(moved))
        self.n_points += len(X)
        self.broken_bounds += int(broken.sum())
        self.broken_labels += int(switched.sum())
        self.rounding = max(self.rounding, float(error.max()))
        # Ratios of changes that rounding can have caused say nothing.
        told = constant * distance > 1e3 * error
        self.ratios[name].append(change[told] / (constant * distance[told]))


PAGE = """\
# Certificates under attack

Made by `make certify`: {n_points:,} attacked points in {seconds:.0f} s.
**{broken} violations of the Lipschitz bound, {switched} of the certified radius.**

Each row is one network fitted on one set. An attack changes the score by a share of the proven
bound, L times the distance. The rest up to 1 is slack.

- **PGD, NES**: shares that these attacks reach. They push scores both ways as far as they can, in
  balls of 1% to 100% of the smallest deviation of a feature, and towards the threshold within the
  certified radius.
- **pairs**: shares between two points in a random direction, at least 1e-9 deviations apart.
- **L**: in raw units the constant of the feature of least deviation. Only moves along this feature
  come near the bound.
- **rounding**: the largest bound of the rounding error of two scores, in units of the scores.

{table}\
"""


def report(trials: Sequence[Trial], seconds: float) -> str:
    """Return the page: how many claims were broken, and how near the attacks came to the bounds."""
    header = ["set", "network", "d", "points", "L", "PGD median", "PGD largest", "NES median"]
    rows = [[*header, "pairs largest", "median radius", "rounding", "broken"]]
    for trial in trials:
        rows.append(
            [
                trial.case.data,
                trial.case.network,
                f"{trial.case.X_train.shape[1]}",
                f"{trial.n_points:,}",
                f"{trial.certificate.lipschitz_constant:.6g}",
                f"{trial.ratio('pgd', np.median):.4f}",
                f"{trial.ratio('pgd', np.max):.6f}",
                f"{trial.ratio('nes', np.median):.4f}",
                f"{trial.ratio('pairs', np.max):.6f}",
                f"{np.median(trial.radii):.3g}",
                f"{trial.rounding:.1e}",
                f"{trial.broken_bounds + trial.broken_labels}",
            ]
        )
    return PAGE.format(
        n_points=sum(trial.n_points for trial in trials),
        seconds=seconds,
        broken=sum(trial.broken_bounds for trial in trials),
        switched=sum(trial.broken_labels for trial in trials),
        table=markdown(rows, labels=2),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the cases; return how many claims were broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fraction", type=float, default=1.0, help="share of the points")
    parser.add_argument("--max-iter", type=int, default=300, help="training steps of each fit")
    parser.add_argument("--embedded", action="store_true", help="no set that is downloaded")
    parser.add_argument("--output", type=Path, default=RESULTS / "certify.md")
    options = parser.parse_args(argv)
    start = time.perf_counter()
    trials = []
    everything = list(cases(options.embedded))
    n_points = math.ceil(options.fraction * N_POINTS / len(everything))
    for seed, case in enumerate(everything):
        trial = Trial(case, options.max_iter)
        trial.run(n_points, np.random.default_rng(seed))
        trials.append(trial)
        print(f"{case.data}, {case.network}: {trial.n_points:,} points", file=sys.stderr)
    text = report(trials, time.perf_counter() - start)
    print(text)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(text, encoding="utf-8")
    return sum(trial.broken_bounds + trial.broken_labels for trial in trials)


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
