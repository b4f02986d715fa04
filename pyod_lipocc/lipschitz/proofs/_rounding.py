"""The rounding of a network, from that of its layers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pyod_lipocc._isolation import isolated
from pyod_lipocc.lipschitz._arithmetic import gamma, product, total
from pyod_lipocc.lipschitz._combinations import Combination, Maximum, Mean, Minimum
from pyod_lipocc.lipschitz._norms import frobenius_norm
from pyod_lipocc.lipschitz.dispatch import computes_as, entry_of
from pyod_lipocc.lipschitz.proofs._layers import PROOFS

__all__ = ["Prefix", "Rounding", "rounding_bound"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rounding:
    r"""Bound of a rounding error that grows with the input z: :math:`a + b \|z\|_2`.

    Attributes
    ----------
    constant : float
        a, the bound at z = 0.
    slope : float
        b.
    """

    constant: float
    slope: float

    def at(self, norms: Floats) -> Floats:
        """Return the bound for inputs of the norms given, shape (n,)."""
        return np.nextafter(self.constant + np.nextafter(self.slope * norms, np.inf), np.inf)


@isolated()
@torch.no_grad()
def rounding_bound(network: nn.Module, n_features: int) -> Rounding:
    r"""Bound how far the computed output of a network is from its output in exact arithmetic.

    An a priori analysis in the l2 norm. A layer of sums of n products adds an error of at most
    :math:`\gamma_n (\|W\|_F \|h\|_2 + \|b\|_2)`. The Lipschitz constants of the layers that follow
    multiply it.

    Parameters
    ----------
    network : torch.nn.Module
        Of modules that `lipschitz.lipschitz_bound` knows, in the precision of its evaluation.
    n_features : int
        Width d of the input.

    Returns
    -------
    rounding : Rounding
        Holds for every row z of an input (n, d), whatever the other rows are. Infinite where a
        module is not known.

    Examples
    --------
    >>> from pyod_lipocc.lipschitz import dense
    >>> rounding_bound(dense(2, hidden=(8, 8)).double(), 2).slope < 1e-13
    True
    """
    return Prefix.start(network, n_features, Rounding(0.0, 0.0)).through(network).rounding


@dataclass(frozen=True)
class Prefix:
    """The first layers of a network, as far as they are proven.

    Attributes
    ----------
    lipschitz : float
        Upper bound of their Lipschitz constant.
    rounding : Rounding
        Of their output, by the norm of their input.
    origin : Tensor of shape (1, ...)
        The computed image of the input 0.
    """

    lipschitz: float
    rounding: Rounding
    origin: Tensor

    @classmethod
    def start(cls, network: nn.Module, n_features: int, given: Rounding) -> Prefix:
        """Begin before the first layer; `given` bounds the error of the input."""
        weight = next(network.parameters(), torch.zeros(()))
        return cls(1.0, given, weight.new_zeros(1, n_features))

    def through(self, module: nn.Module) -> Prefix:
        r"""Append a module.

        Let h be the input of the module as computed, off by an error e. The module, of Lipschitz
        constant L, makes at most L e of this error and adds its own rounding, at most
        :math:`r \|h\| + q`.
        """
        if not math.isfinite(self.lipschitz):
            return self
        if computes_as(module, nn.Sequential):
            return reduce(Prefix.through, module, self)
        if computes_as(module, Maximum, Mean, Minimum):
            return self._through_combination(module)
        proof = entry_of(module, PROOFS)
        steepness = math.inf if proof is None else proof.lipschitz(module)
        if proof is None or not math.isfinite(steepness):
            return Prefix(math.inf, Rounding(math.inf, math.inf), self.origin)
        error, slope = self.rounding.constant, self.rounding.slope
        # Before the module, which may work in place.
        size = total(frobenius_norm(self.origin), error, error)
        image = module(self.origin)
        relative, absolute = proof.rounding(module, self.origin, image)
        rounding = Rounding(
            total(product(steepness, error), product(relative, size), absolute),
            total(product(steepness, slope), product(relative, total(self.lipschitz, slope))),
        )
        return Prefix(product(self.lipschitz, steepness), rounding, image)

    def _through_combination(self, module: Combination) -> Prefix:
        """Append networks side by side, and the minimum, the maximum or the mean of their values.

        None of the three moves faster than the fastest network, or is farther off than the network
        that is farthest off. The mean has a rounding of its own.
        """
        parts = [self.through(network) for network in module.networks]
        lipschitz = max(part.lipschitz for part in parts)
        error = max(part.rounding.constant for part in parts)
        slope = max(part.rounding.slope for part in parts)
        size = max(frobenius_norm(part.origin) for part in parts)
        image = module(self.origin) if math.isfinite(lipschitz) else self.origin
        own = gamma(len(parts) + 4, image.dtype)
        rounding = Rounding(
            total(error, product(own, total(size, error, error))),
            total(slope, product(own, total(lipschitz, slope))),
        )
        return Prefix(lipschitz, rounding, image)
