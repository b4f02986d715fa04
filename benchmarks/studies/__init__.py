"""Studies that run without benchopt, each by ``python -m benchmarks.studies.NAME``."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pyod_lipocc.datasets import OneClassDataset, load_digits_one_class, load_mnist

ONE_CLASS: dict[str, Callable[[int], OneClassDataset]] = {
    "mnist": load_mnist,
    "digits": load_digits_one_class,
}


def save_arrays(path: Path, **arrays: Any) -> None:
    """Write an npz file; a run that is killed here leaves no half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished.npz")
    np.savez_compressed(unfinished, **arrays)
    os.replace(unfinished, path)
