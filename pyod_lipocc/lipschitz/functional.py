"""Pure tensor functions that are 1-Lipschitz in the l2 norm with a gradient of norm 1."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["full_sort", "group_sort2"]


def group_sort2(x: Tensor) -> Tensor:
    r"""Sort pairs of features: the MaxMin or GroupSort2 activation.

    Feature :math:`i` of the first half is paired with feature :math:`i` of the second half; the
    larger goes to the first half, the smaller to the second. The paper pairs neighbours,
    :math:`(x_{2i}, x_{2i+1}) \mapsto [\min, \max]`: the same function up to a fixed permutation of
    the features before and after, which an orthogonal layer absorbs, and several times cheaper on
    contiguous halves.

    Parameters
    ----------
    x : Tensor of shape (..., d)
        With d odd the last feature has no partner and passes unchanged.

    Returns
    -------
    sorted_pairs : Tensor of shape (..., d)
        A permutation of each row of `x`: norms are preserved and the Jacobian is orthogonal.

    References
    ----------
    Anil, Lucas & Grosse, *Sorting out Lipschitz function approximation*, ICML 2019.

    Examples
    --------
    >>> group_sort2(torch.tensor([1.0, 5.0, 3.0, 2.0]))
    tensor([3., 5., 1., 2.])
    """
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half : 2 * half]
    excess = torch.relu(first - second)
    return torch.cat((second + excess, first - excess, x[..., 2 * half :]), dim=-1)


def full_sort(x: Tensor) -> Tensor:
    """Sort all features in ascending order: the FullSort activation.

    Parameters
    ----------
    x : Tensor of shape (..., d)

    Returns
    -------
    sorted : Tensor of shape (..., d)
        A permutation of each row of `x`: norms are preserved and the Jacobian is orthogonal.

    Examples
    --------
    >>> full_sort(torch.tensor([1.0, 5.0, 3.0, 2.0]))
    tensor([1., 2., 3., 5.])
    """
    return torch.sort(x, dim=-1).values
