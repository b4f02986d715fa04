from __future__ import annotations

from typing import Any

from benchmark_utils.protocols import DownloadedDataset, one_digit
from pyod_lipocc.datasets import load_mnist


class Dataset(DownloadedDataset):
    """MNIST: train on one class of the 60,000; test on all of the 10,000; pixels in [0, 1]."""

    name = "mnist-one-class"
    parameters = {"set": list(range(10))}

    def load(self) -> dict[str, Any]:
        return one_digit(load_mnist(self.set))
