"""Points of the Stiefel manifold and how to move on it: projection, retraction, turns."""

from __future__ import annotations

import torch
from torch import Tensor

from pyod_lipocc._isolation import without_autocast

__all__ = ["nearest_point", "orthogonality_error", "project_tangent", "retract", "sample_stiefel"]

_BLOCK = 128


def _symmetric_product(left: Tensor, right: Tensor) -> Tensor:
    """Multiply matrices of a symmetric product: only the blocks on and above its diagonal."""
    n = left.shape[-2]
    if left.ndim > 2 or n < 2 * _BLOCK or not left.is_cpu:
        return left @ right
    product = left.new_empty(n, n)
    for start in range(0, n, _BLOCK):
        stop = min(start + _BLOCK, n)
        rows = product[start:stop, start:]
        torch.mm(left[start:stop], right[:, start:], out=rows)
        product[stop:, start:stop] = rows[:, _BLOCK:].T
    return product


def _deviation(weight: Tensor) -> Tensor:
    """Return the Gram matrix of the shorter side minus the identity."""
    tall = weight.shape[-2] >= weight.shape[-1]
    gram = _symmetric_product(*((weight.mT, weight) if tall else (weight, weight.mT)))
    gram.diagonal(dim1=-2, dim2=-1).sub_(1.0)
    return gram


@without_autocast()
def orthogonality_error(weight: Tensor) -> Tensor:
    r"""Return :math:`\|W^\top W - I\|_F`, an upper bound of every :math:`|\sigma_i^2 - 1|`.

    Parameters
    ----------
    weight : Tensor of shape (..., m, n)

    Returns
    -------
    error : Tensor of shape (...)
        Zero on the manifold.

    Examples
    --------
    >>> orthogonality_error(2 * torch.eye(3)[:1])
    tensor(3.)
    """
    error: Tensor = torch.linalg.matrix_norm(_deviation(weight))
    return error


@without_autocast()
def project_tangent(weight: Tensor, direction: Tensor) -> Tensor:
    r"""Project a direction onto the tangent space of the manifold at `weight`.

    :math:`G - W\,\mathrm{sym}(W^\top G)` for tall matrices, :math:`G - \mathrm{sym}(G W^\top)\,W`
    for wide ones.

    Parameters
    ----------
    weight : Tensor of shape (..., m, n)
        A point of the manifold.
    direction : Tensor of shape (..., m, n)
        Any direction, such as a gradient.

    Returns
    -------
    tangent : Tensor of shape (..., m, n)
        The nearest direction along which the singular values stay 1 to first order.

    Examples
    --------
    >>> project_tangent(torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 4.0]]))
    tensor([[0., 4.]])
    """
    tall = weight.shape[-2] >= weight.shape[-1]
    inner = weight.mT @ direction if tall else direction @ weight.mT
    return without_normal(weight, direction, inner)


def without_normal(weight: Tensor, direction: Tensor, inner: Tensor) -> Tensor:
    """Project a direction, given its product with the weight on the shorter side."""
    # Contiguous: adding a transposed view costs several times more than copying it first.
    inner = inner.mT.contiguous().add_(inner)
    tall = weight.shape[-2] >= weight.shape[-1]
    normal = weight @ inner if tall else inner @ weight
    return normal.mul_(-0.5).add_(direction)


def _check_finite(weight: Tensor) -> None:
    if not torch.isfinite(weight).all():
        raise FloatingPointError(
            "weight must be finite to come onto the Stiefel manifold, got nan or inf entries: "
            "the training has diverged"
        )


def _orthonormal_basis(weight: Tensor) -> Tensor:
    """Return Q of a QR factorisation whose R has a diagonal >= 0; any finite matrix has one."""
    if weight.shape[-2] < weight.shape[-1]:
        return _orthonormal_basis(weight.mT).mT
    _check_finite(weight)
    largest = weight.abs().amax(dim=(-2, -1), keepdim=True)
    q: Tensor
    q, r = torch.linalg.qr(weight / torch.where(largest > 0, largest, 1.0))
    return q * torch.where(r.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0).to(q).unsqueeze(-2)


