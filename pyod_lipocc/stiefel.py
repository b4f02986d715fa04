r"""The Stiefel manifold of matrices with an orthonormal shorter side, and optimisers on it.

A matrix :math:`W` of shape (m, n) lies on the manifold when :math:`W^\top W = I` (m >= n,
orthonormal columns) or :math:`W W^\top = I` (m <= n, orthonormal rows): all its singular values are
1, so the linear map is 1-Lipschitz in the l2 norm. A single row is a unit vector.

The paper re-parametrises each layer by :math:`\Theta = \Pi(W)`, the projection computed by Björck's
iteration :math:`W \leftarrow \tfrac32 W - \tfrac12 W W^\top W` inside the graph, with :math:`W`
unconstrained. Here the weights themselves stay on the manifold and Björck's iteration, of higher
order where it pays, is the *retraction* after each step: the same projection, but nothing is
differentiated through it, and since a step leaves the weights near the manifold one iteration is
enough where the paper's setting needs a dozen.

All functions accept leading batch dimensions: (..., m, n).

References
----------
Absil, Mahony & Sepulchre, *Optimization Algorithms on Matrix Manifolds*, Princeton, 2008, sections
3.5 and 4.1. Björck & Bowie, *An iterative algorithm for computing the best estimate of an
orthogonal matrix*, 1971.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

__all__ = [
    "StiefelAdam",
    "StiefelRMSprop",
    "orthogonality_error",
    "project_tangent",
    "retract",
    "sample_stiefel",
]


_BLOCK = 128


def _symmetric_product(left: Tensor, right: Tensor) -> Tensor:
    """Multiply where the product is symmetric: only the blocks on and above its diagonal."""
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
    """Gram matrix of the shorter side minus the identity."""
    tall = weight.shape[-2] >= weight.shape[-1]
    gram = _symmetric_product(*((weight.mT, weight) if tall else (weight, weight.mT)))
    gram.diagonal(dim1=-2, dim2=-1).sub_(1.0)
    return gram


def orthogonality_error(weight: Tensor) -> Tensor:
    r"""Frobenius norm of :math:`W^\top W - I`: an upper bound of every :math:`|\sigma_i^2 - 1|`.

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
    return torch.linalg.matrix_norm(_deviation(weight))


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
    return _without_normal(weight, direction, inner)


def _without_normal(weight: Tensor, direction: Tensor, inner: Tensor) -> Tensor:
    """Project a direction whose product with the weight, on its shorter side, is known."""
    # Contiguous: adding a transposed view costs several times more than copying it first.
    inner = inner.mT.contiguous().add_(inner)
    tall = weight.shape[-2] >= weight.shape[-1]
    normal = weight @ inner if tall else inner @ weight
    return normal.mul_(-0.5).add_(direction)


def _orthonormal_basis(weight: Tensor) -> Tensor:
    """Q of a QR factorisation with a non-negative diagonal; orthonormal for every finite matrix."""
    if weight.shape[-2] < weight.shape[-1]:
        return _orthonormal_basis(weight.mT).mT
    if not torch.isfinite(weight).all():
        raise FloatingPointError(
            "weight must be finite to come onto the Stiefel manifold, got nan or inf entries: "
            "the training has diverged"
        )
    largest = weight.abs().amax(dim=(-2, -1), keepdim=True)
    q, r = torch.linalg.qr(weight / torch.where(largest > 0, largest, 1.0))
    return q * torch.where(r.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0).to(q).unsqueeze(-2)


