from __future__ import annotations

from typing import Any

from benchmark_utils.protocols import DownloadedDataset, one_class_split
from pyod_lipocc.datasets import ADBENCH_NAMES, load_adbench


class Dataset(DownloadedDataset):
    """ADBench's classical sets with a clean training part."""

    name = "adbench-one-class"
    parameters = {"set": list(ADBENCH_NAMES), "split": list(range(5))}

    def load(self) -> dict[str, Any]:
        adbench = load_adbench(self.set)
        return one_class_split(adbench.X, adbench.y, self.split)
