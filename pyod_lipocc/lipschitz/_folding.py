"""Networks whose weights stay: folded for scoring, or frozen for a while."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from pyod_lipocc._isolation import isolated
from pyod_lipocc.lipschitz._conv import OrthogonalConv2d, ReshapedConv2d
from pyod_lipocc.lipschitz._dense import OrthogonalLinear
from pyod_lipocc.lipschitz._subspace import NearestSubspace
from pyod_lipocc.lipschitz.dispatch import computes_as

__all__ = ["fold", "frozen"]


@isolated()
def fold(network: nn.Module) -> nn.Module:
    """Return an equivalent for scoring, without what only training needs.

    Parameters
    ----------
    network : torch.nn.Module

    Returns
    -------
    folded : torch.nn.Module
        A new network, frozen, in evaluation mode. In sequences, torch's linear layers and
        convolutions replace the orthogonal ones and hold the weights as used. All other modules are
        copies, also convolutions with a padding that torch's lack. `NearestSubspace` passes over no
        component, in either mode.

    Examples
    --------
    >>> from pyod_lipocc.lipschitz import dense
    >>> fold(dense(2, hidden=(8,)))
    Sequential(
      (0): Linear(in_features=2, out_features=8, bias=True)
      (1): GroupSort2()
      (2): Linear(in_features=8, out_features=1, bias=True)
    )
    """
    folded = _folded(network).eval().requires_grad_(False)
    for module in folded.modules():
        if isinstance(module, NearestSubspace):
            module.leave_one_out = False
    return folded


def _folded(module: nn.Module) -> nn.Module:
    if computes_as(module, nn.Sequential):
        return nn.Sequential(OrderedDict((k, _folded(m)) for k, m in module._modules.items()))
    if computes_as(module, OrthogonalLinear):
        return module.fold()
    if computes_as(module, OrthogonalConv2d, ReshapedConv2d):
        return copy.deepcopy(module.fold())
    return copy.deepcopy(module)


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Keep the weights of a network as they are while the context lasts.

    Autograd passes over them: a derivative by the input costs no more than it must. Convolutions
    build their kernels once.

    Parameters
    ----------
    network : torch.nn.Module

    Examples
    --------
    >>> import torch
    >>> from pyod_lipocc.lipschitz import dense
    >>> network = dense(2, hidden=(8,))
    >>> with frozen(network):
    ...     network(torch.zeros(1, 2)).requires_grad
    False
    """
    trainable = [weight for weight in network.parameters() if weight.requires_grad]
    kinds = (ReshapedConv2d, OrthogonalConv2d)
    convolutions = [module for module in network.modules() if isinstance(module, kinds)]
    try:
        for weight in trainable:
            weight.requires_grad_(False)
        for convolution in convolutions:
            convolution.hold()
        yield
    finally:
        for convolution in convolutions:
            convolution.release()
        for weight in trainable:
            weight.requires_grad_(True)
