"""The radii in which labels cannot change, and all guarantees with their assumptions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR
from typing import Any

import numpy as np
import numpy.typing as npt

from pyod_lipocc.certificates import certified_radius
from pyod_lipocc.report._figures import Chart, lines, number
from pyod_lipocc.report._given import Given
from pyod_lipocc.report._threshold import rule_of
from pyod_lipocc.thresholds import ThresholdRule

__all__ = ["Certificates", "Guarantee", "certificates", "guarantees"]

Floats = npt.NDArray[np.float64]

_SHARES = (95, 90, 75, 50, 25, 10)


@dataclass(frozen=True)
class Certificates:
    """Share of the labels that no l2 attack of a size can change."""

    chart: Chart
    radii: list[tuple[str, str]]
    units: str
    exact: bool


@dataclass(frozen=True)
class Guarantee:
    """A claim, its assumptions, and whether it holds of this detector."""

    holds: bool
    claim: str
    assumptions: str


def certificates(detector: Any, rows: Given | None) -> Certificates | None:
    """Return the radii in which labels cannot change; None where nothing is proven.

    Without rows the radii are those of the training scores, in exact arithmetic.
    """
    distance, threshold = detector.distance_, detector.threshold_
    certificate = distance.certificate
    if not math.isfinite(certificate.lipschitz):
        return None
    of_input = bool(np.ptp(distance.scaling.scale) == 0)
    if rows is None:
        scores = detector.decision_scores_
        steepness = detector.lipschitz_constant_ if of_input else certificate.lipschitz
        radii = certified_radius(scores, threshold, steepness)
    else:
        scores, units = rows.own_scores, "input" if of_input else "scaled"
        radii = certificate.radius(rows.rows, scores, threshold, units=units)
    sizes = np.linspace(0.0, max(float(np.percentile(radii, 99)), 1e-12), 201)
    labels = scores > threshold
    groups = {"all labels": radii, "label 0": radii[~labels], "label 1": radii[labels]}
    curves = {name: _share_beyond(group, sizes) for name, group in groups.items() if len(group)}
    # A percentile without interpolation is the radius of a row: so many labels hold.
    held = {s: np.percentile(radii, 100 - s, method="inverted_cdf") for s in _SHARES}
    found = [(f"{share} %", number(r, 3, ROUND_FLOOR)) for share, r in held.items()]
    chart = lines(
        "certificates",
        "Share of the labels that no l2 attack of size r can change",
        f"Half of the labels hold against all attacks smaller than {found[3][1]}.",
        sizes,
        curves,
        x_label="size r of the attack",
        y_label="% of the labels",
        y_range=(0.0, 100.0),
    )
    unit = "the units of X" if of_input else "standard deviations of the features"
    return Certificates(chart, found, unit, rows is not None)


def _share_beyond(radii: Floats, sizes: Floats) -> Floats:
    return 100 * (1 - np.searchsorted(np.sort(radii), sizes, side="left") / len(radii))


def guarantees(detector: Any) -> list[Guarantee]:
    """Return what holds of every score and label, and what does not, with the assumptions."""
    steepness = detector.lipschitz_constant_
    proven, rule = math.isfinite(steepness), rule_of(detector)
    unknown = "Nothing is proven of a network with a module that the package does not know."
    return [
        Guarantee(
            proven,
            "A row that moves by r, in the l2 norm and the units of X, changes its score by at "
            f"most {number(steepness, 3, ROUND_CEILING)} r.",
            "Exact arithmetic, with the weights as stored. No assumption on the data."
            if proven
            else unknown,
        ),
        Guarantee(
            proven,
            "No attack smaller than the certified radius of a row changes the label of the row, "
            "as computed: rounding is accounted for.",
            "IEEE arithmetic in float64, rounded to nearest, without overflow. "
            "No assumption on the data."
            if proven
            else unknown,
        ),
        _false_alarms(rule, len(detector.calibration_scores_)),
        Guarantee(
            False,
            "The score is minus the distance to the boundary of the true support.",
            "Learned, not proven. It is so where the gradient of the network has the norm 1. At "
            "the negatives of its last step, the network that trained last had a gradient of norm "
            f"{number(detector.history_.gradient_norm[-1])}.",
        ),
    ]


def _false_alarms(rule: ThresholdRule | None, n: int) -> Guarantee:
    if rule is None or rule.threshold != "conformal":
        return Guarantee(
            False,
            "A new normal row gets the label 1 with at most a known probability.",
            "Only threshold='conformal' bounds the rate of false alarms.",
        )
    attacked = f", even if it is moved by up to {number(rule.attack_radius, 3, ROUND_FLOOR)}"
    spread = math.sqrt(rule.alpha * (1 - rule.alpha) / n)
    return Guarantee(
        True,
        f"A new normal row gets the label 1 with probability at most {rule.alpha:g}"
        f"{attacked if rule.attack_radius else ''}.",
        f"New rows are exchangeable with the {n:,} rows that were held out of training. The "
        f"probability is over these rows too: given them, the rate varies by about "
        f"{number(spread, 2)}.",
    )
