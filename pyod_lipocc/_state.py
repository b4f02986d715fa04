"""What every part of the detector may read: its parameters and what a fit has left."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pyod_lipocc._pyod import BaseDetector
from pyod_lipocc._random import RandomState
from pyod_lipocc._validation import AutoName, NetworkName, OptimizerName, ThresholdName
from pyod_lipocc.domains import Domain
from pyod_lipocc.negatives import Proposal
from pyod_lipocc.sampler import Sampler
from pyod_lipocc.training import Callback, History, Schedule
from pyod_lipocc.units import Scaling

__all__ = ["DetectorState"]


class DetectorState(BaseDetector):
    """Parameters and fitted attributes of `LipOCC`, which documents them."""

    novelty: bool
    network: NetworkName | torch.nn.Module | Callable[..., torch.nn.Module]
    margin: float | AutoName
    regularization: float
    n_newton_steps: int | AutoName
    domain: Domain | AutoName
    negatives: Proposal | AutoName
    standardize: bool
    threshold: ThresholdName
    alpha: float
    attack_radius: float
    image_shape: Sequence[int] | None
    max_iter: int | AutoName
    batch_size: int
    learning_rate: float | Schedule | AutoName
    optimizer: OptimizerName | Callable[..., torch.optim.Optimizer]
    sampler: Sampler | AutoName
    n_warmup_steps: int
    callbacks: Sequence[Callback] | None
    device: str | torch.device | None
    random_state: RandomState
    verbose: int

    decision_scores_: npt.NDArray[np.float64]
    calibration_scores_: npt.NDArray[np.float64]
    threshold_: float
    contamination_: float
    labels_: npt.NDArray[np.int_]
    n_features_in_: int
    feature_names_in_: npt.NDArray[Any]
    n_iter_: int
    history_: History
    network_: torch.nn.Module
    margin_: float
    domain_: Domain
    scaling_: Scaling
    lipschitz_constant_: float

    @property
    def _share_of_outliers(self) -> float:
        """Contamination as a number; PyOD's default where an object finds the threshold."""
        return float(self.contamination) if isinstance(self.contamination, Real) else 0.1

    @abstractmethod
    def decision_function(self, X: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Score rows: minus the signed distance to the support."""

    @abstractmethod
    def _network(self) -> torch.nn.Module:
        """Return the network in evaluation mode, whatever a parent module has made of it."""

    @abstractmethod
    def _validate(self, X: npt.ArrayLike, *, reset: bool) -> npt.NDArray[Any]:
        """Return the rows as an array of real numbers, or say what is wrong with them."""

    @abstractmethod
    def _score(
        self, X: npt.NDArray[Any], network: torch.nn.Module | None = None
    ) -> npt.NDArray[np.float64]:
        """Score validated rows."""
