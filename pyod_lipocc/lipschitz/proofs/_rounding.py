"""How far what a network computes is from what it is: a bound of all rounding, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pyod_lipocc._isolation import isolated
from pyod_lipocc.lipschitz._activations import FullSort, GroupSort2
from pyod_lipocc.lipschitz._combinations import Combination, Maximum, Mean, Minimum
from pyod_lipocc.lipschitz._conv import OrthogonalConv2d, ReshapedConv2d
from pyod_lipocc.lipschitz._dense import OrthogonalLinear
from pyod_lipocc.lipschitz._filters import GaussianBlur
from pyod_lipocc.lipschitz._pooling import (
    GlobalL2NormPool2d,
    InvertibleDownsampling2d,
    L2NormPool2d,
    ScaledAvgPool2d,
)
from pyod_lipocc.lipschitz._subspace import NearestSubspace
from pyod_lipocc.lipschitz.networks import computes_as, lipschitz_bound
from pyod_lipocc.lipschitz.proofs._norms import (
    frobenius_norm,
    gamma,
    largest_frobenius_norm,
    orthonormality_defect,
    product,
    root,
    spectral_norm,
    total,
)

__all__ = ["Prefix", "Rounding", "rounding_bound"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rounding:
    r"""Bound of a rounding error that grows with the input: :math:`a + b \|z\|_2`.

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
        """Return the bound where the input has the norms given, shape (n,)."""
        return np.nextafter(self.constant + np.nextafter(self.slope * norms, np.inf), np.inf)


@isolated()
@torch.no_grad()
def rounding_bound(network: nn.Module, n_features: int) -> Rounding:
    r"""Bound how far the computed output of a network is from its output in exact arithmetic.

    An a priori analysis in the l2 norm: the error that a layer adds, at most
    :math:`\gamma_n (\|W\|_F \|h\|_2 + \|b\|_2)` for sums of n products, is multiplied by the
    Lipschitz constants of the layers that follow.

    Parameters
    ----------
    network : torch.nn.Module
        Made of what `lipschitz.lipschitz_bound` knows, in the precision in which it is evaluated.
    n_features : int
        Width d of the input.

    Returns
    -------
    rounding : Rounding
        For every row z of an input (n, d), whatever the other rows are. Infinite where a module is
        not known.

    Examples
    --------
    >>> from pyod_lipocc.lipschitz import dense
    >>> rounding_bound(dense(2, hidden=(8, 8)).double(), 2).slope < 1e-13
    True
    """
    return Prefix.start(network, n_features, Rounding(0.0, 0.0)).through(network).rounding


