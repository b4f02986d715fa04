"""Operations that are several times faster on a CPU than torch's, with their gradients.

They run in eager mode only: torch records and transforms nothing but operations of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

_BLOCK = 2**18  # so many numbers stay in the cache
_JIT: Any = torch.jit  # which declares neither names nor types


def is_tracing() -> bool:
    """Tell whether `torch.jit.trace` records: sizes are then tensors and must decide nothing."""
    return bool(_JIT.is_tracing())


def is_transformed(*tensors: Tensor | None) -> bool:
    """Tell whether torch traces, exports, compiles or transforms a computation with the tensors.

    The computation must then depend neither on their numbers nor on their number of rows.
    """
    return (
        torch.compiler.is_compiling()
        or is_tracing()
        or any(x is not None and (_is_wrapped(x) or _is_dual(x)) for x in tensors)
    )


def _is_wrapped(x: Tensor) -> bool:
    """Tell whether `torch.func` transforms computations with a tensor."""
    if hasattr(torch.func, "debug_unwrap"):
        return torch.func.debug_unwrap(x) is not x
    return torch._C._functorch.is_functorch_wrapped_tensor(x)  # before torch 2.7


def _is_dual(x: Tensor) -> bool:
    """Tell whether a tensor carries a tangent, for torch's forward differentiation."""
    unpack_dual: Callable[[Tensor], forward_ad.UnpackedDualTensor] = forward_ad.unpack_dual
    return unpack_dual(x).tangent is not None


def suits_numpy(x: Tensor) -> bool:
    """Tell whether numpy may compute with the numbers of a tensor."""
    return x.is_cpu and x.dtype in (torch.float32, torch.float64) and not is_transformed(x)


def argmin(x: Tensor) -> Tensor:
    """Return the place of the smallest number of each row of a matrix."""
    return torch.from_numpy(x.numpy().argmin(1)) if suits_numpy(x) else x.argmin(1)


def sqrt_(x: Tensor) -> Tensor:
    """Replace numbers by their square roots."""
    if not suits_numpy(x):
        return x.sqrt_()
    np.sqrt(x.numpy(), out=x.numpy())
    return x


def halves(x: Tensor, dim: int) -> tuple[Tensor, ...]:
    """Return the first half, the second half, and the last feature if their number is odd."""
    half = x.shape[dim] // 2
    return torch.split(x, [half, half, x.shape[dim] - 2 * half], dim)


class _MaxMin(torch.autograd.Function):
    """Larger and smaller of each pair, exactly; an exchanged pair exchanges its gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int) -> Tensor:
        first, second, unpaired = halves(x, dim)
        result = torch.empty_like(x)
        larger, smaller, last = halves(result, dim)
        torch.maximum(first, second, out=larger)
        torch.minimum(first, second, out=smaller)
        last.copy_(unpaired)
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(first - second)
            ctx.dim = dim
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (excess,) = ctx.saved_tensors
        larger, smaller, last = halves(gradient, ctx.dim)
        # relu's own backward pass: masks of bool are several times slower on a CPU
        kept = torch.ops.aten.threshold_backward(larger - smaller, excess, 0)
        return torch.cat((smaller + kept, larger - kept, last), ctx.dim), None


class _NumpySort(torch.autograd.Function):
    """Sort any dimension by numpy, several times faster than torch on a CPU.

    Sorted channels of images are in torch's memory format "channels last", which suits the next
    convolution. Rows are sorted some at a time, and their order is kept in the narrowest integers:
    numpy's own would take twice the memory of the images.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int) -> Tensor:
        rows = x.movedim(dim, -1)
        if not ctx.needs_input_grad[0]:
            return torch.from_numpy(np.sort(rows.numpy())).movedim(-1, dim)
        integer = getattr(torch, np.min_scalar_type(x.shape[dim]).name)
        result = torch.empty(rows.shape, dtype=x.dtype)
        order = torch.empty(rows.shape, dtype=integer)
        for unsorted, in_order, kept in _row_blocks(rows, result, order):
            indices = torch.from_numpy(np.argsort(unsorted.numpy()))
            torch.gather(unsorted, -1, indices, out=in_order)
            kept.copy_(indices)
        ctx.save_for_backward(order)
        ctx.dim = dim
        return result.movedim(-1, dim)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (order,) = ctx.saved_tensors
        rows = gradient.movedim(ctx.dim, -1)
        # Only operators out of place can be derived once more, or transformed.
        if torch.is_grad_enabled() or is_transformed(gradient):
            unsorted = torch.zeros_like(rows).scatter(-1, order.long(), rows)
        else:
            unsorted = torch.empty(rows.shape, dtype=rows.dtype)
            for in_order, kept, target in _row_blocks(rows, order, unsorted):
                target.scatter_(-1, kept.long(), in_order)
        return unsorted.movedim(-1, ctx.dim), None


