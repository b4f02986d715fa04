"""Convolutions whose operator norm is at most 1 by construction, and proven so for their weights.

Both kinds keep the weights themselves on the Stiefel manifold, under the same optimisers as
`OrthogonalLinear`. They build the kernel from the weights in each forward pass, inside the graph.
Only `frozen` holds a kernel, while its context lasts. Nothing else is cached, so nothing is stale.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

from pyod_lipocc._checks import check_integer
from pyod_lipocc.lipschitz._arithmetic import product
from pyod_lipocc.lipschitz._kernels import is_tracing, is_transformed, patch_product
from pyod_lipocc.lipschitz._norms import spectral_norm
from pyod_lipocc.lipschitz.functional import convolution_bound
from pyod_lipocc.stiefel import retract, sample_stiefel

__all__ = ["OrthogonalConv2d", "ReshapedConv2d"]

_FEW_CHANNELS = 3
_LARGEST_KERNEL = 7


def _check_padding_mode(padding_mode: str) -> None:
    """Refuse paddings under which no bound is proven."""
    if padding_mode == "reflect":
        raise ValueError(
            "padding_mode must be 'zeros' or 'circular', got 'reflect': it counts the pixels next "
            "to the border more than once, which raises the operator norm above its bound"
        )
    if padding_mode not in ("zeros", "circular"):
        raise ValueError(f"padding_mode must be 'zeros' or 'circular', got {padding_mode!r}")


class _Conv2d(nn.Module, ABC):
    """A convolution over images padded to ceil(h / stride) x ceil(w / stride) outputs."""

    weight: nn.Parameter

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding_mode: Literal["zeros", "circular"] = "zeros",
        bias: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_integer("in_channels", in_channels, 1)
        check_integer("out_channels", out_channels, 1)
        check_integer("kernel_size", kernel_size, 1, _LARGEST_KERNEL)
        check_integer("stride", stride, 1, 2)
        _check_padding_mode(padding_mode)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding_mode = padding_mode
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self._held: Tensor | None = None
        self._draw_weights(generator)

    @abstractmethod
    def _draw_weights(self, generator: torch.Generator | None) -> None:
        """Set the parameters on the Stiefel manifold."""

    @torch.no_grad()
    def hold(self) -> None:
        """Build the kernel once and use it until `release`. The weights must not change."""
        self._held = self.kernel()

    def release(self) -> None:
        """Build the kernel anew in each forward pass."""
        self._held = None

    @abstractmethod
    def kernel(self) -> Tensor:
        """Return the kernel (out_channels, in_channels, k, k), as `torch.nn.Conv2d` has it."""

    def stiefel_weights(self) -> list[nn.Parameter]:
        """Return the parameters that an optimiser must keep on the Stiefel manifold."""
        return [self.weight]

    @torch.no_grad()
    def lipschitz_bound(self) -> float:
        """Return an upper bound of the operator norm for every image size, rounding included.

        It is `functional.convolution_bound` of the kernel as computed.
        """
        return convolution_bound(self.kernel(), self.stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, in_channels, h, w) to (n, out_channels, ceil(h / stride), ceil(w / stride))."""
        before, after = (self.kernel_size - 1) // 2, self.kernel_size // 2
        padding = 0
        if self.padding_mode == "circular":
            if not is_tracing() and any(side % self.stride for side in x.shape[-2:]):
                raise ValueError(
                    f"stride must divide the height and width of the images under circular "
                    f"padding, got {self.stride} for images of {x.shape[-2]} x {x.shape[-1]}"
                )
            x = nn.functional.pad(x, (before, after, before, after), mode="circular")
        elif before == after:
            padding = before
        else:
            x = nn.functional.pad(x, (before, after, before, after))
        kernel = self.kernel() if self._held is None else self._held
        few = x.is_cpu and self.in_channels <= _FEW_CHANNELS
        if few and not is_transformed(x, kernel, self.bias):
            return patch_product(x, kernel, self.bias, self.stride, padding)
        return nn.functional.conv2d(x, kernel, self.bias, self.stride, padding)

    @torch.no_grad()
    def polish(self) -> None:
        """Retract the weights in their present precision: removes the rounding of training."""
        for weight in self.stiefel_weights():
            weight.copy_(retract(weight))

    @torch.no_grad()
    def fold(self) -> nn.Module:
        """Return torch's convolution with this kernel, or this layer if torch's pads otherwise."""
        same = self.stride == 1 or self.padding_mode == "zeros"
        if self.kernel_size % 2 == 0 or not same:
            return self
        kernel = self.kernel()
        plain = nn.Conv2d(
            self.in_channels,
            self.out_channels,
            self.kernel_size,
            self.stride,
            self.kernel_size // 2,
            bias=self.bias is not None,
            padding_mode=self.padding_mode,
            device="meta",
            dtype=kernel.dtype,
        ).to_empty(device=kernel.device)
        plain.load_state_dict(self.state_dict() | {"weight": kernel}, strict=False)
        return plain

    def extra_repr(self) -> str:
        """Channels, kernel and options other than the defaults, as `torch.nn.Conv2d` has them."""
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"]
        if self.stride != 1:
            parts.append(f"stride={self.stride}")
        if self.padding_mode != "zeros":
            parts.append(f"padding_mode={self.padding_mode!r}")
        return ", ".join([*parts, f"bias={self.bias is not None}"])


