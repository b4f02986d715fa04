"""The score as a plain torch module: raw rows in, scores out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self

from pyod_lipocc._isolation import isolated
from pyod_lipocc.units import Scaling

__all__ = ["Scorer"]

_FARTHEST = {torch.float32: 1e16, torch.float64: 1e140}


class Scorer(nn.Module):
    r"""Maps raw rows to scores, by the formula that every score of the package follows.

    .. math:: score(x) = m - u \, f(z), \qquad z = (x - location) / scale

    The module stays in evaluation mode: `train` changes nothing. `float` and `double` change the
    precision of all but the scaling; other precisions are refused. `torch.autocast` does not apply.

    torch exports, traces and compiles the module for any number of rows, and `torch.func`
    transforms it. These hold the heights of all rows above all components of a `NearestSubspace` at
    once: give them some thousand rows at a time. `torch.autocast` applies to what `torch.jit` has
    traced.

    Parameters
    ----------
    network : torch.nn.Module
        f, in the network's own units, in the precision `dtype`.
    scaling : Scaling
    margin : float
        m, in the units of the scores.
    threshold : float, default=0.0
        Rows with a greater score are labelled 1. 0 is the boundary of the support.
    dtype : {torch.float64, torch.float32}, default=torch.float64
        Precision of the network and of the scores. The scaling is done in float64.

    Attributes
    ----------
    network : torch.nn.Module
    location, scale : Tensor of shape (d,)
    unit, margin, threshold : Tensor of shape ()

    Raises
    ------
    ValueError
        If `dtype` is another precision.

    Examples
    --------
    >>> from pyod_lipocc import LipOCC
    >>> X = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    >>> LipOCC(max_iter=5, random_state=0).fit(X.numpy()).to_torch()(X).shape
    torch.Size([50])
    """

    location: Tensor
    scale: Tensor
    unit: Tensor
    margin: Tensor
    threshold: Tensor

    def __init__(
        self,
        network: nn.Module,
        scaling: Scaling,
        margin: float,
        threshold: float = 0.0,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__()
        if dtype not in _FARTHEST:
            raise ValueError(f"dtype must be torch.float64 or torch.float32, got {dtype!r}")
        self.network = network
        device = next(network.parameters()).device
        numbers = {
            "location": (scaling.location, torch.float64),
            "scale": (scaling.scale, torch.float64),
            "unit": (scaling.unit, dtype),
            "margin": (margin, dtype),
            "threshold": (threshold, dtype),
        }
        for name, (value, precision) in numbers.items():
            self.register_buffer(name, torch.tensor(value, dtype=precision, device=device))
        self.eval()

    @property
    def farthest(self) -> float:
        """Largest coordinate in the network's units, whose square does not overflow."""
        return _FARTHEST[self.margin.dtype]

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode: a score is not to be trained."""
        return super().train(False)

    @isolated()
    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Convert as `to`, `float`, `cuda` and the like demand; the scaling stays in float64."""
        dtype = fn(torch.zeros_like(self.margin)).dtype
        if dtype not in _FARTHEST:
            raise ValueError(
                f"dtype must be torch.float64 or torch.float32, got {dtype}: the smallest scorer "
                "is that of to_torch(torch.float32)"
            )
        scaling = {"location": self.location, "scale": self.scale}
        convert: Callable[..., Any] = super()._apply  # has no types
        convert(fn, recurse)
        for name, value in scaling.items():
            converted = getattr(self, name)
            if converted.dtype != value.dtype:
                setattr(self, name, value.to(converted.device))
        return self

    def forward(self, X: Tensor) -> Tensor:
        """Score rows.

        Parameters
        ----------
        X : Tensor of shape (n, d)
            In the units of the training rows.

        Returns
        -------
        scores : Tensor of shape (n,)
            Minus the signed distance; nan for rows that hold nan or inf.
        """
        z = ((X - self.location) / self.scale).clamp(-self.farthest, self.farthest)
        with torch.autocast(X.device.type, enabled=False):
            f: Tensor = self.network(z.to(self.margin.dtype))
        # A row times 0 is nan where a number is not finite, else 0.
        return self.margin - self.unit * f.reshape(-1) + (X * 0).sum(dim=1).to(f.dtype)
