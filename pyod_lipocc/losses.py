"""Losses on signed predictions."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["Loss", "binary_cross_entropy", "hkr"]

Loss = Callable[[Tensor], Tensor]
"""Maps y f(x), element by element, to the loss of each row."""


def hkr(signed: Tensor, margin: float, regularization: float) -> Tensor:
    r"""Hinge Kantorovich-Rubinstein loss of each row.

    .. math:: L^{hkr}_{m,\lambda}(y f) = \lambda \max(0, m - y f) - y f

    The first term separates data and negatives by a margin m on either side of f = 0. The second
    term maximises the Kantorovich-Rubinstein gap between them. Among 1-Lipschitz functions, and
    against a complementary distribution, the minimum is f = S + m with S the signed distance to the
    support (Theorem 1 of the paper).

    Parameters
    ----------
    signed : Tensor of shape (n,)
        y f(x) with y = +1 for data and -1 for negatives; f in the units of x.
    margin : float
        m > 0, in the units of f.
    regularization : float
        lambda > 0, without unit.

    Returns
    -------
    loss : Tensor of shape (n,)

    References
    ----------
    Béthune & Serrurier 2022, Theorem 1; Serrurier et al., *Achieving robustness in classification
    using optimal transport with hinge regularization*, CVPR 2021.

    Examples
    --------
    >>> hkr(torch.tensor([2.0, 0.0, -1.0]), margin=1.0, regularization=10.0)
    tensor([-2., 10., 21.])
    """
    return regularization * torch.relu(margin - signed) - signed


def binary_cross_entropy(signed: Tensor) -> Tensor:
    r"""Binary cross-entropy of each row, :math:`\log(1 + e^{-y f})`, of the conventional network.

    Parameters
    ----------
    signed : Tensor of shape (n,)
        y f(x), f being a logit.

    Returns
    -------
    loss : Tensor of shape (n,)

    Examples
    --------
    >>> binary_cross_entropy(torch.tensor([0.0]))
    tensor([0.6931])
    """
    return torch.nn.functional.softplus(-signed)
