"""A report of a fitted detector: one HTML page that needs no network and runs no script."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from pyod_lipocc._checks import check_image_shape, check_integer
from pyod_lipocc._isolation import isolated
from pyod_lipocc.report._abnormal import most_abnormal
from pyod_lipocc.report._certificates import certificates, guarantees
from pyod_lipocc.report._given import given
from pyod_lipocc.report._scores import drift, quantiles, scores
from pyod_lipocc.report._summary import summary, versions
from pyod_lipocc.report._threshold import rule_text
from pyod_lipocc.report._training import history, parameters

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
    rows = None if X is None else given(detector, X)
    normal = None if normal_rows is None else given(detector, normal_rows)
    return _fill(
        {
            "now": datetime.now(timezone.utc),
            "summary": summary(detector),
            "standardized": detector.distance_.scaling.standardized,
            "rule": rule_text(detector),
            "scores": scores(detector),
            "quantiles": quantiles(detector.decision_scores_),
            "certificates": certificates(detector, rows),
            "rows": rows,
            "normal_given": normal is not None,
            "drift": None if rows is None or rows.trained_on else drift(detector, rows),
            "shown": [] if rows is None else most_abnormal(detector, rows, normal, n_rows),
            "history": history(detector),
            "parameters": parameters(detector),
            "versions": versions(),
            "guarantees": guarantees(detector),
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
