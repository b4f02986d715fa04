"""Dense layers whose weight lies on the Stiefel manifold."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyod_lipocc._checks import check_integer
from pyod_lipocc.lipschitz._norms import spectral_norm
from pyod_lipocc.stiefel import retract, sample_stiefel
from pyod_lipocc.stiefel.gradients import linear

__all__ = ["OrthogonalLinear"]


class OrthogonalLinear(nn.Module):
    r"""Affine map :math:`x \mapsto W x + b` with orthonormal rows or columns.

    :math:`W W^\top = I` where `out_features` <= `in_features`, :math:`W^\top W = I` otherwise. W is
    a unit vector for a single output, the paper's last layer. All singular values of W are 1, up to
    the rounding of the weights (1e-6 in float32, 1e-15 in float64): the map is 1-Lipschitz in the
    l2 norm.

    The weight is stored as it is used, without a re-parametrisation before the forward pass. It
    stays on the manifold under `stiefel.StiefelAdam` or `stiefel.StiefelRMSprop`, given the groups
    of `parameter_groups`.

    Parameters
    ----------
    in_features, out_features : int
        Widths, at least 1.
    bias : bool, default=True
        Learn b, started at 0.
    generator : torch.Generator, optional
        Draws the weight uniformly (Haar measure); None uses torch's global generator.

    Attributes
    ----------
    weight : Parameter of shape (out_features, in_features)
    bias : Parameter of shape (out_features,) or None

    Examples
    --------
    >>> layer = OrthogonalLinear(3, 8)
    >>> x = torch.randn(5, 3)
    >>> torch.allclose(layer(x).norm(dim=1), x.norm(dim=1), rtol=1e-4)
    True
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_integer("in_features", in_features, 1)
        check_integer("out_features", out_features, 1)
        self.in_features = in_features
        self.out_features = out_features
        self.weight = nn.Parameter(sample_stiefel(out_features, in_features, generator=generator))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in_features) to (..., out_features)."""
        return linear(x, self.weight, self.bias)

    def stiefel_weights(self) -> list[nn.Parameter]:
        """Return the parameters that an optimiser must keep on the Stiefel manifold."""
        return [self.weight]

    @torch.no_grad()
    def polish(self) -> None:
        """Retract the weight in its present precision: removes the rounding of training."""
        self.weight.copy_(retract(self.weight))

    @torch.no_grad()
    def fold(self) -> nn.Module:
        """Return torch's linear layer with this weight."""
        plain = nn.Linear(
            self.in_features,
            self.out_features,
            bias=self.bias is not None,
            device="meta",
            dtype=self.weight.dtype,
        ).to_empty(device=self.weight.device)
        plain.load_state_dict(self.state_dict())
        return plain

    def lipschitz_bound(self) -> float:
        """Return an upper bound of the largest singular value, all rounding included."""
        return spectral_norm(self.weight)

    def extra_repr(self) -> str:
        """Widths and bias, as `torch.nn.Linear` prints them."""
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"
