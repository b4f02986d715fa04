"""Rows that a report describes: checked, sampled, scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pyod_lipocc._rows import check_rows
from pyod_lipocc.learning import leaves_rows_out

__all__ = ["Given", "feature_names", "given"]

Floats = npt.NDArray[np.float64]

_MOST_ROWS, _MOST_NUMBERS = 2**16, 2**25  # of a table that are looked at


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


def feature_names(detector: Any) -> list[str]:
    names = getattr(detector, "feature_names_in_", None)
    return [f"x{i}" for i in range(detector.n_features_in_)] if names is None else list(names)
