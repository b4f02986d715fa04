from __future__ import annotations

from typing import Any

from benchopt import BaseDataset

from benchmark_utils.protocols import one_digit
from pyod_lipocc.datasets import load_digits_one_class


class Dataset(BaseDataset):
    """scikit-learn's digits: one of them against the other nine."""

    name = "digits-one-class"
    parameters = {"set": list(range(10))}

    def get_data(self) -> dict[str, Any]:
        return one_digit(load_digits_one_class(self.set))
