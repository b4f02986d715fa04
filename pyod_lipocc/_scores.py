"""Scores as a search sees them: their type, the points they take, their gradients."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pyod_lipocc._isolation import gradients_possible

__all__ = ["Score", "check_points", "value_and_gradient"]

Score = Callable[[Tensor], Tensor]
"""Maps points (n, d) to f of shape (n,) or (n, 1), differentiably."""


def check_points(X: Tensor) -> None:
    """Raise ValueError unless X is a floating-point matrix."""
    if X.ndim != 2 or not X.is_floating_point():
        raise ValueError(
            f"X must be a floating-point tensor of shape (n, d), got {X.dtype} of {tuple(X.shape)}"
        )


def value_and_gradient(score: Score, points: Tensor) -> tuple[Tensor, Tensor]:
    """Return the values (n, 1) and the gradients (n, d) of a score, detached from any graph.

    Gradients are recorded here wherever the caller has switched them off. Weights get none.
    """
    points = gradients_possible(points).detach().requires_grad_(True)
    with torch.enable_grad():
        values = score(points).reshape(-1, 1)
    (gradient,) = torch.autograd.grad(values, points, torch.ones_like(values))
    return values.detach(), gradient