@without_autocast()
def retract(weight: Tensor) -> Tensor:
    r"""Bring a matrix back onto the manifold.

    Let :math:`E = W^\top W - I` and let :math:`b < 1` bound its spectral norm. Björck and Bowie's
    iteration of order k is :math:`W \leftarrow W p_k(E)`, with the Taylor polynomial :math:`p_k` of
    :math:`(1 + x)^{-1/2}`. It converges to the polar factor of W, the nearest point of the
    manifold.

    One iteration leaves every :math:`|\sigma_i^2 - 1|` at most :math:`b^{k+1}`. For the remainder
    :math:`(1 + x) p_k(x)^2 - 1` begins with :math:`x^{k+1}`, the signs of its coefficients
    alternate and its value at -1 is -1: the absolute values of the coefficients add up to 1.

    The lowest of the orders one, two and four is taken that brings this bound to the rounding
    level. b is :math:`\|E\|_F` for order one and :math:`\|E^2\|_F^{1/2}` for the others. The steps
    of usual learning rates need no more. If no order is enough, order four is repeated. If b is not
    below 1, a QR factorisation, itself a retraction, comes first.

    Parameters
    ----------
    weight : Tensor of shape (..., m, n)
        Any finite matrix, rank-deficient ones included.

    Returns
    -------
    point : Tensor of shape (..., m, n)
        On the manifold.

    Raises
    ------
    FloatingPointError
        If an entry is nan or infinite.

    Examples
    --------
    >>> retract(torch.tensor([[3.0, 4.0]]))
    tensor([[0.6000, 0.8000]])
    >>> retract(torch.zeros(3, 2)).T @ retract(torch.zeros(3, 2))
    tensor([[1., 0.],
            [0., 1.]])
    """
    tolerance = tolerance_of(weight)
    tall = weight.shape[-2] >= weight.shape[-1]
    while True:
        deviation = _deviation(weight)
        bound = torch.linalg.matrix_norm(deviation).max().item()
        if near := bound**2 <= tolerance:
            correction = deviation.mul_(-0.5)
        else:
            square = _symmetric_product(deviation, deviation)
            bounds = torch.linalg.matrix_norm(square).sqrt()
            if (far := ~(bounds < 1)).any():
                weight = weight.clone()
                weight[far] = _orthonormal_basis(weight[far])
                continue
            bound = bounds.max().item()
            if near := bound**3 <= tolerance:
                square.mul_(0.375)
            else:
                near = bound**5 <= tolerance
                factor = (0.2734375 * square).sub_(deviation, alpha=0.3125)
                factor.diagonal(dim1=-2, dim2=-1).add_(0.375)
                square = _symmetric_product(square, factor)
            correction = square.sub_(deviation, alpha=0.5)
        weight = (weight @ correction if tall else correction @ weight).add_(weight)
        if near:
            return weight


@without_autocast()
def nearest_point(weight: Tensor) -> Tensor:
    r"""Find the point of the manifold that is nearest to a matrix, however far.

    It is the polar factor :math:`U V^\top` of the singular value decomposition :math:`W = U \Sigma
    V^\top`, and unique if W has full rank. Near the manifold `retract` finds it at less cost.

    Parameters
    ----------
    weight : Tensor of shape (..., m, n)
        Any finite matrix.

    Returns
    -------
    point : Tensor of shape (..., m, n)
        On the manifold.

    Raises
    ------
    FloatingPointError
        If an entry is nan or infinite.

    References
    ----------
    Higham, *Matrix Nearness Problems and Applications*, 1989, theorem 4.1.

    Examples
    --------
    >>> nearest_point(torch.tensor([[2.0, 0.0], [0.0, -0.1]]))
    tensor([[ 1.,  0.],
            [ 0., -1.]])
    """
    _check_finite(weight)
    left, _, right = torch.linalg.svd(weight, full_matrices=False)
    return retract(left @ right)


