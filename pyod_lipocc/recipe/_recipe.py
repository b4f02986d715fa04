"""The parameters of a detector with "auto" resolved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pyod_lipocc._checks import check_device
from pyod_lipocc.distributed import Ranks
from pyod_lipocc.domains import Domain
from pyod_lipocc.recipe._networks import (
    Builder,
    build,
    leaves_own_rows_out,
    repeats_its_start,
    shortens_gradients,
)
from pyod_lipocc.recipe._scale import Data, around_the_rows, share_of_spacing, that_contains
from pyod_lipocc.recipe._training import OPTIMIZERS, Training, is_auto, training_of
from pyod_lipocc.thresholds import ThresholdRule
from pyod_lipocc.training import Callback
from pyod_lipocc.units import Scaling

__all__ = ["Recipe"]

_RETRIMMINGS = 2
_SHORT_GRADIENTS = 0.6
_TRAINING_NUMBERS = 2**25  # float32 numbers held for training
_TRIMMED_ROWS = 2**14  # rows searched for outliers: each is compared with thousands
_FOLDS, _FEW_ROWS = 4, 2000  # of which each is scored by a start from the other folds
_START_OF_TABLES, _START_OF_IMAGES = 4096, 8192  # rows that a network may start from
_START_OF_CLEAN_TABLES, _START_NUMBERS = 16384, 2**17


@dataclass(frozen=True)
class Recipe:
    """How to learn from rows.

    Every choice that depends on the rows is a callable. The callable is a constant where the user
    has given a value.

    Attributes
    ----------
    standardize : bool
    image_shape : tuple of int or None
    contamination : float
        Share of the rows that may be outliers; 0 where the rows are clean.
    n_retrimmings : int
        How often a trained network chooses the normal rows for a new one, unless the network starts
        from rows.
    margin : callable
        ``(X, scaling, rng) -> float``, in the units of the scores, for a distance function; X is an
        array or a `Table`.
    gain : callable
        ``(network) -> float``, by which the margin is multiplied.
    domain : callable
        ``(X, scaling, margin) -> Domain``, in the units of the scores; X as for `margin`.
    network : callable
        ``(n_features, generator, **of_rows) -> torch.nn.Module``, untrained.
    leaves_own_rows_out : bool
        Whether the network can leave a training row out of the score of that row.
    repeats_its_start : bool
        Whether the network may start anew from a part of few rows, to score the others.
    rule : ThresholdRule
    training : callable
        ``(network, margin, domain) -> Training``, in the units of the network.
    optimizer : callable
    learning_rate : object
        As given, for messages.
    callbacks : tuple of Callback
    device : torch.device
    ranks : Ranks
        Processes that learn together.
    verbose : int
        0 on all ranks but the first.
    """

    standardize: bool
    image_shape: tuple[int, ...] | None
    contamination: float
    n_retrimmings: int
    margin: Callable[[Data, Scaling, np.random.Generator], float]
    gain: Callable[[torch.nn.Module], float]
    domain: Callable[[Data, Scaling, float], Domain]
    network: Builder
    leaves_own_rows_out: bool
    repeats_its_start: bool
    rule: ThresholdRule
    training: Callable[[torch.nn.Module, float, Domain], Training]
    optimizer: Callable[..., torch.optim.Optimizer]
    learning_rate: Any
    callbacks: tuple[Callback, ...]
    device: torch.device
    ranks: Ranks
    verbose: int

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Recipe:
        """Resolve the parameters of `LipOCC`.

        Parameters
        ----------
        parameters : mapping of str to object
            Checked: see `_parameters.check_parameters`.

        Returns
        -------
        recipe : Recipe

        Raises
        ------
        ValueError
            If torch cannot use the device here, or the process group not the device.

        Examples
        --------
        >>> from pyod_lipocc import LipOCC
        >>> recipe = Recipe.of(LipOCC(novelty=True, network="dense").get_params())
        >>> recipe.contamination, recipe.n_start(10**6, 20)
        (0.0, 6553)
        """
        p = parameters
        shape = None if p["image_shape"] is None else tuple(p["image_shape"])
        optimizer, rule = p["optimizer"], ThresholdRule.of(p)
        contamination = 0.0 if p["novelty"] else rule.share_of_outliers
        device = check_device(p["device"])
        ranks = Ranks.of(p["process_group"], device)
        return cls(
            standardize=p["standardize"],
            image_shape=shape,
            contamination=contamination,
            n_retrimmings=0 if shape is None or not contamination else _RETRIMMINGS,
            margin=(
                partial(share_of_spacing, 1 / 2 if shape is None else 1 / 3)
                if is_auto(p["margin"])
                else _constant(float(p["margin"]))
            ),
            gain=_gain if is_auto(p["margin"]) else _constant(1.0),
            domain=(
                partial(around_the_rows, image_shape=shape)
                if is_auto(p["domain"])
                else partial(that_contains, p["domain"])
            ),
            network=partial(build, p["network"], image_shape=p["image_shape"]),
            leaves_own_rows_out=leaves_own_rows_out(p["network"], shape),
            repeats_its_start=repeats_its_start(p["network"], shape),
            rule=rule,
            training=partial(training_of, p),
            optimizer=OPTIMIZERS[optimizer] if isinstance(optimizer, str) else optimizer,
            learning_rate=p["learning_rate"],
            callbacks=tuple(p["callbacks"] or ()),
            device=device,
            ranks=ranks,
            verbose=0 if ranks.rank else p["verbose"],
        )

    def hold_out(
        self, n: int, leaves_rows_out: bool, rng: np.random.Generator
    ) -> npt.NDArray[np.intp]:
        """Choose the rows that are not trained on: see `thresholds.ThresholdRule.hold_out`."""
        of_images = self.image_shape is not None
        honest = leaves_rows_out or bool(self.n_folds(n))
        return self.rule.hold_out(n, honest, rng, of_images=of_images)

    def n_folds(self, n: int) -> int:
        """Return into how many parts n rows are split, each to be scored by the other parts."""
        return _FOLDS if self.repeats_its_start and 2 * _FOLDS <= n < _FEW_ROWS else 0

    def n_seen(self, n: int, d: int) -> int:
        """Return how many of n rows of width d training sees.

        Memory and time of each rank are bounded.
        """
        most = max(_TRAINING_NUMBERS // d, 1)
        if self.contamination:
            most = min(most, _TRIMMED_ROWS)
        return min(n, self.ranks.size * most)

    def n_start(self, n: int, d: int) -> int:
        """Return how many of n rows of width d a network may start from.

        A distance to a clean row of few features costs less, and clean rows are not compared in
        pairs, so clean tables start from more rows.
        """
        if self.image_shape is not None:
            return min(n, _START_OF_IMAGES)
        if self.contamination:
            return min(n, _START_OF_TABLES)
        cheap = min(_START_NUMBERS // d, _START_OF_CLEAN_TABLES)
        return min(n, max(_START_OF_TABLES, cheap))


def _constant(value: Any) -> Callable[..., Any]:
    return lambda *_: value


def _gain(network: torch.nn.Module) -> float:
    """Return how long the gradients of a trained network are, roughly."""
    return _SHORT_GRADIENTS if shortens_gradients(network) else 1.0
