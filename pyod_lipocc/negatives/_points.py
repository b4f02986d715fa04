"""Initial proposals Q0 for points of any kind: see `negatives`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from pyod_lipocc._checks import check_integer, check_number
from pyod_lipocc._random import on_host
from pyod_lipocc.domains import Domain

__all__ = [
    "Away",
    "LocalNoise",
    "Mixture",
    "Proposal",
    "gaussian",
    "nearest_distance",
    "push_away",
    "shuffled_marginals",
    "uniform",
]

Proposal = Callable[[Tensor, Domain, torch.Generator], Tensor]


def uniform(x: Tensor, domain: Domain, generator: torch.Generator) -> Tensor:
    """Propose points uniform on the domain: the paper's Q0 = U(B).

    Parameters
    ----------
    x : Tensor of shape (n, d)
        Batch of data; only its length is used.
    domain : Domain
    generator : torch.Generator

    Returns
    -------
    z : Tensor of shape (n, d)

    Examples
    --------
    >>> from pyod_lipocc.domains import Box
    >>> uniform(torch.zeros(4, 2), Box(0.0, 1.0).expand(2), torch.Generator()).shape
    torch.Size([4, 2])
    """
    return domain.sample(len(x), generator)


def gaussian(x: Tensor, domain: Domain, generator: torch.Generator) -> Tensor:
    r"""Propose a Gaussian of independent features: the authors' Q0 for tables.

    .. math:: z = \Pi_B(\mu + \sigma \odot \xi), \qquad \xi \sim \mathcal{N}(0, I)

    Parameters
    ----------
    x : Tensor of shape (n, d)
        Batch of data; :math:`\mu` and :math:`\sigma` are its mean and deviation per feature.
    domain : Domain
    generator : torch.Generator

    Returns
    -------
    z : Tensor of shape (n, d)
        A feature that is constant in the batch keeps its value.

    Examples
    --------
    >>> from pyod_lipocc.domains import Box
    >>> x = torch.tensor([[0.0, 7.0], [2.0, 7.0]])
    >>> gaussian(x, Box(-9.0, 9.0).expand(2).to(x.dtype), torch.Generator())[:, 1]
    tensor([7., 7.])
    """
    noise = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
    mean = x.mean(0)
    deviation = (x - mean).square().mean(0).sqrt()
    return domain.project(mean + deviation * noise)


def shuffled_marginals(x: Tensor, domain: Domain, generator: torch.Generator) -> Tensor:
    r"""Permute each feature within the batch: its marginals without its dependence.

    .. math:: z_{ij} = x_{\pi_j(i)\, j}, \qquad \pi_1, \dots, \pi_d \text{ independent}

    Where the features take few values, and always for d = 1 or n = 1, some or all of the
    points are data again: see `Away`.

    Parameters
    ----------
    x : Tensor of shape (n, d)
    domain : Domain
        The points are projected on it, which changes none where it is a box that contains x.
    generator : torch.Generator

    Returns
    -------
    z : Tensor of shape (n, d)

    Examples
    --------
    >>> from pyod_lipocc.domains import Box
    >>> x = torch.arange(8.0).reshape(4, 2)
    >>> z = shuffled_marginals(x, Box(0.0, 7.0).expand(2).to(x.dtype), torch.Generator())
    >>> torch.equal(z.sort(dim=0).values, x)
    True
    """
    keys = torch.rand(x.shape, generator=generator, dtype=torch.float32, device=x.device)
    return domain.project(x.gather(0, keys.argsort(0)))


@dataclass(frozen=True)
class LocalNoise:
    r"""Noise around the data at every scale between two radii.

    .. math:: z = \Pi_B(x + r u), \qquad \log r \sim U(\log r_{low}, \log r_{high}),
              \quad u \text{ uniform on the unit sphere}

    Point i lies around row i.

    Parameters
    ----------
    low, high : float
        Bounds of the radius, ``0 < low <= high``, such as a margin and a hundred margins.

    Raises
    ------
    ValueError
        If the radii are not of this form.

    Examples
    --------
    >>> from pyod_lipocc.domains import Ball
    >>> z = LocalNoise(0.1, 10.0)(torch.zeros(4, 3), Ball(99.0).expand(3), torch.Generator())
    >>> bool((z.norm(dim=1) >= 0.1).all())
    True
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        check_number("low", self.low, "> 0", lambda low: low > 0)
        check_number("high", self.high, f">= low={self.low!r}", lambda high: high >= self.low)

    def __call__(self, x: Tensor, domain: Domain, generator: torch.Generator) -> Tensor:
        """Propose a point for each row."""
        u = torch.rand(len(x), 1, generator=generator, dtype=x.dtype, device=x.device)
        radius = self.low * (self.high / self.low) ** u
        return domain.project(x + radius * _direction(x, generator))


