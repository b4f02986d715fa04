"""Values as JSON and tensors, and back: plain data, arrays, known layers and records.

Lists, text, finite numbers and None stand for themselves; every other value is a JSON object with a
"kind". The classes that a file may name are listed here: a file cannot bring in any other code.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pyod_lipocc import domains, lipschitz
from pyod_lipocc.lipschitz import OrthogonalConv2d
from pyod_lipocc.training import History
from pyod_lipocc.units import Scaling

__all__ = ["RECORDS", "Decoder", "Encoder"]

_TORCH = (
    *("Conv2d", "Flatten", "Identity", "Linear", "ModuleList"),
    *("ReLU", "Sequential", "Sigmoid", "Tanh", "Unflatten"),
)
_OWN = [getattr(module, name) for module in (lipschitz, domains) for name in module.__all__]
_LAYERS: dict[str, type[nn.Module]] = {
    **{f"torch.{name}": getattr(nn, name) for name in _TORCH},
    **{k.__name__: k for k in _OWN if isinstance(k, type) and issubclass(k, nn.Module)},
}
RECORDS: dict[str, type] = {
    kind.__name__: kind
    for kind in (*_OWN, History, Scaling)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind)
}
_NAMES = {kind: name for name, kind in (_LAYERS | RECORDS).items()}
_LARGEST_PADDING = 8  # in sides of the kernel
_LARGEST_KERNEL = 7  # of an orthogonal convolution
_OF_EVERY_MODULE = vars(nn.Module()).keys()

_ACCEPTED = (
    "numbers, text, None, lists and tuples of such, arrays, tensors, domains, layers of "
    f"pyod_lipocc, and of torch.nn {', '.join(_TORCH)}"
)


def _check_reach(layer: nn.Module) -> None:
    """Refuse convolutions that need more memory than their weights account for."""
    if isinstance(layer, nn.Conv2d):
        padding = (*layer.padding, *layer._reversed_padding_repeated_twice)
        reach = max((side for side in padding if not isinstance(side, str)), default=0)
        largest = _LARGEST_PADDING * max(layer.weight.shape[2:])
    elif isinstance(layer, OrthogonalConv2d):
        reach, largest = layer.kernel_size, _LARGEST_KERNEL
    else:
        return
    if reach > largest:
        raise ValueError(f"a file holds convolutions that reach at most {largest} far: {layer!r}")


class Encoder:
    """Turns values into JSON and tensors.

    Attributes
    ----------
    tensors : dict of str to Tensor
        Contiguous copies on the CPU, named by the path of their value.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._parameters: dict[int, str] = {}

    def encode(self, value: Any, path: str) -> Any:
        """Return what `json.dumps` accepts.

        Parameters
        ----------
        value : object
        path : str
            Names the tensors of the value, and the value in errors.

        Raises
        ------
        ValueError
            If the value, or a part of it, is not what a file may hold.
        """
        exact = type(value)
        if value is None or exact in (bool, int, str) or (exact is float and math.isfinite(value)):
            return value
        if exact is list:
            return self._items(value, path)
        if exact is float:
            return {"kind": "float", "value": str(value)}
        if exact is tuple:
            return {"kind": "tuple", "items": self._items(value, path)}
        if isinstance(value, (np.bool_, np.number)) and value.dtype.itemsize <= 8:
            return self.encode(value.item(), path)
        if exact is np.ndarray:
            return self._array(value, path)
        if exact in (Tensor, nn.Parameter):
            return self._tensor(value, path)
        if exact in _NAMES and isinstance(value, nn.Module):
            return self._layer(value, path)
        if exact in _NAMES:
            fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            arguments = self._values(fields, path)
            return {"kind": "record", "name": _NAMES[exact], "arguments": arguments}
        raise ValueError(
            f"{path} cannot be saved, got {value!r} of {exact.__module__}.{exact.__qualname__}: "
            f"a file holds {_ACCEPTED}"
        )

    def _items(self, values: Any, path: str) -> list[Any]:
        return [self.encode(value, f"{path}.{index}") for index, value in enumerate(values)]

    def _values(self, values: Mapping[str, Any], path: str) -> dict[str, Any]:
        return {name: self.encode(value, f"{path}.{name}") for name, value in values.items()}

    def _store(self, tensor: Tensor, path: str) -> dict[str, Any]:
        """Copy a tensor with its dimensions in the order of its memory: strides decide on bits."""
        tensor = tensor.detach()
        order = sorted(range(tensor.ndim), key=lambda axis: -tensor.stride()[axis])
        while path in self.tensors:  # names of a dict may hold dots too
            path += "+"
        copied = tensor.permute(order).cpu().clone(memory_format=torch.contiguous_format)
        self.tensors[path] = copied
        return {"name": path} if order == [*range(tensor.ndim)] else {"name": path, "order": order}

    def _array(self, array: np.ndarray, path: str) -> dict[str, Any]:
        if array.dtype.kind in "OU" and all(type(text) is str for text in array.ravel().tolist()):
            return {
                "kind": "text array",
                "object": array.dtype.kind == "O",
                "shape": list(array.shape),
                "items": array.ravel().tolist(),
            }
        try:
            native = array.astype(array.dtype.newbyteorder("="), order="K")
            stored = self._store(torch.from_numpy(native), path)
        except TypeError as error:
            raise ValueError(f"{path} cannot be saved, got dtype {array.dtype}: {error}") from error
        return {"kind": "array", **stored}

    def _tensor(self, tensor: Tensor, path: str) -> dict[str, Any]:
        if tensor.layout is not torch.strided:
            raise ValueError(f"{path} cannot be saved: tensors must be dense, got {tensor.layout}")
        if not isinstance(tensor, nn.Parameter):
            return {"kind": "tensor", **self._store(tensor, path)}
        if id(tensor) in self._parameters:
            return {"kind": "shared parameter", "name": self._parameters[id(tensor)]}
        stored = self._store(tensor, path)
        self._parameters[id(tensor)] = stored["name"]
        return {"kind": "parameter", **stored, "trainable": tensor.requires_grad}

    def _layer(self, layer: nn.Module, path: str) -> dict[str, Any]:
        """Take a layer apart as pickle does; its constructor, which may draw, need not run."""
        own = sorted(vars(layer).keys() - _OF_EVERY_MODULE)
        parts = {
            "attributes": {name: vars(layer)[name] for name in own},
            "parameters": layer._parameters,
            "buffers": layer._buffers,
            "layers": layer._modules,
        }
        encoded = {part: self._values(values, path) for part, values in parts.items() if values}
        described = {"kind": "layer", "name": _NAMES[type(layer)], "training": layer.training}
        return described | encoded


