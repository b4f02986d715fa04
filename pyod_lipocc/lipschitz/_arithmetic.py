"""Arithmetic of bounds: what is computed is never less than what is meant.

Results are Python floats, rounded upwards; a result that is a float stays exact. Factors, radicands
and denominators are not negative.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import torch

__all__ = ["gamma", "product", "quotient", "root", "total"]


def total(*terms: float) -> float:
    """Add numbers, rounding upwards; exact where the sum is a float."""
    if not all(map(math.isfinite, terms)):
        return math.inf
    return _upwards(sum(map(Fraction, terms), Fraction(0)))


def product(*factors: float) -> float:
    """Multiply non-negative numbers, rounding upwards; exact where the product is a float."""
    if not all(map(math.isfinite, factors)):
        return math.inf
    return _upwards(math.prod(map(Fraction, factors), start=Fraction(1)))


def quotient(numerator: float, denominator: float) -> float:
    """Divide by a positive number, rounding upwards; exact where the quotient is a float."""
    if not math.isfinite(numerator):
        return math.inf
    return _upwards(Fraction(numerator) / Fraction(denominator))


def _upwards(value: Fraction) -> float:
    if value > Fraction(np.finfo(np.float64).max):
        return math.inf
    nearest = float(value)
    return nearest if nearest >= value else math.nextafter(nearest, math.inf)


def root(value: float) -> float:
    """Return the square root of a non-negative number, rounded upwards."""
    nearest = math.sqrt(value)
    exact = math.isinf(nearest) or Fraction(nearest) ** 2 >= Fraction(value)
    return nearest if exact else math.nextafter(nearest, math.inf)


def gamma(n_terms: int, dtype: torch.dtype = torch.float64) -> float:
    r"""Return :math:`\gamma_n = n u / (1 - n u)`, rounded upwards, with the unit roundoff u.

    It is infinite where :math:`n u \ge 1`. A computed sum of n products, in any order, is off by at
    most :math:`\gamma_n` times the sum of their absolute values (Higham, *Accuracy and Stability of
    Numerical Algorithms*, section 3.1).
    """
    error = n_terms * Fraction(torch.finfo(dtype).eps) / 2
    return _upwards(error / (1 - error)) if error < 1 else math.inf
