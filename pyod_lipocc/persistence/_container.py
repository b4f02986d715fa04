"""The container: one file, complete or absent, whose hash is checked before its content is used."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import safetensors.torch
import torch
from torch import Tensor

from pyod_lipocc._atomic import check_regular, write_atomically
from pyod_lipocc._isolation import isolated
from pyod_lipocc._version import __version__
from pyod_lipocc.persistence import _format_1
from pyod_lipocc.persistence._codec import Decoder, Encoder

__all__ = ["FORMAT", "digest", "is_plain", "load", "save"]

FORMAT = 2
"""Version of the files that are written, and the newest that is read."""

T = TypeVar("T")
Values = dict[str, dict[str, Any]]

_KEY = "pyod_lipocc"
_LONGEST_HEADER = 100_000_000  # as in the safetensors library


@isolated()
def save(
    path: str | os.PathLike[str],
    kind: str,
    values: Values,
    is_same: Callable[[Values], bool],
) -> None:
    """Write values to one file.

    The file appears complete or not at all, also where another process reads or the machine stops.
    Before the file replaces another, its content is taken apart, put together and compared.

    Parameters
    ----------
    path : str or path-like
        An existing file is replaced and keeps its mode; a link is followed.
    kind : str
        Name of the class that the values belong to.
    values : dict of str to dict
        Plain data, arrays, layers and domains by name. Networks are made of layers of this package
        and of torch's Linear, Conv2d, Sequential, Flatten, Unflatten, Identity, ReLU, Sigmoid and
        Tanh.
    is_same : callable
        Tells whether values that were read back do the same.

    Raises
    ------
    ValueError
        If a value is something else, such as a module of your own: the message says where.
    OSError
        If the file cannot be written, or the path is that of a directory, FIFO, socket or device.
    """
    description, tensors = _describe(kind, values)
    digest = _digest(description, tensors)
    restored = _restore(json.loads(json.dumps(description)), tensors)
    if _digest(*_describe(*restored)) != digest or not is_same(restored[1]):
        raise ValueError(
            f"{kind} cannot be saved: read back, it is not the same. Forward hooks, and what else "
            "is no attribute of a layer, do not go into a file"
        )
    content = {"format": FORMAT, "package": __version__, "sha256": digest, "object": description}
    write_atomically(path, safetensors.torch.save(tensors, {_KEY: json.dumps(content)}))


@isolated()
def load(path: str | os.PathLike[str], build: Callable[[Values], T], kind: str | None = None) -> T:
    """Read what `save` has written.

    Nothing in a file runs. The memory that reading takes is bounded by the size of the file.

    Parameters
    ----------
    path : str or path-like
    build : callable
        Returns the object that the values make; may raise anything on values that make none.
    kind : str or None, default=None
        Name of the class that must have been saved; None: any.

    Returns
    -------
    built : object

    Raises
    ------
    OSError
        If the file cannot be opened.
    ValueError
        If the file is cut, altered, not a file of this package, of a newer version of the package,
        or of another kind.
    """
    description, tensors = _read(path)
    try:
        found, values = _restore(description, tensors)
        if kind not in (None, found):
            raise ValueError(f"the class is {found!r}")
        return build(values)
    except Exception as error:  # a description that is not of our making fails anywhere
        raise ValueError(
            f"{path} does not hold a {kind or 'signed distance'}: {error!r}"
        ) from error


def is_plain(value: Any) -> bool:
    """Tell whether a file holds a value, networks apart.

    Parameters
    ----------
    value : object

    Returns
    -------
    plain : bool
    """
    try:
        Encoder().encode(value, "")
    except ValueError:
        return False
    return not isinstance(value, torch.nn.Module)


def digest(network: torch.nn.Module) -> str:
    """Return a hash of the layers and the weights of a network.

    Parameters
    ----------
    network : torch.nn.Module

    Returns
    -------
    digest : str

    Raises
    ------
    ValueError
        If the network has a layer that files do not hold.
    """
    return _digest(*_describe("", {"": {"network": network}}))


def _describe(kind: str, values: Values) -> tuple[dict[str, Any], dict[str, Tensor]]:
    encoder = Encoder()
    encoded = {
        part: {name: encoder.encode(value, name) for name, value in named.items()}
        for part, named in values.items()
    }
    return {"kind": kind, "values": encoded}, encoder.tensors


def _digest(description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Hash all that makes the values."""
    digest = hashlib.sha256(json.dumps(description).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        if tensor.numel():  # an empty one has strides that cannot be viewed
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _restore(description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> tuple[str, Values]:
    """Return the kind and the values that a description and tensors make."""
    decoder = Decoder(tensors)
    values = description["values"].items()
    return description["kind"], {part: decoder.decode_values(named) for part, named in values}


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the verified content of a file; read no more than the header of a foreign one."""
    check_regular(path)  # opening a FIFO would wait for a writer
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(min(length, _LONGEST_HEADER))
        try:
            content = json.loads(json.loads(header)["__metadata__"][_KEY])
            version, package = content["format"], content["package"]
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise ValueError(
                f"{path} is not a file of pyod_lipocc, or cut: its header has {len(header)} of "
                f"{length} bytes and starts with {header[:40]!r}"
            ) from error
        if version not in (1, FORMAT):
            raise ValueError(
                f"{path} has format {version!r}, written by pyod_lipocc {package}: this is "
                f"pyod_lipocc {__version__}, which reads formats 1 and {FORMAT}; install the other "
                "version"
            )
        file.seek(0)
        packed = file.read()
    try:
        description = content["detector" if version == 1 else "object"]
        tensors = safetensors.torch.load(packed)
        found = _digest(description, tensors)
    except Exception as error:  # the library raises its own
        raise ValueError(f"{path} is cut or altered: {error!r}") from error
    if found != content.get("sha256"):
        raise ValueError(
            f"{path} is altered: expected the hash {content.get('sha256')}, found {found}"
        )
    return (_format_1.translate(description) if version == 1 else description), tensors
