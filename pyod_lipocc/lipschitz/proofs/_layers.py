"""What is proven of each layer: a table of Lipschitz bounds and rounding bounds.

A new layer is a line of `PROOFS`; a layer without a line has no certificates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pyod_lipocc.lipschitz._activations import FullSort, GroupSort2
from pyod_lipocc.lipschitz._arithmetic import gamma, product, root, total
from pyod_lipocc.lipschitz._boxes import NearestBox
from pyod_lipocc.lipschitz._conv import OrthogonalConv2d, ReshapedConv2d
from pyod_lipocc.lipschitz._dense import OrthogonalLinear
from pyod_lipocc.lipschitz._filters import GaussianBlur
from pyod_lipocc.lipschitz._norms import (
    frobenius_norm,
    largest_frobenius_norm,
    orthonormality_defect,
    spectral_norm,
    subspace_norm,
)
from pyod_lipocc.lipschitz._pooling import (
    GlobalL2NormPool2d,
    InvertibleDownsampling2d,
    L2NormPool2d,
    ScaledAvgPool2d,
)
from pyod_lipocc.lipschitz._subspace import NearestSubspace
from pyod_lipocc.lipschitz.functional import convolution_bound

__all__ = ["PROOFS", "Proof"]

Errors = tuple[float, float]
"""The part of an error relative to the norm of the input, and the absolute part."""


class Proof(NamedTuple):
    """What is proven of a layer.

    Attributes
    ----------
    lipschitz : callable
        From a layer to an upper bound of its Lipschitz constant; ``inf`` where none is known.
    rounding : callable
        From a layer, an input and its output to (r, q): the rounding of the layer itself is at most
        r times the norm of its input, plus q. Of the two tensors only shape and precision count.
    """

    lipschitz: Callable[[Any], float]
    rounding: Callable[[Any, Tensor, Tensor], Errors]


def _contraction(layer: nn.Module) -> float:
    """Return 1, or infinity if the layer may sort, split or join rows: the first dimension."""
    if isinstance(layer, nn.Flatten):
        mixes_rows = layer.start_dim != 1
    else:
        mixes_rows = getattr(layer, "dim", -1) not in (-1, 1, 2, 3)
    return math.inf if mixes_rows else 1.0


def _norm_of_weight(layer: nn.Linear | OrthogonalLinear) -> float:
    return spectral_norm(layer.weight)


def _norm_of_convolution(layer: nn.Conv2d) -> float:
    """Bound a convolution of torch to which `convolution_bound` applies.

    A circular one must have stride 1 and no more outputs than inputs.
    """
    circular = layer.padding_mode == "circular" and layer.stride == (1, 1)
    within = isinstance(layer.padding, str) or all(
        2 * padding < side for padding, side in zip(layer.padding, layer.kernel_size, strict=True)
    )
    applies = (
        (layer.padding_mode == "zeros" or (circular and within))
        and layer.groups == 1
        and layer.dilation == (1, 1)
        and layer.stride[0] == layer.stride[1]
    )
    return convolution_bound(layer.weight, layer.stride[0]) if applies else math.inf


def _norm_of_blur(layer: GaussianBlur) -> float:
    return product(spectral_norm(layer.vertical), spectral_norm(layer.horizontal))


def _norm_of_subspaces(layer: NearestSubspace) -> float:
    return subspace_norm(layer.basis, layer.shrinkage())


def _norm_of_boxes(layer: NearestBox) -> float:
    r"""Bound the norm of :math:`I - U^\top D U`, where D in [0, 1] derives the projection."""
    return subspace_norm(layer.basis, torch.ones_like(layer.half_width))


def _underflow(y: Tensor, n_terms: int) -> float:
    """Bound the norm of the losses by underflow, for outputs that are sums of n terms."""
    return product(root(y.numel()), n_terms, torch.finfo(y.dtype).tiny)


def _no_rounding(layer: nn.Module, x: Tensor, y: Tensor) -> Errors:
    return 0.0, 0.0


def _rounding_of_linear(layer: nn.Linear | OrthogonalLinear, x: Tensor, y: Tensor) -> Errors:
    n_terms = layer.weight.shape[1] + 2
    return _rounding_of_sums(n_terms, frobenius_norm(layer.weight), layer.bias, y)


def _rounding_of_convolution(layer: Any, x: Tensor, y: Tensor) -> Errors:
    """Bound sums over patches; in each direction a pixel is in at most ceil(side / stride)."""
    kernel = layer.weight if isinstance(layer, nn.Conv2d) else layer.kernel()
    stride = layer.stride[0] if isinstance(layer, nn.Conv2d) else layer.stride
    overlap = math.prod(-(-side // stride) for side in kernel.shape[-2:])
    norm = product(root(overlap), frobenius_norm(kernel))
    return _rounding_of_sums(kernel[0].numel() + 2, norm, layer.bias, y)


def _rounding_of_sums(n_terms: int, norm: float, bias: Tensor | None, y: Tensor) -> Errors:
    """Bound sums of products, to which a bias is added at each position."""
    factor = gamma(n_terms, y.dtype)
    biases = 0.0
    if bias is not None:
        biases = product(frobenius_norm(bias), root(y.numel() // len(bias)))
    return product(factor, norm), total(product(factor, biases), _underflow(y, n_terms))


def _rounding_of_sorting(layer: GroupSort2 | FullSort, x: Tensor, y: Tensor) -> Errors:
    """Return no rounding, or an infinite one if rows would be sorted among each other."""
    return (0.0, 0.0) if layer.dim % x.ndim else (math.inf, math.inf)


def _rounding_of_norms(layer: L2NormPool2d | GlobalL2NormPool2d, x: Tensor, y: Tensor) -> Errors:
    """Bound roots of sums of squares, which do not cancel; a sum that underflows counts as 0."""
    window = layer.window if isinstance(layer, L2NormPool2d) else None
    n_terms = window**2 if window else x[0, 0].numel()
    lost = root(product(n_terms + 4, torch.finfo(y.dtype).tiny))
    return gamma(n_terms + 6, y.dtype), product(root(y.numel()), window or 1, lost)


def _rounding_of_means(layer: ScaledAvgPool2d, x: Tensor, y: Tensor) -> Errors:
    n_terms = layer.window**2 + 4
    return gamma(n_terms, y.dtype), _underflow(y, n_terms * layer.window)


def _rounding_of_subspaces(layer: NearestSubspace, x: Tensor, y: Tensor) -> Errors:
    shrunk = layer.shrinkage().abs().max().item() if layer.contraction.numel() else 0.0
    return _rounding_of_heights(layer, y, shrunk, layer.n_nearest)


def _rounding_of_boxes(layer: NearestBox, x: Tensor, y: Tensor) -> Errors:
    """Bound as for subspaces: the part inside a box is no longer than that along its axes."""
    return _rounding_of_heights(layer, y, 1.0, 1)


def _rounding_of_heights(
    layer: NearestSubspace | NearestBox, y: Tensor, shrunk: float, n_nearest: int
) -> Errors:
    r"""Bound heights by multiples of :math:`w = \|x\| + \max_k \|\mu_k\|`.

    No difference :math:`x - \mu_k` is longer than w. The choice of components rests on squared
    heights, computed with cancellation: their error is at most a multiple of :math:`w^2`, and that
    of the heights at most the root of this multiple. A wrong choice costs at most twice this root:
    the mean of the j smallest heights moves no more than the height that moves most.
    """
    K, q, d = layer.basis.shape
    factor = gamma(d + q + 32, y.dtype)
    norm, size = spectral_norm(layer.basis), largest_frobenius_norm(layer.basis)
    defect = orthonormality_defect(layer.basis)
    chosen = total(
        product(factor, total(1.0, product(2.0, norm, size), product(norm, norm))),
        product(defect, norm, norm),
    )
    height = product(factor, total(2.0, product(shrunk, norm, total(size, size, norm))))
    mean = gamma(n_nearest + 16, y.dtype)
    wrong = 2 * root(chosen) if n_nearest < K else 0.0
    relative = total(wrong, height, product(8.0, mean))
    farthest = largest_frobenius_norm(layer.centers[:, None])
    constants = total(layer.offset.abs().max().item(), layer.bias.abs().item())
    lost = root(product(8 * (d + q + 4), torch.finfo(y.dtype).tiny))
    absolute = total(product(relative, farthest), product(8.0, mean, constants), 4 * lost)
    return relative, absolute


def _rounding_of_blur(layer: GaussianBlur, x: Tensor, y: Tensor) -> Errors:
    n_terms = len(layer.vertical) + len(layer.horizontal) + 4
    norms = map(spectral_norm, (layer.vertical.abs(), layer.horizontal.abs()))
    return product(gamma(n_terms, y.dtype), *norms), _underflow(y, 4 * n_terms)


def _rounding_of_values(layer: nn.Module, x: Tensor, y: Tensor) -> Errors:
    """Bound values of at most 1 that torch's library computes to 8 units in the last place."""
    return 0.0, product(gamma(16, y.dtype), root(y.numel()))