@dataclass(frozen=True)
class Mixture:
    r"""Draw each point from one of several proposals.

    .. math:: z_i \sim Q_{k_i}, \qquad P(k_i = k) = w_k

    The choice is stratified: a batch of n has n w_k points of proposal k, rounded up or down at
    random. Each proposal is called once, with the rows of its share.

    Parameters
    ----------
    proposals : sequence of callable
        At least one.
    weights : sequence of float, optional
        Not negative, in any unit; None weighs all the same.

    Raises
    ------
    ValueError
        If there are no proposals, one is not callable, or the weights do not fit.

    Examples
    --------
    >>> from pyod_lipocc.domains import Box
    >>> x = torch.full((8, 1), 5.0)
    >>> half = Mixture((uniform, gaussian))
    >>> z = half(x, Box(0.0, 9.0).expand(1).to(x.dtype), torch.Generator())
    >>> int((z == 5.0).sum())
    4
    """

    proposals: tuple[Proposal, ...]
    weights: tuple[float, ...] | None = None

    def __init__(
        self, proposals: Sequence[Proposal], weights: Sequence[float] | None = None
    ) -> None:
        proposals = tuple(proposals)
        if not proposals or not all(map(callable, proposals)):
            raise ValueError(f"proposals must be one or more callables, got {proposals!r}")
        object.__setattr__(self, "proposals", proposals)
        object.__setattr__(self, "weights", None if weights is None else tuple(weights))
        if self.weights is None:
            return
        if len(self.weights) != len(proposals):
            raise ValueError(
                f"weights must be one for each of the {len(proposals)} proposals, "
                f"got {self.weights!r}"
            )
        for weight in self.weights:
            check_number("weights", weight, ">= 0", lambda weight: weight >= 0)
        if not 0 < math.fsum(self.weights) < math.inf:
            raise ValueError(f"weights must have a finite sum > 0, got {self.weights!r}")

    def __call__(self, x: Tensor, domain: Domain, generator: torch.Generator) -> Tensor:
        """Propose a point for each row."""
        # The host knows the counts, so that a GPU need not be waited for.
        sizes = self._sizes(len(x), on_host(generator))
        order = torch.randperm(len(x), generator=generator, device=x.device).argsort()
        z = torch.empty_like(x)
        for proposal, chosen in zip(self.proposals, torch.split(order, sizes), strict=True):
            rows = chosen.sort().values
            z[rows] = proposal(x[rows], domain, generator)
        return z

    def _sizes(self, n: int, generator: torch.Generator) -> list[int]:
        """Return how many of n points each proposal has: its expectation, rounded at random."""
        weights = self.weights or (1.0,) * len(self.proposals)
        start = torch.rand(1, generator=generator, dtype=torch.float64)
        equidistant = (torch.arange(n) + start) / max(n, 1)
        ends = torch.tensor([*accumulate(weights)], dtype=torch.float64) / math.fsum(weights)
        share = torch.searchsorted(ends[:-1], equidistant, right=True)
        return torch.bincount(share, minlength=len(weights)).tolist()


