"""Algorithm 1: negatives at the boundary by Newton-Raphson steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from pyod_lipocc._isolation import isolated
from pyod_lipocc._scores import Score, value_and_gradient
from pyod_lipocc.domains import Domain

__all__ = ["Sampler", "Score", "newton_raphson", "signed"]


class Sampler(Protocol):
    """Moves proposals towards a level set of the score: `newton_raphson`, or a partial of it."""

    def __call__(
        self,
        score: Score,
        proposals: Tensor,
        *,
        domain: Domain,
        margin: float,
        n_steps: int,
        generator: torch.Generator,
    ) -> Tensor:
        """Return negatives of the shape of the proposals."""


def signed(residual: Tensor) -> Tensor:
    """Return the residual as it is: a point beyond the level moves back, as the paper prints."""
    return residual


@isolated()
def newton_raphson(
    score: Score,
    proposals: Tensor,
    *,
    domain: Domain,
    margin: float,
    n_steps: int,
    generator: torch.Generator | None = None,
    level: float = -1.0,
    step_range: tuple[float, float] = (0.0, 1.0),
    residual: Callable[[Tensor], Tensor] = signed,
) -> Tensor:
    r"""Move points along the gradient of f towards one of its level sets.

    .. math:: z \leftarrow \Pi_B\Big(z + \frac{\eta}{T}\, \rho\big(l - f(z)\big)\,
              \frac{\nabla f(z)}{\|\nabla f(z)\|^2}\Big), \qquad T \text{ times},\; \eta \sim U

    The defaults are Algorithm 1 as the paper prints it, with one :math:`\eta` for each point. The
    authors' own code differs:

    ============  ===============================================  ===============================
    parameter     authors' code                                    effect
    ============  ===============================================  ===============================
    `level`       -1.5                                             negatives farther outside
    `step_range`  (0, 20) for images, (0, 4) for shapes in space   over-relaxation
    `residual`    ``torch.relu``                                   a point never moves back out
    ============  ===============================================  ===============================

    Section "Image synthesis" of the paper has ``level=2``, ``step_range=(1, 1)`` and 64 steps: see
    `synthesis.sample`.

    Parameters
    ----------
    score : callable
        f, from (n, d) to (n,) or (n, 1), differentiable by torch.
    proposals : Tensor of shape (n, d)
        Starting points.
    domain : Domain
        B, onto which each point is projected after every step.
    margin : float
        m, in the units of f.
    n_steps : int
        T. With 0 the proposals come back as they are.
    generator : torch.Generator, optional
        Draws :math:`\eta`.
    level : float, default=-1.0
        l / m: the target level in margins. The paper's is :math:`-\epsilon = -m`.
    step_range : tuple of float, default=(0.0, 1.0)
        Bounds of the uniform distribution of :math:`\eta`.
    residual : callable, default=signed
        :math:`\rho`, applied to :math:`l - f(z)`.

    Returns
    -------
    negatives : Tensor of shape (n, d)
        Detached from any graph. Where the gradient vanishes a point stays.

    Examples
    --------
    One full step lands on the level set of a distance function:

    >>> from pyod_lipocc.domains import Ball
    >>> z = newton_raphson(
    ...     lambda z: 1 - z.norm(dim=1), torch.tensor([[3.0, 4.0]]), domain=Ball(9.0),
    ...     margin=0.5, n_steps=1, step_range=(1.0, 1.0))
    >>> round(float(1 - z.norm()), 6)
    -0.5
    """
    low, high = step_range
    u = torch.rand(
        len(proposals),
        1,
        generator=generator,
        dtype=proposals.dtype,
        device=proposals.device,
    )
    eta = low + (high - low) * u
    target = level * margin
    largest = torch.finfo(proposals.dtype).max
    z = proposals.detach()
    for _ in range(n_steps):
        f, gradient = value_and_gradient(score, z)
        norm = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
        # Length and direction are divided by the norm one by one: its square could underflow.
        length = (eta / n_steps) * residual(target - f) / norm
        step = (gradient / norm).mul_(length.clamp_(-largest, largest))
        z = domain.project(z + step.nan_to_num_(0.0, 0.0, 0.0))
    return z
