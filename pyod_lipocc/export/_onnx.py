"""Layers as ONNX operators, written from the layers themselves, without tracing.

A new layer is a line of `_LAYERS`. ONNX Runtime has no convolution and no pooling in double
precision. Gathered windows and products of matrices, which it has in both precisions, replace them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pyod_lipocc import lipschitz
from pyod_lipocc._extras import import_extra
from pyod_lipocc.lipschitz.dispatch import computes_as, entry_of

__all__ = ["Graph", "add_layer"]

Shape = tuple[int, ...]
"""Of one row: without the batch dimension."""

Writer = Callable[["Graph", Any, str, Shape, Shape], str]
"""From a graph, a layer, the name of its input and the shapes before and after to that of its
output."""


class Graph:
    """Nodes and constants of a model that grows.

    Parameters
    ----------
    dtype : numpy dtype
        Of the floating-point constants.

    Attributes
    ----------
    nodes : list of onnx.NodeProto
    constants : list of onnx.TensorProto
    """

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self._onnx = import_extra("onnx", "onnx")
        self.dtype = np.dtype(dtype)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, operator: str, *inputs: Any, name: str = "", **attributes: Any) -> str:
        """Add a node of one output and return the name of the output.

        Parameters
        ----------
        operator : str
        *inputs : str or array-like
            Names of values, or constants.
        name : str, default=""
            Of the output; a new name if empty.
        **attributes : object
        """
        return self.add_split(operator, *inputs, names=[name], **attributes)[0]

    def add_split(
        self, operator: str, *inputs: Any, names: Sequence[str], **attributes: Any
    ) -> list[str]:
        """Add a node of several outputs and return their names: new ones for empty names."""
        number = len(self.nodes)
        outputs = [name or f"{operator}_{number}_{index}" for index, name in enumerate(names)]
        values = [value if isinstance(value, str) else self._constant(value) for value in inputs]
        self.nodes.append(self._onnx.helper.make_node(operator, values, outputs, **attributes))
        return outputs

    def cast(self, value: str, dtype: npt.DTypeLike, name: str = "") -> str:
        """Convert a value to a precision or type."""
        code = self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.add("Cast", value, name=name, to=code)

    def reshape(self, x: str, shape: Shape) -> str:
        """Give each row another shape."""
        return self.add("Reshape", x, np.array([0, *shape]))

    def _constant(self, value: Any) -> str:
        if isinstance(value, Tensor):
            value = value.detach().cpu().numpy()
        array = np.array(value, dtype=self.dtype if type(value) is float else None, order="C")
        name = f"constant_{len(self.constants)}"
        self.constants.append(self._onnx.numpy_helper.from_array(array, name))
        return name


def add_layer(graph: Graph, layer: nn.Module, x: str, shape: Shape) -> tuple[str, Shape]:
    """Add the nodes of a layer, or of a sequence of layers.

    Parameters
    ----------
    graph : Graph
    layer : torch.nn.Module
    x : str
        Name of its input.
    shape : tuple of int
        Of a row of the input.

    Returns
    -------
    output : str
        Name of its output.
    shape : tuple of int
        Of a row of the output.

    Raises
    ------
    ValueError
        If a layer is unknown, or mixes rows.
    """
    if computes_as(layer, nn.Sequential):
        for part in layer:
            x, shape = add_layer(graph, part, x, shape)
        return x, shape
    write = entry_of(layer, _LAYERS)
    if write is None:
        accepted = ", ".join(kind.__name__ for kind in (nn.Sequential, *_LAYERS))
        raise ValueError(
            f"network cannot be exported, got {layer!r}: accepted are {accepted}, without hooks"
        )
    weights = itertools.chain(layer.parameters(), layer.buffers())
    like = next(weights, torch.zeros((), dtype=torch.float64))
    with torch.no_grad():
        n_rows, *after = layer(like.new_zeros((2, *shape))).shape
    if n_rows != 2:
        raise ValueError(f"network cannot be exported, got {layer!r}, which mixes rows")
    return write(graph, layer, x, shape, tuple(after)), tuple(after)


def _linear(graph: Graph, layer: Any, x: str, before: Shape, after: Shape) -> str:
    y = graph.add("MatMul", x, layer.weight.mT)
    return y if layer.bias is None else graph.add("Add", y, layer.bias)


def _group_sort2(graph: Graph, layer: Any, x: str, before: Shape, after: Shape) -> str:
    axis = layer.dim % (1 + len(before))
    half, odd = divmod(before[axis - 1], 2)
    first, second, *unpaired = graph.add_split(
        "Split", x, np.array([half, half, odd][: 2 + odd]), names=[""] * (2 + odd), axis=axis
    )
    larger, smaller = graph.add("Max", first, second), graph.add("Min", first, second)
    return graph.add("Concat", larger, smaller, *unpaired, axis=axis)


def _full_sort(graph: Graph, layer: Any, x: str, before: Shape, after: Shape) -> str:
    axis = layer.dim % (1 + len(before))
    width = np.array([before[axis - 1]])
    return graph.add_split("TopK", x, width, names=["", ""], axis=axis, largest=0)[0]


def _gaussian_blur(graph: Graph, layer: Any, x: str, before: Shape, after: Shape) -> str:
    rows = graph.add("MatMul", graph.reshape(x, layer.image_shape), layer.horizontal)
    return graph.reshape(graph.add("MatMul", layer.vertical, rows), after)


def _windows(graph: Graph, x: str, before: Shape, after: Shape, window: int) -> str:
    """Give the pixels of disjoint windows axes 3 and 5 of (n, c, h, window, w, window)."""
    (_, height, width), (channels, rows, columns) = before, (before[0], *after[1:])
    if (height, width) != (rows * window, columns * window):
        ends = np.array([rows * window, columns * window])
        x = graph.add("Slice", x, np.array([0, 0]), ends, np.array([2, 3]))
    return graph.reshape(x, (channels, rows, window, columns, window))


def _l2_norm_pool(graph: Graph, layer: Any, x: str, before: Shape, after: Shape) -> str:
    squares = graph.add("Mul", x, x)
    windows = _windows(graph, squares, before, after, layer.window)
    return graph.add("Sqrt", graph.add("ReduceSum", windows, np.array([3, 5]), keepdims=0))


def _global_l2_norm_pool(graph: Graph, layer: Any, x: str, before: Shape, after: Shape) -> str:
    squares = graph.add("Mul", x, x)
    return graph.add("Sqrt", graph.add("ReduceSum", squares, np.array([2, 3]), keepdims=0))


def _scaled_avg_pool(graph: Graph, layer: Any, x: str, before: Shape, after: Shape) -> str:
    windows = _windows(graph, x, before, after, layer.window)
    sums = graph.add("ReduceSum", windows, np.array([3, 5]), keepdims=0)
    return graph.add("Div", sums, float(layer.window))


def _invertible_downsampling(graph: Graph, layer: Any, x: str, before: Shape, after: Shape) -> str:
    windows = _windows(graph, x, before, after, layer.window)
    return graph.reshape(graph.add("Transpose", windows, perm=[0, 1, 3, 5, 2, 4]), after)


def _conv(graph: Graph, layer: Any, x: str, before: Shape, after: Shape) -> str:
    strides, starts = (layer.stride,) * 2, (-((layer.kernel_size - 1) // 2),) * 2
    return _convolve(graph, layer, x, before, after, layer.kernel(), strides, starts, (1, 1))


def _torch_conv(graph: Graph, layer: Any, x: str, before: Shape, after: Shape) -> str:
    modes = ("zeros", "circular")
    if layer.groups != 1 or layer.padding_mode not in modes or isinstance(layer.padding, str):
        raise ValueError(
            f"network cannot be exported, got {layer!r}: accepted are convolutions without groups, "
            f"with a padding in numbers and padding_mode one of {', '.join(modes)}"
        )
    axes = layer.stride, tuple(-pad for pad in layer.padding), layer.dilation
    return _convolve(graph, layer, x, before, after, layer.weight, *axes)


def _convolve(
    graph: Graph, layer: Any, x: str, before: Shape, after: Shape, kernel: Tensor, *axes: Shape
) -> str:
    """Gather windows of pixels with their channels, and multiply them by the kernel."""
    taps = _taps(layer.padding_mode, before, after, kernel.shape[2:], *axes)
    channels, n_pixels = before[0], before[1] * before[2]
    x = graph.add("Transpose", graph.reshape(x, (channels, n_pixels)), perm=[0, 2, 1])
    if n_pixels in taps:
        x = graph.add("Pad", x, np.array([0, 0, 0, 0, 1, 0]))
    windows = graph.add("Gather", x, taps.ravel(), axis=1)
    n_outputs, n_inputs = after[1] * after[2], kernel[0].numel()
    matrix = kernel.detach().permute(2, 3, 1, 0).reshape(n_inputs, after[0])
    y = graph.add("MatMul", graph.reshape(windows, (n_outputs, n_inputs)), matrix)
    if layer.bias is not None:
        y = graph.add("Add", y, layer.bias)
    return graph.reshape(graph.add("Transpose", y, perm=[0, 2, 1]), after)


def _taps(mode: str, before: Shape, after: Shape, *axes: Shape) -> npt.NDArray[np.int64]:
    """Return the number of the pixel that each output sees at each tap, shape (h, w, k_h, k_w).

    `axes` are the sides, the strides, the starts and the dilations of the kernel, each for rows and
    columns. Pixels are numbered row by row. The number after the last pixel stands for the padding.
    """
    _, height, width = before
    rows, columns = (
        start + stride * np.arange(length)[:, None] + dilation * np.arange(side)
        for length, side, stride, start, dilation in zip(after[1:], *axes, strict=True)
    )
    rows, columns = rows[:, None, :, None], columns[None, :, None, :]
    if mode == "circular":
        rows, columns = rows % height, columns % width
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    return np.where(inside, rows * width + columns, height * width)


_Components = lipschitz.NearestBox | lipschitz.NearestSubspace


def _squared_distances(graph: Graph, layer: _Components, x: str) -> str:
    """Add the squared distances of rows to all centres, by products of matrices."""
    products = graph.add("MatMul", x, -2 * layer.centers.mT)
    squared = graph.add("Add", products, (layer.centers**2).sum(1))
    norms = graph.add("ReduceSum", graph.add("Mul", x, x), np.array([1]), keepdims=1)
    return graph.add("Add", squared, norms)


def _coordinates(graph: Graph, layer: _Components, x: str) -> str:
    """Add the coordinates of rows along all directions, seen from the centres."""
    K, q, d = layer.basis.shape
    origin = torch.einsum("kqd,kd->kq", layer.basis, layer.centers)
    products = graph.add("MatMul", x, layer.basis.detach().reshape(K * q, d).mT)
    return graph.add("Sub", graph.reshape(products, (K, q)), origin)


def _nearest_subspace(
    graph: Graph, layer: lipschitz.NearestSubspace, x: str, before: Shape, after: Shape
) -> str:
    """Find the nearest components by products of matrices, their heights by differences."""
    K, q, d = layer.basis.shape
    j, basis = layer.n_nearest, layer.basis.detach().reshape(K * q, d)
    squared = _squared_distances(graph, layer, x)
    if q:
        coordinates = _coordinates(graph, layer, x)
        squares = graph.add("Mul", coordinates, coordinates)
        lost = graph.add("Mul", squares, 1 - layer.contraction.clamp(0, 1) ** 2)
        squared = graph.add("Sub", squared, graph.add("ReduceSum", lost, np.array([2]), keepdims=0))
    heights = graph.add("Add", graph.add("Sqrt", graph.add("Relu", squared)), layer.offset)
    nearest = graph.add_split("TopK", heights, np.array([j]), names=["", ""], axis=1, largest=0)[1]
    v = graph.add("Sub", graph.reshape(x, (1, d)), graph.add("Gather", layer.centers, nearest))
    if q:
        is_nearest = graph.add("Equal", graph.reshape(nearest, (j, 1)), np.arange(K))
        chosen = graph.reshape(graph.cast(is_nearest, graph.dtype), (j, K, 1))
        along = graph.reshape(graph.add("Mul", coordinates, layer.shrinkage()), (1, K, q))
        kept = graph.reshape(graph.add("Mul", chosen, along), (j, K * q))
        v = graph.add("Sub", v, graph.add("MatMul", kept, basis))
    lengths = graph.add("ReduceSum", graph.add("Mul", v, v), np.array([2]), keepdims=0)
    lengths = graph.add("Sqrt", lengths)
    heights = graph.add("Add", lengths, graph.add("Gather", layer.offset, nearest))
    return graph.add("Sub", layer.bias, graph.add("ReduceMean", heights, axes=[1], keepdims=1))


def _nearest_box(
    graph: Graph, layer: lipschitz.NearestBox, x: str, before: Shape, after: Shape
) -> str:
    """Find the nearest box by products of matrices, its height by differences."""
    _, q, d = layer.basis.shape
    reach = layer.half_width.detach().clamp_min(0)
    squared = _squared_distances(graph, layer, x)
    if q:
        along = _coordinates(graph, layer, x)
        inside = _inside(graph, along, reach)
        beyond = graph.add("Sub", inside, graph.add("Add", along, along))
        parts = graph.add("Mul", inside, beyond)
        squared = graph.add(
            "Add", squared, graph.add("ReduceSum", parts, np.array([2]), keepdims=0)
        )
    heights = graph.add("Add", graph.add("Sqrt", graph.add("Relu", squared)), layer.offset)
    nearest = graph.add("ArgMin", heights, axis=1, keepdims=0)
    v = graph.add("Sub", x, graph.add("Gather", layer.centers, nearest))
    if q:
        basis = graph.add("Gather", layer.basis, nearest)
        along = graph.reshape(graph.add("MatMul", basis, graph.reshape(v, (d, 1))), (q,))
        inside = _inside(graph, along, graph.add("Gather", reach, nearest))
        shadow = graph.add("MatMul", graph.reshape(inside, (1, q)), basis)
        v = graph.add("Sub", v, graph.reshape(shadow, (d,)))
    length = graph.add("Sqrt", graph.add("ReduceSum", graph.add("Mul", v, v), np.array([1])))
    height = graph.add(
        "Add", length, graph.reshape(graph.add("Gather", layer.offset, nearest), (1,))
    )
    return graph.add("Sub", layer.bias, height)


def _inside(graph: Graph, along: str, reach: Any) -> str:
    """Project coordinates along the axes on a box."""
    return graph.add("Min", graph.add("Max", along, graph.add("Neg", reach)), reach)


def _combine(operator: str) -> Writer:
    """Write the networks of a combination, then the operator that reduces their values to one."""

    def write(graph: Graph, layer: Any, x: str, before: Shape, after: Shape) -> str:
        values = [add_layer(graph, network, x, before)[0] for network in layer.networks]
        y = graph.add(operator, *values)
        return graph.add("Div", y, float(len(values))) if operator == "Sum" else y

    return write


def _reshape(graph: Graph, layer: Any, x: str, before: Shape, after: Shape) -> str:
    return graph.reshape(x, after)


def _elementwise(operator: str) -> Writer:
    return lambda graph, layer, x, before, after: graph.add(operator, x)


_LAYERS: dict[type[nn.Module], Writer] = {
    lipschitz.FullSort: _full_sort,
    lipschitz.GaussianBlur: _gaussian_blur,
    lipschitz.GlobalL2NormPool2d: _global_l2_norm_pool,
    lipschitz.GroupSort2: _group_sort2,
    lipschitz.InvertibleDownsampling2d: _invertible_downsampling,
    lipschitz.L2NormPool2d: _l2_norm_pool,
    lipschitz.Maximum: _combine("Max"),
    lipschitz.Mean: _combine("Sum"),
    lipschitz.Minimum: _combine("Min"),
    lipschitz.NearestBox: _nearest_box,
    lipschitz.NearestSubspace: _nearest_subspace,
    lipschitz.OrthogonalConv2d: _conv,
    lipschitz.OrthogonalLinear: _linear,
    lipschitz.ReshapedConv2d: _conv,
    lipschitz.ScaledAvgPool2d: _scaled_avg_pool,
    nn.Conv2d: _torch_conv,
    nn.Flatten: _reshape,
    nn.Identity: _elementwise("Identity"),
    nn.Linear: _linear,
    nn.ReLU: _elementwise("Relu"),
    nn.Sigmoid: _elementwise("Sigmoid"),
    nn.Tanh: _elementwise("Tanh"),
    nn.Unflatten: _reshape,
}
