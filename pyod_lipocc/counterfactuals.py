"""The nearest points at which a score reaches a level, such as the boundary of its support."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pyod_lipocc._isolation import isolated
from pyod_lipocc._scores import Score, check_points, value_and_gradient

__all__ = ["Counterfactuals", "counterfactual"]

_OVERSHOOT = 0.01  # of the first Newton step: a step that ends on the level is not seen to cross
_LONGEST = 8.0  # Newton step, in certified distances: a small slope would send a point anywhere
_DOUBLINGS = 24  # of a random direction's length
_TIGHT = 1e-12  # relative excess over the certified distance at which nothing is left to gain
_CUTS = 3  # of a segment that still turns
_FINAL_CUTS = 100  # half of them bisections: they end between neighbouring float64 numbers
_LEAST_TURN = 1e-9  # share of the way to the goal at which a segment counts as settled


class Counterfactuals(NamedTuple):
    """Points at the level, how far they are, and how near such a point could be.

    Attributes
    ----------
    points : Tensor of shape (n, d)
        On the level or beyond it; NaN where none was found.
    distance : Tensor of shape (n,)
        From each row to its point; NaN where none was found.
    lower_bound : Tensor of shape (n,)
        Certified: no point of the level is nearer. Where it equals `distance`, the point is proven
        to be the nearest.
    """

    points: Tensor
    distance: Tensor
    lower_bound: Tensor


@isolated()
def counterfactual(
    score: Score,
    X: Tensor,
    *,
    level: float = 0.0,
    lipschitz_constant: float = 1.0,
    anchors: Tensor | None = None,
    n_newton_steps: int = 32,
    n_refinements: int = 64,
    batch_size: int = 1024,
) -> Counterfactuals:
    r"""Find for each row the nearest point at which the score reaches a level.

    1. Newton steps follow the gradient until they cross the level. Random directions take over
       where the gradient vanishes or the steps do not arrive.
    2. Secants and bisections shorten the segment from the row to that point until it ends at the
       level.
    3. The segment turns towards the gradient at its end, to which it is parallel at the least
       distance. A turn is kept only where it crosses the level at a smaller distance. At a kink the
       gradients of both sides are mixed.

    A score with Lipschitz constant L cannot change by :math:`|S(x) - l|` in less than
    :math:`|S(x) - l| / L`: the certified lower bound. For a distance function both distances agree.
    Step 3 finds a local minimum. The search is deterministic. Rows beside a row do not change its
    answer.

    Parameters
    ----------
    score : callable
        S, from (n, d) to (n,) or (n, 1), differentiable by torch almost everywhere.
    X : Tensor of shape (n, d)
        Finite floating-point numbers.
    level : float, default=0.0
        l, in the units of S.
    lipschitz_constant : float, default=1.0
        L > 0, a bound for S in the l2 norm.
    anchors : Tensor of shape (k, d), optional
        Known points. Where step 1 does not arrive, the nearest anchor on the other side of the
        level replaces its result. With an anchor on each side every row has a counterfactual.
    n_newton_steps : int, default=32
        Most Newton steps.
    n_refinements : int, default=64
        Most turns; each costs a gradient and five evaluations of S.
    batch_size : int, default=1024
        Rows at once: memory beyond the result is bounded by it.

    Returns
    -------
    counterfactuals : Counterfactuals
        `points`, `distance` and `lower_bound`. At each point S, as computed, is the level or, by
        rounding, beyond it; by more than rounding only where S jumps. A row whose score is the
        level is its own counterfactual. A row is NaN where the search has not met the level: a
        score need not reach it.

    Raises
    ------
    ValueError
        If X is not a floating-point matrix or `lipschitz_constant` not positive.

    Examples
    --------
    >>> x = torch.tensor([[3.0, 4.0], [0.0, 0.0]], dtype=torch.float64)
    >>> found = counterfactual(lambda z: 1 - z.norm(dim=1), x)
    >>> found.points[0]
    tensor([0.6000, 0.8000], dtype=torch.float64)
    >>> found.distance.round(decimals=9)
    tensor([4., 1.], dtype=torch.float64)
    >>> found.lower_bound
    tensor([4., 1.], dtype=torch.float64)
    """
    check_points(X)
    if not lipschitz_constant > 0:
        raise ValueError(f"lipschitz_constant must be > 0, got {lipschitz_constant!r}")
    found = []
    for x in torch.split(X.detach(), batch_size):
        side = _Side.of(score, level, x)
        gap = side.excess(x)
        # A bound above 1, which may be infinite, tells nothing of how far to look.
        scale = gap / min(lipschitz_constant, 1.0)
        ends = _newton(side, x, scale, n_newton_steps)
        if anchors is not None:
            ends = _borrow(side, x, ends, anchors)
        ends = _rays(side, x, ends, scale)
        ends = _shorten(side, x, ends, _FINAL_CUTS)
        nearest = gap.squeeze(1) / lipschitz_constant
        loose = torch.linalg.vector_norm(ends - x, dim=1) > (1 + _TIGHT) * nearest
        ends[loose] = _turn(side.rows(loose), x[loose], ends[loose], n_refinements)
        found.append((ends, torch.linalg.vector_norm(ends - x, dim=1), nearest))
    return Counterfactuals(*map(torch.cat, zip(*found, strict=True)))


@dataclass(frozen=True)
class _Side:
    """The side of the level on which each row of a batch lies."""

    score: Score
    level: float
    sign: Tensor

    @classmethod
    def of(cls, score: Score, level: float, x: Tensor) -> _Side:
        """Tell the sides of the rows themselves."""
        with torch.no_grad():
            sign = torch.sign(score(x).reshape(-1, 1) - level)
        return cls(score, level, sign)

    def rows(self, chosen: Tensor) -> _Side:
        """Return the sides of some of the rows."""
        return replace(self, sign=self.sign[chosen])

    def excess(self, z: Tensor) -> Tensor:
        """Return how far S is from the level, (n, 1): positive on the row's side, else <= 0."""
        with torch.no_grad():
            return self._measure(z)

    def _measure(self, z: Tensor) -> Tensor:
        return self.sign * (self.score(z).reshape(-1, 1) - self.level)

    def slope(self, z: Tensor, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """Return the excess, the unit direction of its descent and its slope, 0 where flat.

        Where it is flat, the seed draws the direction.
        """
        excess, gradient = value_and_gradient(self._measure, z)
        gradient = torch.nan_to_num(gradient, 0.0, 0.0, 0.0)
        slope = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
        flat = slope == 0
        direction = -gradient / slope
        if flat.any():
            direction = torch.where(flat, _random_direction(z, seed), direction)
        return excess, direction, slope


def _generator(seed: int, like: Tensor) -> torch.Generator:
    """Return a generator for draws that all rows share, however many they are."""
    return torch.Generator(like.device).manual_seed(seed)


def _random_direction(z: Tensor, seed: int) -> Tensor:
    """Draw a unit vector of the width of the rows."""
    generator = _generator(seed, z)
    return normalize(
        torch.randn((1, z.shape[1]), generator=generator, dtype=z.dtype, device=z.device)
    )


def _newton(side: _Side, x: Tensor, scale: Tensor, n_steps: int) -> Tensor:
    """Return the first points of Newton's method beyond the level; NaN where there is none."""
    z, ends = x, torch.full_like(x, torch.nan)
    for step in range(n_steps):
        excess, direction, slope = side.slope(z, seed=step)
        ends = torch.where(ends.isnan() & (excess <= 0), z, ends)
        if not ends.isnan().any():
            break
        # Steps that grow into reflections also cross where two pieces of S meet at a sharp angle.
        length = (1 + _OVERSHOOT + step / n_steps) * torch.where(slope > 0, excess / slope, scale)
        z = z + torch.minimum(length, _LONGEST * scale) * direction
    return ends


def _borrow(side: _Side, x: Tensor, ends: Tensor, anchors: Tensor) -> Tensor:
    """Put the nearest anchor beyond the level where an end is missing."""
    with torch.no_grad():
        signs = torch.sign(side.score(anchors).reshape(-1) - side.level)
    apart = torch.cdist(x, anchors).masked_fill(side.sign * signs > 0, torch.inf)
    nearest, index = apart.min(1, keepdim=True)
    return torch.where(ends.isnan() & nearest.isfinite(), anchors[index.squeeze(1)], ends)


def _rays(side: _Side, x: Tensor, ends: Tensor, scale: Tensor) -> Tensor:
    """Look for the missing ends in random directions, ever farther."""
    for doubling in range(_DOUBLINGS):
        if not ends.isnan().any():
            break
        # Newton's method has used the seeds from 0 on.
        trial = x + 2.0**doubling * scale * _random_direction(x, -1 - doubling)
        ends = torch.where(ends.isnan() & (side.excess(trial) <= 0), trial, ends)
    return ends


def _shorten(side: _Side, x: Tensor, ends: Tensor, n_steps: int) -> Tensor:
    """Move each end along its segment to where the level is crossed, and keep it beyond."""
    near, far = torch.zeros_like(x[:, :1]), torch.ones_like(x[:, :1])
    at_near, at_far = side.excess(x), side.excess(ends)
    for step in range(n_steps):
        # Illinois: secants that halve the value of the end that stays, in turn with bisections
        share = torch.nan_to_num(at_near / (at_near - at_far), 1.0)
        middle = torch.lerp(near, far, 0.5 if step % 2 else share)
        at_middle = side.excess(torch.lerp(x, ends, middle))
        beyond = at_middle <= 0
        near, at_near = (
            torch.where(beyond, near, middle),
            torch.where(beyond, at_near / 2, at_middle),
        )
        far, at_far = torch.where(beyond, middle, far), torch.where(beyond, at_middle, at_far / 2)
    return torch.lerp(x, ends, far)


def _turn(side: _Side, x: Tensor, ends: Tensor, n_turns: int) -> Tensor:
    """Turn each segment towards the normals met while that makes it shorter."""
    _, latest, _ = side.slope(ends)
    previous = latest
    share = torch.ones_like(x[:, :1])
    generator = _generator(0, x)
    for _ in range(n_turns):
        turning = share >= _LEAST_TURN
        if not turning.any():
            break
        reach = torch.linalg.vector_norm(ends - x, dim=1, keepdim=True)
        mix = torch.rand((1, 1), generator=generator, dtype=x.dtype, device=x.device)
        goal = torch.lerp(previous, latest, mix)
        trial = x + reach * normalize(torch.lerp(normalize(ends - x), goal, share))
        excess, normal, slope = side.slope(trial)
        beyond = turning & (excess <= 0)
        previous, latest = latest, torch.where(slope > 0, normal, latest)
        ends = torch.where(beyond, _shorten(side, x, trial, _CUTS), ends)
        share = torch.where(beyond, (2 * share).clamp(max=1.0), share / 2)
    return _shorten(side, x, ends, _FINAL_CUTS)
