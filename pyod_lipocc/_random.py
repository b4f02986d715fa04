"""Local generators from a scikit-learn style `random_state`; the global ones are never touched."""

from __future__ import annotations

import hashlib
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
    "on_host",
    "reproducible_convolutions",
    "torch_generator",
    "unit_vectors",
]

RandomState = int | np.integer | np.random.RandomState | np.random.Generator | None


def numpy_generator(random_state: RandomState) -> np.random.Generator:
    """Return the generator given, or a new one that the seed given starts.

    An int >= 0 starts the same stream each time. A RandomState gives a seed and moves on. None
    takes fresh entropy from the operating system, not from numpy's global state. Anything else
    raises ValueError.
    """
    if isinstance(random_state, np.random.Generator):
        return random_state
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(2**32, size=4, dtype=np.uint32))
    if random_state is None:
        return np.random.default_rng()
    is_int = isinstance(random_state, Integral) and not isinstance(random_state, bool)
    if not is_int or random_state < 0:
        raise ValueError(
            "random_state must be an int >= 0, a numpy RandomState, a numpy Generator or None, "
            f"got {random_state!r}"
        )
    return np.random.default_rng(int(random_state))


def torch_generator(
    generator: np.random.Generator, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Return a torch generator on `device`, seeded by a draw from `generator`."""
    return torch.Generator(device).manual_seed(int(generator.integers(2**63)))


def on_host(generator: torch.Generator) -> torch.Generator:
    """Return a generator on the CPU: the one given, or a new one that follows from its state.

    The state of a GPU's generator is known without waiting for the GPU. The state stays as it is,
    so that the next call gives the same generator unless the one given has drawn between the two.
    """
    if generator.device.type == "cpu":
        return generator
    state = generator.get_state().numpy().tobytes()
    seed = hashlib.blake2b(state, digest_size=7).digest()
    return torch.Generator().manual_seed(int.from_bytes(seed, "big"))


@contextmanager
def local_generator(random_state: RandomState) -> Iterator[np.random.Generator]:
    """Yield a generator, and seed torch's global generator from it until the end of the context.

    A user's builder or module, such as dropout, may draw from torch's global generator.
    """
    generator = numpy_generator(random_state)
    with global_seed(int(generator.integers(2**63))):
        yield generator


_GLOBAL_GENERATORS = threading.RLock()
if hasattr(os, "register_at_fork"):
    # A thread that the child lacks may hold the lock.
    os.register_at_fork(after_in_child=_GLOBAL_GENERATORS._at_fork_reinit)  # type: ignore[attr-defined]


@contextmanager
def global_seed(seed: int) -> Iterator[None]:
    """Seed torch's global generators, those of GPUs in use too, until the end of the context.

    All threads share these generators, so they take turns in the context.
    """
    in_use = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = range(torch.cuda.device_count()) if in_use else ()
    with _GLOBAL_GENERATORS, torch.random.fork_rng(devices=devices):
        # torch.manual_seed would also seed GPUs that come into use later.
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
    """Draw unit vectors of shape (n, d), uniform on the sphere."""
    gaussian = generator.standard_normal((n, d))
    unit: npt.NDArray[np.float64] = gaussian / np.linalg.norm(gaussian, axis=1, keepdims=True)
    return unit
