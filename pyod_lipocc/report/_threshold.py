"""The rule of the threshold, in words."""

from __future__ import annotations

from numbers import Real
from typing import Any

from pyod_lipocc.report._figures import number
from pyod_lipocc.report._text import text
from pyod_lipocc.thresholds import ThresholdRule

__all__ = ["rule_of", "rule_text"]


def rule_of(detector: Any) -> ThresholdRule | None:
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
    rule = rule_of(detector)
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
    return f"found by a threshold object ({text(rule.contamination)}), unless set after the fit"
