"""How a network trains: steps, rate, sampler, negatives and loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Real
from typing import Any

import torch

from pyod_lipocc.domains import Domain
from pyod_lipocc.losses import Loss, hkr
from pyod_lipocc.negatives import (
    CutPaste,
    Erase,
    ImageAugmentation,
    LocalNoise,
    Mixture,
    Overlay,
    PatchShuffle,
    Proposal,
    Rotate,
    Warp,
    shuffled_marginals,
    uniform,
)
from pyod_lipocc.recipe._networks import shortens_gradients, starts_from_rows
from pyod_lipocc.sampler import Sampler, newton_raphson
from pyod_lipocc.stiefel import StiefelAdam, StiefelRMSprop
from pyod_lipocc.training import LinearDecay, Schedule

__all__ = ["OPTIMIZERS", "Training", "is_auto", "training_of"]

_SHORTEST_SIDE = 4  # of images that can be bent and cut

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": StiefelAdam,
    # "Default hyper-parameters" of the paper are those of Keras.
    "rmsprop": partial(StiefelRMSprop, alpha=0.9, eps=1e-7),
}
"""Optimisers by name."""


@dataclass(frozen=True)
class Training:
    """What depends on the network: a batch size, and arguments of `training.train`.

    Attributes
    ----------
    batch_size, max_iter, n_newton_steps, n_warmup_steps : int
    schedule, sampler, negatives, loss : callable
    margin : float
        m, in units of the network.
    domain : Domain
        Where negatives lie, in units of the network.
    """

    batch_size: int
    max_iter: int
    n_newton_steps: int
    n_warmup_steps: int
    schedule: Schedule
    sampler: Sampler
    negatives: Proposal
    loss: Loss
    margin: float
    domain: Domain


def training_of(
    p: Mapping[str, Any], network: torch.nn.Module, margin: float, domain: Domain
) -> Training:
    """Resolve the parameters of the training; margin and domain are in units of the network.

    A network that starts from rows is a distance function: one Newton step reaches the level, and
    few small steps of training suffice: of a table so few that they cost no more than the start. Of
    a rate that falls from r to 0, n steps of Adam move a parameter by about r n / 2 at most, so no
    coordinate of a centre and no radius moves by more than a margin; of tables, by more than a
    twentieth. Other networks of images train longer, unless outliers are among the images: a long
    training learns these too.

    Images take no Newton steps. Along the gradient of a 1-Lipschitz network f rises by no more than
    the length of a step, which then acts as a wider margin does. A network that pools would know
    the negatives by the texture that Newton steps leave, as noise does. Few weights of such a
    network serve many pixels: it bears a larger rate and small batches.
    """
    of_images = p["image_shape"] is not None
    sampler: Sampler
    if starts_from_rows(network):
        batch_size, max_iter = (256, 100) if of_images else (64, 5)
        n_newton_steps, sampler = 1, partial(newton_raphson, level=-1.5)
        schedule = LinearDecay(min(1e-3, margin / 50), 0.0)
    else:
        batch_size, max_iter = (64, 1600 if p["novelty"] else 800) if of_images else (256, 1000)
        n_newton_steps, sampler, rate = 4, newton_raphson, 5e-3
        if shortens_gradients(network):
            batch_size, max_iter, rate = 32, 1600, 2e-2
        schedule = LinearDecay(rate, 0.0)
    if of_images:
        n_newton_steps, sampler = 0, newton_raphson
    given = p["learning_rate"]
    if isinstance(given, Real):
        schedule = LinearDecay(given, given)  # type: ignore[arg-type]
    return Training(
        batch_size=batch_size if is_auto(p["batch_size"]) else p["batch_size"],
        max_iter=max_iter if is_auto(p["max_iter"]) else p["max_iter"],
        n_newton_steps=n_newton_steps if is_auto(p["n_newton_steps"]) else p["n_newton_steps"],
        n_warmup_steps=p["n_warmup_steps"],
        schedule=given if callable(given) else schedule,
        sampler=sampler if is_auto(p["sampler"]) else p["sampler"],
        negatives=(
            _negatives(p["image_shape"], p["novelty"], margin)
            if is_auto(p["negatives"])
            else p["negatives"]
        ),
        loss=partial(hkr, margin=margin, regularization=p["regularization"]),
        margin=margin,
        domain=domain,
    )


def _negatives(image_shape: Sequence[int] | None, novelty: bool, margin: float) -> Proposal:
    """Return Q0 by the kind of the data.

    ==================== ========================================================================
    images               an equal share each of images of the batch that are turned or flipped,
                         pasted, shuffled, warped, rotated, erased and overlaid
    clean tables         a third each uniform, noise of m to 100 m around the rows, and shuffled
                         marginals
    contaminated tables  uniform: negatives near the rows would be near outliers too
    ==================== ========================================================================

    Uniform noise teaches a network nothing about images: it is far from all of them.
    """
    if image_shape is not None and min(image_shape[-2:]) >= _SHORTEST_SIDE:
        shape = tuple(image_shape)
        edits = (CutPaste(shape), Warp(shape), Rotate(shape), Erase(shape), Overlay(shape))
        turned = ImageAugmentation(shape, mixing=(1.0, 1.0))
        return Mixture((turned, PatchShuffle(shape, grid=_SHORTEST_SIDE), *edits))
    if image_shape is None and novelty:
        return Mixture((uniform, LocalNoise(margin, 100 * margin), shuffled_marginals))
    return uniform


def is_auto(value: Any) -> bool:
    return isinstance(value, str)  # "auto" is the only text that passes the checks
