"""Combinations of 1-Lipschitz networks that are 1-Lipschitz again."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

__all__ = ["Combination", "Maximum", "Mean", "Minimum"]


class Combination(nn.Module):
    """Networks that read the same input, and the reduction of their values to one number.

    Parameters
    ----------
    *networks : torch.nn.Module
        At least one; each maps (n, d) to (n, 1).

    Attributes
    ----------
    networks : torch.nn.ModuleList
    """

    def __init__(self, *networks: nn.Module) -> None:
        super().__init__()
        if not networks:
            raise ValueError("networks must be at least one torch.nn.Module, got none")
        self.networks = nn.ModuleList(networks)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, d) to (n, 1)."""
        return self.combine(torch.stack([network(x) for network in self.networks]))

    @abstractmethod
    def combine(self, values: Tensor) -> Tensor:
        """Reduce the first dimension, which counts the networks."""


class Mean(Combination):
    r"""The mean of networks: :math:`f = \frac1p \sum_i f_i`.

    The gradient of f is the mean of their gradients, so the Lipschitz constant of f is at most the
    mean of their constants. Where some of the networks start from rows and some do not, `LipOCC`
    trains each by itself.

    Parameters
    ----------
    *networks : torch.nn.Module

    Examples
    --------
    >>> from pyod_lipocc.lipschitz import NearestSubspace
    >>> Mean(NearestSubspace(2, 5), NearestSubspace(2, 1, 1))(torch.zeros(3, 2)).shape
    torch.Size([3, 1])
    """

    def combine(self, values: Tensor) -> Tensor:
        """Reduce (p, n, 1) to (n, 1)."""
        return values.mean(0)


class Minimum(Combination):
    r"""The intersection of supports: :math:`f = \min_i f_i`.

    The Lipschitz constant of f is at most the largest of those of the networks.

    Parameters
    ----------
    *networks : torch.nn.Module
    """

    def combine(self, values: Tensor) -> Tensor:
        """Reduce (p, n, 1) to (n, 1)."""
        return values.amin(0)


class Maximum(Combination):
    r"""The union of supports: :math:`f = \max_i f_i`.

    The Lipschitz constant of f is at most the largest of those of the networks.

    Parameters
    ----------
    *networks : torch.nn.Module
    """

    def combine(self, values: Tensor) -> Tensor:
        """Reduce (p, n, 1) to (n, 1)."""
        return values.amax(0)
