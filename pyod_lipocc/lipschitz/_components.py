"""Sets around centres, each with orthonormal directions: what subspaces and boxes share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyod_lipocc.stiefel import retract, sample_stiefel

__all__ = ["Components", "squared_distances"]


class Components(nn.Module):
    """K sets around centres, with q orthonormal directions and an offset each, and a constant.

    Parameters
    ----------
    n_features, n_components, n_directions : int
        d, K and q.
    generator : torch.Generator or None
        Draws centres and directions.
    **along : float
        A parameter of shape (K, q), by name: what a set does along its directions, at first.
    """

    centers: nn.Parameter
    basis: nn.Parameter
    offset: nn.Parameter
    bias: nn.Parameter

    def __init__(
        self,
        n_features: int,
        n_components: int,
        n_directions: int,
        generator: torch.Generator | None,
        **along: float,
    ) -> None:
        super().__init__()
        shape = (n_components, n_directions, n_features)
        directions = sample_stiefel(*shape, generator=generator) if n_directions else None
        self.centers = nn.Parameter(torch.randn(n_components, n_features, generator=generator))
        self.basis = nn.Parameter(torch.empty(shape) if directions is None else directions)
        for name, value in along.items():
            parameter = nn.Parameter(torch.full((n_components, n_directions), value))
            self.register_parameter(name, parameter)
        self.offset = nn.Parameter(torch.zeros(n_components))
        self.bias = nn.Parameter(torch.zeros(()))

    @torch.no_grad()
    def assign(self, **values: Tensor) -> None:
        """Set parameters by name, each to a tensor of its shape."""
        for name, value in values.items():
            parameter = self.get_parameter(name)
            if parameter.shape != value.shape:
                raise ValueError(
                    f"{name} must have shape {tuple(parameter.shape)}, got {tuple(value.shape)}"
                )
            parameter.copy_(value)

    def _sizes(self) -> tuple[int, int, int]:
        """Return K, q and d as numbers: in a shape, `torch.jit` would trace tensors."""
        K = torch.numel(self.offset)
        d = torch.numel(self.centers) // K
        return K, torch.numel(self.basis) // (K * d), d

    def stiefel_weights(self) -> list[nn.Parameter]:
        """Return the parameters that an optimiser must keep on the Stiefel manifold."""
        return [self.basis] if self.basis.shape[1] else []

    @torch.no_grad()
    def polish(self) -> None:
        """Retract the directions: removes the rounding of training."""
        if self.basis.shape[1]:
            self.basis.copy_(retract(self.basis))


def squared_distances(rows: Tensor, centers: Tensor, squares: Tensor) -> Tensor:
    """Return squared distances, shape (n, K), to centres of the squared lengths given."""
    squared = torch.addmm(squares, rows, centers.T, alpha=-2)
    return squared.add_((rows * rows).sum(1, keepdim=True))
