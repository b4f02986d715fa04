"""Checks with one voice: an error names the parameter, the value received and what is accepted."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    StrOptions,
    validate_parameter_constraints,
)

from pyod_lipocc._checks import check_number
from pyod_lipocc.domains import Domain
from pyod_lipocc.lipschitz.networks import BUILDERS
from pyod_lipocc.starts import inscribed_balls, nearest_subspace
from pyod_lipocc.training import Callback, check_unwrapped

__all__ = [
    "CONSTRAINTS",
    "NETWORKS",
    "AutoName",
    "NetworkName",
    "OptimizerName",
    "ThresholdName",
    "check_device",
    "check_domain",
    "check_image_shape",
    "check_network",
    "check_parameters",
    "check_threshold",
]

AutoName = Literal["auto"]
NetworkName = Literal["auto", "nearest-subspace", "inscribed-balls", "dense", "conv", "conv-deep"]
ThresholdName = Literal["contamination", "boundary", "conformal"]
OptimizerName = Literal["adam", "rmsprop"]

_AUTO = StrOptions({"auto"})
_POSITIVE = Interval(Real, 0, None, closed="neither")
_COUNT = Interval(Integral, 0, None, closed="left")
_AT_LEAST_ONE = Interval(Integral, 1, None, closed="left")

NETWORKS: dict[str, Callable[..., torch.nn.Module]] = {
    **BUILDERS,
    "nearest-subspace": nearest_subspace,
    "inscribed-balls": inscribed_balls,
}
"""Builders by name; the first need only the number of features, the last two start from data."""

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
    "batch_size": [_AT_LEAST_ONE],
    "learning_rate": [_POSITIVE, callable, _AUTO],
    "optimizer": [StrOptions(set(get_args(OptimizerName))), callable],
    "sampler": [callable, _AUTO],
    "n_warmup_steps": [_COUNT],
    "callbacks": [tuple, list, None],
    "device": [str, torch.device, None],
    "random_state": [
        _COUNT,
        np.random.RandomState,
        np.random.Generator,
        None,
    ],
    "verbose": ["verbose"],
}
"""Accepted values of each parameter of `LipOCC`."""


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
    contamination = parameters["contamination"]
    if isinstance(contamination, str):
        raise ValueError(
            "contamination must be a float in (0, 0.5] or a threshold object, got "
            f"{contamination!r}: where the share of outliers is not known, use "
            "threshold='boundary', the sign of the signed distance, or threshold='conformal', a "
            "bound of the rate of false alarms"
        )
    validate_parameter_constraints(CONSTRAINTS, parameters, caller_name=caller)
    for name in ("margin", "regularization", "learning_rate"):
        value = parameters[name]
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
    for callback in parameters["callbacks"] or ():
        if not isinstance(callback, Callback):
            raise ValueError(
                "callbacks must be instances of pyod_lipocc.training.Callback, such as "
                f"EarlyStopping(), got {callback!r}"
            )


def check_threshold(threshold: Any) -> None:
    """Check a threshold that is set after `fit`: a rule by name, or a number.

    Parameters
    ----------
    threshold : object

    Raises
    ------
    ValueError
        If it is neither.
    """
    names = get_args(ThresholdName)
    if not (isinstance(threshold, str) and threshold in names):
        accepted = f"or one of {', '.join(map(repr, names))}"
        check_number("threshold", threshold, accepted, lambda number: True)


def check_image_shape(image_shape: Sequence[int] | None, n_features: int) -> None:
    """Check that images of the given shape have as many pixels as X has columns.

    Parameters
    ----------
    image_shape : tuple of int or None
        (height, width) or (channels, height, width).
    n_features : int

    Raises
    ------
    ValueError
        If the shape is not two or three positive ints, or their product is not `n_features`.
    """
    if image_shape is None:
        return
    well_formed = len(image_shape) in (2, 3) and all(
        isinstance(side, Integral) and not isinstance(side, bool) and side > 0
        for side in image_shape
    )
    if not well_formed:
        raise ValueError(
            "image_shape must be (height, width) or (channels, height, width) in positive ints, "
            f"got {image_shape!r}"
        )
    if math.prod(image_shape) != n_features:
        raise ValueError(
            f"image_shape={tuple(image_shape)!r} holds {math.prod(image_shape)} pixels, "
            f"but X has {n_features} columns: each row must be one flattened image"
        )


def check_device(device: str | torch.device | None) -> torch.device:
    """Return the torch device; None means the CPU.

    Parameters
    ----------
    device : str, torch.device or None

    Returns
    -------
    device : torch.device

    Raises
    ------
    ValueError
        If torch does not know the device or it is not present.
    """
    try:
        checked = torch.device("cpu" if device is None else device)
        torch.zeros(1, device=checked).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"device must be None or a device that torch can use here, got {device!r}: {error}"
        ) from error
    return checked


def check_network(network: Any, n_features: int) -> None:
    """Check that a network can be trained on rows of the given width; it is left as it is.

    Parameters
    ----------
    network : torch.nn.Module
    n_features : int

    Raises
    ------
    TypeError
        If the network is not a torch module.
    ValueError
        If it has no parameters, cannot read rows of this width, does not answer with one number for
        each, or is wrapped for training on several devices.
    """
    required = "network must be a torch.nn.Module that maps (n, d) to (n, 1) or (n,)"
    if not isinstance(network, torch.nn.Module):
        raise TypeError(f"{required}, got {network!r}")
    check_unwrapped(network)
    if next(network.parameters(), None) is None:
        raise ValueError(f"{required} and has parameters, got {network!r}")
    try:
        with torch.no_grad():
            shape = tuple(copy.deepcopy(network).float()(torch.zeros(2, n_features)).shape)
    except RuntimeError as error:
        raise ValueError(f"{required}, here of d = {n_features} columns, got {error}") from error
    if shape not in ((2,), (2, 1)):
        raise ValueError(
            f"{required}, got an output of shape {shape} for an input of shape (2, {n_features})"
        )


def check_domain(domain: Domain, X: npt.NDArray[Any], units: str) -> None:
    """Check that a domain contains a batch of rows.

    Parameters
    ----------
    domain : Domain
    X : ndarray of shape (n, d)
        In the units of the domain.
    units : str
        What these units are, for the message.

    Raises
    ------
    ValueError
        If a row lies outside.
    """
    outside = int((~domain.contains(torch.as_tensor(X, dtype=torch.float64))).sum())
    if outside:
        raise ValueError(
            f"domain must contain the data, got {domain!r} with {outside} of {len(X)} rows "
            f"outside, in {units}: widen it, or use domain='auto'"
        )
