"""Algorithm 2: in turn, negatives at the boundary of the current f and a step on the loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from pyod_lipocc._checks import check_number
from pyod_lipocc._isolation import isolated
from pyod_lipocc.domains import Domain
from pyod_lipocc.lipschitz.networks import frozen, parameter_groups
from pyod_lipocc.losses import Loss
from pyod_lipocc.negatives import Proposal, uniform
from pyod_lipocc.sampler import Sampler, newton_raphson
from pyod_lipocc.stiefel import nearest_point
from pyod_lipocc.stiefel._optimizers import tangent_gradients

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
_WRAPPERS = ("DataParallel", "DistributedDataParallel", "FullyShardedDataParallel")


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
    """What each step of training saw; arrays of shape (n_iter,), read-only.

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

    @classmethod
    def from_records(cls, records: Tensor) -> History:
        """Take a row for each step, of shape (8,), in the order of the attributes."""
        columns = records.double().cpu().numpy().T.copy()
        columns.setflags(write=False)
        return cls(*columns)

    def __setstate__(self, state: dict[str, npt.NDArray[np.float64]]) -> None:
        # Pickles and deep copies do not keep arrays read-only.
        for column in state.values():
            column.setflags(write=False)
        self.__dict__.update(state)

    def __len__(self) -> int:
        """Return the number of steps."""
        return len(self.loss)

    def __add__(self, other: History) -> History:
        """Append the steps of a later training."""
        columns = (
            np.concatenate([getattr(self, field.name), getattr(other, field.name)])
            for field in fields(self)
        )
        joined = History(*columns)
        for field in fields(joined):
            getattr(joined, field.name).setflags(write=False)
        return joined


class Callback:
    """Watches a training, and may stop it. All hooks do nothing here: override what is needed."""

    def begin(self, max_iter: int, network: nn.Module) -> None:
        """Run before the first step.

        Parameters
        ----------
        max_iter : int
        network : torch.nn.Module
            What is trained, in place.
        """

    def step(self, iteration: int, metrics: Mapping[str, Tensor]) -> bool | None:
        """Run after each step.

        Parameters
        ----------
        iteration : int
            From 1.
        metrics : mapping of str to 0-d Tensor
            The attributes of `History` at this step, on the training device.

        Returns
        -------
        stop : bool or None
            True ends the training.
        """
        return None

    def end(self) -> None:
        """Run when training is over, also by an error or an interruption."""


class ProgressBar(Callback):
    """Show a tqdm bar with the loss, the recall and the gradient norm.

    Parameters
    ----------
    description : str, default="LipOCC"
    every : int, default=20
        Steps between two updates of the figures.
    """

    def __init__(self, description: str = "LipOCC", every: int = 20) -> None:
        self.description = description
        self.every = every

    def begin(self, max_iter: int, network: nn.Module) -> None:
        """Open the bar."""
        self._bar = tqdm(total=max_iter, desc=self.description, unit="step")

    def step(self, iteration: int, metrics: Mapping[str, Tensor]) -> None:
        """Advance the bar."""
        self._bar.update()
        if iteration % self.every == 0:
            shown = ("loss", "recall", "gradient_norm")
            self._bar.set_postfix({name: f"{float(metrics[name]):.3g}" for name in shown})

    def end(self) -> None:
        """Close the bar."""
        self._bar.close()


class EarlyStopping(Callback):
    """Stop when the smoothed loss has reached a plateau.

    Parameters
    ----------
    patience : int, default=500
        Steps without improvement after which training stops.
    min_delta : float, default=1e-3
        Improvement that counts, relative to the spread of the loss seen so far.
    smoothing : float, default=0.98
        Weight of the past in the exponential moving average of the loss, in [0, 1).

    Examples
    --------
    >>> from pyod_lipocc import LipOCC
    >>> detector = LipOCC(max_iter=5000, callbacks=[EarlyStopping(patience=200)])
    """

    def __init__(
        self, patience: int = 500, min_delta: float = 1e-3, smoothing: float = 0.98
    ) -> None:
        self.patience = patience
        self.min_delta = min_delta
        self.smoothing = smoothing

    def begin(self, max_iter: int, network: nn.Module) -> None:
        """Forget earlier trainings."""
        self._average = self._best = self._worst = float("nan")
        self._best_iteration = 0

    def step(self, iteration: int, metrics: Mapping[str, Tensor]) -> bool:
        """Compare the smoothed loss with the best so far."""
        loss = float(metrics["loss"])
        if iteration == 1:
            self._average = self._best = self._worst = loss
        self._average = self.smoothing * self._average + (1 - self.smoothing) * loss
        self._worst = max(self._worst, self._average)
        if self._average < self._best - self.min_delta * (self._worst - self._best):
            self._best, self._best_iteration = self._average, iteration
        return iteration - self._best_iteration >= self.patience


