"""LipOCC beside OCSVM, IForest and DeepSVDD on embedded data: a table and a contour picture.

python examples/demo.py [--output demo.png]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from pyod.models.base import BaseDetector
from pyod.models.deep_svdd import DeepSVDD
from pyod.models.iforest import IForest
from pyod.models.ocsvm import OCSVM
from sklearn.metrics import roc_auc_score

from pyod_lipocc import LipOCC
from pyod_lipocc.datasets import load_digits_one_class, load_toy
from pyod_lipocc.plotting import plot_contours

Builder = Callable[[int, tuple[int, ...] | None], BaseDetector]

DETECTORS: dict[str, Builder] = {
    "LipOCC": lambda d, shape: LipOCC(
        novelty=True,
        standardize=shape is None,
        image_shape=shape,
        random_state=0,
        verbose=1,
    ),
    "OCSVM": lambda d, shape: OCSVM(),
    "IForest": lambda d, shape: IForest(random_state=0),
    "DeepSVDD": lambda d, shape: DeepSVDD(n_features=d, random_state=0, verbose=0),
}


def datasets() -> Iterator[tuple[str, Any, Any, Any, tuple[int, ...] | None]]:
    """Yield name, training rows, test rows, test labels and image shape of each data set."""
    rng = np.random.default_rng(0)
    for name in ("two-moons", "two-circles"):
        X_train = load_toy(name, 1000, random_state=0)
        X_test = np.vstack([load_toy(name, 500, random_state=1), rng.uniform(-2, 2, (500, 2))])
        yield name, X_train, X_test, np.repeat([0, 1], 500), None
    for digit in (0, 3, 8):
        data = load_digits_one_class(digit)
        yield f"digit {digit}", data.X_train, data.X_test, data.y_test, data.image_shape


def measure(detector: BaseDetector, X_train: Any, X_test: Any, y_test: Any) -> str:
    """Fit and score; return the cell of the table."""
    start = time.perf_counter()
    detector.fit(X_train)
    seconds = time.perf_counter() - start
    auc = roc_auc_score(y_test, detector.decision_function(X_test))
    return f"{100 * auc:6.2f} {seconds:5.1f} s"


def draw(detector: LipOCC, X: Any, path: Path) -> None:
    """Save the contours of the learned signed distance."""
    low, high = X.min(axis=0) - 1, X.max(axis=0) + 1
    axes = plot_contours(detector.signed_distance, (low[0], high[0], low[1], high[1]), X=X)
    axes.set_title("LipOCC: signed distance to two moons")
    axes.figure.savefig(path, dpi=120, bbox_inches="tight")


def main() -> None:
    """Run the demonstration."""
    plt.switch_backend("Agg")
    torch.set_num_threads(1)  # the tensors are small: threads that wait cost more than they bring
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("demo.png"))
    options = parser.parse_args()
    rows = []
    for name, X_train, X_test, y_test, shape in datasets():
        print(f"{name}: {len(X_train)} rows of {X_train.shape[1]} features", flush=True)
        cells = []
        for build in DETECTORS.values():
            detector = build(X_train.shape[1], shape)
            cells.append(measure(detector, X_train, X_test, y_test))
            if name == "two-moons" and isinstance(detector, LipOCC):
                draw(detector, X_train, options.output)
        rows.append((name, cells))
    print("\nROC AUC in percent on unseen rows, and seconds to fit")
    print(f"{'':12s}" + "".join(f"{name:>18s}" for name in DETECTORS))
    for name, cells in rows:
        print(f"{name:12s}" + "".join(f"{cell:>18s}" for cell in cells))
    print(f"\nContours of the signed distance: {options.output.resolve()}")


if __name__ == "__main__":
    main()