PROOFS: dict[type[nn.Module], Proof] = {
    FullSort: Proof(_contraction, _rounding_of_sorting),
    GaussianBlur: Proof(_norm_of_blur, _rounding_of_blur),
    GlobalL2NormPool2d: Proof(_contraction, _rounding_of_norms),
    GroupSort2: Proof(_contraction, _rounding_of_sorting),
    InvertibleDownsampling2d: Proof(_contraction, _no_rounding),
    L2NormPool2d: Proof(_contraction, _rounding_of_norms),
    NearestBox: Proof(_norm_of_boxes, _rounding_of_boxes),
    NearestSubspace: Proof(_norm_of_subspaces, _rounding_of_subspaces),
    OrthogonalConv2d: Proof(OrthogonalConv2d.lipschitz_bound, _rounding_of_convolution),
    OrthogonalLinear: Proof(_norm_of_weight, _rounding_of_linear),
    ReshapedConv2d: Proof(ReshapedConv2d.lipschitz_bound, _rounding_of_convolution),
    ScaledAvgPool2d: Proof(_contraction, _rounding_of_means),
    nn.Conv2d: Proof(_norm_of_convolution, _rounding_of_convolution),
    nn.Flatten: Proof(_contraction, _no_rounding),
    nn.Identity: Proof(_contraction, _no_rounding),
    nn.Linear: Proof(_norm_of_weight, _rounding_of_linear),
    nn.ReLU: Proof(_contraction, _no_rounding),
    nn.Sigmoid: Proof(_contraction, _rounding_of_values),
    nn.Tanh: Proof(_contraction, _rounding_of_values),
    nn.Unflatten: Proof(_contraction, _no_rounding),
}
