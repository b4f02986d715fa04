"""Adversaries: the empirical counterpart of a certificate.

An attack looks for the point of an l2 ball around each row where a score is highest, or lowest.
The change it finds is a lower bound of the largest change; a certificate is an upper bound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from pyod_lipocc._checks import check_choice, check_integer
from pyod_lipocc._isolation import isolated
from pyod_lipocc._random import RandomState, numpy_generator, torch_generator
from pyod_lipocc._scores import Score, check_points, value_and_gradient
from pyod_lipocc.domains import Domain

__all__ = ["nes_l2", "pgd_l2"]

Direction = Literal["raise", "lower", "both"]

_SIGNS: dict[str, tuple[float, ...]] = {"raise": (1.0,), "lower": (-1.0,), "both": (1.0, -1.0)}

Ascent = Callable[[Score, Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]
"""From an objective, points (n, d) and radii (n, 1): its values (n,), and where it rises (n, d)."""


@isolated()
def pgd_l2(
    score: Score,
    X: Tensor,
    radius: float | Tensor,
    *,
    n_steps: int = 50,
    n_restarts: int = 5,
    direction: Direction = "raise",
    domain: Domain | None = None,
    batch_size: int = 4096,
    random_state: RandomState = None,
) -> Tensor:
    r"""Projected gradient descent, the standard attack with gradients.

    .. math:: x_{t+1} = \Pi\big(x_t \pm \alpha_t r \, g / \|g\|_2\big), \qquad g = \nabla s(x_t)

    The steps :math:`\alpha_t` fall evenly from 1 to 1 / n_steps. The first start is the row itself,
    from which the first step reaches the sphere. The other starts are uniform on the sphere. The
    best point visited is kept. The attack changes a linear score, or the distance to a point, by
    exactly its Lipschitz constant times the radius.

    Parameters
    ----------
    score : callable
        From points (n, d) to (n,) or (n, 1), differentiable by torch; each value depends on its own
        row only.
    X : Tensor of shape (n, d)
        Rows to attack, in the units that `score` takes.
    radius : float or Tensor of shape (n,)
        l2 size of the attack, >= 0, in the units of X.
    n_steps : int, default=50
        Gradient steps from each start, at least 1.
    n_restarts : int, default=5
        Starts, at least 1.
    direction : {"raise", "lower", "both"}, default="raise"
        Where to push the score. "both" tries both and keeps the larger change of each row.
    domain : Domain, optional
        Where attacked points must lie, such as a `Box` of valid pixels, in the units of X.
    batch_size : int, default=4096
        Rows attacked at once.
    random_state : int, RandomState, Generator or None, default=None
        Draws the starts; an int gives the same points each time.

    Returns
    -------
    attacked : Tensor of shape (n, d)
        At most `radius` from the rows, up to the rounding of coordinates, and in `domain`. A row
        that nothing improves, or that is itself outside `domain`, comes back as it is.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    References
    ----------
    Madry et al., *Towards deep learning models resistant to adversarial attacks*, ICLR 2018.

    Examples
    --------
    >>> X = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    >>> attacked = pgd_l2(lambda x: x.norm(dim=1), X, 0.5, random_state=0)
    >>> round(attacked.norm().item(), 12)
    5.5
    """
    attack = _Attack(_gradient, 0.0, n_steps, n_restarts, domain, batch_size)
    return attack.of(score, X, radius, direction, random_state)


@isolated()
def nes_l2(
    score: Score,
    X: Tensor,
    radius: float | Tensor,
    *,
    n_steps: int = 50,
    n_restarts: int = 1,
    direction: Direction = "raise",
    domain: Domain | None = None,
    batch_size: int = 4096,
    random_state: RandomState = None,
    n_directions: int = 8,
) -> Tensor:
    r"""Natural evolution strategies: `pgd_l2` with an estimate in place of the gradient.

    .. math:: g = \sum_i \big(s(x + \sigma u_i) - s(x - \sigma u_i)\big)\, u_i,
              \qquad \sigma = r / 10

    The directions :math:`u_i` are Gaussian, of about unit length. The steps have a momentum of 0.9.
    The attack needs values of the score alone, so a gradient that misleads does not stop it.

    Parameters
    ----------
    score : callable
        From points (n, d) to (n,) or (n, 1); need not be differentiable.
    X, radius, n_steps, n_restarts, direction, domain, batch_size, random_state
        As for `pgd_l2`.
    n_directions : int, default=8
        Directions of each estimate, at least 1. A step evaluates 2 `n_directions` + 1 points.

    Returns
    -------
    attacked : Tensor of shape (n, d)
        As of `pgd_l2`.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    References
    ----------
    Ilyas et al., *Black-box adversarial attacks with limited queries and information*, ICML 2018.

    Examples
    --------
    >>> X = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    >>> attacked = nes_l2(lambda x: x.norm(dim=1), X, 0.5, direction="lower", random_state=0)
    >>> round(attacked.norm().item(), 3)
    4.5
    """
    check_integer("n_directions", n_directions, 1)
    estimate = partial(_estimate, n_directions=n_directions)
    attack = _Attack(estimate, 0.9, n_steps, n_restarts, domain, batch_size)
    return attack.of(score, X, radius, direction, random_state)


@dataclass(frozen=True)
class _Attack:
    """A search in balls around rows, batch by batch."""

    ascent: Ascent
    momentum: float
    n_steps: int
    n_restarts: int
    domain: Domain | None
    batch_size: int

    def __post_init__(self) -> None:
        for name in ("n_steps", "n_restarts", "batch_size"):
            check_integer(name, getattr(self, name), 1)

    def of(
        self,
        score: Score,
        X: Tensor,
        radius: float | Tensor,
        direction: Direction,
        random_state: RandomState,
    ) -> Tensor:
        """Attack every batch of rows, in one direction or both."""
        check_points(X)
        radii = torch.as_tensor(radius, dtype=X.dtype, device=X.device)
        if radii.ndim > 1 or not bool(((radii >= 0) & radii.isfinite()).all()):
            raise ValueError(f"radius must be one or n finite numbers >= 0, got {radius!r}")
        check_choice("direction", direction, tuple(_SIGNS))
        generator = torch_generator(numpy_generator(random_state), X.device)
        radii = radii.expand(len(X)).unsqueeze(1)
        attacked = X.detach().clone()
        for start in range(0, len(X), self.batch_size):
            rows = slice(start, start + self.batch_size)
            change = X.new_zeros(len(X[rows]))
            for sign in _SIGNS[direction]:
                objective = partial(_signed, score, sign)
                points, gain = self._search(objective, X[rows].detach(), radii[rows], generator)
                better = gain > change
                attacked[rows] = torch.where(better.unsqueeze(1), points, attacked[rows])
                change = torch.where(better, gain, change)
        return attacked

    def _search(
        self, objective: Score, x: Tensor, radius: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Climb from several starts; return the best points visited and what they gain."""
        with torch.no_grad():
            at_rows = objective(x)
        # A point that is projected on a convex domain comes no farther from a row in it.
        free = torch.ones_like(at_rows) > 0 if self.domain is None else self.domain.contains(x)
        best, highest = x, at_rows
        for restart in range(self.n_restarts):
            z, velocity = x, torch.zeros_like(x)
            if restart:
                z = self._project(x + radius * _unit(_normal(x, generator)), x, radius)
            for step in range(self.n_steps + 1):
                values, slope = self.ascent(objective, z, radius, generator)
                better = (values > highest) & free
                best = torch.where(better.unsqueeze(1), z, best)
                highest = torch.where(better, values, highest)
                velocity = self.momentum * velocity + _unit(slope)
                length = radius * (1 - step / self.n_steps)
                z = self._project(z + length * _unit(velocity), x, radius)
        return best, highest - at_rows

    def _project(self, z: Tensor, x: Tensor, radius: Tensor) -> Tensor:
        """Pull points into the balls around rows x, and into the domain."""
        offset = z - x
        norm = torch.linalg.vector_norm(offset, dim=1, keepdim=True)
        z = torch.where(norm > radius, x + offset * (radius / norm), z)
        return z if self.domain is None else self.domain.project(z)


def _signed(score: Score, sign: float, z: Tensor) -> Tensor:
    return sign * score(z).reshape(-1)


def _gradient(
    objective: Score, z: Tensor, radius: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    values, gradient = value_and_gradient(objective, z)
    return values.squeeze(1), gradient


@torch.no_grad()
def _estimate(
    objective: Score,
    z: Tensor,
    radius: Tensor,
    generator: torch.Generator,
    *,
    n_directions: int,
) -> tuple[Tensor, Tensor]:
    slope = torch.zeros_like(z)
    for _ in range(n_directions):
        u = _normal(z, generator) / z.shape[1] ** 0.5
        probe = 0.1 * radius * u
        slope += (objective(z + probe) - objective(z - probe)).unsqueeze(1) * u
    return objective(z), slope


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)


def _unit(vectors: Tensor) -> Tensor:
    """Give rows the length 1; a row of zeros stays."""
    norm = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return torch.where(norm > 0, vectors / norm, 0.0)
