from __future__ import annotations

from typing import Any

from benchmark_utils import DownloadedDataset
from pyod_lipocc.datasets import load_mnist


class Dataset(DownloadedDataset):
    """MNIST: train on one class of the 60,000; test on all of the 10,000; pixels in [0, 1]."""

    name = "mnist-one-class"
    parameters = {"set": list(range(10))}

    def load(self) -> dict[str, Any]:
        digit = load_mnist(self.set)
        return {
            "X_train": digit.X_train,
            "X_test": digit.X_test,
            "y_test": digit.y_test,
            "contamination": 0.0,
            "image_shape": digit.image_shape,
        }