def _row_blocks(*tensors: Tensor) -> Iterable[tuple[Tensor, ...]]:
    """Split tensors of one shape (..., d) into blocks of rows that stay in the cache."""
    n_features = tensors[0].shape[-1]
    n_rows = max(1, _BLOCK // max(1, n_features))
    flat = (tensor.reshape(tensor.numel() // max(1, n_features), n_features) for tensor in tensors)
    return zip(*(torch.split(rows, n_rows) for rows in flat), strict=True)


class _WindowNorm(torch.autograd.Function):
    """Norms of disjoint windows without a tensor of squares; 0 where the squares underflow."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, window: int) -> Tensor:
        pixels = (pixel for row in windows(x, window).unbind(-3) for pixel in row.unbind(-1))
        squares = next(pixels).square()
        for pixel in pixels:
            squares.addcmul_(pixel, pixel)
        norms = torch.threshold_(squares, torch.finfo(x.dtype).tiny, 0.0).sqrt_()
        ctx.save_for_backward(x, norms)
        ctx.window = window
        return norms

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        x, norms = ctx.saved_tensors
        scale = (gradient / norms).masked_fill(norms == 0, 0.0)
        product = windows(x, ctx.window) * scale[..., :, None, :, None]
        covered = product.flatten(-4, -3).flatten(-2, -1)
        left_over = [side % ctx.window for side in x.shape[-2:]]
        if any(left_over):
            covered = nn.functional.pad(covered, (0, left_over[1], 0, left_over[0]))
        return covered, None


def windows(x: Tensor, window: int) -> Tensor:
    """View (n, c, h, w) as disjoint windows (n, c, h // window, window, w // window, window)."""
    height, width = (side // window for side in x.shape[-2:])
    covered = x[..., : height * window, : width * window]
    return torch.unflatten(torch.unflatten(covered, -1, (width, window)), -3, (height, window))


class _PatchProduct(torch.autograd.Function):
    """Convolution of few channels as a matrix product over its patches.

    oneDNN pads one channel to 16: the gradient by the image takes seven times as long there. The
    result is in torch's memory format "channels last", which suits the sorting of channels.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, kernel: Tensor, bias: Tensor | None, stride: int, padding: int
    ) -> Tensor:
        size = kernel.shape[-1]
        patches = nn.functional.unfold(x, size, padding=padding, stride=stride)
        height, width = ((side + 2 * padding - size) // stride + 1 for side in x.shape[-2:])
        ctx.save_for_backward(x, kernel)
        ctx.stride, ctx.padding = stride, padding
        rows = nn.functional.linear(patches.mT, kernel.flatten(1), bias)
        return torch.unflatten(rows.mT, -1, (height, width))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, kernel = ctx.saved_tensors
        size, geometry = kernel.shape[-1], {"padding": ctx.padding, "stride": ctx.stride}
        pixels = gradient.flatten(2)
        on_image = on_kernel = on_bias = None
        if ctx.needs_input_grad[0]:
            on_patches = kernel.flatten(1).mT @ pixels
            on_image = nn.functional.fold(on_patches, x.shape[-2:], size, **geometry)
        if ctx.needs_input_grad[1]:
            patches = nn.functional.unfold(x, size, **geometry)
            on_kernel = (patches @ pixels.mT).sum(0).mT.reshape(kernel.shape)
        if ctx.needs_input_grad[2]:
            on_bias = pixels.sum((0, 2))
        return on_image, on_kernel, on_bias, None, None


# torch's `apply` has no types.
max_min: Callable[[Tensor, int], Tensor] = _MaxMin.apply
numpy_sort: Callable[[Tensor, int], Tensor] = _NumpySort.apply
window_norm: Callable[[Tensor, int], Tensor] = _WindowNorm.apply
patch_product: Callable[[Tensor, Tensor, Tensor | None, int, int], Tensor] = _PatchProduct.apply
