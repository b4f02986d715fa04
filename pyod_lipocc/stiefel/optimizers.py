"""Optimisers that move marked parameters on the Stiefel manifold."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from pyod_lipocc._isolation import isolated
from pyod_lipocc.stiefel._manifold import (
    is_square,
    project_tangent,
    retract,
    step_unseen,
    tolerance_of,
    turn,
)
from pyod_lipocc.stiefel.gradients import COORDINATES, gradient_by_coordinates

__all__ = ["StiefelAdam", "StiefelRMSprop", "tangent_gradients"]

# For |D|_F <= 0.4 no squared singular value of W + D departs from 1 by more than 2 |D|_F + |D|_F^2
# < 1: retract() finds the polar factor.
_SHORT = 0.4


class _OnStiefel(torch.optim.Optimizer):
    r"""Mixin: the groups marked ``stiefel=True`` move on the manifold.

    During a step, the coordinates of a tangent at a weight stand in for the weight. They start at
    0, their gradient stands in for that of the weight, and the optimiser moves them. The point with
    these coordinates becomes the weight.

    *Square weights.* The coordinates of W are those of the skew X of W exp(X) in an orthonormal
    basis, :math:`\sqrt2 X_{ij}` for i < j. The gradient needs one product, and X stays skew
    whatever the optimiser does to each entry.

    *Other weights.* The coordinates are the tangents themselves. Adaptive scaling turns a tangent
    into a direction D with a part normal to the manifold. The derivative of the nearest-point map
    at W is the projection P onto the tangent space, so the polar factor of W + D is W + PD up to
    :math:`O(\|D\|^2)`: a retraction projects a short D. A long D is projected first.
    """

    @isolated()
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Take one step; the marked weights are on the manifold before and after it."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        moving = []
        for weight in _marked(self):
            gradient = gradient_by_coordinates(weight)
            if gradient is not None:
                moving.append((weight, weight.clone(), weight.grad))
                weight.grad = gradient
                weight.zero_()
        super().step()
        for weight, origin, gradient in moving:
            weight.copy_(self._point(weight, origin))
            weight.grad = gradient
        return loss

    def _point(self, weight: Tensor, origin: Tensor) -> Tensor:
        """Return the point whose coordinates are stored in a weight."""
        if weight.is_cuda:
            if is_square(weight):
                return step_unseen(origin, origin @ weight.mul_(0.5**0.5))
            return step_unseen(origin, project_tangent(origin, weight))
        if not is_square(weight):
            if torch.linalg.matrix_norm(weight).max() > _SHORT:
                weight = project_tangent(origin, weight)
            return retract(weight.add_(origin))
        point, departure = turn(origin, weight.mul_(0.5**0.5))
        # The departures of the steps add up, and so does the rounding of the products.
        total = self.state[weight].get("departure", math.inf) + departure
        total += torch.finfo(weight.dtype).eps
        if total > 4 * tolerance_of(weight):
            point, total = retract(point), 0.0
        self.state[weight]["departure"] = total
        return point


def _marked(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    groups = (group for group in optimizer.param_groups if group.get("stiefel", False))
    return [weight for group in groups for weight in group["params"]]


class StiefelAdam(_OnStiefel, torch.optim.Adam):
    r"""Adam whose parameter groups with ``stiefel=True`` stay on the Stiefel manifold.

    The gradient is projected onto the tangent space before it enters the moments, and the updated
    weight is retracted. All other groups are updated by plain Adam.

    Parameters
    ----------
    params : iterable
        Parameter groups as for :class:`torch.optim.Adam`; each may carry ``"stiefel": True``.
    **options
        Options of :class:`torch.optim.Adam`. ``fused`` is True unless ``foreach`` or
        ``differentiable`` is given: a step passes over the memory of a weight once, not a dozen
        times.

    Examples
    --------
    >>> from pyod_lipocc.stiefel import orthogonality_error, sample_stiefel
    >>> weight = torch.nn.Parameter(sample_stiefel(5, 3))
    >>> optimizer = StiefelAdam([{"params": [weight], "stiefel": True}], lr=0.1)
    >>> weight.sum().backward()
    >>> optimizer.step()
    >>> bool(orthogonality_error(weight) < 1e-5)
    True
    """

    def __init__(self, params: ParamsT, **options: Any) -> None:
        if not {"foreach", "differentiable"} & options.keys():
            options.setdefault("fused", True)
        super().__init__(params, **options)


class StiefelRMSprop(_OnStiefel, torch.optim.RMSprop):
    """RMSprop whose parameter groups with ``stiefel=True`` stay on the manifold: see `StiefelAdam`.

    Parameters
    ----------
    params : iterable
        Parameter groups as for :class:`torch.optim.RMSprop`; each may carry ``"stiefel": True``.
    **kwargs
        Options of :class:`torch.optim.RMSprop`. The paper's "default hyper-parameters" are those of
        Keras: ``lr=1e-3, alpha=0.9, eps=1e-7``, where torch has 1e-2, 0.99 and 1e-8.
    """


@contextmanager
def tangent_gradients(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Let `linear` form the gradients of one step as `StiefelAdam` and `StiefelRMSprop` need them.

    While the context lasts, `linear` differentiates by coordinates of the tangents at a weight,
    which are leaves of their own. ``optimizer.step()`` adds their gradient to ``weight.grad``,
    which operations other than `linear` fill, brought to coordinates.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Nothing changes for other optimisers, subclasses and weights with hooks: they may look for
        ``weight.grad``.
    """
    ours = type(optimizer) in (StiefelAdam, StiefelRMSprop)
    weights = _marked(optimizer) if ours and not optimizer._optimizer_step_pre_hooks else []
    coordinates = {
        # One stored zero: of the leaf only the shape and the gradient matter.
        weight: weight.new_zeros(()).expand_as(weight).requires_grad_()
        for weight in weights
        if not (weight._backward_hooks or weight._post_accumulate_grad_hooks)
    }
    token = COORDINATES.set(coordinates)
    try:
        yield
    finally:
        COORDINATES.reset(token)
