"""Builders of 1-Lipschitz networks by name, and what training needs to know of any network."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeGuard, TypeVar

import torch
from torch import nn

from pyod_lipocc.lipschitz._activations import FullSort, GroupSort2
from pyod_lipocc.lipschitz._dense import OrthogonalLinear

T = TypeVar("T", bound=nn.Module)

__all__ = ["BUILDERS", "dense", "lipschitz_bound", "parameter_groups", "polish"]


def dense(
    n_features: int,
    *,
    hidden: Sequence[int] = (128, 128, 128),
    activation: Callable[[], nn.Module] = GroupSort2,
    generator: torch.Generator | None = None,
) -> nn.Sequential:
    """Build the paper's dense network: orthogonal layers, sorting activations, unit-norm output.

    Parameters
    ----------
    n_features : int
        Width of the input.
    hidden : sequence of int, default=(128, 128, 128)
        Widths of the hidden layers. The paper's toy network is ``(512, 512, 512, 512)``.
    activation : callable, default=GroupSort2
        Builds an activation that is 1-Lipschitz in the l2 norm: `GroupSort2` or `FullSort`.
    generator : torch.Generator, optional
        Draws the weights; None uses torch's global generator.

    Returns
    -------
    network : torch.nn.Sequential
        Maps (n, n_features) to (n, 1). 1-Lipschitz in the l2 norm as a composition of 1-Lipschitz
        maps.

    Examples
    --------
    >>> dense(2, hidden=(8, 8))
    Sequential(
      (0): OrthogonalLinear(2, 8, bias=True)
      (1): GroupSort2()
      (2): OrthogonalLinear(8, 8, bias=True)
      (3): GroupSort2()
      (4): OrthogonalLinear(8, 1, bias=True)
    )
    """
    layers: list[nn.Module] = []
    width = n_features
    for wider in hidden:
        layers += [OrthogonalLinear(width, wider, generator=generator), activation()]
        width = wider
    return nn.Sequential(*layers, OrthogonalLinear(width, 1, generator=generator))


BUILDERS: dict[str, Callable[..., nn.Module]] = {"dense": dense}


def _layers(network: nn.Module) -> list[OrthogonalLinear]:
    return [module for module in network.modules() if isinstance(module, OrthogonalLinear)]


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


def polish(network: nn.Module) -> None:
    """Retract every orthogonal layer of a network in its present precision, in place.

    Parameters
    ----------
    network : torch.nn.Module
        After ``network.double()`` the singular values are 1 to about 1e-15.
    """
    for layer in _layers(network):
        layer.polish()


def _is(module: nn.Module, known: type[T]) -> TypeGuard[T]:
    """Tell whether a module computes what the known class computes: a subclass may not."""
    return isinstance(module, known) and type(module).forward is known.forward


def lipschitz_bound(network: nn.Module) -> float:
    """Bound the l2 Lipschitz constant of a network by composition of its layers' bounds.

    Parameters
    ----------
    network : torch.nn.Module
        Sequences of this package's layers, and of torch's linear layers, identity, flattening and
        component-wise activations of slope at most 1.

    Returns
    -------
    bound : float
        An upper bound, exact singular values multiplied; ``inf`` where a module is not known: never
        an estimate.

    Examples
    --------
    >>> round(lipschitz_bound(dense(2, hidden=(8,))), 5)
    1.0
    >>> lipschitz_bound(torch.nn.Bilinear(2, 2, 1))
    inf
    """
    if _is(network, nn.Sequential):
        return math.prod(lipschitz_bound(module) for module in network)
    if _is(network, OrthogonalLinear):
        return network.lipschitz_bound()
    if _is(network, nn.Linear):
        return float(torch.linalg.matrix_norm(network.weight.detach().double(), ord=2))
    if any(_is(network, known) for known in _CONTRACTIONS):
        return 1.0
    return math.inf


_CONTRACTIONS = (
    FullSort,
    GroupSort2,
    nn.Flatten,
    nn.Identity,
    nn.ReLU,
    nn.Sigmoid,
    nn.Tanh,
)
