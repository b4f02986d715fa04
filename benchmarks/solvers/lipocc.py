from __future__ import annotations

from benchmark_utils.lipocc import LipOCCSolver


class Solver(LipOCCSolver):
    """The detector of this package with its default settings."""

    name = "LipOCC"
