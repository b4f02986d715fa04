"""The most abnormal rows, explained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import pairwise_distances_argmin_min

from pyod_lipocc.report._figures import map_of, number, picture
from pyod_lipocc.report._given import Given, feature_names

__all__ = ["Shown", "most_abnormal"]

Floats = npt.NDArray[np.float64]

_FEATURES = 10  # that the table of a row has


@dataclass(frozen=True)
class Feature:
    """A line in the table of a row; `bar` is the contribution as a share of the largest."""

    name: str
    value: str
    contribution: str
    bar: float
    counterfactual: str
    nearest: str


@dataclass(frozen=True)
class Shown:
    """One of the most abnormal rows."""

    name: str
    label: int
    score: str
    own_score: str | None
    radius: str | None
    to_counterfactual: str | None
    to_nearest: str | None
    nearest: str | None
    features: list[Feature]
    others: tuple[int, str] | None
    pictures: list[tuple[str, str]]


def most_abnormal(detector: Any, rows: Given, normal: Given | None, n_rows: int) -> list[Shown]:
    """Describe the rows with the highest scores, the highest first.

    The nearest normal rows are looked for among those of `normal` that have the label 0, or of
    `rows` where `normal` is None.
    """
    chosen = np.argsort(-rows.scores, kind="stable")[:n_rows]
    if not len(chosen):
        return []
    x = rows.rows[chosen].astype(np.float64)
    own = rows.own_scores[chosen]
    contributions = detector.distance_.explain(x)
    points, distances, _ = detector.distance_.counterfactual(
        x, level=-detector.threshold_, return_distance=True
    )
    among = rows if normal is None else normal
    is_normal = among.scores <= detector.threshold_
    if normal is None:
        is_normal[chosen] = False
    nearest = _nearest(detector, x, among, np.flatnonzero(is_normal))
    radii = (
        detector.distance_.certificate.radius(x, own, detector.threshold_, units="scaled")
        if math.isfinite(detector.lipschitz_constant_)
        else None
    )
    names, shape = feature_names(detector), detector.image_shape
    shown = []
    for place, index in enumerate(chosen):
        score, found = rows.scores[index], nearest[place]
        near = None if found is None else among.rows[found[0]].astype(np.float64)
        there = None if np.isnan(points[place]).any() else points[place]
        features, others = _features(names, x[place], contributions[place], there, near)
        shown.append(
            Shown(
                name=rows.names[index],
                label=int(score > detector.threshold_),
                score=number(score),
                own_score=None if np.isclose(own[place], score) else number(own[place]),
                radius=None if radii is None else number(radii[place], 3, ROUND_FLOOR),
                to_counterfactual=None if there is None else number(distances[place]),
                to_nearest=None if found is None else number(found[1]),
                nearest=None if found is None else among.names[found[0]],
                features=[] if shape else features,
                others=None if shape else others,
                pictures=_pictures(shape, x[place], contributions[place], there, near),
            )
        )
    return shown


def _nearest(
    detector: Any, x: Floats, among: Given, candidates: npt.NDArray[np.intp]
) -> list[tuple[int, float] | None]:
    """Find the nearest of the candidates, in the units of the scores."""
    if not len(candidates):
        return [None] * len(x)
    to_scores = detector.distance_.scaling.to_scores
    places, distances = pairwise_distances_argmin_min(
        to_scores(x), to_scores(among.rows[candidates])
    )
    return [*zip(candidates[places].tolist(), distances.tolist(), strict=True)]


def _features(
    names: Sequence[str],
    x: Floats,
    contributions: Floats,
    counterfactual: Floats | None,
    nearest: Floats | None,
) -> tuple[list[Feature], tuple[int, str] | None]:
    """Return the lines of the features that contribute most, and the sum of the others."""
    order = np.argsort(-np.abs(contributions), kind="stable")
    bound = float(np.abs(contributions[order[0]])) or 1.0
    features = [
        Feature(
            name=names[i],
            value=number(x[i], 4),
            contribution=number(contributions[i]),
            bar=0.0 if np.isnan(contributions[i]) else float(contributions[i]) / bound,
            counterfactual="not found" if counterfactual is None else number(counterfactual[i], 4),
            nearest="none" if nearest is None else number(nearest[i], 4),
        )
        for i in order[:_FEATURES]
    ]
    rest = order[_FEATURES:]
    return features, (len(rest), number(contributions[rest].sum())) if len(rest) else None


def _pictures(
    shape: Sequence[int] | None,
    x: Floats,
    contributions: Floats,
    counterfactual: Floats | None,
    nearest: Floats | None,
) -> list[tuple[str, str]]:
    """Return what each image shows, and the image; nothing where rows are no images."""
    if shape is None:
        return []
    limits = float(x.min()), float(x.max())
    images = {
        "the row": x,
        "nearest point with the other label": counterfactual,
        "nearest normal row": nearest,
    }
    pictures = [
        (name, picture(pixels, shape, limits))
        for name, pixels in images.items()
        if pixels is not None
    ]
    if not np.isnan(contributions).any():
        pictures.insert(1, ("contributions", map_of(contributions, shape)))
    return pictures
