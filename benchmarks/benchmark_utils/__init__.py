"""What the solvers and data sets of this benchmark share."""

from __future__ import annotations

from benchmark_utils.lipocc import LipOCCSolver
from benchmark_utils.measure import PeakMemory, Stopwatch, limited_threads
from benchmark_utils.protocols import (
    DownloadedDataset,
    contaminated_split,
    one_class_split,
    one_digit,
    standardized,
)
from benchmark_utils.solver import LEAST_CONTAMINATION, DetectorSolver, source_digest

__all__ = [
    "LEAST_CONTAMINATION",
    "DetectorSolver",
    "DownloadedDataset",
    "LipOCCSolver",
    "PeakMemory",
    "Stopwatch",
    "contaminated_split",
    "limited_threads",
    "one_class_split",
    "one_digit",
    "source_digest",
    "standardized",
]