def nearest_distance(z: Tensor, x: Tensor) -> Tensor:
    r"""Return how far each point is from the data: :math:`\min_i \|z - x_i\|_2`.

    A proposal may weigh or leave out the points that fall among the data.

    Parameters
    ----------
    z : Tensor of shape (n, d)
    x : Tensor of shape (m, d)

    Returns
    -------
    distance : Tensor of shape (n,)

    Examples
    --------
    >>> nearest_distance(torch.tensor([[3.0, 4.0]]), torch.tensor([[9.0, 9.0], [0.0, 0.0]]))
    tensor([5.])
    """
    distance: Tensor = torch.linalg.vector_norm(z - _nearest(z, x), dim=1)
    return distance


def push_away(
    z: Tensor, x: Tensor, distance: float, domain: Domain, generator: torch.Generator
) -> Tensor:
    r"""Move points that are nearer to the data than a distance out to it.

    .. math:: z \leftarrow \Pi_B\Big(x_* + \delta\, \frac{z - x_*}{\|z - x_*\|}\Big)
              \quad \text{if } \|z - x_*\| < \delta, \qquad x_* \text{ the nearest datum}

    Parameters
    ----------
    z : Tensor of shape (n, d)
        In the domain.
    x : Tensor of shape (m, d)
    distance : float
        :math:`\delta`, positive. Among data denser than this, or at the edge of the domain, a
        point may end nearer to another datum.
    domain : Domain
    generator : torch.Generator
        Draws the direction of a point that lies on a datum.

    Returns
    -------
    z : Tensor of shape (n, d)

    Examples
    --------
    >>> from pyod_lipocc.domains import Ball
    >>> push_away(torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2), 10.0,
    ...           Ball(99.0).expand(2).to(torch.float32), torch.Generator())
    tensor([[6., 8.]])
    """
    nearest = _nearest(z, x)
    offset = z - nearest
    length = torch.linalg.vector_norm(offset, dim=1, keepdim=True)
    direction = torch.where(length > 0, offset / length, _direction(z, generator))
    return torch.where(length < distance, domain.project(nearest + distance * direction), z)


@dataclass(frozen=True)
class Away:
    """Keep proposals at a distance from the data: the gap of the paper's Definition 2.

    Points that are nearer to a row of the batch are drawn anew in each round. After the last round
    `push_away` moves the points that are still nearer. A round costs a draw and the distances of n
    by n pairs.

    Parameters
    ----------
    proposal : callable
    distance : float
        Positive.
    n_rounds : int, default=2
        With 0 no point is drawn anew.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Examples
    --------
    >>> from pyod_lipocc.domains import Box
    >>> x = torch.full((16, 2), 0.5)
    >>> z = Away(uniform, 0.4)(x, Box(0.0, 1.0).expand(2).to(x.dtype), torch.Generator())
    >>> bool((nearest_distance(z, x) > 0.399).all())
    True
    """

    proposal: Proposal
    distance: float
    n_rounds: int = 2

    def __post_init__(self) -> None:
        if not callable(self.proposal):
            raise ValueError(f"proposal must be callable, got {self.proposal!r}")
        check_number("distance", self.distance, "> 0", lambda distance: distance > 0)
        check_integer("n_rounds", self.n_rounds, 0)

    def __call__(self, x: Tensor, domain: Domain, generator: torch.Generator) -> Tensor:
        """Propose a point for each row."""
        z = self.proposal(x, domain, generator)
        for _ in range(self.n_rounds):
            near = nearest_distance(z, x) < self.distance
            z = torch.where(near[:, None], self.proposal(x, domain, generator), z)
        return push_away(z, x, self.distance, domain, generator)


def _nearest(z: Tensor, x: Tensor) -> Tensor:
    """Return the row of x nearest to each row of z."""
    # Matrix products lose the distances between points far from the origin.
    center = x.mean(0)
    return x[torch.cdist(z - center, x - center).argmin(1)]


def _direction(x: Tensor, generator: torch.Generator) -> Tensor:
    """Return as many uniform points of the unit sphere as x has rows."""
    normal = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
    return torch.nn.functional.normalize(normal)