class ReshapedConv2d(_Conv2d):
    r"""The paper's convolution: an orthogonal reshaped kernel over a corrective constant.

    The kernel, reshaped to W of shape (c_out, c_in k k), lies on the Stiefel manifold. The output
    is W applied to each patch of the image. A pixel is in at most :math:`\lceil k/s \rceil^2`
    patches: under zero padding at every size of the image, under circular padding where the stride
    divides it. The squared norms of the patches thus sum to at most that many times the squared
    norm of the image. W divided by :math:`\lceil k/s \rceil`, 3 for a 3x3 kernel, is therefore
    1-Lipschitz.

    The singular values are not 1. White noise shrinks to about a third in a 3x3 layer;
    `OrthogonalConv2d` preserves its norm.

    Parameters
    ----------
    in_channels, out_channels : int
        At least 1.
    kernel_size : int
        k, from 1 to 7.
    stride : int, default=1
        s, 1 or 2.
    padding_mode : {"zeros", "circular"}, default="zeros"
        The outputs have ceil(h / s) rows and ceil(w / s) columns; "circular" needs images whose
        sides the stride divides.
    bias : bool, default=True
        Learn one number for each output channel, started at 0.
    generator : torch.Generator, optional
        Draws the weight uniformly (Haar measure); None uses torch's global generator.

    Attributes
    ----------
    weight : Parameter of shape (out_channels, in_channels * kernel_size**2)
    bias : Parameter of shape (out_channels,) or None

    Raises
    ------
    ValueError
        If a parameter is out of range; for reflecting padding, which breaks the bound.

    References
    ----------
    Serrurier et al., *Achieving robustness in classification using optimal transport with hinge
    regularization*, CVPR 2021.

    Examples
    --------
    >>> layer = ReshapedConv2d(3, 8, 3)
    >>> layer(torch.randn(2, 3, 6, 6)).shape
    torch.Size([2, 8, 6, 6])
    >>> layer.lipschitz_bound() <= 1 + 1e-6
    True
    """

    def _draw_weights(self, generator: torch.Generator | None) -> None:
        patch = self.in_channels * self.kernel_size**2
        self.weight = nn.Parameter(sample_stiefel(self.out_channels, patch, generator=generator))

    @property
    def overlap(self) -> int:
        """Corrective constant: a pixel is in at most `overlap` ** 2 patches."""
        return -(-self.kernel_size // self.stride)

    def kernel(self) -> Tensor:
        """Return the kernel (out_channels, in_channels, k, k), as `torch.nn.Conv2d` has it."""
        shape = (self.out_channels, self.in_channels, self.kernel_size, self.kernel_size)
        return self.weight.view(shape) / self.overlap

    @torch.no_grad()
    def lipschitz_bound(self) -> float:
        """Return an upper bound of the operator norm for every image size, rounding included.

        The smaller of two proven bounds: by patches, and by `functional.convolution_bound`, which
        is usually well below 1.
        """
        patches = product(self.overlap, spectral_norm(self.kernel().flatten(1)))
        return min(patches, super().lipschitz_bound())


class OrthogonalConv2d(_Conv2d):
    r"""A truly orthogonal convolution: all its singular values are 1 under circular padding.

    The kernel is a product of convolutions (BCOP, and AOC where strided). For an orthogonal
    projector P the filter :math:`P + (I - P) z` of two taps is unitary at every frequency z. k - s
    filters in each direction make a kernel of k - s + 1 taps a side. The last factor applies an
    orthogonal matrix W to each s x s window, a pixel for s = 1: the kernel has k taps a side. Each
    projector is :math:`P = U U^\top` with U of shape (c, c // 2). U and W lie on the Stiefel
    manifold.

    With :math:`c_{out} \le s^2 c_{in}` the map has orthonormal rows, otherwise orthonormal columns.
    Zero padding restricts the map to some inputs and outputs: its norm is still at most 1.

    Parameters
    ----------
    in_channels, out_channels : int
        At least 1.
    kernel_size : int
        k, from s to 7.
    stride : int, default=1
        s, 1 or 2.
    padding_mode : {"zeros", "circular"}, default="zeros"
        The outputs have ceil(h / s) rows and ceil(w / s) columns; "circular" needs images whose
        sides the stride divides.
    bias : bool, default=True
        Learn one number for each output channel, started at 0.
    generator : torch.Generator, optional
        Draws the weights uniformly (Haar measure); None uses torch's global generator.

    Attributes
    ----------
    weight : Parameter of shape (out_channels, c * stride**2)
        W, with c = max(in_channels, out_channels // stride**2), or in_channels where k = s.
    projectors : Parameter of shape (2 * (kernel_size - stride), c, c // 2) or None
        The U of the vertical and horizontal filters in turn. None where k = s, and where c = 1:
        the only orthogonal filters of one channel are shifts.
    bias : Parameter of shape (out_channels,) or None

    Raises
    ------
    ValueError
        If a parameter is out of range; for reflecting padding, which breaks the bound.

    References
    ----------
    Li et al., *Preventing gradient attenuation in Lipschitz constrained convolutional networks*,
    NeurIPS 2019. Boissin et al., *An adaptive orthogonal convolution scheme for efficient and
    flexible CNN architectures*, 2025.

    Examples
    --------
    >>> layer = OrthogonalConv2d(3, 8, 3, padding_mode="circular")
    >>> x = torch.randn(2, 3, 6, 6)
    >>> torch.allclose(layer(x).norm(), x.norm(), rtol=1e-4)
    True
    """

    def _draw_weights(self, generator: torch.Generator | None) -> None:
        if self.kernel_size < self.stride:
            raise ValueError(
                f"kernel_size must be at least the stride, {self.stride}, for an orthogonal "
                f"convolution, got {self.kernel_size}: it would skip pixels"
            )
        n_filters, window = 2 * (self.kernel_size - self.stride), self.stride**2
        width = max(self.in_channels, self.out_channels // window if n_filters else 0)
        self.weight = nn.Parameter(
            sample_stiefel(self.out_channels, width * window, generator=generator)
        )
        self.projectors: nn.Parameter | None = None
        if n_filters and width > 1:
            basis = sample_stiefel(n_filters, width, width // 2, generator=generator)
            self.projectors = nn.Parameter(basis)

    def kernel(self) -> Tensor:
        """Return the kernel (out_channels, in_channels, k, k), as `torch.nn.Conv2d` has it."""
        stride = self.stride
        windows = self.weight.view(self.out_channels, -1, stride, stride)
        # taps: (rows, columns, channels, in_channels), at first the embedding of the input
        identity = torch.eye(windows.shape[1], dtype=windows.dtype, device=windows.device)
        taps = identity[None, None, :, : self.in_channels]
        for index, basis in enumerate(() if self.projectors is None else self.projectors.unbind()):
            inside = basis @ (basis.mT @ taps)
            taps = _two_taps(inside, taps - inside, dim=index % 2)
        last = stride - 1
        strided = [
            nn.functional.pad(windows[:, :, i, j] @ taps, (0, 0, 0, 0, j, last - j, i, last - i))
            for i in range(stride)
            for j in range(stride)
        ]
        kernel = torch.stack(strided).sum(0).permute(2, 3, 0, 1)
        missing = self.kernel_size - kernel.shape[-1]
        before, after = missing // 2, missing - missing // 2
        return nn.functional.pad(kernel, (before, after, before, after)).contiguous()

    def stiefel_weights(self) -> list[nn.Parameter]:
        """Return the parameters that an optimiser must keep on the Stiefel manifold."""
        return [self.weight] if self.projectors is None else [self.weight, self.projectors]


def _two_taps(first: Tensor, second: Tensor, dim: int) -> Tensor:
    """Add two filters, the second one tap later along a dimension."""
    blank = torch.zeros_like(first.narrow(dim, 0, 1))
    return torch.cat((first, blank), dim) + torch.cat((blank, second), dim)