def _find(name: str, known: Mapping[str, type]) -> Any:
    if name not in known:
        raise ValueError(f"it names {name!r}, which this version does not know")
    return known[name]


class Decoder:
    """Turns JSON and tensors of an `Encoder` back into values; may raise anything on others.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        Each is copied once, so that its memory is aligned as torch likes.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = {name: tensor.clone() for name, tensor in tensors.items()}
        self._parameters: dict[str, nn.Parameter] = {}

    def decode(self, node: Any) -> Any:
        """Return the value that a piece of JSON stands for."""
        if isinstance(node, list):
            return [self.decode(item) for item in node]
        if not isinstance(node, dict):
            return node
        kinds: dict[str, Callable[[], Any]] = {
            "float": lambda: float(node["value"]),
            "tuple": lambda: tuple(self.decode(node["items"])),
            "scalar": lambda: self.decode(node["value"]),  # of format 1
            "text array": lambda: self._text_array(node),
            "array": lambda: self._load(node).numpy(),
            "tensor": lambda: self._load(node),
            "parameter": lambda: self._parameter(node),
            "shared parameter": lambda: self._parameters[node["name"]],
            "layer": lambda: self._layer(node),
            "record": lambda: _find(node["name"], RECORDS)(**self.decode_values(node["arguments"])),
        }
        return kinds[node["kind"]]()

    def decode_values(self, nodes: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of a JSON object that is not a kind itself."""
        return {name: self.decode(node) for name, node in nodes.items()}

    def _load(self, node: Mapping[str, Any]) -> Tensor:
        tensor = self._tensors[node["name"]]
        order = node.get("order", [*range(tensor.ndim)])
        return tensor.permute([order.index(axis) for axis in range(tensor.ndim)])

    def _text_array(self, node: Mapping[str, Any]) -> np.ndarray:
        if not all(type(text) is str for text in node["items"]):
            raise ValueError("it holds a text array of other things than text")
        kind = object if node["object"] else str
        return np.array(node["items"], dtype=kind).reshape(node["shape"])

    def _parameter(self, node: Mapping[str, Any]) -> nn.Parameter:
        parameter = nn.Parameter(self._load(node), requires_grad=node["trainable"])
        self._parameters[node["name"]] = parameter
        return parameter

    def _layer(self, node: Mapping[str, Any]) -> nn.Module:
        kind = _find(node["name"], _LAYERS)
        layer: nn.Module = kind.__new__(kind)
        nn.Module.__init__(layer)
        attributes = self.decode_values(node.get("attributes", {}))
        replaced = [name for name in attributes if hasattr(layer, name)]
        if replaced:
            raise ValueError(f"it replaces {', '.join(replaced)} of {node['name']}")
        vars(layer).update(attributes)
        registers: dict[str, Callable[[str, Any], None]] = {
            "parameters": layer.register_parameter,
            "buffers": layer.register_buffer,
            "layers": layer.add_module,
        }
        for part, register in registers.items():
            for name, value in self.decode_values(node.get(part, {})).items():
                register(name, value)
        layer.training = node["training"]
        _check_reach(layer)
        return layer