@dataclass(frozen=True)
class Prefix:
    """The first layers of a network: Lipschitz constant, rounding, image of 0 as computed."""

    lipschitz: float
    rounding: Rounding
    origin: Tensor

    @classmethod
    def start(cls, network: nn.Module, n_features: int, given: Rounding) -> Prefix:
        """Begin before the first layer, with the error of the input."""
        weight = next(network.parameters(), torch.zeros(()))
        return cls(1.0, given, weight.new_zeros(1, n_features))

    def through(self, module: nn.Module) -> Prefix:
        """Append a module.

        One with constant L whose own rounding is at most r |h| + q at a computed input h makes
        L e + r |h| + q of an error e.
        """
        if not math.isfinite(self.lipschitz):
            return self
        if computes_as(module, nn.Sequential):
            return reduce(Prefix.through, module, self)
        if (
            computes_as(module, Maximum)
            or computes_as(module, Mean)
            or computes_as(module, Minimum)
        ):
            return self._through_all(module)
        steepness = lipschitz_bound(module)
        if not math.isfinite(steepness):
            return Prefix(math.inf, Rounding(math.inf, math.inf), self.origin)
        error, slope = self.rounding.constant, self.rounding.slope
        # Before the module, which may work in place.
        size = total(frobenius_norm(self.origin), error, error)
        image = module(self.origin)
        relative, absolute = _own_rounding(module, self.origin, image)
        rounding = Rounding(
            total(product(steepness, error), product(relative, size), absolute),
            total(product(steepness, slope), product(relative, total(self.lipschitz, slope))),
        )
        return Prefix(product(self.lipschitz, steepness), rounding, image)

    def _through_all(self, module: Combination) -> Prefix:
        """Append networks and the least, the largest or the mean of what they say.

        It moves and errs no more than the one of them that does most; a mean is rounded as well.
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


Own = Callable[[Any, Tensor, Tensor], tuple[float, float]]
"""From a module, its input and output (for their shapes): what its rounding adds, relative to the
norm of the input and in absolute terms."""


def _own_rounding(module: nn.Module, x: Tensor, y: Tensor) -> tuple[float, float]:
    for kinds, own in _OWN_ROUNDING.items():
        if isinstance(module, kinds):
            return own(module, x, y)
    return math.inf, math.inf


def _underflow(y: Tensor, n_terms: int) -> float:
    """Bound the norm of what underflow takes from outputs that are sums of n terms."""
    return product(root(y.numel()), n_terms, torch.finfo(y.dtype).tiny)


def _none(module: nn.Module, x: Tensor, y: Tensor) -> tuple[float, float]:
    return 0.0, 0.0


def _of_linear(module: nn.Linear | OrthogonalLinear, x: Tensor, y: Tensor) -> tuple[float, float]:
    n_terms = module.weight.shape[1] + 2
    return _of_sums(n_terms, frobenius_norm(module.weight), module.bias, x, y)


def _of_convolution(module: Any, x: Tensor, y: Tensor) -> tuple[float, float]:
    """Bound it knowing that a pixel is in at most ceil(side / stride) patches in each direction."""
    kernel = module.weight if isinstance(module, nn.Conv2d) else module.kernel()
    stride = module.stride[0] if isinstance(module, nn.Conv2d) else module.stride
    overlap = math.prod(-(-side // stride) for side in kernel.shape[-2:])
    norm = product(root(overlap), frobenius_norm(kernel))
    return _of_sums(kernel[0].numel() + 2, norm, module.bias, x, y)


def _of_sums(
    n_terms: int, norm: float, bias: Tensor | None, x: Tensor, y: Tensor
) -> tuple[float, float]:
    """Bound the rounding of sums of products, added to a bias at each position."""
    factor = gamma(n_terms, y.dtype)
    biases = 0.0
    if bias is not None:
        biases = product(frobenius_norm(bias), root(y.numel() // len(bias)))
    return product(factor, norm), total(product(factor, biases), _underflow(y, n_terms))


def _of_sorting(module: GroupSort2 | FullSort, x: Tensor, y: Tensor) -> tuple[float, float]:
    """Sort without rounding, as long as it is not the rows that are sorted among each other."""
    return (0.0, 0.0) if module.dim % x.ndim else (math.inf, math.inf)


def _of_norms(
    module: L2NormPool2d | GlobalL2NormPool2d, x: Tensor, y: Tensor
) -> tuple[float, float]:
    """Bound it knowing that squares do not cancel; a sum of them that underflows counts as 0."""
    window = module.window if isinstance(module, L2NormPool2d) else None
    n_terms = window**2 if window else x[0, 0].numel()
    lost = root(product(n_terms + 4, torch.finfo(y.dtype).tiny))
    return gamma(n_terms + 6, y.dtype), product(root(y.numel()), window or 1, lost)


def _of_means(module: ScaledAvgPool2d, x: Tensor, y: Tensor) -> tuple[float, float]:
    n_terms = module.window**2 + 4
    return gamma(n_terms, y.dtype), _underflow(y, n_terms * module.window)


def _of_subspaces(module: NearestSubspace, x: Tensor, y: Tensor) -> tuple[float, float]:
    r"""Bound it by multiples of :math:`w = \|x\| + \max_k \|\mu_k\|`, which no difference exceeds.

    Components are chosen by squared heights that cancel: they are off by at most a multiple of w^2
    and so the heights by at most its root. A wrong choice costs at most twice that, because the
    mean of the j smallest moves no more than any height does.
    """
    K, q, d = module.basis.shape
    factor = gamma(d + q + 32, y.dtype)
    norm, size = spectral_norm(module.basis), largest_frobenius_norm(module.basis)
    defect = orthonormality_defect(module.basis)
    shrunk = module.shrinkage().abs().max().item() if q else 0.0
    chosen = total(
        product(factor, total(1.0, product(2.0, norm, size), product(norm, norm))),
        product(defect, norm, norm),
    )
    height = product(factor, total(2.0, product(shrunk, norm, total(size, size, norm))))
    mean = gamma(module.n_nearest + 16, y.dtype)
    wrong = 2 * root(chosen) if module.n_nearest < K else 0.0
    relative = total(wrong, height, product(8.0, mean))
    farthest = largest_frobenius_norm(module.centers[:, None])
    constants = total(module.offset.abs().max().item(), module.bias.abs().item())
    lost = root(product(8 * (d + q + 4), torch.finfo(y.dtype).tiny))
    absolute = total(product(relative, farthest), product(8.0, mean, constants), 4 * lost)
    return relative, absolute


def _of_blur(module: GaussianBlur, x: Tensor, y: Tensor) -> tuple[float, float]:
    n_terms = len(module.vertical) + len(module.horizontal) + 4
    norms = map(spectral_norm, (module.vertical.abs(), module.horizontal.abs()))
    return product(gamma(n_terms, y.dtype), *norms), _underflow(y, 4 * n_terms)


def _of_library(module: nn.Module, x: Tensor, y: Tensor) -> tuple[float, float]:
    """Bound values of at most 1, accurate to 8 units in the last place."""
    return 0.0, product(gamma(16, y.dtype), root(y.numel()))


_OWN_ROUNDING: dict[type | tuple[type, ...], Own] = {
    (OrthogonalLinear, nn.Linear): _of_linear,
    (OrthogonalConv2d, ReshapedConv2d, nn.Conv2d): _of_convolution,
    (FullSort, GroupSort2): _of_sorting,
    (L2NormPool2d, GlobalL2NormPool2d): _of_norms,
    ScaledAvgPool2d: _of_means,
    GaussianBlur: _of_blur,
    NearestSubspace: _of_subspaces,
    (nn.Sigmoid, nn.Tanh): _of_library,
    (InvertibleDownsampling2d, nn.Flatten, nn.Identity, nn.ReLU, nn.Unflatten): _none,
}
