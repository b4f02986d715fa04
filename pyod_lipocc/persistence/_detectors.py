"""Fitted detectors in files that cannot run code: safetensors with a JSON description.

A file is in the safetensors format: any reader of that format finds the weights and fitted arrays
in it by name. Its metadata hold one JSON text under "pyod_lipocc"::

    {"format": 1, "package": "0.1.0", "sha256": "...",
     "detector": {"class": "LipOCC", "parameters": {...}, "fitted": {...}}}

The hash is that of the description and of all tensors.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from collections.abc import Mapping
from numbers import Integral, Real
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import numpy as np
import safetensors.torch
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from pyod_lipocc._atomic import check_regular, write_atomically
from pyod_lipocc._isolation import isolated
from pyod_lipocc._state import DetectorState
from pyod_lipocc._validation import check_device, check_parameters
from pyod_lipocc._version import __version__
from pyod_lipocc.detector import LipOCC
from pyod_lipocc.persistence._codec import Decoder, Encoder

__all__ = ["FORMAT", "load", "save"]

FORMAT = 1
"""Version of the files that are written, and the newest that is read."""

Detector = TypeVar("Detector", bound=LipOCC)

_KEY = "pyod_lipocc"
_LONGEST_HEADER = 100_000_000  # as in the safetensors library
_N_PROBES = 16
_HINTS = inspect.get_annotations(DetectorState, eval_str=True)


@isolated()
def save(detector: LipOCC, path: str | os.PathLike[str]) -> None:
    """Write a fitted detector to one file.

    The file appears complete or not at all, also where another process reads or the machine stops.
    Before it replaces anything it is read back: its detector must give the same bits.

    Parameters
    ----------
    detector : LipOCC
        Fitted. Its parameters and fitted attributes must be plain data, arrays, generators of
        numpy, or layers, domains, callbacks and functions of this package, `functools.partial` of
        these included; networks are made of layers of this package and of torch's Linear, Conv2d,
        Sequential, Flatten, Unflatten, Identity, ReLU, Sigmoid and Tanh. The parameter `device` is
        not saved: it belongs to the machine.
    path : str or path-like
        An existing file is replaced and keeps its mode; a link is followed.

    Raises
    ------
    NotFittedError
        Before `fit`.
    ValueError
        If the detector holds something else, such as a module, callback or function of your own or
        a threshold object: the message says where. A parameter that only `fit` needs can be set to
        another value first, ``detector.set_params(callbacks=None)``; pickles hold everything.
    OSError
        If the file cannot be written, or the path is that of a directory, FIFO, socket or device.

    Examples
    --------
    >>> import tempfile
    >>> from pyod_lipocc import LipOCC
    >>> X = np.random.default_rng(0).normal(size=(50, 2))
    >>> detector = LipOCC(max_iter=5, random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(detector, f"{folder}/detector.safetensors")
    ...     restored = load(f"{folder}/detector.safetensors")
    >>> bool((restored.decision_function(X) == detector.decision_function(X)).all())
    True
    """
    check_is_fitted(detector, "network_")
    description, tensors = _describe(detector)
    digest = _digest(description, tensors)
    content = {"format": FORMAT, "package": __version__, "sha256": digest, "detector": description}
    packed = safetensors.torch.save(tensors, {_KEY: json.dumps(content)})
    device = next(detector.network_.parameters()).device
    restored = _restore(*_unpack(packed, str(path)), type(detector), device)
    if _digest(*_describe(restored)) != digest or _probe(restored) != _probe(detector):
        raise ValueError(
            "detector cannot be saved: read back, it is not the same. Forward hooks, and what else "
            "is no attribute of a layer, do not go into a file"
        )
    write_atomically(path, packed)


@isolated()
def load(
    path: str | os.PathLike[str],
    device: str | torch.device | None = None,
    *,
    kind: type[Detector] = LipOCC,  # type: ignore[assignment]
) -> Detector:
    """Read a fitted detector that `save` has written.

    Nothing in a file runs. What is read is bounded by the size of the file.

    Parameters
    ----------
    path : str or path-like
    device : str, torch.device or None, default=None
        Where to score and to continue training: the parameter `device` of the detector. None: the
        CPU.
    kind : type, default=LipOCC
        The class that was saved, where it is a subclass.

    Returns
    -------
    detector : LipOCC
        Gives the same scores, bit for bit on the same machine and device.

    Raises
    ------
    OSError
        If the file cannot be opened.
    ValueError
        If it is cut, altered, not a file of this package, or of a newer version of it; if torch
        cannot use the device.
    """
    target = check_device(device)
    description, tensors = _unpack(_read(path), str(path))
    try:
        detector = _restore(description, tensors, kind, target)
        _probe(detector)
    except Exception as error:  # a description that is not of our making fails anywhere
        raise ValueError(f"{path} does not hold a {kind.__name__}: {error!r}") from error
    detector.device = device
    return detector


def _describe(detector: LipOCC) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Take a detector apart."""
    encoder = Encoder()
    names = detector.get_params(deep=False).keys()
    state = detector.__getstate__()
    description = {
        "class": type(detector).__name__,
        "parameters": {
            name: encoder.encode(getattr(detector, name), name)
            for name in names
            if name != "device"
        },
        "fitted": {
            name: encoder.encode(state[name], name) for name in sorted(state.keys() - names)
        },
    }
    return description, encoder.tensors


def _restore(
    description: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    kind: type[Detector],
    device: torch.device,
) -> Detector:
    """Put a detector together; raises almost anything on what `_describe` has not made."""
    if description["class"] != kind.__name__:
        raise ValueError(f"the class is {description['class']!r}")
    decoder = Decoder(tensors)
    detector = kind(**decoder.decode_values(description["parameters"]), device=device)
    check_parameters(detector.get_params(deep=False), kind.__name__)
    fitted = decoder.decode_values(description["fitted"])
    for name, value in fitted.items():
        if hasattr(detector, name) or not _is_of(value, _HINTS.get(name, object)):
            raise ValueError(f"{name} must not be {value!r}")
    detector.__setstate__(vars(detector) | fitted)
    detector.network_.to(device)
    return detector


def _is_of(value: Any, hint: Any) -> bool:
    """Compare a value with the class in an annotation."""
    kind = get_origin(hint) or hint
    if kind in (Union, UnionType):
        return any(_is_of(value, choice) for choice in get_args(hint))
    kind = {Any: object, int: Integral, float: Real}.get(kind, kind)  # numpy has own numbers
    return not isinstance(kind, type) or isinstance(value, kind)


def _probe(detector: LipOCC) -> bytes:
    """Score a few rows around the data."""
    location, scale = detector.scaling_.location, detector.scaling_.scale
    noise = np.random.default_rng(0).normal(size=(_N_PROBES, detector.n_features_in_))
    return detector._score(location + scale * noise).tobytes()


def _digest(description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Hash everything that makes a detector."""
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
    if version != FORMAT:
        raise ValueError(
            f"{source} has format {version!r}, written by pyod_lipocc {package}: this is "
            f"pyod_lipocc {__version__}, which reads format {FORMAT}; install the other version"
        )
    return content, n_bytes


def _unpack(packed: bytes, source: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the description and the tensors of a file, verified."""
    length = int.from_bytes(packed[:8], "little")
    content, _ = _parse(packed[8 : 8 + length], source)
    try:
        description = content["detector"]
        tensors = safetensors.torch.load(packed)
        found = _digest(description, tensors)
    except Exception as error:  # the library raises its own
        raise ValueError(f"{source} is altered: {error!r}") from error
    if found != content.get("sha256"):
        raise ValueError(
            f"{source} is altered: expected the hash {content.get('sha256')}, found {found}"
        )
    return description, tensors
