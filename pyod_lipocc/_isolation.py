"""The settings under which the package computes, whatever settings surround a call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor

__all__ = [
    "SharedSettings",
    "gradients_possible",
    "isolated",
    "one_blas_thread",
    "one_thread",
    "without_autocast",
]

_AUTOCAST = [
    kind for kind in ("cpu", "cuda", "xpu", "mps") if torch.amp.is_autocast_available(kind)
]


@contextmanager
def isolated() -> Iterator[None]:
    """Compute, until the end of the context, as a fresh process would.

    This context decorates every public function that computes. Autograd records;
    `torch.inference_mode` and autocast are off; new tensors are float32 on the CPU unless their
    maker says otherwise; products of float32 keep this precision; numpy warns by its defaults.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))  # ends `torch.no_grad` as well
        stack.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        stack.enter_context(without_autocast())
        if torch.empty(0).device.type != "cpu":
            stack.enter_context(torch.device("cpu"))
        stack.enter_context(_PRECISION)
        yield


@contextmanager
def without_autocast() -> Iterator[None]:
    """Compute, until the end of the context, in the precision of the tensors.

    Unlike `isolated`, keep torch's default type and device, which constructors of layers follow.
    """
    with ExitStack() as stack:
        for kind in _AUTOCAST:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def gradients_possible(tensor: Tensor) -> Tensor:
    """Return the tensor, or a copy if autograd would refuse it: `torch.inference_mode` made it."""
    return tensor.clone() if tensor.is_inference() else tensor


class SharedSettings:
    """Settings that all threads of the process share.

    The first thread that enters sets them, the last thread that leaves restores them. Where each
    thread has a copy of the settings, each sets and restores its own.

    Parameters
    ----------
    read : callable
        Returns the present settings.
    write : callable
        Takes settings.
    wanted : object
        The settings while a thread is inside.
    copied : bool, default=False
        Whether each thread has a copy.
    """

    def __init__(
        self,
        read: Callable[[], Any],
        write: Callable[[Any], None],
        wanted: Any,
        *,
        copied: bool = False,
    ) -> None:
        self._read, self._write, self._wanted, self._copied = read, write, wanted, copied
        self._lock = threading.Lock()
        self._inside = 0
        self._found = wanted

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._found = self._read()
            self._set(self._wanted)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            self._set(self._found)

    def _set(self, settings: Any) -> None:
        changes = not self._inside and self._found != self._wanted
        if changes or self._copied:
            self._write(settings)


# Before torch 2.9 one setting spoke for all products. Now each backend has a setting, and torch
# refuses to read the old setting where a new one is in use.
_backends: Any = torch.backends
_BACKENDS: tuple[Any, ...] = (
    (_backends.mkldnn.matmul, _backends.mkldnn.conv, _backends.cuda.matmul)
    if hasattr(_backends.mkldnn, "matmul")
    else ()
)


def _read_precision() -> tuple[Any, ...]:
    if not _BACKENDS:
        return torch.get_default_dtype(), torch.get_float32_matmul_precision()
    # A backend without a setting of its own computes float32 as such.
    products = (backend.fp32_precision.replace("none", "ieee") for backend in _BACKENDS)
    return torch.get_default_dtype(), *products


def _write_precision(precision: tuple[Any, ...]) -> None:
    dtype, *products = precision
    torch.set_default_dtype(dtype)
    if not _BACKENDS:
        torch.set_float32_matmul_precision(*products)
    for backend, product in zip(_BACKENDS, products, strict=False):
        backend.fp32_precision = product


_PRECISION = SharedSettings(
    _read_precision,
    _write_precision,
    (torch.float32, *(["ieee"] * len(_BACKENDS) or ["highest"])),
)


# OpenMP keeps a number of threads for each thread that calls it. Torch keeps another number for the
# threads to come, which the last thread that leaves must restore.
one_thread = SharedSettings(torch.get_num_threads, torch.set_num_threads, 1, copied=True)
"""Context in which torch computes in the calling thread alone."""


@cache
def _blas() -> list[Any]:
    found: list[Any] = ThreadpoolController().select(user_api="blas").lib_controllers
    return found


def _read_blas() -> list[int]:
    return [library.get_num_threads() for library in _blas()]


def _write_blas(counts: list[int] | None) -> None:
    for library, count in zip(_blas(), counts or [1] * len(_blas()), strict=True):
        library.set_num_threads(count)


one_blas_thread = SharedSettings(_read_blas, _write_blas, None)
"""Context in which numpy and scipy multiply matrices in the calling thread alone."""
