"""One detector as a benchopt solver."""

from __future__ import annotations

import ast
import hashlib
from abc import abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyod
import torch._dynamo  # noqa: F401  or the first optimiser step imports it, at that fit's cost
from benchopt import BaseSolver
from numpy.typing import NDArray
from pyod.models.base import BaseDetector

from .measure import PeakMemory, Stopwatch, limited_threads

# PyOD refuses 0, the true contamination of clean training parts
LEAST_CONTAMINATION = 0.01


class WithoutDocstrings(ast.NodeTransformer):
    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        return None if isinstance(node.value, ast.Constant) else node


def source_digest(files: Iterable[Path]) -> str:
    """Eight hexadecimal digits that change with the code, not with its comments and docstrings."""
    digest = hashlib.sha256()
    for file in sorted(files):
        tree = WithoutDocstrings().visit(ast.parse(file.read_text(encoding="utf-8")))
        digest.update(ast.unparse(tree).encode())
    return digest.hexdigest()[:8]


class DetectorSolver(BaseSolver):
    """One fit on the training part and one scoring of the test part.

    Subclasses build the detector. benchopt keys its cache on the files of the solver, of the data
    set and of the objective, and on their parameters. The state adds the other things that shape a
    result: the detector's version and the code of this folder.
    """

    sampling_strategy = "run_once"

    # name and version of the code that is measured
    version = f"pyod {pyod.__version__}"

    @abstractmethod
    def build(self, seed: int) -> BaseDetector:
        """Return the unfitted detector."""

    def certificate(self, detector: BaseDetector) -> dict[str, float]:
        """Return a proven Lipschitz constant of the score, and the mean norm of its gradient.

        Both are in the l2 norm and in the units of X.
        """
        return {"lipschitz_constant": np.inf, "gradient_norm": np.nan}

    def set_objective(
        self,
        X_train: NDArray,
        X_test: NDArray,
        contamination: float,
        image_shape: tuple[int, ...] | None,
        threads: int,
    ) -> None:
        self.X_train, self.X_test = X_train, X_test
        self.contamination, self.image_shape, self.threads = contamination, image_shape, threads

    def run(self, _stop_val: int) -> None:
        # from the names of the data set (split included) and of the solver, and the repetition
        seed = self.get_seed(use_dataset=True, use_solver=True, use_repetition=True)
        with limited_threads(self.threads), PeakMemory() as peak:
            detector = self.build(seed)
            with Stopwatch() as fit:
                detector.fit(self.X_train)
            with Stopwatch() as score:
                scores = detector.decision_function(self.X_test)
        with limited_threads(self.threads):
            certificate = self.certificate(detector)
        self.result = {
            "scores": scores,
            "threshold": detector.threshold_,
            "contamination": detector.contamination,
            **certificate,
            "fit_seconds": fit.seconds,
            "fit_cpu_seconds": fit.cpu_seconds,
            "score_seconds": score.seconds,
            "score_cpu_seconds": score.cpu_seconds,
            "peak_memory_mb": peak.megabytes,
            "version": self.version,
        }

    def get_result(self) -> dict[str, Any]:
        return self.result

    def _get_state(self) -> dict[str, str]:
        return {
            "version": self.version,
            "benchmark": source_digest(Path(__file__).parent.glob("*.py")),
        }

    def __setstate__(self, state: dict[str, str]) -> None:
        """Restore nothing: the state only serves the cache key."""
