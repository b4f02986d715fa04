"""From rows to a signed distance: scaling, margin and domain, a start, then Algorithm 2."""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pyod_lipocc._chunks import chunks, slices
from pyod_lipocc._isolation import one_thread
from pyod_lipocc._progress import LOGGER, phase
from pyod_lipocc._random import reproducible_convolutions, torch_generator
from pyod_lipocc._table import Indices, Rows, Table
from pyod_lipocc.domains import Domain
from pyod_lipocc.lipschitz import (
    Mean,
    NearestBox,
    NearestSubspace,
    OrthogonalConv2d,
    ReshapedConv2d,
    parameter_groups,
    polish,
)
from pyod_lipocc.recipe import Recipe, Training, starts_from_rows
from pyod_lipocc.signed_distance import SignedDistance
from pyod_lipocc.training import History, LinearDecay, ProgressBar, train
from pyod_lipocc.trimming import inliers, least
from pyod_lipocc.units import Scaling

__all__ = [
    "Learned",
    "continue_learning",
    "learn",
    "leaves_rows_out",
    "rise",
    "scored",
    "training_scores",
]

Floats = npt.NDArray[np.float64]

_MANY_WEIGHTS = 2**19  # three layers of 512: below, a second thread costs more than it brings


@dataclass(frozen=True, eq=False)
class Learned:
    """The result of learning.

    Attributes
    ----------
    distance : SignedDistance
    history : History
        Of the last training.
    own : ndarray of int
        Rows that the network holds, and that it can leave out of their own score; counted among all
        rows, those that were left out of X too.
    folded : ndarray of int
        Rows that starts from other rows have scored, counted as `own` is.
    lowered : ndarray of shape (n_folded,)
        How much lower the start scores these rows than a start that has not seen them.
    """

    distance: SignedDistance
    history: History
    own: Indices
    folded: Indices
    lowered: Floats


def learn(X: Rows | Table, recipe: Recipe, rng: np.random.Generator) -> Learned:
    """Learn the signed distance to the support of rows.

    Parameters
    ----------
    X : ndarray of shape (n, d) or Table
    recipe : Recipe
        With ranks, each learns from its own rows: see `distributed`.
    rng : numpy.random.Generator
        Draws all that is random.

    Returns
    -------
    learned : Learned

    Raises
    ------
    ValueError, TypeError
        If the rows, the domain or the network do not go together.
    FloatingPointError
        If training diverges.

    Examples
    --------
    >>> from pyod_lipocc import LipOCC
    >>> rng = np.random.default_rng(0)
    >>> learned = learn(rng.normal(size=(200, 2)), Recipe.of(LipOCC().get_params()), rng)
    >>> (learned.distance([[0.0, 0.0], [9.0, 9.0]]) > 0).tolist()
    [True, False]
    """
    table = Table.of(X)
    with phase("scaling", total=len(table), verbose=recipe.verbose) as bar:
        images = recipe.image_shape is not None
        scaling = Scaling.fit(
            table, standardize=recipe.standardize, alike=images, progress=bar.update
        )
        margin = recipe.margin(table, scaling, rng)
        domain = recipe.domain(table, scaling, margin)
    LOGGER.debug("margin %g, domain %r, unit of the scores %g", margin, domain, scaling.unit)
    seen = _choose(len(table), recipe.n_seen(*table.shape), rng)
    learned: Learned = table.take(
        seen,
        scaling.to_network,
        np.float32,
        partial(_learn_from, scaling=scaling, margin=margin, domain=domain, recipe=recipe, rng=rng),
    )
    own, folded = (table.original(seen[rows]) for rows in (learned.own, learned.folded))
    return replace(learned, own=own, folded=folded)


