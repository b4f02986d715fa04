"""Checks of single numbers, in the voice of the package: parameter, accepted values, value."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

__all__ = ["check_integer", "check_number", "check_pair"]


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
