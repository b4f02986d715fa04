from __future__ import annotations

from typing import Any

from benchmark_utils.protocols import DownloadedDataset, contaminated_digit
from pyod_lipocc.datasets import load_mnist


class Dataset(DownloadedDataset):
    """MNIST, one class, with 10 % images of other digits in the training part."""

    name = "mnist-contaminated-10"
    parameters = {"set": list(range(10)), "split": [0, 1, 2]}

    def load(self) -> dict[str, Any]:
        return contaminated_digit(load_mnist, self.set, 0.1, self.split)
