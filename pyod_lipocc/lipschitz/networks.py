"""What training, scoring and certificates need to know of any network."""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from types import NoneType
from typing import Any, Protocol, TypeGuard, TypeVar, runtime_checkable

from torch import Tensor, nn
from torch.nn.modules import module as _hooks

from pyod_lipocc._isolation import isolated
from pyod_lipocc.lipschitz._activations import FullSort, GroupSort2
from pyod_lipocc.lipschitz._builders import BUILDERS, conv, conv_deep, dense
from pyod_lipocc.lipschitz._combinations import Maximum, Mean, Minimum
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
from pyod_lipocc.lipschitz.functional import convolution_bound
from pyod_lipocc.lipschitz.proofs._norms import (
    product,
    quotient,
    spectral_norm,
    subspace_norm,
    total,
)

T = TypeVar("T", bound=nn.Module)

__all__ = [
    "BUILDERS",
    "StiefelLayer",
    "conv",
    "conv_deep",
    "dense",
    "fold",
    "frozen",
    "lipschitz_bound",
    "parameter_groups",
    "polish",
]


@runtime_checkable
class StiefelLayer(Protocol):
    """What training needs of a layer that keeps weights on the Stiefel manifold."""

    def stiefel_weights(self) -> list[nn.Parameter]:
        """Return the parameters that an optimiser must keep on the manifold."""

    def polish(self) -> None:
        """Retract these weights in their present precision, in place."""


def _layers(network: nn.Module) -> list[StiefelLayer]:
    return [module for module in network.modules() if isinstance(module, StiefelLayer)]


def parameter_groups(network: nn.Module) -> list[dict[str, Any]]:
    """Split the parameters of a network into those on the Stiefel manifold and the free ones.

    Parameters
    ----------
    network : torch.nn.Module

    Returns
    -------
    groups : list of dict
        For `stiefel.StiefelAdam` or `stiefel.StiefelRMSprop`; groups without parameters are left
        out.

    Examples
    --------
    >>> [len(group["params"]) for group in parameter_groups(dense(2, hidden=(8,)))]
    [2, 2]
    """
    constrained = [weight for layer in _layers(network) for weight in layer.stiefel_weights()]
    known = {id(weight) for weight in constrained}
    free = [weight for weight in network.parameters() if id(weight) not in known]
    groups: list[dict[str, Any]] = [{"params": constrained, "stiefel": True}, {"params": free}]
    return [group for group in groups if group["params"]]


@isolated()
def polish(network: nn.Module) -> None:
    """Retract every orthogonal layer of a network in its present precision, in place.

    Parameters
    ----------
    network : torch.nn.Module
        After ``network.double()`` the singular values are 1 to about 1e-15.
    """
    for layer in _layers(network):
        layer.polish()


def computes_as(module: nn.Module, known: type[T]) -> TypeGuard[T]:
    """Tell whether a module is of the known class itself, with its methods as they are.

    A subclass, a hook, a method that an instance replaces or a weight of another class of tensors
    may compute anything.
    """
    replaced = any(callable(getattr(known, name, None)) for name in vars(module))
    own_hooks = module._forward_hooks or module._forward_pre_hooks
    hooked = own_hooks or _hooks._global_forward_hooks or _hooks._global_forward_pre_hooks
    tensors = (*module._parameters.values(), *module._buffers.values())
    plain = all(type(tensor) in (Tensor, nn.Parameter, NoneType) for tensor in tensors)
    return type(module) is known and plain and not (replaced or hooked)


