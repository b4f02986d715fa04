"""Members of the class, synthesised by Algorithm 1 towards a level inside the support."""

from __future__ import annotations

import torch
from torch import Tensor

from pyod_lipocc._checks import check_number
from pyod_lipocc._isolation import isolated
from pyod_lipocc.domains import Domain
from pyod_lipocc.sampler import Score, newton_raphson

__all__ = ["sample"]


@isolated()
def sample(
    score: Score,
    proposals: int | Tensor,
    *,
    domain: Domain,
    margin: float,
    eta: float = 1.0,
    n_steps: int = 64,
    level: float = 2.0,
    generator: torch.Generator | None = None,
    batch_size: int = 1024,
) -> Tensor:
    r"""Synthesise members of the class: Algorithm 1 towards a level inside the support.

    The paper's section "Image synthesis" moves noise in T = 64 steps, along the deterministic path
    of :math:`\eta = 1`, to :math:`f = 2m`. Step t, from 0 on, takes the share :math:`\eta / (T - t
    \eta)` of the way that is left. Where f is a distance, the steps have equal length, and together
    they cover the share :math:`\eta` of the way. Algorithm 1 as printed takes the share
    :math:`\eta / T` at each step and stops 36.5 % short of the level:
    ``newton_raphson(..., level=2, n_steps=64, step_range=(1, 1))``. A point is a member of the
    class where f > m.

    Parameters
    ----------
    score : callable
        f, from (n, d) to (n,) or (n, 1), differentiable by torch.
    proposals : int or Tensor of shape (n, d)
        Starting points, or the number of points to draw uniformly from the domain.
    domain : Domain
        B, of width d, onto which each point is projected after every step.
    margin : float
        m, in the units of f.
    eta : float in (0, 1], default=1.0
        Share of the way to the level, the same for all points.
    n_steps : int, default=64
        T.
    level : float, default=2.0
        Target level of f, in margins.
    generator : torch.Generator, optional
        Draws the proposals; None uses torch's global one.
    batch_size : int, default=1024
        Points moved at once: memory beyond the result is bounded by it.

    Returns
    -------
    samples : Tensor of shape (n, d)
        In the domain, detached from any graph.

    Raises
    ------
    ValueError
        If `eta` is out of range.

    Examples
    --------
    Points come to distance 1 - 2 m = .8 from the centre of the unit ball:

    >>> from pyod_lipocc.domains import Ball
    >>> z = sample(lambda z: 1 - z.norm(dim=1), 5, domain=Ball(9.0).expand(2), margin=0.1,
    ...            generator=torch.Generator().manual_seed(0))
    >>> [round(length, 6) for length in z.norm(dim=1).tolist()]
    [0.8, 0.8, 0.8, 0.8, 0.8]
    """
    check_number("eta", eta, "> 0 and <= 1", lambda eta: 0 < eta <= 1)
    if not isinstance(proposals, Tensor):
        proposals = domain.sample(proposals, generator)
    moved = []
    for z in torch.split(proposals, batch_size):
        for step in range(n_steps):
            share = eta / (n_steps - step * eta)
            z = newton_raphson(
                score,
                z,
                domain=domain,
                margin=margin,
                n_steps=1,
                level=level,
                step_range=(share, share),
                generator=torch.Generator(z.device),  # draws the share, which is certain
            )
        moved.append(z)
    return torch.cat(moved)
