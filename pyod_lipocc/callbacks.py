"""Callbacks watch a training, may stop it, and may change the weights when it ends."""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from pyod_lipocc._checks import check_integer, check_number
from pyod_lipocc._extras import import_extra
from pyod_lipocc.lipschitz import parameter_groups
from pyod_lipocc.stiefel import nearest_point

__all__ = ["Callback", "EarlyStopping", "ProgressBar", "TensorBoard", "WeightAveraging"]


class Callback:
    """Base of the callbacks. Its hooks do nothing: a subclass overrides those that it needs."""

    def begin(self, max_iter: int, network: nn.Module) -> None:
        """Run before the first step.

        Parameters
        ----------
        max_iter : int
        network : torch.nn.Module
            The network that is trained, in place.
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
        """Run when training is over, after an error or an interruption too."""


class ProgressBar(Callback):
    """Show a tqdm bar with the loss, the recall and the gradient norm.

    Parameters
    ----------
    description : str, default="training"
    every : int, default=20
        Steps between two updates of the figures.
    """

    def __init__(self, description: str = "training", every: int = 20) -> None:
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


class TensorBoard(Callback):
    """Write the figures of `History` for TensorBoard, while the training runs.

    Parameters
    ----------
    folder : path-like, optional
        Each fit adds a file of its own. None: a new folder in "runs", named by time and host.
    every : int, default=20
        Steps from one record to the next, at least 1.

    Raises
    ------
    ValueError
        If `every` is out of range.
    ImportError
        In a fit, without the extra `tensorboard`.

    Examples
    --------
    >>> from pyod_lipocc import LipOCC
    >>> detector = LipOCC(callbacks=[TensorBoard("runs/first")])
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None, every: int = 20) -> None:
        check_integer("every", every, 1)
        self.folder = folder
        self.every = every

    def begin(self, max_iter: int, network: nn.Module) -> None:
        """Open a file."""
        tensorboard = import_extra("torch.utils.tensorboard", "tensorboard")
        self._writer = tensorboard.SummaryWriter(self.folder)

    def step(self, iteration: int, metrics: Mapping[str, Tensor]) -> None:
        """Write the figures of one step in `every`."""
        if iteration % self.every == 0:
            for name, value in metrics.items():
                self._writer.add_scalar(f"training/{name}", float(value), iteration)

    def end(self) -> None:
        """Close the file."""
        self._writer.close()


class EarlyStopping(Callback):
    """Stop when the smoothed loss has reached a plateau.

    Parameters
    ----------
    patience : int, default=500
        Steps without improvement after which training stops.
    min_delta : float, default=1e-3
        Least improvement that counts, as a share of the range of the smoothed loss so far.
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
    r"""Replace the weights, at the end, by their average over the last steps.

    At a constant learning rate, as in the paper, even the last steps move the level lines. An
    average of the weights is quieter. It is that of Shamir & Zhang (2013), with share s,

    .. math:: \bar W_t = \bar W_{t-1} + \frac{W_t - \bar W_{t-1}}{1 + s (t - 1)},

    in which the weight of step t of n is about proportional to :math:`(t / n)^{1/s - 1}`, wherever
    training ends. A matrix on the Stiefel manifold becomes the point of the manifold that is
    nearest to its average, so that the network keeps its guarantees.

    Parameters
    ----------
    share : float, default=0.02
        s in (0, 1], about the share of the steps that counts. 1 is the mean over all steps. Weights
        that have turned far have no meaningful average: wide layers and long steps call for a small
        share.

    Raises
    ------
    ValueError
        If `share` is out of range.
    FloatingPointError
        At the end, if an average is not finite.

    Notes
    -----
    `History` describes the steps, not their average. Buffers keep the values of the last step.

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
        """Add the weights to the average."""
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