@isolated()
def fold(network: nn.Module) -> nn.Module:
    """Return a plain equivalent for scoring: what training needs of the layers is left out.

    Parameters
    ----------
    network : torch.nn.Module

    Returns
    -------
    folded : torch.nn.Module
        New, frozen, in evaluation mode. In sequences, orthogonal layers are torch's linear layers
        and convolutions, with the weights as they are used; all other modules are copied, as are
        convolutions whose padding torch's do not have. No nearest-subspace network passes over a
        component, in either mode.

    Examples
    --------
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
    if computes_as(module, ReshapedConv2d) or computes_as(module, OrthogonalConv2d):
        return copy.deepcopy(module.fold())
    return copy.deepcopy(module)


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Keep the weights of a network as they are while the context lasts.

    Autograd stays away from them, so that derivatives by the input cost no more than they must, and
    convolutions build their kernels once.

    Parameters
    ----------
    network : torch.nn.Module

    Examples
    --------
    >>> import torch
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


def _is_plain(module: nn.Conv2d) -> bool:
    """Tell whether a convolution of torch is one that `convolution_bound` speaks of.

    A circular one of stride 1 is, as long as it has no more outputs than inputs.
    """
    circular = module.padding_mode == "circular" and module.stride == (1, 1)
    within = isinstance(module.padding, str) or all(
        2 * padding < side for padding, side in zip(module.padding, module.kernel_size, strict=True)
    )
    return (
        (module.padding_mode == "zeros" or (circular and within))
        and module.groups == 1
        and module.dilation == (1, 1)
        and module.stride[0] == module.stride[1]
    )


def _mixes_rows(layer: nn.Module) -> bool:
    """Tell whether a layer may sort, split or join along the first dimension, which counts rows."""
    if isinstance(layer, nn.Flatten):
        return layer.start_dim != 1
    return getattr(layer, "dim", -1) not in (-1, 1, 2, 3)


@isolated()
def lipschitz_bound(network: nn.Module) -> float:
    """Bound the l2 Lipschitz constant of a network by composition of its layers' bounds.

    Parameters
    ----------
    network : torch.nn.Module
        Sequences of this package's layers, and of torch's linear layers, convolutions with zero
        padding (no groups, no dilation), identity, flattening and component-wise activations of
        slope at most 1.

    Returns
    -------
    bound : float
        An upper bound, all rounding included: proven bounds of the singular values, multiplied
        upwards; ``inf`` where a module is not known or has hooks: never an estimate.

    Examples
    --------
    >>> round(lipschitz_bound(dense(2, hidden=(8,))), 5)
    1.0
    >>> lipschitz_bound(nn.Bilinear(2, 2, 1))
    inf
    """
    if computes_as(network, nn.Sequential):
        return product(*map(lipschitz_bound, network))
    if computes_as(network, Maximum) or computes_as(network, Minimum):
        return max(map(lipschitz_bound, network.networks))
    if computes_as(network, Mean):
        return quotient(total(*map(lipschitz_bound, network.networks)), len(network.networks))
    if computes_as(network, OrthogonalLinear):
        return network.lipschitz_bound()
    if computes_as(network, ReshapedConv2d) or computes_as(network, OrthogonalConv2d):
        return network.lipschitz_bound()
    if computes_as(network, GaussianBlur):
        return product(spectral_norm(network.vertical), spectral_norm(network.horizontal))
    if computes_as(network, NearestSubspace):
        return subspace_norm(network.basis, network.shrinkage())
    if computes_as(network, nn.Linear):
        return spectral_norm(network.weight)
    if computes_as(network, nn.Conv2d) and _is_plain(network):
        return convolution_bound(network.weight, network.stride[0])
    if any(computes_as(network, known) for known in _CONTRACTIONS):
        return math.inf if _mixes_rows(network) else 1.0
    return math.inf


_CONTRACTIONS: tuple[type[nn.Module], ...] = (
    FullSort,
    GlobalL2NormPool2d,
    GroupSort2,
    InvertibleDownsampling2d,
    L2NormPool2d,
    ScaledAvgPool2d,
    nn.Flatten,
    nn.Identity,
    nn.ReLU,
    nn.Sigmoid,
    nn.Tanh,
    nn.Unflatten,
)
