"""Norms of matrices and convolutions, bounded from above.

LAPACK only proposes: no result rests on its accuracy. The bounds rest on `gamma`, the rounding of
sums of products, and on numbers that are rounded upwards.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pyod_lipocc.lipschitz._arithmetic import gamma, product, root, total

__all__ = [
    "convolution_norm",
    "frobenius_norm",
    "largest_frobenius_norm",
    "orthonormality_defect",
    "spectral_norm",
    "subspace_norm",
]

_TIGHT = 1e-4
"""Slack of the bound by autocorrelation, in shares of it, that makes the grid needless."""
_TWIDDLE = 2.0**-48
"""Error of a computed root of unity, a few times too large."""


def _to_unit_scale(values: Tensor) -> tuple[Tensor, float]:
    """Divide by a power of 2, in float64 and without rounding; largest magnitude in [1/2, 1).

    A largest magnitude that is 0, infinite or nan is the scale itself, of zeros.
    """
    exact = values.detach().to("cpu", torch.promote_types(values.dtype, torch.float64))
    largest = exact.abs().max().item() if exact.numel() else 0.0
    if largest == 0 or not math.isfinite(largest):
        return torch.zeros_like(exact), largest
    # One power less than 2**1024, which no float holds.
    power = 2.0 ** min(math.frexp(largest)[1], 1023)
    return exact / power, power


def frobenius_norm(values: Tensor) -> float:
    """Bound the l2 norm of all entries."""
    return largest_frobenius_norm(values.reshape(1, -1))


def largest_frobenius_norm(matrices: Tensor) -> float:
    """Bound the l2 norm of the entries of every matrix of a batch (..., m, n)."""
    unit, scale = _to_unit_scale(matrices)
    return product(_largest_frobenius(unit), scale) if scale else 0.0


def _largest_frobenius(matrices: Tensor) -> float:
    """Bound the Frobenius norm of every matrix of a batch whose entries do not overflow."""
    norm = torch.linalg.vector_norm(matrices, dim=(-2, -1)).max().item()
    # The last term exceeds the loss by squares that underflow, for fewer than 2**200 entries.
    n_entries = math.prod(matrices.shape[-2:])
    return total(product(norm, 1 + gamma(4 * n_entries + 4)), 2.0**-400)


def _eigenvalue_bound(hermitian: Tensor) -> float:
    r"""Bound the largest eigenvalue of every matrix H of a batch.

    For every number c and matrix L, :math:`cI - H = L L^* - R` defines R, and so
    :math:`H \preceq (c + \|R\|_F) I`. With c a little above the eigenvalue, a Cholesky factor L of
    cI - H makes R small. Without a Cholesky factor, L is 0.
    """
    n = hermitian.shape[-1]
    guess = torch.linalg.eigvalsh(hermitian)
    largest = guess.abs().amax(dim=-1, keepdim=True)
    c = guess[..., -1:] + 8 * n * torch.finfo(guess.dtype).eps * largest
    difference = torch.diag_embed(c.expand(guess.shape).to(hermitian.dtype)) - hermitian
    factor, info = torch.linalg.cholesky_ex(difference)
    usable = (info == 0) & factor.isfinite().all(dim=(-2, -1))
    factor = torch.where(usable[..., None, None], factor, 0.0)
    residual = _largest_frobenius(factor @ factor.mH - difference)
    squares, size = _largest_frobenius(factor), _largest_frobenius(difference)
    rounding = product(gamma(4 * n + 4), total(product(squares, squares), size))
    return total(c.max().item(), residual, rounding, n * n * 2.0**-900)


def _gram_bound(matrices: Tensor) -> float:
    """Bound the squared singular values of a batch of matrices with entries of about 1 at most."""
    wide = matrices.shape[-2] <= matrices.shape[-1]
    rows = matrices if wide else matrices.mH
    gram = rows @ rows.mH
    lower = gram.tril(-1)
    diagonal = gram.diagonal(dim1=-2, dim2=-1).real.to(gram.dtype)
    size, n_terms = _largest_frobenius(rows), rows.shape[-1]
    rounding = total(product(gamma(4 * n_terms + 4), size, size), n_terms * 2.0**-900)
    return total(_eigenvalue_bound(lower + lower.mH + torch.diag_embed(diagonal)), rounding)


def spectral_norm(matrices: Tensor) -> float:
    """Bound the largest singular value of a matrix, or of all matrices of a batch (..., m, n)."""
    unit, scale = _to_unit_scale(matrices)
    return product(root(_gram_bound(unit)), scale) if scale else 0.0


def orthonormality_defect(basis: Tensor) -> float:
    r"""Bound :math:`\|U U^\top - I\|_F` for every U of a batch (..., q, d)."""
    rows = basis.detach().to("cpu", torch.float64)
    if not rows.numel():
        return 0.0
    defect = rows @ rows.mT - torch.eye(rows.shape[-2], dtype=rows.dtype)
    size = largest_frobenius_norm(rows)
    rounding = product(gamma(rows.shape[-1] + 2), total(product(size, size), rows.shape[-2]))
    return total(largest_frobenius_norm(defect), rounding)


def subspace_norm(basis: Tensor, shrinkage: Tensor) -> float:
    r"""Bound the norm of :math:`I - U^\top D U`, D diagonal, for every U and D of a batch.

    Let :math:`\sigma` be the norm of U. The eigenvalues lie between
    :math:`1 - \max(D, 0)\,\sigma^2` and :math:`1 + \max(-D, 0)\,\sigma^2`. The bound is therefore 1
    for D in [0, 1] and any U of norm at most :math:`\sqrt 2`, orthonormal or not.

    Parameters
    ----------
    basis : Tensor of shape (K, q, d)
        U; q may be 0.
    shrinkage : Tensor of shape (K, q)
        Diagonals of D.

    Returns
    -------
    bound : float
        At least 1.
    """
    sigma = spectral_norm(basis)
    high, low = (
        max(side.max().item(), 0.0) if side.numel() else 0.0 for side in (shrinkage, -shrinkage)
    )
    return max(total(1.0, product(low, sigma, sigma)), total(product(high, sigma, sigma), -1.0))


def convolution_norm(kernel: Tensor) -> float:
    """Bound the norm of a convolution of stride 1 with square kernel (c_out, c_in, m, m).

    The smallest of three bounds is returned:

    - from the autocorrelation, tight for orthogonal convolutions;
    - where the first is not tight, from the transfer matrices on a grid of frequencies, see
      `functional.convolution_bound`;
    - the sum of the norms of the taps, tight for blurs.
    """
    unit, scale = _to_unit_scale(kernel)
    if scale == 0:
        return 0.0
    square, slack = _autocorrelation_bound(unit)
    if slack > _TIGHT * square:
        square = min(square, _grid_bound(unit))
    # Young's inequality: a tap shifts the image and multiplies it by a matrix.
    taps = total(*map(spectral_norm, unit.flatten(2).unbind(-1)))
    return product(min(root(square), taps), scale)


def _taps_norm(kernel: Tensor) -> float:
    """Bound the sum of the Frobenius norms of the taps of a kernel."""
    return total(*(frobenius_norm(tap) for tap in kernel.flatten(2).unbind(-1)))


def _autocorrelation_bound(kernel: Tensor) -> tuple[float, float]:
    r"""Bound the squared norm, tightly for multiples of orthogonal convolutions.

    The smaller of :math:`K K^*` and :math:`K^* K` is the convolution with the autocorrelation C of
    the kernel: :math:`\|K\|^2 \le c + \|C_0 - cI\|_F + \sum_{\delta \ne 0} \|C_\delta\|_F`.
    Returns this bound and its part beyond c.
    """
    taps = kernel.shape[-1]
    rows = kernel if kernel.shape[0] <= kernel.shape[1] else kernel.transpose(0, 1).contiguous()
    correlation = nn.functional.conv2d(rows, rows, padding=taps - 1)
    center = correlation[:, :, taps - 1, taps - 1]
    c = center.diagonal().mean().item()
    center.diagonal().sub_(c)
    size = _taps_norm(rows)
    rounding = product(gamma(rows[0].numel() + 2), total(product(size, size), abs(c), abs(c)))
    slack = total(_taps_norm(correlation), rounding, rows.numel() * 2.0**-900)
    return total(c, slack), slack


def _grid_bound(kernel: Tensor) -> float:
    """Bound the squared norm from the transfer matrices on 8 frequencies for each tap."""
    taps = kernel.shape[-1]
    n_frequencies = 8 * taps
    t, k = torch.arange(taps), torch.arange(n_frequencies)
    angles = 2 * math.pi / n_frequencies * torch.arange(n_frequencies, dtype=torch.float64)
    roots = torch.complex(angles.cos(), -angles.sin())
    flat = kernel.flatten(2).permute(2, 0, 1).flatten(1).to(roots.dtype)
    # Each entry is off by at most this factor times the sum of the taps' absolute values.
    error = product(2.0, total(gamma(4 * taps * taps + 4), _TWIDDLE), _taps_norm(kernel))
    square = 0.0
    # The other half of the frequencies are conjugates, with the same singular values.
    for column in range(n_frequencies // 2 + 1):
        exponents = (k[:, None, None] * t[:, None] + column * t) % n_frequencies
        transfer = (roots[exponents].flatten(1) @ flat).reshape(-1, *kernel.shape[:2])
        square = max(square, _gram_bound(transfer))
    norm = total(root(square), error)
    excess = math.cos(math.pi * (taps - 1) / n_frequencies) ** -2 * (1 + 1e-14)
    return product(0.5, norm, norm, total(1.0, excess))
