"""The parameters of `LipOCC`: accepted values, as data, and their check."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any, Literal, get_args

import numpy as np
import torch
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    StrOptions,
    validate_parameter_constraints,
)

from pyod_lipocc.domains import Domain
from pyod_lipocc.training import Callback

__all__ = [
    "CONSTRAINTS",
    "NOT_SAVED",
    "AutoName",
    "NetworkName",
    "OptimizerName",
    "ThresholdName",
    "check_parameters",
    "is_missing",
]

AutoName = Literal["auto"]
NetworkName = Literal[
    "auto",
    "clusters",
    "nearest-subspace",
    "inscribed-balls",
    "dense",
    "conv",
    "conv-paper",
    "conv-deep",
    "norm-preserving",
]
ThresholdName = Literal["contamination", "boundary", "conformal"]
OptimizerName = Literal["adam", "rmsprop"]

_GROUPS = [torch.distributed.ProcessGroup] if torch.distributed.is_available() else []
_AUTO = StrOptions({"auto"})
_POSITIVE = Interval(Real, 0, None, closed="neither")
_COUNT = Interval(Integral, 0, None, closed="left")
_AT_LEAST_ONE = Interval(Integral, 1, None, closed="left")

CONSTRAINTS: dict[str, list[Any]] = {
    "contamination": [Interval(Real, 0, 0.5, closed="right"), HasMethods(["fit", "predict"])],
    "novelty": ["boolean"],
    "network": [StrOptions(set(get_args(NetworkName))), torch.nn.Module, callable],
    "margin": [_POSITIVE, _AUTO],
    "regularization": [_POSITIVE],
    "n_newton_steps": [_COUNT, _AUTO],
    "domain": [Domain, _AUTO],
    "negatives": [callable, _AUTO],
    "standardize": ["boolean"],
    "threshold": [StrOptions(set(get_args(ThresholdName)))],
    "alpha": [Interval(Real, 0, 1, closed="neither")],
    "attack_radius": [Interval(Real, 0, None, closed="left")],
    "image_shape": [tuple, list, None],
    "max_iter": [_AT_LEAST_ONE, _AUTO],
    "batch_size": [_AT_LEAST_ONE, _AUTO],
    "learning_rate": [_POSITIVE, callable, _AUTO],
    "optimizer": [StrOptions(set(get_args(OptimizerName))), callable],
    "sampler": [callable, _AUTO],
    "n_warmup_steps": [_COUNT],
    "callbacks": [tuple, list, None],
    "device": [str, torch.device, None],
    "process_group": [*_GROUPS, None],
    "random_state": [_COUNT, np.random.RandomState, np.random.Generator, None],
    "verbose": ["verbose"],
}
"""Accepted values of each parameter of `LipOCC`."""

NOT_SAVED = "not saved: "
"""Starts the text that takes the place of a parameter that files do not hold."""


def is_missing(value: Any) -> bool:
    """Tell whether a text has taken the place of a parameter."""
    return isinstance(value, str) and value.startswith(NOT_SAVED)


def check_parameters(parameters: dict[str, Any], caller: str) -> None:
    """Check every parameter against `CONSTRAINTS`.

    Parameters
    ----------
    parameters : dict
    caller : str
        Name of the class, for the messages.

    Raises
    ------
    ValueError
        Naming the parameter, the accepted values and the value received.
    """
    contamination = parameters.get("contamination")
    if isinstance(contamination, str):
        raise ValueError(
            "contamination must be a float in (0, 0.5] or a threshold object, got "
            f"{contamination!r}: where the share of outliers is not known, use "
            "threshold='boundary', the sign of the signed distance, or threshold='conformal', a "
            "bound of the rate of false alarms"
        )
    validate_parameter_constraints(CONSTRAINTS, parameters, caller_name=caller)
    for name in ("margin", "regularization", "learning_rate"):
        value = parameters.get(name)
        if isinstance(value, Real) and not math.isfinite(value):
            raise ValueError(f"{name} must be finite, got {value!r}")
    for name, value in parameters.items():
        if isinstance(value, bool) and name not in ("novelty", "standardize", "verbose"):
            raise ValueError(f"{name} must be a number, got {value!r}, a bool")
    if isinstance(contamination, Real) and not isinstance(contamination, (int, float)):
        # PyOD takes any other number for a threshold object.
        raise ValueError(
            f"contamination must be a Python float or a threshold object, got {contamination!r}: "
            f"pass float({float(contamination):.6g})"
        )
    for callback in parameters.get("callbacks") or ():
        if not isinstance(callback, Callback):
            raise ValueError(
                "callbacks must be instances of pyod_lipocc.training.Callback, such as "
                f"EarlyStopping(), got {callback!r}"
            )
