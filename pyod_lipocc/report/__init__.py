"""A report of a fitted detector: one HTML page that needs no network and runs no script."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from pyod_lipocc._checks import check_image_shape, check_integer
from pyod_lipocc._isolation import isolated
from pyod_lipocc.report import _facts

__all__ = ["render"]


@isolated()
def render(detector: Any, X: Any = None, *, normal_rows: Any = None, n_rows: int = 5) -> str:
    """Write a page about a fitted detector: see `LipOCC.report`.

    Parameters
    ----------
    detector : LipOCC
        Fitted.
    X, normal_rows, n_rows
        As of `LipOCC.report`.

    Returns
    -------
    page : str
        HTML, with styles and pictures inside.

    Raises
    ------
    ValueError, TypeError
        If the rows are not as documented, or `n_rows` is not an int >= 0.
    """
    check_integer("n_rows", n_rows, 0)
    if detector.image_shape is not None:
        check_image_shape(detector.image_shape, detector.n_features_in_)
    rows = None if X is None else _facts.given(detector, X)
    normal = None if normal_rows is None else _facts.given(detector, normal_rows)
    return _fill(
        {
            "now": datetime.now(timezone.utc),
            "summary": _facts.summary(detector),
            "standardized": detector.distance_.scaling.standardized,
            "rule": _facts.rule_text(detector),
            "scores": _facts.scores(detector),
            "quantiles": _facts.quantiles(detector.decision_scores_),
            "certificates": _facts.certificates(detector, rows),
            "rows": rows,
            "normal_given": normal is not None,
            "drift": None if rows is None or rows.trained_on else _facts.drift(detector, rows),
            "shown": [] if rows is None else _facts.most_abnormal(detector, rows, normal, n_rows),
            "history": _facts.history(detector),
            "parameters": _facts.parameters(detector),
            "versions": _facts.versions(),
            "guarantees": _facts.guarantees(detector),
        }
    )


def _fill(facts: Mapping[str, Any]) -> str:
    """Fill the template; every value is escaped."""
    environment = Environment(
        loader=PackageLoader("pyod_lipocc", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(facts)
