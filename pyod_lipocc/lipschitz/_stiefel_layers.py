"""Layers that keep weights on the Stiefel manifold, found in any network."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from torch import nn

from pyod_lipocc._isolation import isolated

__all__ = ["StiefelLayer", "parameter_groups", "polish"]


@runtime_checkable
class StiefelLayer(Protocol):
    """The methods by which training knows a layer with weights on the Stiefel manifold."""

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
        For `stiefel.StiefelAdam` or `stiefel.StiefelRMSprop`. Groups without parameters are left
        out.

    Examples
    --------
    >>> from pyod_lipocc.lipschitz import dense
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
