"""The facts that a report states of a detector: gathered here, laid out by the page."""

from __future__ import annotations

import functools
import math
import platform
import reprlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR
from importlib.metadata import version
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import ks_2samp
from sklearn.metrics import pairwise_distances_argmin_min
from torch import nn

from pyod_lipocc._parameters import check_parameters, is_missing
from pyod_lipocc._rows import check_rows
from pyod_lipocc._version import __version__
from pyod_lipocc.certificates import certified_radius
from pyod_lipocc.domains import Domain
from pyod_lipocc.learning import leaves_rows_out
from pyod_lipocc.recipe import Recipe
from pyod_lipocc.report._figures import (
    Chart,
    histogram,
    lines,
    map_of,
    number,
    picture,
    thinned,
)
from pyod_lipocc.thresholds import ThresholdRule

__all__ = [
    "Certificates",
    "Drift",
    "Given",
    "Guarantee",
    "Shown",
    "certificates",
    "drift",
    "given",
    "guarantees",
    "history",
    "most_abnormal",
    "parameters",
    "quantiles",
    "rule_text",
    "scores",
    "summary",
    "versions",
]

Floats = npt.NDArray[np.float64]

_MOST_ROWS, _MOST_NUMBERS = 2**16, 2**25  # of a table that are looked at
_FEATURES = 10  # that a table of a row, or of a drift, has
_SHARES = (95, 90, 75, 50, 25, 10)
_QUANTILES = (0, 5, 25, 50, 75, 95, 100)
_LIBRARIES = ("numpy", "scipy", "scikit-learn", "torch", "pyod")

_SHORT = reprlib.Repr()
_SHORT.maxother = _SHORT.maxstring = 120


@dataclass(frozen=True)
class Given:
    """Rows that a report is asked to describe.

    Attributes
    ----------
    rows : ndarray of shape (n, d)
        A random sample where more were given.
    names : list of str
        Labels of a frame's index, else positions.
    n_given : int
    own_scores : ndarray of shape (n,)
        By `decision_function`.
    scores : ndarray of shape (n,)
        Of training rows, the scores of the fit: as if the rows were new.
    trained_on : bool
        Whether these are the training rows.
    """

    rows: npt.NDArray[Any]
    names: list[str]
    n_given: int
    own_scores: Floats
    scores: Floats
    trained_on: bool


@dataclass(frozen=True)
class Certificates:
    """Share of the labels that no l2 attack of a size can change."""

    chart: Chart
    radii: list[tuple[str, str]]
    units: str
    exact: bool


@dataclass(frozen=True)
class Drift:
    """How far the scores of new rows are from the training scores."""

    chart: Chart
    statistic: str
    p_value: str
    labelled: tuple[str, str]
    medians: tuple[str, str]
    moved: list[tuple[str, str, str, str]]


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


@dataclass(frozen=True)
class Guarantee:
    """A claim, its assumptions, and whether it holds of this detector."""

    holds: bool
    claim: str
    assumptions: str