def tolerance_of(weight: Tensor) -> float:
    """Return the departure of a squared singular value from 1 up to which it is rounding."""
    return 8 * torch.finfo(weight.dtype).eps


def step_unseen(weight: Tensor, tangent: Tensor) -> Tensor:
    r"""Retract W + T for a tangent T at W, without reading a number back from the device.

    The singular values of W + T lie between 1 and :math:`\sqrt{1 + b^2}`, with
    :math:`b = \|T T^\top\|_F^{1/2}`. T is shortened to b <= 1 and the sum divided by this root: the
    singular values then lie between :math:`1 / \sqrt2` and 1. Five steps of Björck's iteration (six
    in double precision) bring them to 1 within the rounding.
    """
    tall = weight.shape[-2] >= weight.shape[-1]
    gram = tangent.mT @ tangent if tall else tangent @ tangent.mT
    square = torch.linalg.matrix_norm(gram, keepdim=True)
    shortened = square.clamp(max=1.0)
    scale = (shortened / square.clamp(min=torch.finfo(square.dtype).tiny)).sqrt()
    point: Tensor = (weight + tangent * scale) / (1 + shortened).sqrt()
    for _ in range(5 if weight.dtype == torch.float32 else 6):
        deviation = _deviation(point)
        point = point - 0.5 * (point @ deviation if tall else deviation @ point)
    return point


# The quartic p(X) = I + X + X^2 / 2 + c_3 X^3 + c_4 X^4 of a skew X has p(X)^T p(X) = I + c_4^2 X^8
# for c_4 = c_3^2 and 1/4 - 2 c_3 + 2 c_3^2 = 0.
_CUBIC = (1 - 0.5**0.5) / 2
_QUARTIC = _CUBIC**2


def turn(weight: Tensor, skew: Tensor) -> tuple[Tensor, float]:
    r"""Turn a square W by a skew X; return the point and how far it may be off the manifold.

    The point is :math:`W (I + X + \tfrac12 X^2)` or, if this is not enough, W p(X) with the quartic
    p. Both agree with :math:`W e^X` to order two. They leave the manifold by
    :math:`\tfrac14 X^4` and :math:`c_4^2 X^8`, which powers of :math:`\|X^2\|_F` bound. A longer
    step is retracted.
    """
    square = _symmetric_product(skew, skew)
    bound = torch.linalg.matrix_norm(square).max().item()
    if (departure := bound**2 / 4) <= tolerance_of(weight):
        turn = square.mul_(0.5).add_(skew)
    elif (departure := _QUARTIC**2 * bound**4) <= tolerance_of(weight):
        high = torch.add(_CUBIC * skew, square, alpha=_QUARTIC)
        turn = torch.matmul(square, high).add_(skew).add_(square, alpha=0.5)
    else:
        return retract(weight + weight @ skew), 0.0
    # The identity stays apart: adding the weight last rounds it once.
    return (weight @ turn).add_(weight), departure


@without_autocast()
def sample_stiefel(
    *shape: int,
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Draw a matrix uniformly (Haar measure) from the manifold.

    Parameters
    ----------
    *shape : int
        (..., m, n).
    generator : torch.Generator, optional
        Source of randomness; None uses torch's global one.
    dtype : torch.dtype, optional
        None means torch's default.

    Returns
    -------
    point : Tensor of shape (..., m, n)

    Examples
    --------
    >>> sample_stiefel(4, 2).shape
    torch.Size([4, 2])
    """
    return retract(torch.randn(*shape, generator=generator, dtype=dtype))


def is_square(weight: Tensor) -> bool:
    return weight.shape[-2] == weight.shape[-1]
