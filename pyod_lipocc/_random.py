"""Local generators from a scikit-learn style `random_state`; the global ones are never touched."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral

import numpy as np
import numpy.typing as npt
import torch

from pyod_lipocc._isolation import SharedSettings

__all__ = [
    "RandomState",
    "global_seed",
    "local_generator",
    "numpy_generator",
    "reproducible_convolutions",
    "torch_generator",
    "unit_vectors",
]

RandomState = int | np.integer | np.random.RandomState | np.random.Generator | None


def numpy_generator(random_state: RandomState) -> np.random.Generator:
    """Return a generator: the one given, or a new one seeded by what is given.

    Parameters
    ----------
    random_state : int, RandomState, Generator or None
        An int seeds the same stream each time. A RandomState gives the seed and moves on. None
        takes fresh entropy from the operating system, not from numpy's global state.

    Returns
    -------
    generator : numpy.random.Generator

    Raises
    ------
    ValueError
        If `random_state` is anything else, or a negative int.

    Examples
    --------
    >>> int(numpy_generator(0).integers(100)) == int(numpy_generator(0).integers(100))
    True
    """
    if isinstance(random_state, np.random.Generator):
        return random_state
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(2**32, size=4, dtype=np.uint32))
    if random_state is None:
        return np.random.default_rng()
    if (
        isinstance(random_state, Integral)
        and not isinstance(random_state, bool)
        and random_state >= 0
    ):
        return np.random.default_rng(int(random_state))
    raise ValueError(
        "random_state must be an int >= 0, a numpy RandomState, a numpy Generator or None, "
        f"got {random_state!r}"
    )


def torch_generator(
    generator: np.random.Generator, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Return a torch generator on `device`, seeded by a draw from `generator`.

    Parameters
    ----------
    generator : numpy.random.Generator
    device : torch.device or str, default="cpu"

    Returns
    -------
    generator : torch.Generator
    """
    return torch.Generator(device).manual_seed(int(generator.integers(2**63)))


@contextmanager
def local_generator(random_state: RandomState) -> Iterator[np.random.Generator]:
    """Yield a generator, and seed torch's global one from it until the end of the context.

    A user's module, such as dropout, or builder may draw from torch's global generator.

    Parameters
    ----------
    random_state : int, RandomState, Generator or None

    Yields
    ------
    generator : numpy.random.Generator
    """
    generator = numpy_generator(random_state)
    with global_seed(int(generator.integers(2**63))):
        yield generator


_GLOBAL_GENERATORS = threading.RLock()
if hasattr(os, "register_at_fork"):  # a thread that the child does not have may hold the lock
    os.register_at_fork(after_in_child=_GLOBAL_GENERATORS._at_fork_reinit)  # type: ignore[attr-defined]


@contextmanager
def global_seed(seed: int) -> Iterator[None]:
    """Seed torch's global generators until the end of the context, on GPUs where they are in use.

    All threads share these generators, so they take turns in the context.

    Parameters
    ----------
    seed : int
    """
    in_use = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = range(torch.cuda.device_count()) if in_use else ()
    with _GLOBAL_GENERATORS, torch.random.fork_rng(devices=devices):
        # torch.manual_seed would seed GPUs that come into use later
        torch.default_generator.manual_seed(seed)
        for device in devices:
            torch.cuda.default_generators[device].manual_seed(seed)
        yield


def _write_convolutions(settings: tuple[bool, ...]) -> None:
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = settings


_CONVOLUTIONS = SharedSettings(
    lambda: (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark),
    _write_convolutions,
    (True, False),
)


@contextmanager
def reproducible_convolutions() -> Iterator[None]:
    """Let cuDNN, until the end of the context, choose algorithms that give the same bits again."""
    with _CONVOLUTIONS:
        yield


def unit_vectors(n: int, d: int, generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """Draw unit vectors, uniform on the sphere.

    Parameters
    ----------
    n, d : int
    generator : numpy.random.Generator

    Returns
    -------
    vectors : ndarray of shape (n, d)
    """
    gaussian = generator.standard_normal((n, d))
    unit: npt.NDArray[np.float64] = gaussian / np.linalg.norm(gaussian, axis=1, keepdims=True)
    return unit