def continue_learning(
    distance: SignedDistance, X: Rows, recipe: Recipe, rng: np.random.Generator
) -> Learned:
    """Train a copy of a signed distance with one pass over rows.

    The scaling stays, the domain grows where the rows need it, and the learning rate is the first
    of the schedule.

    Parameters
    ----------
    distance : SignedDistance
    X : ndarray of shape (n, d)
    recipe : Recipe
    rng : numpy.random.Generator

    Returns
    -------
    learned : Learned
        With the history of this pass.

    Raises
    ------
    FloatingPointError
        If training diverges.
    """
    scaling, ranks = distance.scaling, recipe.ranks
    ranks.check_rows(len(X))
    domain = ranks.in_turn(partial(_enclose, X=X, scaling=scaling), distance.domain)
    network = copy.deepcopy(distance.network).to(recipe.device)
    continued = replace(distance, network=network, domain=domain)
    n_rows = sum(ranks.gather(len(X)))

    def one_pass(training: Training) -> Training:
        rate = training.schedule(0.0)
        return replace(
            training,
            max_iter=math.ceil(n_rows / (ranks.size * training.batch_size)),
            schedule=LinearDecay(rate, rate),
        )

    seen = _choose(len(X), recipe.n_seen(*X.shape), rng)
    rows = torch.from_numpy(Table.of(X).take(seen, scaling.to_network, np.float32))
    history = _train(continued, rows, torch.arange(len(rows)), recipe, rng, one_pass)
    return Learned(continued, history, seen[:0], seen[:0], np.empty(0))


def training_scores(
    learned: Learned, recipe: Recipe, X: Rows, held_out: npt.NDArray[np.intp]
) -> Floats:
    """Score the training rows as if they were new.

    The network leaves the rows that it holds out of their own scores. A network that cannot do so
    scores the rows that it has seen too low. By how much, of few rows starts from parts of them
    say, for each row; of many rows, the percentile of those that were held out of training.

    Parameters
    ----------
    learned : Learned
    recipe : Recipe
    X : ndarray of shape (n, d)
        All rows: those that `learn` has seen and those held out.
    held_out : ndarray of int
        Rows that `learn` has not seen.

    Returns
    -------
    scores : ndarray of shape (n,)
        Of the rows of all ranks.
    """
    distance, ranks = learned.distance, recipe.ranks
    own = ranks.table(X).here(learned.own)
    scores = scored(distance, X, verbose=recipe.verbose)
    if len(own):
        scores[own] = scored(distance, X[own], leave_own_out=True, verbose=recipe.verbose)
    scores = ranks.concatenate(scores)
    scores[learned.folded] += learned.lowered
    if not len(learned.own) and not len(learned.folded) and len(held_out):
        seen = np.ones(len(scores), dtype=bool)
        seen[held_out] = False
        level = 1 - recipe.rule.share_of_outliers
        scores[seen] += rise(scores[held_out], np.quantile(scores[seen], level), level)
    return scores


def scored(distance: SignedDistance, X: Rows, **options: Any) -> Floats:
    """Score training rows, with as many threads as training has.

    Parameters
    ----------
    distance : SignedDistance
    X : ndarray of shape (n, d)
    **options
        Of `SignedDistance.scores`.

    Returns
    -------
    scores : ndarray of shape (n,)
    """
    with _threads_for(distance.network):
        return distance.scores(X, **options)


def rise(held_out: Floats, lowered: float, level: float) -> float:
    """Return by how much a network scores the rows that it has seen too low.

    Parameters
    ----------
    held_out : ndarray of shape (n_held_out,)
        Scores of rows that the network has not seen.
    lowered : float
        Quantile of the scores of rows that the network has seen.
    level : float
        Of the quantile.

    Returns
    -------
    rise : float
        At least 0.
    """
    # Of few rows, this is the quantile that new rows exceed as often as asked on average.
    unseen = np.quantile(held_out, level, method="weibull")
    return max(float(unseen) - lowered, 0.0)


def leaves_rows_out(network: nn.Module) -> bool:
    """Tell whether a network can leave the rows that it holds out of their own scores.

    Parameters
    ----------
    network : torch.nn.Module

    Returns
    -------
    leaves_out : bool
    """
    layers = [module for module in network.modules() if isinstance(module, NearestSubspace)]
    return any(layer.leave_one_out for layer in layers)


