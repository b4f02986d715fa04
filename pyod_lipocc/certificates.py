r"""Proofs about a score: how fast it moves, how far rounding shifts it, which ball is safe.

Let s be the score in exact arithmetic, with the weights as stored, and :math:`\hat s` the score as
computed. A `Certificate` holds numbers L, a and b such that for all rows x and x'

.. math:: |s(x) - s(x')| \le L \|x - x'\|_2, \qquad |\hat s(x) - s(x)| \le a + b \|z(x)\|_2

with :math:`z = (x - location) / scale`. Both bounds rest on the weights alone and hold for every
batch size, number of threads and order of summation. They are proven under these assumptions:

- The arithmetic is that of IEEE, rounded to nearest. Underflow may be gradual or flushed to zero.
- Sums of products are computed as such, in the precision of the weights: without Winograd or FFT
  convolutions, TF32 and autocast. This is how torch computes in float64.
- Nothing overflows.
- tanh and sigmoid are accurate to 8 units in the last place.
- A layer that computes a kernel from its weights gets the same bits each time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from pyod_lipocc._chunks import chunks
from pyod_lipocc._isolation import isolated
from pyod_lipocc.lipschitz.proofs import (
    Prefix,
    Rounding,
    frobenius_norm,
    gamma,
    product,
    quotient,
    total,
)
from pyod_lipocc.units import Scaling

__all__ = ["Certificate", "certified_radius"]

Floats = npt.NDArray[np.float64]

_TINY = 2.0**-400
"""More than underflow takes from the norm of a row in float64."""


@dataclass(frozen=True)
class Certificate:
    r"""Bounds proven of the score :math:`margin - unit \cdot f(z(x))`, and of labels by it.

    Attributes
    ----------
    lipschitz : float
        Upper bound of the Lipschitz constant of f.
    rounding : Rounding
        Bound of the rounding error of the score, in its units, by the norm of z.
    scaling : Scaling

    Examples
    --------
    >>> from pyod_lipocc.lipschitz import dense
    >>> X = np.random.default_rng(0).normal(size=(50, 2)) * [1.0, 0.5]
    >>> scaling = Scaling.fit(X, standardize=True)
    >>> certificate = Certificate.of(dense(2, hidden=(8, 8)).double(), scaling, margin=0.1)
    >>> round(certificate.lipschitz_constant * float(scaling.scale.min()), 5)
    1.0
    >>> bool(certificate.error(X).max() < 1e-13)
    True
    """

    lipschitz: float
    rounding: Rounding
    scaling: Scaling

    @classmethod
    @isolated()
    def of(cls, network: nn.Module, scaling: Scaling, margin: float) -> Certificate:
        r"""Prove the bounds from the weights.

        Parameters
        ----------
        network : torch.nn.Module
            f, in the precision in which it is evaluated.
        scaling : Scaling
            From the units of X to those of the network.
        margin : float
            m, in the units of the scores.

        Returns
        -------
        certificate : Certificate
            Its bounds are infinite if a module is not known.
        """
        n_features, unit = len(scaling.location), scaling.unit
        dtype = next(network.parameters(), torch.zeros(())).dtype
        # z is rounded twice in float64, and once to the precision of the network.
        given = Rounding(
            product(n_features, torch.finfo(dtype).tiny), total(gamma(3), gamma(2, dtype))
        )
        with torch.no_grad():
            whole = Prefix.start(network, n_features, given).through(network)
        error, slope = whole.rounding.constant, whole.rounding.slope
        if not math.isfinite(whole.lipschitz):
            return cls(math.inf, whole.rounding, scaling)
        output = product(unit, total(frobenius_norm(whole.origin), error, error))
        steepness = product(unit, total(whole.lipschitz, slope))
        # margin - unit * f is rounded twice.
        rounding = Rounding(
            total(product(unit, error), product(gamma(3), total(output, abs(margin))), _TINY),
            total(product(unit, slope), product(gamma(3), steepness)),
        )
        return cls(whole.lipschitz, rounding, scaling)

    @property
    def lipschitz_constant(self) -> float:
        r"""Upper bound of \|s(x) - s(x')\| / \|x - x'\|, in units of the score per unit of X."""
        return self._per_unit_of_input(product(self.scaling.unit, self.lipschitz))

    @isolated()
    def error(self, X: npt.NDArray[Any]) -> Floats:
        """Bound the rounding error of the scores.

        Parameters
        ----------
        X : ndarray of shape (n, d)

        Returns
        -------
        error : ndarray of shape (n,)
            Upper bounds of the distance between the score as computed and in exact arithmetic.
        """
        # Roundings of z and of the sum of squares may have made the computed norm too small.
        factor = 1 + gamma(X.shape[1] + 8)
        norms = [np.linalg.norm(self.scaling.to_network(rows), axis=1) for rows in chunks(X)]
        return self.rounding.at(np.concatenate(norms) * factor)

    @isolated()
    def radius(
        self,
        X: npt.NDArray[Any],
        scores: Floats,
        threshold: float,
        *,
        units: Literal["input", "scaled"] = "input",
    ) -> Floats:
        r"""Return the l2 radius of a ball around each row in which its label cannot change.

        Let x' be a row in the ball of radius r around x. The exact scores of x and x' differ by at
        most L r. Each computed score differs from the exact one by at most
        :math:`a + b \|z(x)\| + b r / scale`. The radius is so small that all of this together does
        not carry the score of x' across the threshold.

        Parameters
        ----------
        X : ndarray of shape (n, d)
        scores : ndarray of shape (n,)
            The scores of X as computed.
        threshold : float
            Rows with a greater score have the label 1.
        units : {"input", "scaled"}, default="input"
            Units of the radius: those of X, or those of the scores. In units of the scores, the
            balls are in standardised features.

        Returns
        -------
        radius : ndarray of shape (n,)
            Rounded downwards; 0 where the score is not finite, or its error reaches the threshold.

        Raises
        ------
        ValueError
            If the network has a module without a proven bound, or `units` is something else.
        """
        if units not in ("input", "scaled"):
            raise ValueError(f"units must be 'input' or 'scaled', got {units!r}")
        if not math.isfinite(self.lipschitz):
            raise ValueError(
                "network must be made of modules with a proven Lipschitz bound, those of "
                "pyod_lipocc.lipschitz.lipschitz_bound, for its scores to be certified, "
                "got one with another module or with hooks"
            )
        steepness = total(product(self.scaling.unit, self.lipschitz), self.rounding.slope)
        if units == "input":
            steepness = self._per_unit_of_input(steepness)
        else:
            steepness = quotient(steepness, self.scaling.unit)
        return certified_radius(scores, threshold, steepness, 2 * self.error(X))

    def _per_unit_of_input(self, slope: float) -> float:
        """Turn a change per unit of the network into one per unit of X."""
        return quotient(slope, float(self.scaling.scale.min()))


@isolated()
def certified_radius(
    scores: npt.ArrayLike,
    threshold: float,
    lipschitz_constant: float,
    error: npt.ArrayLike = 0.0,
) -> Floats:
    r"""Return the l2 radius in which no score can cross the threshold.

    .. math:: r = \max\Big(0, \frac{|s - t| - e}{L}\Big)

    Parameters
    ----------
    scores : array-like of shape (n,)
    threshold : float
        t.
    lipschitz_constant : float
        L > 0.
    error : float or array-like of shape (n,), default=0.0
        e >= 0: how far rounding or noise may shift two scores against each other.

    Returns
    -------
    radius : ndarray of shape (n,)
        Rounded downwards; 0 where a score or its error is not finite.

    Raises
    ------
    ValueError
        If `lipschitz_constant` is not a finite number > 0.

    Examples
    --------
    >>> certified_radius([-1.0, 0.25, 2.0], 0.25, 2.0).round(6)
    array([0.625, 0.   , 0.875])
    """
    if not 0 < lipschitz_constant < math.inf:
        raise ValueError(
            f"lipschitz_constant must be a finite number > 0, got {lipschitz_constant!r}"
        )
    if not math.isfinite(threshold):
        raise ValueError(f"threshold must be a finite number, got {threshold!r}")
    s, e = np.broadcast_arrays(np.asarray(scores, np.float64), np.asarray(error, np.float64))
    finite = np.isfinite(s) & np.isfinite(e)
    distance = np.nextafter(np.abs(np.where(finite, s, threshold) - threshold), 0.0)
    slack = np.nextafter(distance - np.where(finite, e, 0.0), -np.inf)
    radius: Floats = np.maximum(np.nextafter(slack / lipschitz_constant, -np.inf), 0.0)
    return radius
