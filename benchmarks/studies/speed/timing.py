"""Fair timings: one process, one thread, the contestants in turn."""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any, TypeVar

import torch

from pyod_lipocc import LipOCC

Name = TypeVar("Name", str, int)


class Effort(argparse.Namespace):
    """How much to measure.

    Attributes
    ----------
    repeats : int
        Timings of each contestant.
    budget : float
        Seconds that a fit of a competitor may take.
    rows : int
        Of the largest Parquet files.
    quick : bool
        Tiny sizes and few steps: the figures mean nothing, the scripts are seen to run.
    """

    repeats: int
    budget: float
    rows: int
    quick: bool

    @property
    def fits(self) -> int:
        """Timings of whole fits, which are long: three at most."""
        return min(self.repeats, 3)

    def detector(self, **parameters: Any) -> LipOCC:
        """Return LipOCC with its defaults."""
        max_iter = 2 if self.quick else "auto"
        return LipOCC(random_state=0, **{"max_iter": max_iter, **parameters})


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the seconds of the processor, which other work does not lengthen."""
    start = process_time()
    work()
    return process_time() - start


def interleaved(
    contestants: Mapping[Name, Callable[[], object]], repeats: int, *, warm: bool = True
) -> dict[Name, list[float]]:
    """Time each contestant `repeats` times, all of them in turn in every round.

    Parameters
    ----------
    contestants : mapping of str or int to callable
    repeats : int
    warm : bool, default=True
        Run each once before, untimed.

    Returns
    -------
    seconds : dict of list of float
        Of the processor, in the order of the rounds. A drift of the machine's speed meets all
        contestants alike.
    """
    if warm:
        for work in contestants.values():
            work()
    seconds: dict[Name, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, work in contestants.items():
            seconds[name].append(cpu_seconds(work))
    return seconds


def ratio(numerator: Sequence[float], denominator: Sequence[float]) -> str:
    """Return "minimum over minimum (median over median)"."""
    least = min(numerator) / min(denominator)
    return f"{least:.2f} ({median(numerator) / median(denominator):.2f})"


def span(seconds: Sequence[float], unit: float = 1.0) -> str:
    """Return "minimum (median)" in a unit given in seconds."""
    return f"{min(seconds) / unit:.3g} ({median(seconds) / unit:.3g})"


def machine() -> dict[str, Any]:
    """Return the things beside the code on which timings depend."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
