"""The functions of the frontier: scores of rows with a known Lipschitz constant.

Higher scores are more abnormal. A score changes by at most the constant times the l2 distance that
a row moves, in the units of the rows. IForest and INNE are for reference: they have no constant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from pyod.models.base import BaseDetector
from pyod.models.iforest import IForest
from pyod.models.inne import INNE
from scipy.spatial.distance import cdist

from pyod_lipocc import LipOCC
from pyod_lipocc.starts import principal_subspace, prototypes
from pyod_lipocc.trimming import inliers

Floats = NDArray[np.float64]
Scores = dict[str, Floats]

COUNTS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50)  # k, where the mean of the k nearest is taken
LARGEST = (5, 10, 20, 50)  # k, where the k-th nearest is
ISOLATIONS = (0.5, 1.0, 2.0)  # beta
ISOLATED_COUNTS = (1, 5, 10)
VARIANCES = (0.5, 0.8, 0.9, 0.95, 0.99)
WHITENINGS = {"1/4": 0.25, "1/2": 0.5, "1": 1.0}
REGULARIZATIONS = (10, 100)
FEW = 5  # neighbours after whitening, asinh and cleaning
LEAST_EIGENVALUE = 1e-3  # of the largest: bounds the constant of whitening
LEAST_DEVIATION = 0.05  # of a feature: bounds the constant of the l1 distance
BLOCK = 4_000_000  # distances held at a time


@dataclass(frozen=True)
class Family:
    """Functions that are computed together.

    Attributes
    ----------
    score : callable
        Rows -> the scores of each function, by its name.
    own : dict of str to ndarray
        Scores of the training rows, where no row is a neighbour of itself.
    constants : dict of str to float
        Lipschitz constants in the l2 norm.
    """

    score: Callable[[Floats], Scores]
    own: Scores
    constants: dict[str, float]


def families(rows: Floats, contamination: float, seed: int) -> Iterator[Family]:
    """Fit every function, those that share their work together.

    Parameters
    ----------
    rows : ndarray of shape (n, d)
        More than 51, standardised.
    contamination : float
        Share of outliers among them, as LipOCC is told; 0 for clean rows.
    seed : int

    Yields
    ------
    family : Family
    """
    kept = rows
    if contamination:
        kept = rows[inliers(rows, contamination, np.random.default_rng(seed))]
    yield neighbours(rows, contamination)
    for name, power in WHITENINGS.items():
        matrix, constant = whitening(kept, power)
        yield nearest(f"whitened {name}", rows, lambda X, by=matrix: X @ by, constant)
    yield nearest("asinh", rows, np.arcsinh, 1.0)
    yield principal(rows, kept)
    yield central(rows, kept)
    told = {"contamination": contamination} if contamination else {"novelty": True}
    default = detected("LipOCC", LipOCC(**told, random_state=seed), rows)
    yield default
    if contamination:
        yield cleaned(rows, contamination, default.own["LipOCC"])
    for weight in REGULARIZATIONS:
        network = partial(
            LipOCC, network="dense", max_iter=300, regularization=float(weight), random_state=seed
        )
        yield detected(f"dense {weight}", network(**told), rows)
    yield detected("IForest", IForest(random_state=seed), rows)
    yield detected("INNE", INNE(random_state=seed), rows)


def by_distance(
    X: Floats,
    rows: Floats,
    statistics: Callable[[Floats], Scores],
    places: NDArray[np.intp] | None = None,
) -> Scores:
    """Compute functions of the distances of X to the rows, block by block.

    `places` tells which of the rows each row of X is, -1 for none. A row is no neighbour of itself.
    """
    found = []
    for part in np.array_split(np.arange(len(X)), -(-len(X) * len(rows) // BLOCK)):
        distances = cdist(X[part], rows)
        if places is not None:
            known = np.flatnonzero(places[part] >= 0)
            distances[known, places[part][known]] = np.inf
        found.append(statistics(distances))
    return {name: np.concatenate([block[name] for block in found]) for name in found[0]}


def smallest(distances: Floats, k: int) -> Floats:
    """Return the k smallest of each row in ascending order."""
    return np.sort(np.partition(distances, k - 1, axis=1)[:, :k], axis=1)


def running_means(values: Floats) -> Floats:
    """Return the means of the first 1, 2, ... of each row."""
    return values.cumsum(axis=1) / np.arange(1, values.shape[1] + 1)


def neighbours(rows: Floats, contamination: float) -> Family:
    """Build the functions of the distances to the rows alone, with constants of 1.

    They are the mean of the k nearest distances, and the k-th nearest. "trimmed" is the mean of the
    nearest 2 c n, of which the nearest c n do not count (c is a quarter at most, as in `inliers`).
    With isolation the distance to a row is longer by beta times the mean distance of that row to
    its nearest tenth of the rows.
    """
    n = len(rows)
    isolated = prototypes(torch.from_numpy(rows).float(), 1, isolation=1.0)
    radii = isolated.offset.detach().double().numpy()
    share = min(contamination, 0.25)
    first = max(1, round(share * n))
    last = min(max(first + FEW, round(2 * share * n)), n - 1)

    def statistics(distances: Floats) -> Scores:
        ordered = smallest(distances, max(COUNTS))
        means = running_means(ordered)
        found = {f"nearest {k}": means[:, k - 1] for k in COUNTS}
        found |= {f"{k}th nearest": ordered[:, k - 1] for k in LARGEST}
        if contamination:
            counted = np.partition(distances, (first, last - 1), axis=1)[:, first:last]
            found["trimmed"] = counted.mean(axis=1)
        for beta in ISOLATIONS:
            means = running_means(smallest(distances + beta * radii, max(ISOLATED_COUNTS)))
            found |= {f"isolation {beta:g}, {k}": means[:, k - 1] for k in ISOLATED_COUNTS}
        return found

    own = by_distance(rows, rows, statistics, np.arange(n))
    return Family(lambda X: by_distance(X, rows, statistics), own, dict.fromkeys(own, 1.0))


def nearest(
    name: str, rows: Floats, transform: Callable[[Floats], Floats], constant: float
) -> Family:
    """Build the mean distance to the nearest few rows after a map of known constant."""
    mapped = transform(rows)

    def statistics(distances: Floats) -> Scores:
        return {name: smallest(distances, FEW).mean(axis=1)}

    own = by_distance(mapped, mapped, statistics, np.arange(len(rows)))
    return Family(
        lambda X: by_distance(transform(X), mapped, statistics), own, dict.fromkeys(own, constant)
    )


def whitening(rows: Floats, power: float) -> tuple[Floats, float]:
    """Return a power of the whitening matrix and its spectral norm."""
    values, vectors = np.linalg.eigh(np.cov(rows.T))
    scales = np.maximum(values, LEAST_EIGENVALUE * values[-1]) ** (-power / 2)
    return (vectors * scales) @ vectors.T, float(scales.max())


def principal(rows: Floats, kept: Floats) -> Family:
    """Build the residuals of principal subspaces, of d - 1 directions at most; constants of 1."""
    held = torch.from_numpy(kept)
    subspaces = {}
    for variance in VARIANCES:
        network = principal_subspace(held, variance)
        basis = network.basis[0, : rows.shape[1] - 1]
        subspaces[f"principal {variance:g}"] = [
            tensor.detach().double().numpy() for tensor in (network.centers[0], basis)
        ]

    def score(X: Floats) -> Scores:
        return {
            name: np.linalg.norm((X - center) - (X - center) @ basis.T @ basis, axis=1)
            for name, (center, basis) in subspaces.items()
        }

    return Family(score, score(rows), dict.fromkeys(subspaces, 1.0))


def central(rows: Floats, kept: Floats) -> Family:
    """Build the distance to the mean, and the l1 distance to the medians in mean deviations."""
    mean, median = kept.mean(axis=0), np.median(kept, axis=0)
    deviations = np.maximum(np.abs(kept - median).mean(axis=0), LEAST_DEVIATION)

    def score(X: Floats) -> Scores:
        return {
            "mean": np.linalg.norm(X - mean, axis=1),
            "l1": (np.abs(X - median) / deviations).mean(axis=1),
        }

    constant = float(np.linalg.norm(1 / deviations)) / len(deviations)
    return Family(score, score(rows), {"mean": 1.0, "l1": constant})


def cleaned(rows: Floats, contamination: float, suspicion: Floats) -> Family:
    """Build the mean distance to the nearest few rows without the most suspicious 2 c of all."""
    n = len(rows)
    kept = np.argsort(suspicion, kind="stable")[: n - int(min(2 * contamination, 0.5) * n)]
    places = np.full(n, -1)
    places[kept] = np.arange(len(kept))

    def statistics(distances: Floats) -> Scores:
        return {"cleaned": smallest(distances, FEW).mean(axis=1)}

    own = by_distance(rows, rows[kept], statistics, places)
    return Family(lambda X: by_distance(X, rows[kept], statistics), own, {"cleaned": 1.0})


def detected(name: str, detector: BaseDetector, rows: Floats) -> Family:
    """Fit a detector; its constant is the one it proves, or infinity."""
    detector.fit(rows)
    return Family(
        lambda X: {name: detector.decision_function(X)},
        {name: detector.decision_scores_},
        {name: getattr(detector, "lipschitz_constant_", np.inf)},
    )
