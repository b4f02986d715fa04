"""Gradients by the coordinates of tangents, which a backward pass forms at less cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from pyod_lipocc.stiefel._manifold import is_square, project_tangent, without_normal

__all__ = ["COORDINATES", "formed_gradients", "gradient_by_coordinates", "linear"]


def _twice_skew(inner: Tensor) -> Tensor:
    return inner.sub_(inner.mT.contiguous())


def _to_coordinates(weight: Tensor, gradient: Tensor) -> Tensor:
    r"""Turn the gradient G by a weight into the gradient by coordinates of the tangents at it.

    For a square W these are the entries of the skew X in W exp(X). The gradient is
    :math:`W^\top G - G^\top W` above the diagonal, and its negative below.
    """
    if is_square(weight):
        return _twice_skew(weight.mT @ gradient)
    return project_tangent(weight, gradient)


class _Linear(torch.autograd.Function):
    r"""The map :math:`x \mapsto W x + b`, differentiated by coordinates of tangents at W.

    With rows x and gradients D by the result, the gradient by W is :math:`G = D^\top x`. The
    coordinates need a product of G with W, which two known matrices yield at less cost than G:

    - :math:`W^\top G = (D W)^\top x`, where D W is the gradient by x;
    - :math:`G W^\top = D^\top (x W^\top)`, where :math:`x W^\top` is the result without b.

    A square W does not need G itself.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, coordinates: Tensor) -> Tensor:
        return torch.nn.functional.linear(x, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:3], output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, Tensor | None, Tensor]:
        x, weight, bias, result = ctx.saved_tensors
        by_x = gradient @ weight
        if is_square(weight):
            by_coordinates = _twice_skew(by_x.T @ x)
        else:
            if weight.shape[0] > weight.shape[1]:
                inner = by_x.T @ x
            else:
                inner = gradient.T @ (result if bias is None else result - bias)
            by_coordinates = without_normal(weight, gradient.T @ x, inner)
        return by_x, None, None if bias is None else gradient.sum(0), by_coordinates


# torch's `apply` has no types.
_linear: Callable[[Tensor, Tensor, Tensor | None, Tensor], Tensor] = _Linear.apply

# From each weight that is differentiated by coordinates, in this thread and context, to these.
COORDINATES: ContextVar[Mapping[Tensor, Tensor]] = ContextVar(
    "COORDINATES", default=MappingProxyType({})
)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Compute `torch.nn.functional.linear`; inside `tangent_gradients`, by coordinates.

    Parameters
    ----------
    x : Tensor of shape (..., n)
    weight : Tensor of shape (m, n)
    bias : Tensor of shape (m,) or None

    Returns
    -------
    result : Tensor of shape (..., m)
    """
    # torch.compile cannot follow the reading of the variable.
    readable = weight.requires_grad and not torch.compiler.is_compiling()
    coordinates = COORDINATES.get().get(weight) if readable else None
    if coordinates is None:
        return torch.nn.functional.linear(x, weight, bias)
    rows = x.reshape(-1, x.shape[-1])
    return _linear(rows, weight, bias, coordinates).reshape(*x.shape[:-1], weight.shape[0])


def gradient_by_coordinates(weight: Tensor) -> Tensor | None:
    """Return the gradient by the coordinates of the tangents at a weight.

    Parameters
    ----------
    weight : Tensor of shape (m, n)

    Returns
    -------
    gradient : Tensor of shape (m, n) or None
        None if nothing was differentiated by the weight.
    """
    coordinates = COORDINATES.get().get(weight)
    formed = None if coordinates is None else coordinates.grad
    if weight.grad is None:
        return formed
    brought = _to_coordinates(weight, weight.grad)
    return brought if formed is None else brought.add_(formed)


def formed_gradients(weights: Iterable[Tensor]) -> list[Tensor]:
    """Return all gradients that backward passes have formed: by weights, and by coordinates.

    Parameters
    ----------
    weights : iterable of Tensor

    Returns
    -------
    gradients : list of Tensor
        A change of them changes the step of an optimiser over the weights.
    """
    coordinates = COORDINATES.get()
    leaves = [leaf for weight in weights for leaf in (weight, coordinates.get(weight))]
    return [leaf.grad for leaf in leaves if leaf is not None and leaf.grad is not None]