def _learn_from(
    sample: npt.NDArray[np.float32],
    scaling: Scaling,
    margin: float,
    domain: Domain,
    recipe: Recipe,
    rng: np.random.Generator,
) -> Learned:
    """Learn from rows in the network's units; `own` and `folded` count among these."""
    ranks = recipe.ranks
    ranks.check_rows(len(sample))
    rows = torch.from_numpy(sample)
    start = np.sort(rng.choice(len(rows), size=recipe.n_start(*rows.shape), replace=False))

    def started_from(chosen: Indices, normal: Tensor) -> nn.Module:
        return recipe.network(
            rows.shape[1],
            torch_generator(rng),
            rows=rows[chosen],
            normal=normal[chosen],
            margin=scaling.length_to_network(margin),
            contamination=recipe.contamination,
        )

    def train_on(normal: Tensor) -> Learned:
        folded, lowered = start[:0], np.empty(0)
        n_folds = recipe.n_folds(len(start))
        progress = phase("start", total=1 + n_folds, unit="fit", verbose=recipe.verbose)
        with progress as bar, one_thread:
            built = started_from(start, normal)
            bar.update()
            if n_folds:
                folds = np.array_split(rng.permutation(start), n_folds)
                again = partial(started_from, normal=normal)
                lowered = _lowered(built, rows, folds, again, bar.update)
                folded, lowered = start, scaling.unit * lowered[start]
        network = ranks.first(built).to(recipe.device)
        distance = SignedDistance(network, scaling, margin * recipe.gain(network), domain)
        members = normal.nonzero().squeeze(1)
        history = _train(distance, rows, members, recipe, rng)
        own = start if leaves_rows_out(network) else start[:0]
        return Learned(distance, history, *ranks.first((own, folded, lowered)))

    learned = train_on(_normal(rows, recipe, rng))
    for _ in range(0 if starts_from_rows(learned.distance.network) else recipe.n_retrimmings):
        learned = train_on(_normal_by(learned.distance.network, rows, recipe))
    return learned


def _enclose(domain: Domain, X: Rows, scaling: Scaling) -> Domain:
    """Grow a domain until it contains the rows."""
    for batch in chunks(X):
        domain = domain.enclose(torch.from_numpy(scaling.to_scores(batch)))
    return domain


def _lowered(
    network: nn.Module,
    rows: Tensor,
    folds: list[Indices],
    started_from: Callable[[Indices], nn.Module],
    progress: Callable[[], object],
) -> Floats:
    """Return how much lower a start scores its rows than starts from the other folds do.

    The constant of each start comes from its own rows: on the rows that both have seen, the two
    have the same median. A start from fewer rows scores new rows higher. Components of several rows
    each follow their rows by a distance that falls as 1 / n, so that the difference counts as much
    less as there are fewer rows in the other folds. Where each row has a component of its own, the
    distance between neighbours hardly depends on n, and the difference counts in full.
    """
    kinds = (NearestBox, NearestSubspace)
    components = max(len(one.offset) for one in network.modules() if isinstance(one, kinds))
    share = 1 - max(1 - components / len(rows), 0) / len(folds)
    lowered = np.empty(len(rows))
    f = _heights(network, rows)
    for fold in folds:
        others = np.setdiff1d(np.concatenate(folds), fold)
        both = others[:: len(folds) - 1]  # as many as the fold: a median needs no more
        compared = np.concatenate((fold, both))
        difference = f[compared] - _heights(started_from(others), rows[compared])
        known = difference[len(fold) :].median()
        lowered[fold] = share * (difference[: len(fold)] - known).numpy()
        progress()
    return lowered


@torch.no_grad()
def _heights(network: nn.Module, rows: Tensor) -> Tensor:
    """Return f of rows, shape (n,)."""
    network.eval()
    return torch.cat([network(chunk) for chunk in chunks(rows)]).flatten()