def retract(weight: Tensor) -> Tensor:
    r"""Bring a matrix back onto the manifold.

    With :math:`E = W^\top W - I` and :math:`b < 1`, a bound of the spectral norm of E, Björck and
    Bowie's iteration of order k, :math:`W \leftarrow W p_k(E)` with the Taylor polynomial
    :math:`p_k` of :math:`(1 + x)^{-1/2}`, converges to the polar factor of W, the nearest point of
    the manifold. The remainder :math:`(1 + x) p_k(x)^2 - 1` begins with :math:`x^{k+1}`, the signs
    of its coefficients alternate and it is -1 at -1, so their absolute values add up to 1: one
    iteration leaves every :math:`|\sigma_i^2 - 1|` at most :math:`b^{k+1}`.

    Of the orders one, two and four, with :math:`b = \|E\|_F` for the first and
    :math:`\|E^2\|_F^{1/2}` for the others, the lowest is taken that brings this proven bound to the
    rounding level; it exists for the steps of usual learning rates. If none does, order four is
    repeated. Where b is not below 1 a QR factorisation, itself a retraction, comes first.

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
    tolerance = _tolerance(weight)
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


def _tolerance(weight: Tensor) -> float:
    """Largest departure of a squared singular value from 1 that counts as rounding."""
    return 8 * torch.finfo(weight.dtype).eps


def _step_unseen(weight: Tensor, tangent: Tensor) -> Tensor:
    r"""Retract W + T for a tangent T at W, without reading a number back from the device.

    The singular values of W + T are from 1 to :math:`\sqrt{1 + b^2}` with :math:`b = \|T T^\top
    \|_F^{1/2}`. T is shortened to b <= 1, the sum divided by that root, and five steps (six in
    double precision) of Björck's iteration bring a singular value from :math:`1 / \sqrt2` to 1
    within the rounding.
    """
    tall = weight.shape[-2] >= weight.shape[-1]
    gram = tangent.mT @ tangent if tall else tangent @ tangent.mT
    square = torch.linalg.matrix_norm(gram, keepdim=True)
    shortened = square.clamp(max=1.0)
    scale = (shortened / square.clamp(min=torch.finfo(square.dtype).tiny)).sqrt()
    point = (weight + tangent * scale) / (1 + shortened).sqrt()
    for _ in range(5 if weight.dtype == torch.float32 else 6):
        deviation = _deviation(point)
        point = point - 0.5 * (point @ deviation if tall else deviation @ point)
    return point


# For |D|_F <= 0.4 no squared singular value of W + D departs from 1 by more than 2 |D|_F + |D|_F^2
# < 1: retract() finds the polar factor.
_SHORT = 0.4

# The quartic p(X) = I + X + X^2 / 2 + c_3 X^3 + c_4 X^4 of a skew X has p(X)^T p(X) = I + c_4^2 X^8
# for c_4 = c_3^2 and 1/4 - 2 c_3 + 2 c_3^2 = 0.
_CUBIC = (1 - 0.5**0.5) / 2
_QUARTIC = _CUBIC**2


def _turn(weight: Tensor, skew: Tensor) -> tuple[Tensor, float]:
    r"""Turn a square W by a skew X: the new point, and how far it may have left the manifold.

    The point is :math:`W (I + X + \tfrac12 X^2)` or, where this is not enough, W p(X) with the
    quartic p: both agree with :math:`W e^X` to order two. They leave the manifold by
    :math:`\tfrac14 X^4` and :math:`c_4^2 X^8`, of which powers of :math:`\|X^2\|_F` are bounds. A
    longer step is retracted.
    """
    square = _symmetric_product(skew, skew)
    bound = torch.linalg.matrix_norm(square).max().item()
    if (departure := bound**2 / 4) <= _tolerance(weight):
        turn = square.mul_(0.5).add_(skew)
    elif (departure := _QUARTIC**2 * bound**4) <= _tolerance(weight):
        high = torch.add(_CUBIC * skew, square, alpha=_QUARTIC)
        turn = torch.matmul(square, high).add_(skew).add_(square, alpha=0.5)
    else:
        return retract(weight + weight @ skew), 0.0
    # The identity stays apart: adding the weight last rounds it once.
    return (weight @ turn).add_(weight), departure


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


def _twice_skew(inner: Tensor) -> Tensor:
    return inner.sub_(inner.mT.contiguous())


def _to_coordinates(weight: Tensor, gradient: Tensor) -> Tensor:
    r"""Bring the gradient G by a weight to the coordinates of the tangents there.

    The skew X of W exp(X) has the gradient :math:`W^\top G - G^\top W` by its entries above the
    diagonal, and its negative below.
    """
    if _is_square(weight):
        return _twice_skew(weight.mT @ gradient)
    return project_tangent(weight, gradient)


class _Linear(torch.autograd.Function):
    r"""The map :math:`x \mapsto W x + b`, differentiated by coordinates of tangents at W.

    With rows x and gradients D by the result, the gradient by W is :math:`G = D^\top x`. What the
    coordinates need of its products with W costs less than from G: :math:`W^\top G = (D W)^\top
    x`, where D W is the gradient by x, and :math:`G W^\top = D^\top (x W^\top)`, where
    :math:`x W^\top` is the result but for b. A square W does not need G itself.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, coordinates: Tensor) -> Tensor:
        return torch.nn.functional.linear(x, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:3], output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, Tensor | None, Tensor]:
        x, weight, bias, result = ctx.saved_tensors
        by_x = gradient @ weight
        if _is_square(weight):
            by_coordinates = _twice_skew(by_x.T @ x)
        else:
            if weight.shape[0] > weight.shape[1]:
                inner = by_x.T @ x
            else:
                inner = gradient.T @ (result if bias is None else result - bias)
            by_coordinates = _without_normal(weight, gradient.T @ x, inner)
        return by_x, None, None if bias is None else gradient.sum(0), by_coordinates