def given(detector: Any, X: Any) -> Given:
    """Check, sample and score rows; recognise the training rows."""
    rows = check_rows(detector, X, reset=False)
    trained, n = detector.decision_scores_, len(rows)
    names = X.index if hasattr(X, "iloc") else range(n)
    chosen, most = np.arange(n), min(_MOST_ROWS, _MOST_NUMBERS // rows.shape[1])
    if n > most:
        chosen = np.sort(np.random.default_rng(0).choice(n, most, replace=False))
        rows = rows[chosen]
    own = detector.distance_.scores(rows, verbose=detector.verbose)
    same = n == len(trained) and _are_trained_on(detector, rows, own, trained[chosen])
    return Given(
        rows=rows,
        names=[str(names[i]) for i in chosen],
        n_given=n,
        own_scores=own,
        scores=trained[chosen] if same else own,
        trained_on=same,
    )


def _are_trained_on(detector: Any, rows: npt.NDArray[Any], own: Floats, trained: Floats) -> bool:
    """Tell whether these are the training rows, by all the scores that a fit may give them.

    See `learning.training_scores`: the network leaves a row out, or its score is raised.
    """
    distance, lowered = detector.distance_, detector._lowered
    if leaves_rows_out(distance.network):
        alike = own, distance.scores(rows, leave_own_out=True)
    elif len(lowered):
        alike = own, own + lowered
    else:
        alike = own, own + (trained - own).max()
    tolerance = 1e-6 * np.abs(trained).max()
    differences = [np.abs(trained - scores) for scores in alike]
    return bool(np.all(np.minimum(*differences) <= tolerance))


def summary(detector: Any) -> list[tuple[str, str]]:
    """Return the figures at the top of the page."""
    n, outliers = len(detector.labels_), int(np.sum(detector.labels_))
    shape = detector.image_shape
    features = f"{detector.n_features_in_:,}"
    seconds = getattr(detector, "fit_seconds_", None)
    return [
        ("rows", f"{n:,}"),
        ("features", features + (f" ({' by '.join(map(str, shape))} pixels)" if shape else "")),
        ("labelled 1", f"{outliers:,} ({number(100 * outliers / n)} %)"),
        ("threshold", number(detector.threshold_)),
        ("Lipschitz constant", number(detector.lipschitz_constant_, 3, ROUND_CEILING)),
        ("training steps", f"{detector.n_iter_:,}"),
        ("seconds to fit", "not in the file" if seconds is None else number(seconds)),
    ]


def _rule_of(detector: Any) -> ThresholdRule | None:
    """Return the rule of the parameters, or None where another has set the threshold."""
    rule = ThresholdRule.of(detector.get_params(deep=False))
    if rule.threshold == "contamination" and not isinstance(rule.contamination, Real):
        return rule  # an object would learn again
    scores, calibration = detector.decision_scores_, detector.calibration_scores_
    try:
        threshold, _ = rule.label(scores, calibration, detector.distance_)
    except ValueError:  # set_params has asked for "conformal" since
        return None
    return rule if threshold == detector.threshold_ else None


def rule_text(detector: Any) -> str:
    """Say in words how the threshold was found."""
    rule = _rule_of(detector)
    if rule is None:
        return "the threshold was set after the fit; no rule of the parameters gives it"
    if rule.threshold == "boundary":
        return "the boundary of the learned support, where the signed distance is 0"
    if rule.threshold == "conformal":
        return (
            f"the least threshold that bounds the rate of false alarms by {rule.alpha:g}, "
            f"from {len(detector.calibration_scores_):,} rows held out of training"
        )
    if isinstance(rule.contamination, Real):
        share = number(100 * float(rule.contamination))
        return f"the {share} % of the training rows with the highest scores are labelled 1"
    return f"found by a threshold object ({_text(rule.contamination)}), unless set after the fit"


def scores(detector: Any) -> Chart:
    """Draw the training scores."""
    title = "Histogram of the scores of the training rows"
    text = (
        f"Scores run from {number(detector.decision_scores_.min())} to "
        f"{number(detector.decision_scores_.max())}; the threshold is "
        f"{number(detector.threshold_)}."
    )
    groups = {"training rows": detector.decision_scores_}
    return histogram("scores", title, text, groups, detector.threshold_)


def quantiles(values: Floats) -> list[tuple[str, str]]:
    """Return percentiles by name."""
    names = {0: "least", 50: "median", 100: "greatest"}
    found = np.percentile(values, _QUANTILES)
    return [
        (names.get(q, f"{q} %"), number(value)) for q, value in zip(_QUANTILES, found, strict=True)
    ]


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


def drift(detector: Any, rows: Given) -> Drift:
    """Compare the scores of new rows with the training scores."""
    trained, threshold = detector.decision_scores_, detector.threshold_
    scaling = detector.distance_.scaling
    test = ks_2samp(trained, rows.scores, method="asymp")
    both = trained, rows.scores
    labelled = [f"{number(100 * np.mean(scores > threshold))} %" for scores in both]
    medians = [number(float(np.median(scores))) for scores in both]
    chart = histogram(
        "drift",
        "Scores of the given rows over those of the training rows",
        f"Labelled 1: {labelled[0]} of the training rows, {labelled[1]} of the given rows.",
        {"training rows": trained, "given rows": rows.scores},
        threshold,
    )
    moved: list[tuple[str, str, str, str]] = []
    if scaling.standardized and detector.image_shape is None:
        mean = rows.rows.mean(axis=0, dtype=np.float64)
        shifts = (mean - scaling.location) / scaling.scale
        names = _feature_names(detector)
        moved = [
            (names[i], number(scaling.location[i]), number(mean[i]), number(shifts[i]))
            for i in np.argsort(-np.abs(shifts), kind="stable")[:_FEATURES]
        ]
    return Drift(
        chart,
        number(float(test.statistic)),
        number(float(test.pvalue)) if test.pvalue >= 1e-4 else "less than 0.0001",
        (labelled[0], labelled[1]),
        (medians[0], medians[1]),
        moved,
    )


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
    names, shape = _feature_names(detector), detector.image_shape
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


def _feature_names(detector: Any) -> list[str]:
    names = getattr(detector, "feature_names_in_", None)
    return [f"x{i}" for i in range(detector.n_features_in_)] if names is None else list(names)


def history(detector: Any) -> list[Chart]:
    """Draw the course of the training."""
    figures = detector.history_
    steps = thinned(np.arange(1.0, len(figures) + 1))
    inside = {
        "data inside": thinned(figures.recall),
        "negatives inside": thinned(figures.false_positives),
        "gradient norm": thinned(figures.gradient_norm),
    }
    top = max(1.0, *(np.nanmax(curve, initial=0.0) for curve in inside.values()))
    return [
        lines(
            "loss",
            "Loss at each step of the training",
            f"From {number(figures.loss[0])} to {number(figures.loss[-1])}.",
            steps,
            {"loss": thinned(figures.loss)},
            x_label="step",
            y_label="loss",
        ),
        lines(
            "inside",
            "Share of the data and of the negatives that the network has inside, and its gradient",
            f"At the end {number(100 * figures.recall[-1])} % of the data and "
            f"{number(100 * figures.false_positives[-1])} % of the negatives are inside; the "
            f"gradient has the norm {number(figures.gradient_norm[-1])}.",
            steps,
            inside,
            x_label="step",
            y_label="share, norm",
            y_range=(0.0, 1.05 * top),
        ),
    ]


def parameters(detector: Any) -> list[tuple[str, str, str]]:
    """Return each parameter, as given and as resolved; "auto" is resolved by the rows."""
    values = detector.get_params(deep=False)
    defaults = type(detector)().get_params(deep=False)
    known = {name: defaults[name] if is_missing(v) else v for name, v in values.items()}
    check_parameters(known, type(detector).__name__)
    distance = detector.distance_
    training = Recipe.of(known | {"device": None}).training(
        distance.network,
        distance.scaling.length_to_network(distance.margin),
        distance.scaling.domain_to_network(distance.domain),
    )
    resolved = {name: _text(value) for name, value in vars(training).items()} | {
        "network": _layers(distance.network),
        "margin": number(distance.margin),
        "domain": _text(distance.domain),
        "learning_rate": _text(training.schedule),
    }
    return [
        (name, _text(value), resolved[name] if isinstance(value, str) and value == "auto" else "")
        for name, value in values.items()
    ]


def _layers(network: nn.Module) -> str:
    """Name the kinds of layers, and count the weights."""
    leaves = [type(m).__name__ for m in network.modules() if next(m.children(), None) is None]
    kinds = [f"{count} {kind}" if count > 1 else kind for kind, count in Counter(leaves).items()]
    n_weights = sum(weight.numel() for weight in network.parameters())
    return f"{', '.join(kinds)}; {n_weights:,} weights"


def _text(value: Any) -> str:
    """Write a value as code would, but short."""
    if isinstance(value, functools.partial):
        arguments = [*map(_text, value.args)]
        arguments += [f"{name}={_text(v)}" for name, v in value.keywords.items()]
        return f"{_text(value.func)}({', '.join(arguments)})"
    if isinstance(value, (tuple, list)):
        return f"({', '.join(map(_text, value))})"
    if isinstance(value, float):
        return f"{value:.4g}"
    if is_dataclass(value) and not isinstance(value, (type, Domain)):
        held = ((f.name, getattr(value, f.name)) for f in fields(value))
        return f"{type(value).__name__}({', '.join(f'{n}={_text(v)}' for n, v in held)})"
    if hasattr(value, "__qualname__"):
        return str(value.__qualname__)
    shown = _SHORT.repr(value)
    return f"{type(value).__qualname__}(...)" if shown.startswith("<") else shown


def guarantees(detector: Any) -> list[Guarantee]:
    """Return what holds of every score and label, and what does not, with the assumptions."""
    steepness = detector.lipschitz_constant_
    proven, rule = math.isfinite(steepness), _rule_of(detector)
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


def versions() -> list[tuple[str, str]]:
    """Return what has written the page."""
    libraries = [(name, version(name)) for name in _LIBRARIES]
    return [("pyod_lipocc", __version__), ("Python", platform.python_version()), *libraries]