def _choose(n: int, size: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Draw sorted indices of rows; draw nothing where all rows are wanted."""
    return np.sort(rng.choice(n, size=size, replace=False)) if size < n else np.arange(n)


def _normal(rows: Tensor, recipe: Recipe, rng: np.random.Generator) -> Tensor:
    """Tell which rows look normal: all where none may be an outlier."""
    share = recipe.contamination
    normal = torch.full((len(rows),), not share)
    if share:
        with phase("trimming", total=len(rows), verbose=recipe.verbose) as bar:
            normal[inliers(rows.numpy(), share, rng, progress=bar.update)] = True
    LOGGER.debug("%d of %d rows look normal", normal.sum(), len(rows))
    return normal


@torch.no_grad()
def _normal_by(network: nn.Module, rows: Tensor, recipe: Recipe) -> Tensor:
    """Tell which rows look normal to a trained network."""
    weight = next(network.parameters())
    f = torch.empty(len(rows), dtype=weight.dtype)
    with (
        phase("trimming", total=len(rows), verbose=recipe.verbose) as bar,
        _threads_for(network),
    ):
        for batch in slices(*rows.shape):
            f[batch] = network(rows[batch].to(weight)).flatten()
            bar.update(len(f[batch]))
    normal = torch.zeros(len(rows), dtype=torch.bool)
    normal[least(-f.numpy(), recipe.contamination)] = True
    return normal


def _train(
    distance: SignedDistance,
    rows: Tensor,
    members: Tensor,
    recipe: Recipe,
    rng: np.random.Generator,
    adjusted: Callable[[Training], Training] = lambda training: training,
) -> History:
    """Train the parts of the network, in place, each by its own rule."""
    scaling, network = distance.scaling, distance.network
    margin = scaling.length_to_network(distance.margin)
    domain = scaling.domain_to_network(distance.domain).to(torch.float32, recipe.device)
    histories = [
        _run(part, rows, members, adjusted(recipe.training(part, margin, domain)), recipe, rng)
        for part in _parts(network)
    ]
    network.eval()
    return reduce(operator.add, histories)


def _threads_for(network: nn.Module) -> AbstractContextManager[None]:
    """Return a context in which torch uses one thread, unless the network keeps several busy.

    Threads that share operations of some microseconds wait for each other most of the time, and for
    the scheduler where other processes hold the cores. A network that starts from rows trains for
    few steps of such operations. The rule looks at the network only, so that a fit gives the same
    bits on a busy machine.
    """
    kinds = (nn.Conv2d, ReshapedConv2d, OrthogonalConv2d)
    convolves = any(isinstance(module, kinds) for module in network.modules())
    n_weights = sum(weight.numel() for weight in network.parameters())
    busy = convolves or n_weights >= _MANY_WEIGHTS
    return nullcontext() if busy and not starts_from_rows(network) else one_thread


def _parts(network: nn.Module) -> list[nn.Module]:
    """Return the networks of a mean of which only some start from rows, else the network."""
    if isinstance(network, Mean) and len(set(map(starts_from_rows, network.networks))) == 2:
        return list(network.networks)
    return [network]


@reproducible_convolutions()
def _run(
    network: nn.Module,
    rows: Tensor,
    members: Tensor,
    training: Training,
    recipe: Recipe,
    rng: np.random.Generator,
) -> History:
    """Run Algorithm 2 on the network in float32, in place; leave the network in float64."""
    device = recipe.device
    network.float().train()
    optimizer = recipe.optimizer(parameter_groups(network))
    ranks = recipe.ranks
    generator = torch_generator(ranks.spawn(rng), device)
    callbacks = [copy.copy(callback) for callback in recipe.callbacks]
    arguments = dict(vars(training))
    batch_size = arguments.pop("batch_size")
    # A callback draws the bar.
    with phase("training"), _threads_for(network):
        history = train(
            network,
            _batches(rows.to(device), members.to(device), batch_size, generator),
            optimizer=optimizer,
            callbacks=[*callbacks, *([ProgressBar()] if recipe.verbose else [])],
            generator=generator,
            ranks=ranks,
            **arguments,
        )
        if not all(weight.isfinite().all() for weight in network.parameters()):
            raise FloatingPointError(
                "training has diverged: weights are not finite. Lower learning_rate "
                f"(got {recipe.learning_rate!r}), or check the network if it is your own"
            )
        network.zero_grad(set_to_none=True)
        polish(network.double().eval())
        ranks.share(network)
    LOGGER.debug("%d steps, loss %g, of %r", len(history), history.loss[-1], network)
    return history


def _batches(
    rows: Tensor, members: Tensor, batch_size: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """Draw independent members of the rows for ever."""
    while True:
        drawn = torch.randint(
            len(members), (batch_size,), generator=generator, device=generator.device
        )
        yield rows[members[drawn]]