# Of the weights that are differentiated by coordinates, in this thread and context.
_COORDINATES: ContextVar[Mapping[Tensor, Tensor]] = ContextVar(
    "_COORDINATES", default=MappingProxyType({})
)


@contextmanager
def tangent_gradients(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Let `linear` form the gradients of one step as `StiefelAdam` and `StiefelRMSprop` need them.

    While the context lasts, `linear` differentiates by coordinates of the tangents at a weight.
    They are leaves of their own: ``optimizer.step()`` adds their gradient to what came to
    ``weight.grad`` on other ways, brought to coordinates.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Where others may look for ``weight.grad`` nothing changes: with other optimisers, subclasses
        and hooks.
    """
    ours = type(optimizer) in (StiefelAdam, StiefelRMSprop)
    weights = _marked(optimizer) if ours and not optimizer._optimizer_step_pre_hooks else []
    coordinates = {
        # One stored zero: of the leaf only the shape and the gradient matter.
        weight: weight.new_zeros(()).expand_as(weight).requires_grad_()
        for weight in weights
        if not (weight._backward_hooks or weight._post_accumulate_grad_hooks)
    }
    token = _COORDINATES.set(coordinates)
    try:
        yield
    finally:
        _COORDINATES.reset(token)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Compute what `torch.nn.functional.linear` computes; `tangent_gradients` is heeded."""
    # torch.compile cannot follow the reading of the variable.
    readable = weight.requires_grad and not torch.compiler.is_compiling()
    coordinates = _COORDINATES.get().get(weight) if readable else None
    if coordinates is None:
        return torch.nn.functional.linear(x, weight, bias)
    rows = x.reshape(-1, x.shape[-1])
    return _Linear.apply(rows, weight, bias, coordinates).reshape(*x.shape[:-1], len(weight))


class _OnStiefel(torch.optim.Optimizer):
    r"""Mixin: the groups marked ``stiefel=True`` move on the manifold.

    For one step a weight is replaced by the coordinates of a tangent at it, which start at 0, and
    its gradient by the gradient in these coordinates; the optimiser moves the coordinates; the
    point they stand for becomes the weight. The coordinates of a square W are those of the skew X
    of W exp(X) in an orthonormal basis, :math:`\sqrt2 X_{ij}` for i < j: the gradient needs one
    product, and whatever the optimiser does to each entry leaves X skew.

    Those of other shapes are the tangents themselves. Adaptive scaling turns a tangent into a
    direction D with a part normal to the manifold. The derivative of the nearest-point map at W is
    the projection P onto the tangent space, so the polar factor of W + D is W + PD up to
    :math:`O(\|D\|^2)`: the retraction of a short D projects it, too. A long one is projected first.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Take one step; the marked weights are on the manifold before and after it."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        moving = []
        for weight in _marked(self):
            gradient = _gradient_by_coordinates(weight)
            if gradient is not None:
                moving.append((weight, weight.clone(), weight.grad))
                weight.grad = gradient
                weight.zero_()
        super().step()
        for weight, origin, gradient in moving:
            weight.copy_(self._point(weight, origin))
            weight.grad = gradient
        return loss

    def _point(self, weight: Tensor, origin: Tensor) -> Tensor:
        """Return the point that the coordinates stored in a weight stand for."""
        if weight.is_cuda:
            if _is_square(weight):
                return _step_unseen(origin, origin @ weight.mul_(0.5**0.5))
            return _step_unseen(origin, project_tangent(origin, weight))
        if not _is_square(weight):
            if torch.linalg.matrix_norm(weight).max() > _SHORT:
                weight = project_tangent(origin, weight)
            return retract(weight.add_(origin))
        point, departure = _turn(origin, weight.mul_(0.5**0.5))
        # What was left out adds up over the steps, as does the rounding of each product.
        total = self.state[weight].get("departure", math.inf) + departure
        total += torch.finfo(weight.dtype).eps
        if total > 4 * _tolerance(weight):
            point, total = retract(point), 0.0
        self.state[weight]["departure"] = total
        return point


def _marked(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    groups = (group for group in optimizer.param_groups if group.get("stiefel", False))
    return [weight for group in groups for weight in group["params"]]


def _gradient_by_coordinates(weight: Tensor) -> Tensor | None:
    coordinates = _COORDINATES.get().get(weight)
    formed = None if coordinates is None else coordinates.grad
    if weight.grad is None:
        return formed
    brought = _to_coordinates(weight, weight.grad)
    return brought if formed is None else brought.add_(formed)


def _is_square(weight: Tensor) -> bool:
    return weight.shape[-2] == weight.shape[-1]


class StiefelAdam(_OnStiefel, torch.optim.Adam):
    r"""Adam whose parameter groups with ``stiefel=True`` stay on the Stiefel manifold.

    The gradient is projected onto the tangent space before it enters the moments, and the updated
    weight is retracted. All other groups are updated by plain Adam.

    Parameters
    ----------
    params : iterable
        Parameter groups as for :class:`torch.optim.Adam`; each may carry ``"stiefel": True``.
    **options
        Those of :class:`torch.optim.Adam`. ``fused`` is True unless ``foreach`` or
        ``differentiable`` is given: one pass over the memory of a weight in place of a dozen.

    Examples
    --------
    >>> weight = torch.nn.Parameter(sample_stiefel(5, 3))
    >>> optimizer = StiefelAdam([{"params": [weight], "stiefel": True}], lr=0.1)
    >>> weight.sum().backward()
    >>> optimizer.step()
    >>> bool(orthogonality_error(weight) < 1e-5)
    True
    """

    def __init__(self, params: ParamsT, **options: Any) -> None:
        if not {"foreach", "differentiable"} & options.keys():
            options.setdefault("fused", True)
        super().__init__(params, **options)


class StiefelRMSprop(_OnStiefel, torch.optim.RMSprop):
    """RMSprop whose parameter groups with ``stiefel=True`` stay on the manifold: see `StiefelAdam`.

    Parameters
    ----------
    params : iterable
        Parameter groups as for :class:`torch.optim.RMSprop`; each may carry ``"stiefel": True``.
    **kwargs
        Those of :class:`torch.optim.RMSprop`. The paper's "default hyper-parameters" are those of
        Keras: ``lr=1e-3, alpha=0.9, eps=1e-7``, where torch has 1e-2, 0.99 and 1e-8.
    """
