"""Algorithm 2: in turn, negatives at the boundary of the current f and a step on the loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pyod_lipocc._isolation import isolated
from pyod_lipocc.callbacks import Callback, EarlyStopping, ProgressBar, WeightAveraging
from pyod_lipocc.distributed import ALONE, Ranks
from pyod_lipocc.domains import Domain
from pyod_lipocc.lipschitz import frozen
from pyod_lipocc.losses import Loss
from pyod_lipocc.negatives import Proposal, uniform
from pyod_lipocc.sampler import Sampler, newton_raphson
from pyod_lipocc.stiefel.gradients import formed_gradients
from pyod_lipocc.stiefel.optimizers import tangent_gradients

__all__ = [
    "Callback",
    "EarlyStopping",
    "History",
    "LinearDecay",
    "ProgressBar",
    "Schedule",
    "WeightAveraging",
    "train",
]

Schedule = Callable[[float], float]
"""Maps the progress of training, in [0, 1), to the learning rate."""

_BLOCK = 1024  # steps
_STEPS_BETWEEN_CHECKS = 100  # of the weights, on several ranks
_WRAPPERS = ("DataParallel", "DistributedDataParallel", "FullyShardedDataParallel", "FSDPModule")


@dataclass(frozen=True)
class LinearDecay:
    """Learning rate that falls linearly from `start` to `stop` over the training.

    Parameters
    ----------
    start, stop : float

    Examples
    --------
    >>> LinearDecay(1e-2, 0.0)(0.5)
    0.005
    """

    start: float
    stop: float

    def __call__(self, progress: float) -> float:
        """Return the learning rate at a share `progress` of the training."""
        return self.start + progress * (self.stop - self.start)


@dataclass(frozen=True)
class History:
    """Figures of each step of a training: read-only arrays of shape (n_iter,).

    Attributes
    ----------
    loss : ndarray
        Mean loss on the data plus mean loss on the negatives.
    hinge : ndarray
        Mean of max(0, m - f) on the data plus mean of max(0, m + f) on the negatives.
    kr : ndarray
        Kantorovich-Rubinstein gap: mean f on the data minus mean f on the negatives.
    mean_data, mean_negatives : ndarray
        Mean f on the data and on the negatives, in the network's units.
    recall : ndarray
        Share of the data with f > 0.
    false_positives : ndarray
        Share of the negatives with f > 0.
    gradient_norm : ndarray
        Mean l2 norm of the gradient of f at the negatives: 1 for a distance function.
    """

    loss: npt.NDArray[np.float64]
    hinge: npt.NDArray[np.float64]
    kr: npt.NDArray[np.float64]
    mean_data: npt.NDArray[np.float64]
    mean_negatives: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]
    false_positives: npt.NDArray[np.float64]
    gradient_norm: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        for name in _FIGURES:
            getattr(self, name).setflags(write=False)

    @classmethod
    def from_records(cls, records: Tensor) -> History:
        """Take a row for each step, of shape (8,), in the order of the attributes."""
        return cls(*records.double().cpu().numpy().T.copy())

    def __setstate__(self, state: dict[str, npt.NDArray[np.float64]]) -> None:
        self.__dict__.update(state)
        self.__post_init__()  # pickles and deep copies do not keep arrays read-only

    def __len__(self) -> int:
        """Return the number of steps."""
        return len(self.loss)

    def __add__(self, other: History) -> History:
        """Append the steps of a later training."""
        both = self, other
        return History(*(np.concatenate([getattr(h, name) for h in both]) for name in _FIGURES))


_FIGURES = tuple(field.name for field in fields(History))


class _Records:
    """Rows of `History`, in blocks: small tensors, kept one by one, hold the memory around them."""

    def __init__(self) -> None:
        self._blocks = [torch.empty(0, len(_FIGURES))]
        self._length = 0

    def append(self, record: Tensor) -> None:
        place = self._length % _BLOCK
        if place == 0:
            self._blocks.append(record.new_empty(_BLOCK, len(_FIGURES)))
        self._blocks[-1][place] = record
        self._length += 1

    def history(self) -> History:
        records = torch.cat([block.cpu() for block in self._blocks])
        return History.from_records(records[: self._length])


def check_unwrapped(network: nn.Module) -> None:
    """Raise ValueError if a module of the network wraps it for training on several devices."""
    names = (kind.__name__ for module in network.modules() for kind in type(module).__mro__)
    wrapped = [name for name in names if name in _WRAPPERS]
    if wrapped:
        raise ValueError(
            f"network must be a plain module, got one wrapped in {wrapped[0]}, which does not see "
            "the gradients that the optimisers on the Stiefel manifold form: the copies of the "
            "network would drift apart. Pass network.module, the network without the wrapper: a "
            "process group averages its gradients"
        )


def _gradient_step(
    network: nn.Module,
    x: Tensor,
    z: Tensor,
    loss: Loss,
    margin: float,
    optimizer: torch.optim.Optimizer,
    ranks: Ranks,
) -> Tensor:
    """Take one step of the optimiser on data x and negatives z; return the record of `History`."""
    n = len(x)
    points = torch.cat((x, z)).requires_grad_(True)
    with tangent_gradients(optimizer):
        f = network(points).reshape(-1)
        f.retain_grad()
        on_data, on_negatives = f.split((n, len(z)))
        total = loss(on_data).mean() + loss(-on_negatives).mean()
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(total)
        assert points.grad is not None
        assert f.grad is not None
        # The chain rule gives dL/dz = dL/df grad f: the gradient of f needs no second pass.
        norms = torch.linalg.vector_norm(points.grad[n:], dim=1) / f.grad[n:].abs()
        record = _record(total, on_data, on_negatives, norms, margin)
        weights = (weight for group in optimizer.param_groups for weight in group["params"])
        ranks.average([*formed_gradients(weights), record])
        optimizer.step()
    return record


@torch.no_grad()
def _record(
    total: Tensor, on_data: Tensor, on_negatives: Tensor, norms: Tensor, margin: float
) -> Tensor:
    """Return the figures of a step, in the order of the attributes of `History`."""
    return torch.stack(
        (
            total.detach(),
            torch.relu(margin - on_data).mean() + torch.relu(margin + on_negatives).mean(),
            on_data.mean() - on_negatives.mean(),
            on_data.mean(),
            on_negatives.mean(),
            (on_data > 0).to(norms).mean(),
            (on_negatives > 0).to(norms).mean(),
            norms.nanmean(),
        )
    )


@isolated()
def train(
    network: nn.Module,
    batches: Iterable[Tensor],
    *,
    domain: Domain,
    margin: float,
    loss: Loss,
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    max_iter: int,
    n_newton_steps: int = 4,
    n_warmup_steps: int = 0,
    negatives: Proposal = uniform,
    sampler: Sampler = newton_raphson,
    callbacks: Sequence[Callback] = (),
    generator: torch.Generator,
    ranks: Ranks = ALONE,
) -> History:
    """Train a network by the paper's Algorithm 2, in place.

    Each iteration takes a batch x of data and draws as many proposals from Q0. Algorithm 1 moves
    the proposals to the boundary of the current f: they are the negatives z. The optimiser then
    takes one step on E L(f(x)) + E L(-f(z)).

    Parameters
    ----------
    network : torch.nn.Module
        f, from (n, d) to (n, 1) or (n,). It is in training mode until the end.
    batches : iterable of Tensor of shape (n, d)
        Data in the network's units, on its device. Training ends with the last batch, or after
        `max_iter` steps.
    domain : Domain
        B, in the same units, precision and device.
    margin : float
        m, in the same units.
    loss : callable
        Row-wise loss of y f, such as ``partial(losses.hkr, margin=m, regularization=100)``.
    optimizer : torch.optim.Optimizer
        Over the parameters of `network`; `stiefel.StiefelAdam` keeps orthogonal layers orthogonal.
    schedule : callable
        Learning rate as a function of the share of `max_iter` that is done.
    max_iter : int
        Most steps.
    n_newton_steps : int, default=4
        T of Algorithm 1.
    n_warmup_steps : int, default=0
        Number of first steps with T = 0, as in the authors' code.
    negatives : callable, default=uniform
        Q0: see `negatives`.
    sampler : callable, default=newton_raphson
        Algorithm 1 or a partial of it: see `sampler`.
    callbacks : sequence of Callback, default=()
    generator : torch.Generator
        Draws the negatives, on the domain's device.
    ranks : Ranks, default=ALONE
        Processes that train equal copies of the network, each on batches of its own: see
        `distributed`.

    Returns
    -------
    history : History

    Raises
    ------
    ValueError
        If the network is wrapped for training on several devices.
    RuntimeError
        If a rank is lost, or the weights of the ranks differ.

    Examples
    --------
    >>> from functools import partial
    >>> from itertools import repeat
    >>> from pyod_lipocc.domains import Ball
    >>> from pyod_lipocc.lipschitz import dense, parameter_groups
    >>> from pyod_lipocc.losses import hkr
    >>> from pyod_lipocc.stiefel import StiefelAdam
    >>> network = dense(2, hidden=(16, 16), generator=torch.Generator().manual_seed(0))
    >>> history = train(
    ...     network, repeat(torch.zeros(32, 2)), domain=Ball(5.0).expand(2).to(torch.float32),
    ...     margin=0.1, loss=partial(hkr, margin=0.1, regularization=100.0),
    ...     optimizer=StiefelAdam(parameter_groups(network)), schedule=lambda progress: 1e-2,
    ...     max_iter=50, generator=torch.Generator().manual_seed(0))
    >>> bool(history.loss[-1] < history.loss[0])
    True
    """
    check_unwrapped(network)
    records = _Records()
    with ExitStack() as ending:
        for module in network.modules():
            ending.callback(setattr, module, "training", module.training)
        network.train()
        for callback in callbacks:
            callback.begin(max_iter, network)
            ending.callback(callback.end)
        watched = ranks.any(callbacks)
        for iteration, x in zip(range(max_iter), batches, strict=False):
            if iteration % _STEPS_BETWEEN_CHECKS == 0:
                ranks.check_weights(network)
            with frozen(network):
                z = sampler(
                    network,
                    negatives(x, domain, generator),
                    domain=domain,
                    margin=margin,
                    n_steps=n_newton_steps if iteration >= n_warmup_steps else 0,
                    generator=generator,
                )
            rate = schedule(iteration / max_iter)
            for group in optimizer.param_groups:
                group["lr"] = rate
            record = _gradient_step(network, x, z, loss, margin, optimizer, ranks)
            records.append(record)
            if watched:
                metrics = dict(zip(_FIGURES, record, strict=True))
                stops = [callback.step(iteration + 1, metrics) for callback in callbacks]
                if ranks.any(any(stops)):
                    break
    return records.history()
