"""How a detector learns: what depends on the rows is resolved, then Algorithm 2 runs."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pyod_lipocc._auto import (
    Plan,
    plan_training,
    resolve_domain,
    resolve_margin,
    resolve_negatives,
    resolve_network,
    resolve_schedule,
    threads_for,
)
from pyod_lipocc._chunks import chunks
from pyod_lipocc._isolation import one_thread
from pyod_lipocc._random import reproducible_convolutions, torch_generator
from pyod_lipocc._state import DetectorState
from pyod_lipocc._validation import check_device
from pyod_lipocc.certificates import Certificate
from pyod_lipocc.lipschitz.networks import parameter_groups, polish
from pyod_lipocc.losses import hkr
from pyod_lipocc.stiefel import StiefelAdam, StiefelRMSprop
from pyod_lipocc.training import ProgressBar, Schedule, train
from pyod_lipocc.trimming import inliers
from pyod_lipocc.units import Scaling

__all__ = ["TrainingMethods"]

_OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": StiefelAdam,
    # "Default hyper-parameters" of the paper are those of Keras.
    "rmsprop": partial(StiefelRMSprop, alpha=0.9, eps=1e-7),
}
# Rows that a network may start from, at most: of clean tables, more where a distance costs less;
# contaminated ones compare every pair.
_START = {"table": 4096, "images": 8192}
_MOST_OF_CLEAN_TABLES, _NUMBERS_OF_CLEAN_TABLES = 16384, 2**17
_TRAINING_NUMBERS = 2**25  # numbers held in float32 for training
_TRIMMED_ROWS = 2**16  # rows among which outliers are looked for: each is compared with thousands


class TrainingMethods(DetectorState):
    """Training of a detector with the parameters of `LipOCC`."""

    _start: npt.NDArray[np.intp]  # rows of X that the network started from

    def _learn(self, X: npt.NDArray[Any], rng: np.random.Generator) -> None:
        """Resolve what depends on X, build the network and train it."""
        device = check_device(self.device)
        self.scaling_ = Scaling.fit(X, standardize=self.standardize)
        self.margin_ = resolve_margin(self.margin, X, self.scaling_, rng)
        self.domain_ = resolve_domain(self.domain, X, self.scaling_, self.margin_, self.image_shape)
        chosen = self._training_rows(X, rng)
        rows = self._to_tensor(X, chosen)
        most = _START["table" if self.image_shape is None else "images"]
        if self.novelty and self.image_shape is None:
            cheap = _NUMBERS_OF_CLEAN_TABLES // X.shape[1]
            most = max(most, min(cheap, _MOST_OF_CLEAN_TABLES))
        start = np.sort(rng.choice(len(rows), size=min(len(rows), most), replace=False))
        normal = torch.ones(len(rows), dtype=torch.bool)
        contamination = 0.0
        if not self.novelty:
            contamination = self._share_of_outliers
            normal[:] = False
            normal[inliers(rows.numpy(), contamination, rng)] = True
        self._start = chosen[start]
        with one_thread:
            network = resolve_network(
                self.network,
                X.shape[1],
                torch_generator(rng),
                image_shape=self.image_shape,
                rows=rows[start],
                normal=normal[start],
                margin=self.margin_ / self.scaling_.unit,
                contamination=contamination,
            )
        plan = self._plan(network)
        with threads_for(network):
            self._train(
                network.to(device),
                rows,
                normal.nonzero().squeeze(1),
                plan=plan,
                max_iter=plan.max_iter if isinstance(self.max_iter, str) else self.max_iter,
                schedule=resolve_schedule(self.learning_rate, plan),
                rng=rng,
            )

    def _continue(self, X: npt.NDArray[Any], rng: np.random.Generator) -> None:
        """Train a copy of the network with one pass over X."""
        for rows in chunks(X):
            self.domain_ = self.domain_.enclose(torch.from_numpy(self.scaling_.to_scores(rows)))
        network = copy.deepcopy(self.network_).to(check_device(self.device))
        plan = self._plan(network)
        rate = resolve_schedule(self.learning_rate, plan)(0.0)
        history = self.history_
        rows = self._to_tensor(X, self._training_rows(X, rng))
        with threads_for(network):
            self._train(
                network,
                rows,
                torch.arange(len(rows)),
                plan=plan,
                max_iter=math.ceil(len(X) / self.batch_size),
                schedule=lambda progress: rate,
                rng=rng,
            )
        self.history_ = history + self.history_
        self.n_iter_ = len(self.history_)

    def _plan(self, network: torch.nn.Module) -> Plan:
        return plan_training(network, self.margin_ / self.scaling_.unit)

    def _training_rows(self, X: npt.NDArray[Any], rng: np.random.Generator) -> npt.NDArray[np.intp]:
        """Choose the rows that training may see: all, as far as memory and time are bounded."""
        n = min(len(X), max(_TRAINING_NUMBERS // X.shape[1], 1))
        if not self.novelty:
            n = min(n, _TRIMMED_ROWS)
        return np.sort(rng.choice(len(X), size=n, replace=False)) if n < len(X) else np.arange(n)

    def _to_tensor(self, X: npt.NDArray[Any], chosen: npt.NDArray[np.intp]) -> torch.Tensor:
        """Bring chosen rows to the network's units, in float32."""
        rows = torch.empty(len(chosen), X.shape[1], dtype=torch.float32)
        for batch, filled in zip(chunks(chosen), chunks(rows), strict=True):
            filled.copy_(torch.from_numpy(self.scaling_.to_network(X[batch])))
        return rows

    @reproducible_convolutions()
    def _train(
        self,
        network: torch.nn.Module,
        rows: torch.Tensor,
        members: torch.Tensor,
        *,
        plan: Plan,
        max_iter: int,
        schedule: Schedule,
        rng: np.random.Generator,
    ) -> None:
        """Run Algorithm 2 in float32 and in the network's units; keep the network in float64."""
        device = next(network.parameters()).device
        network = network.float().train()
        optimizer = (
            _OPTIMIZERS[self.optimizer] if isinstance(self.optimizer, str) else self.optimizer
        )
        margin = self.margin_ / self.scaling_.unit
        domain = self.scaling_.domain_to_network(self.domain_).to(torch.float32, device)
        generator = torch_generator(rng, device)
        callbacks = [copy.copy(callback) for callback in self.callbacks or ()]
        self.history_ = train(
            network,
            self._batches(rows.to(device), members.to(device), generator),
            domain=domain,
            margin=margin,
            loss=partial(hkr, margin=margin, regularization=self.regularization),
            optimizer=optimizer(parameter_groups(network)),
            schedule=schedule,
            max_iter=max_iter,
            n_newton_steps=(
                plan.n_newton_steps if isinstance(self.n_newton_steps, str) else self.n_newton_steps
            ),
            n_warmup_steps=self.n_warmup_steps,
            negatives=resolve_negatives(
                self.negatives,
                domain=domain,
                margin=margin,
                novelty=self.novelty,
                image_shape=self.image_shape,
                starts_from_data=plan.starts_from_data,
            ),
            sampler=plan.sampler if isinstance(self.sampler, str) else self.sampler,
            callbacks=[*callbacks, *([ProgressBar()] if self.verbose else [])],
            generator=generator,
        )
        self.n_iter_ = len(self.history_)
        if not all(weight.isfinite().all() for weight in network.parameters()):
            raise FloatingPointError(
                "training has diverged: weights are not finite. Lower learning_rate "
                f"(got {self.learning_rate!r}), or check the network if it is your own"
            )
        network.zero_grad(set_to_none=True)
        self.network_ = network.double().eval()
        polish(self.network_)
        proven = Certificate.of(self.network_, self.scaling_, self.margin_)
        self.lipschitz_constant_ = proven.lipschitz_constant

    def _batches(
        self, rows: torch.Tensor, members: torch.Tensor, generator: torch.Generator
    ) -> Iterator[torch.Tensor]:
        """Draw independent members of the rows for ever."""
        size, device = (self.batch_size,), generator.device
        while True:
            drawn = torch.randint(len(members), size, generator=generator, device=device)
            yield rows[members[drawn]]
