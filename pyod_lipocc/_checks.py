"""Checks in the voice of the package: parameter, accepted values, value received."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "check_choice",
    "check_device",
    "check_image_shape",
    "check_integer",
    "check_number",
    "check_pair",
    "finite_array",
    "listed",
]


def check_number(name: str, value: Any, accepted: str, test: Callable[[Any], bool]) -> None:
    """Raise ValueError unless the value is a finite number that passes the test."""
    if not (_is_number(value) and test(value)):
        raise ValueError(f"{name} must be a finite number {accepted}, got {value!r}")


def check_pair(name: str, value: Any, accepted: str, test: Callable[[Any, Any], bool]) -> None:
    """Raise ValueError unless the value is two finite numbers that pass the test."""
    well_formed = isinstance(value, (tuple, list)) and len(value) == 2
    if not (well_formed and all(map(_is_number, value)) and test(*value)):
        raise ValueError(f"{name} must be two numbers (a, b) with {accepted}, got {value!r}")


def check_integer(name: str, value: Any, low: int, high: float = math.inf) -> None:
    """Raise ValueError unless the value is an int from low to high."""
    if isinstance(value, bool) or not isinstance(value, Integral) or not low <= int(value) <= high:
        accepted = f">= {low}" if high == math.inf else f"from {low} to {high}"
        raise ValueError(f"{name} must be an int {accepted}, got {value!r}")


def _is_number(value: Any) -> bool:
    """Tell a finite real number from everything else, a bool included."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def check_image_shape(image_shape: Any, n_features: int | None = None) -> None:
    """Raise ValueError unless this is the shape of an image, of so many pixels where given."""
    well_formed = isinstance(image_shape, (tuple, list)) and len(image_shape) in (2, 3)
    if not well_formed or not all(map(_is_side, image_shape)):
        raise ValueError(
            "image_shape must be (height, width) or (channels, height, width) in positive ints, "
            f"got {image_shape!r}"
        )
    if n_features not in (None, math.prod(image_shape)):
        raise ValueError(
            f"image_shape must hold as many pixels as the rows have columns, {n_features}, got "
            f"{tuple(image_shape)!r} of {math.prod(image_shape)}: each row is a flattened image"
        )


def _is_side(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) > 0


def check_device(device: str | torch.device | None) -> torch.device:
    """Return the torch device, the CPU for None; raise ValueError if torch cannot use it here."""
    try:
        checked = torch.device("cpu" if device is None else device)
        torch.zeros(1, device=checked).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"device must be None or a device that torch can use here, got {device!r}: {error}"
        ) from error
    return checked


def check_choice(name: str, value: Any, accepted: tuple[str, ...]) -> None:
    """Raise ValueError unless the value is one of the accepted ones."""
    if value not in accepted:
        raise ValueError(f"{name} must be one of {', '.join(accepted)}, got {value!r}")


def finite_array(name: str, values: ArrayLike, *, ndim: int | None = None) -> NDArray[np.float64]:
    """Return finite real numbers as an array; raise ValueError if they are no such."""
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold real numbers, got dtype {array.dtype}")
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} dimensions, got the shape {array.shape}")
    if array.size == 0:
        raise ValueError(f"{name} must not be empty, got the shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    return array.astype(np.float64)


def listed(items: Iterable[str], at_most: int = 10) -> str:
    """Write the first items, and how many more there are."""
    items = list(items)
    more = len(items) - at_most
    return ", ".join(items[:at_most]) + (f" and {more} more" if more > 0 else "")