class WeightAveraging(Callback):
    r"""End with an average of the weights of the last steps in their place.

    At a constant learning rate, as in the paper, every step moves the level lines, the last ones
    included; their average is quieter. It is that of Shamir & Zhang (2013), with share s,

    .. math:: \bar W_t = \bar W_{t-1} + \frac{W_t - \bar W_{t-1}}{1 + s (t - 1)},

    in which step t of n counts about as :math:`(t / n)^{1/s - 1}`, wherever training ends. Weights
    on the Stiefel manifold end as the nearest point of it to their average: the guarantees are
    those of every other network.

    Parameters
    ----------
    share : float, default=0.02
        Share of the steps that counts, about, in (0, 1]. 1 is the plain mean of all. Weights that
        have turned far have no meaningful average: the wider the layers and the longer the steps,
        the less may count.

    Raises
    ------
    ValueError
        If `share` is out of range.
    FloatingPointError
        At the end, if an average is not finite.

    Notes
    -----
    `History` tells of the steps as they were, not of their average. Buffers stay those of the last
    step.

    References
    ----------
    Shamir & Zhang, *Stochastic Gradient Descent for Non-smooth Optimization: Convergence Results
    and Optimal Averaging Schemes*, ICML 2013, section 4.

    Examples
    --------
    >>> from pyod_lipocc import LipOCC
    >>> detector = LipOCC(learning_rate=1e-3, callbacks=[WeightAveraging()])
    """

    def __init__(self, share: float = 0.02) -> None:
        check_number("share", share, "in (0, 1]", lambda value: 0 < value <= 1)
        self.share = share

    def begin(self, max_iter: int, network: nn.Module) -> None:
        """Start from the weights before the first step, which do not count."""
        self._network = network
        self._averages = {weight: weight.detach().clone() for weight in network.parameters()}

    @torch.no_grad()
    def step(self, iteration: int, metrics: Mapping[str, Tensor]) -> None:
        """Take the weights into the average."""
        for weight, average in self._averages.items():
            average.lerp_(weight, 1 / (1 + self.share * (iteration - 1)))

    @torch.no_grad()
    def end(self) -> None:
        """Put the averages in place."""
        for group in parameter_groups(self._network):
            on_manifold = group.get("stiefel", False)
            for weight in group["params"]:
                average = self._averages[weight]
                weight.copy_(nearest_point(average) if on_manifold else average)
        del self._network, self._averages


def check_unwrapped(network: nn.Module) -> None:
    """Refuse a network that a library has wrapped for training on several devices.

    Parameters
    ----------
    network : torch.nn.Module

    Raises
    ------
    ValueError
        If it, or a module in it, is such a wrapper.
    """
    wrapped = [type(m).__name__ for m in network.modules() if type(m).__name__ in _WRAPPERS]
    if wrapped:
        raise ValueError(
            f"network must be a plain module, got one wrapped in {wrapped[0]}, which does not see "
            "the gradients that the optimisers on the Stiefel manifold form: the copies of the "
            "network would drift apart. Pass network.module"
        )


def _gradient_step(
    network: nn.Module,
    x: Tensor,
    z: Tensor,
    loss: Loss,
    margin: float,
    optimizer: torch.optim.Optimizer,
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
        optimizer.step()
    with torch.no_grad():
        assert points.grad is not None
        assert f.grad is not None
        # The chain rule gives dL/dz = dL/df grad f: the gradient of f needs no second pass.
        norms = torch.linalg.vector_norm(points.grad[n:], dim=1) / f.grad[n:].abs()
        return torch.stack(
            (
                total.detach(),
                torch.relu(margin - on_data).mean() + torch.relu(margin + on_negatives).mean(),
                on_data.mean() - on_negatives.mean(),
                on_data.mean(),
                on_negatives.mean(),
                (on_data > 0).to(f).mean(),
                (on_negatives > 0).to(f).mean(),
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
) -> History:
    """Train a network by the paper's Algorithm 2, in place.

    Each iteration takes a batch x of data, draws as many proposals from Q0, moves them to the
    boundary of the current f by Algorithm 1, and takes one optimiser step on E L(f(x)) + E
    L(-f(z)).

    Parameters
    ----------
    network : torch.nn.Module
        f, from (n, d) to (n, 1) or (n,). In training mode until the end.
    batches : iterable of Tensor of shape (n, d)
        Data in the network's units, on its device. Training ends with it, or after `max_iter`
        steps.
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
        Steps at most.
    n_newton_steps : int, default=4
        T of Algorithm 1.
    n_warmup_steps : int, default=0
        First steps with T = 0, as in the authors' code.
    negatives : callable, default=uniform
        Q0: see `negatives`.
    sampler : callable, default=newton_raphson
        Algorithm 1 or a partial of it: see `sampler`.
    callbacks : sequence of Callback, default=()
    generator : torch.Generator
        Draws the negatives, on the domain's device.

    Returns
    -------
    history : History

    Raises
    ------
    ValueError
        If the network is wrapped for training on several devices.

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
    names = [field.name for field in fields(History)]
    # Blocks: a small tensor kept from each step would hold the memory around it.
    blocks = [torch.empty(0, len(names))]
    n_steps = 0
    with ExitStack() as ending:
        for module in [module for module in network.modules() if not module.training]:
            ending.callback(setattr, module, "training", False)
        network.train()
        for callback in callbacks:
            callback.begin(max_iter, network)
            ending.callback(callback.end)
        for iteration, x in zip(range(max_iter), batches, strict=False):
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
            record = _gradient_step(network, x, z, loss, margin, optimizer)
            if iteration % _BLOCK == 0:
                blocks.append(record.new_empty(_BLOCK, len(names)))
            blocks[-1][iteration % _BLOCK] = record
            n_steps = iteration + 1
            if callbacks:
                metrics = dict(zip(names, record, strict=True))
                stops = [callback.step(iteration + 1, metrics) for callback in callbacks]
                if any(stops):
                    break
    return History.from_records(torch.cat([block.cpu() for block in blocks])[:n_steps])
