"""Initial proposals Q0, from which the sampler starts its way to the boundary.

A proposal is a callable ``(x, domain, generator) -> z`` that receives the current batch of data,
shape (n, d), and returns as many points of the domain, shape (n, d).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pyod_lipocc.domains import Domain

__all__ = ["Proposal", "uniform"]

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
