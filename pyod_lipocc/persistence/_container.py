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
    Before the file replaces another, its content is read back and compared.

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
    content = {"format": FORMAT, "package": __version__, "sha256": digest, "object": description}
    packed = safetensors.torch.save(tensors, {_KEY: json.dumps(content)})
    restored = _unpack(packed, str(path))
    if _digest(*_describe(*restored)) != digest or not is_same(restored[1]):
        raise ValueError(
            f"{kind} cannot be saved: read back, it is not the same. Forward hooks, and what else "
            "is no attribute of a layer, do not go into a file"
        )
    write_atomically(path, packed)


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
    packed = _read(path)
    try:
        found, values = _unpack(packed, str(path))
        if kind not in (None, found):
            raise ValueError(f"the class is {found!r}")
        return build(values)
    except _AlteredError:
        raise
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


class _AlteredError(ValueError):
    """The hash is not that of the content."""


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


def _read(path: str | os.PathLike[str]) -> bytes:
    """Read a file that is as long as its header says; of any other no more than the header."""
    check_regular(path)  # opening a FIFO would wait for a writer
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        prefix = file.read(8)
        length = int.from_bytes(prefix, "little")
        if len(prefix) < 8 or length > min(size - 8, _LONGEST_HEADER):
            raise ValueError(
                f"{path} is not a file of pyod_lipocc, or cut: it has {size} bytes, and the first "
                f"8, {prefix!r}, announce a header of {length}"
            )
        _, n_bytes = _parse(file.read(length), str(path))
        if size != 8 + length + n_bytes:
            raise ValueError(
                f"{path} is {'cut' if size < 8 + length + n_bytes else 'altered'}: its header "
                f"announces {8 + length + n_bytes} bytes, found {size}"
            )
        file.seek(0)
        return file.read()


def _parse(header: bytes, source: str) -> tuple[dict[str, Any], int]:
    """Return the JSON text of a safetensors header, and the number of bytes that follow it."""
    try:
        entries = json.loads(header.decode())
        content = json.loads(entries.pop("__metadata__")[_KEY])
        n_bytes = max(entry["data_offsets"][1] for entry in entries.values())
        version, package = content["format"], content["package"]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{source} is not a file of pyod_lipocc, or altered: its header starts with "
            f"{header[:40]!r}"
        ) from error
    if version not in (1, FORMAT):
        raise ValueError(
            f"{source} has format {version!r}, written by pyod_lipocc {package}: this is "
            f"pyod_lipocc {__version__}, which reads formats 1 and {FORMAT}; install the other "
            "version"
        )
    return content, n_bytes


def _unpack(packed: bytes, source: str) -> tuple[str, Values]:
    """Return the kind and the values of a file, verified."""
    length = int.from_bytes(packed[:8], "little")
    content, _ = _parse(packed[8 : 8 + length], source)
    try:
        description = content["detector" if content["format"] == 1 else "object"]
        tensors = safetensors.torch.load(packed)
        found = _digest(description, tensors)
    except Exception as error:  # the library raises its own
        raise _AlteredError(f"{source} is altered: {error!r}") from error
    if found != content.get("sha256"):
        raise _AlteredError(
            f"{source} is altered: expected the hash {content.get('sha256')}, found {found}"
        )
    if content["format"] == 1:
        description = _format_1.translate(description)
    decoder = Decoder(tensors)
    values = description["values"].items()
    return description["kind"], {part: decoder.decode_values(named) for part, named in values}
