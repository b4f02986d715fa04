"""The parameters of a detector with "auto" resolved: one rule for all data, never from labels."""

from __future__ import annotations

import copy
import inspect
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.neighbors import NearestNeighbors

from pyod_lipocc._checks import check_device
from pyod_lipocc._moments import extremes
from pyod_lipocc._table import Rows, Table
from pyod_lipocc.distributed import Ranks
from pyod_lipocc.domains import Ball, Box, Domain
from pyod_lipocc.lipschitz import (
    GlobalL2NormPool2d,
    L2NormPool2d,
    Mean,
    NearestBox,
    NearestSubspace,
    ReshapedConv2d,
    ScaledAvgPool2d,
    conv,
    conv_deep,
    dense,
    norm_preserving,
)
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
from pyod_lipocc.sampler import Sampler, newton_raphson
from pyod_lipocc.starts import clusters, inscribed_balls, nearest_subspace
from pyod_lipocc.stiefel import StiefelAdam, StiefelRMSprop
from pyod_lipocc.thresholds import ThresholdRule
from pyod_lipocc.training import Callback, LinearDecay, Schedule, check_unwrapped
from pyod_lipocc.units import Scaling

__all__ = [
    "NETWORKS",
    "OPTIMIZERS",
    "Recipe",
    "Training",
    "automatic",
    "build",
    "starts_from_rows",
]

Builder = Callable[..., torch.nn.Module]
Data = npt.NDArray[Any] | Table

_FEW_IMAGES = 1000
_HIDDEN_OF_MANY_IMAGES = (256, 256)
_RETRIMMINGS = 2
_SHORT_GRADIENTS = 0.6
_FEW_FEATURES, _FILLING, _COPIES = 3, 500, 0.05  # of rows that fill a shape


def automatic(
    n_features: int,
    *,
    rows: torch.Tensor,
    normal: torch.Tensor | None = None,
    margin: float = 0.0,
    contamination: float = 0.0,
    image_shape: Sequence[int] | None = None,
    generator: torch.Generator | None = None,
) -> torch.nn.Module:
    """Build the network that "auto" stands for.

    ============================================ ==========================
    images, contaminated or fewer than 1,000     `lipschitz.dense`
    other images                                 `lipschitz.Mean` of `starts.nearest_subspace` and
                                                 of a dense network with two layers of 256
    from 500 clean rows, 3 features at most      `starts.inscribed_balls`
    other tables                                 `starts.clusters`
    ============================================ ==========================

    Few images leave no subspaces to find, and nearest images are poor neighbours. An outlier among
    the images would have a subspace of its own. Inscribed balls need rows that fill a shape: tables
    in which more than a twentieth of the rows are copies of others, as those of discrete features
    are, have clusters.

    Parameters
    ----------
    n_features : int
    rows, normal, margin, contamination, image_shape, generator
        As of `starts.nearest_subspace`.

    Returns
    -------
    network : torch.nn.Module
    """
    of_rows: dict[str, Any] = {"rows": rows, "margin": margin, "generator": generator}
    if image_shape is not None:
        if contamination or len(rows) < _FEW_IMAGES:
            return dense(n_features, generator=generator)
        return Mean(
            nearest_subspace(n_features, image_shape=image_shape, **of_rows),
            dense(n_features, hidden=_HIDDEN_OF_MANY_IMAGES, generator=generator),
        )
    if not contamination and _fill_a_shape(rows):
        return inscribed_balls(n_features, **of_rows)
    return clusters(n_features, normal=normal, contamination=contamination, **of_rows)


def _fill_a_shape(rows: torch.Tensor) -> bool:
    """Tell whether rows may be samples of a shape of the plane or of space."""
    n, d = rows.shape
    enough = n >= _FILLING and d <= _FEW_FEATURES
    return enough and len(torch.unique(rows, dim=0)) >= (1 - _COPIES) * n


NETWORKS: dict[str, Builder] = {
    "auto": automatic,
    "clusters": clusters,
    "dense": dense,
    "conv": conv,
    "conv-paper": partial(conv, width=128, convolution=ReshapedConv2d),
    "conv-deep": conv_deep,
    "norm-preserving": norm_preserving,
    "nearest-subspace": nearest_subspace,
    "inscribed-balls": inscribed_balls,
}
"""Builders by name."""

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": StiefelAdam,
    # "Default hyper-parameters" of the paper are those of Keras.
    "rmsprop": partial(StiefelRMSprop, alpha=0.9, eps=1e-7),
}
"""Optimisers by name."""

_MARGIN_OF_THE_PAPER = 0.05
_QUERIES, _REFERENCES = 512, 8192  # rows compared for the margin
_RADIUS = 1.5  # of the domain, in distances of the farthest row from the mean
_SHORTEST_SIDE = 4  # of images that can be bent and cut
_TRAINING_NUMBERS = 2**25  # float32 numbers held for training
_TRIMMED_ROWS = 2**14  # rows searched for outliers: each is compared with thousands
_FOLDS, _FEW_ROWS = 5, 2000  # of which each is scored by a start from the other folds
_START_OF_TABLES, _START_OF_IMAGES = 4096, 8192  # rows that a network may start from
_START_OF_CLEAN_TABLES, _START_NUMBERS = 16384, 2**17


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
                partial(_share_of_spacing, 1 / 2 if shape is None else 1 / 3)
                if _is_auto(p["margin"])
                else _constant(float(p["margin"]))
            ),
            gain=_gain if _is_auto(p["margin"]) else _constant(1.0),
            domain=(
                partial(_around_the_rows, image_shape=shape)
                if _is_auto(p["domain"])
                else partial(_that_contains, p["domain"])
            ),
            network=partial(build, p["network"], image_shape=p["image_shape"]),
            leaves_own_rows_out=_leaves_own_rows_out(p["network"], shape),
            repeats_its_start=_repeats_its_start(p["network"], shape),
            rule=rule,
            training=partial(_training, p),
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


def _is_auto(value: Any) -> bool:
    return isinstance(value, str)  # "auto" is the only text that passes the checks


def _constant(value: Any) -> Callable[..., Any]:
    return lambda *_: value


def _share_of_spacing(share: float, X: Data, scaling: Scaling, rng: np.random.Generator) -> float:
    """Return a share of the median distance of a row to its nearest other row, as a margin.

    Two rows closer than 2 m cannot both be a margin away from a boundary between them, so half the
    spacing is the largest m that the data allow. Where all rows coincide, m is the paper's 0.05 in
    units of the network.
    """
    rows = rng.choice(len(X), size=min(len(X), _REFERENCES), replace=False)
    references = Table.of(X).take(np.sort(rows), scaling.to_network, np.float64)
    neighbours = NearestNeighbors(n_neighbors=min(2, len(rows))).fit(references)
    distances = neighbours.kneighbors(references[:: -(-len(rows) // _QUERIES)])[0][:, -1]
    apart = distances[distances > 1e-6]
    margin = share * float(np.median(apart)) if len(apart) else _MARGIN_OF_THE_PAPER
    return margin * scaling.unit


def starts_from_rows(network: torch.nn.Module) -> bool:
    """Tell whether a network is a distance to rows, or to sets fitted to rows, before training.

    Parameters
    ----------
    network : torch.nn.Module

    Returns
    -------
    starts : bool
    """
    kinds = (NearestBox, NearestSubspace)
    return any(isinstance(module, kinds) for module in network.modules())


def _shortens_gradients(network: torch.nn.Module) -> bool:
    """Tell whether a network pools, as the paper's convolutional networks do."""
    kinds = (GlobalL2NormPool2d, L2NormPool2d, ScaledAvgPool2d)
    return any(isinstance(module, kinds) for module in network.modules())


def _gain(network: torch.nn.Module) -> float:
    """Return how long the gradients of a trained network are, roughly."""
    return _SHORT_GRADIENTS if _shortens_gradients(network) else 1.0


def _around_the_rows(
    X: Data, scaling: Scaling, margin: float, image_shape: Sequence[int] | None
) -> Domain:
    """Return a ball around the rows, or the range of the pixels.

    The ball has the mean of the rows as its centre. Its radius is one and a half times the distance
    of the farthest row, plus two margins: the paper's ball of radius 5 around standardised data in
    the plane, for any data.
    """
    table = Table.of(X)
    if image_shape is not None:
        # The scaling is the same for all pixels, and increases.
        low, high = (scaling.to_scores(pixels) for pixels in extremes(table))
        return Box(low.min(), high.max()).expand(X.shape[1])
    farthest = table.fold(
        lambda rows: np.linalg.norm(scaling.to_network(rows), axis=1).max(), np.maximum
    )
    radius = _RADIUS * scaling.unit * farthest + 2 * margin
    return Ball(radius, 0.0 if scaling.standardized else scaling.location).expand(X.shape[1])


def _that_contains(domain: Domain, X: Data, scaling: Scaling, margin: float) -> Domain:
    """Return the domain given, of the width of X; raise ValueError if a row lies outside."""
    expanded = domain.expand(X.shape[1])

    def count(rows: Rows) -> int:
        points = torch.as_tensor(scaling.to_scores(rows), dtype=torch.float64)
        return int((~expanded.contains(points)).sum())

    outside = Table.of(X).fold(count, operator.add)
    if outside:
        units = "standardised units" if scaling.standardized else "the units of X"
        raise ValueError(
            f"domain must contain the data, got {expanded!r} with {outside} of {len(X)} "
            f"rows outside, in {units}: widen it, or use domain='auto'"
        )
    return expanded


def _builder(network: Any) -> Any:
    """Return the builder that a name stands for; a builder or a module stands for itself."""
    return NETWORKS.get(network) if isinstance(network, str) else network


def _leaves_own_rows_out(network: Any, image_shape: Sequence[int] | None) -> bool:
    """Tell whether `starts.nearest_subspace` will have the rows themselves as centres."""
    builder, keywords = _unwrapped(network, image_shape)
    of_tables = keywords["image_shape"] is None and not keywords.get("n_components")
    return builder is nearest_subspace and of_tables


def _repeats_its_start(network: Any, image_shape: Sequence[int] | None) -> bool:
    """Tell whether the network of a table will have fewer components than rows."""
    builder, keywords = _unwrapped(network, image_shape)
    return builder in (automatic, clusters, inscribed_balls) and keywords["image_shape"] is None


def _unwrapped(network: Any, image_shape: Sequence[int] | None) -> tuple[Any, dict[str, Any]]:
    """Return the function behind partial ones, and its keywords."""
    builder: Any = _builder(network)
    keywords: dict[str, Any] = {"image_shape": image_shape}
    while isinstance(builder, partial):
        builder, keywords = builder.func, builder.keywords | keywords
    return builder, keywords


def build(
    network: Any,
    n_features: int,
    generator: torch.Generator,
    *,
    image_shape: Sequence[int] | None,
    **of_rows: Any,
) -> torch.nn.Module:
    """Return an untrained network: by name, by a builder, or as a copy of a module.

    Parameters
    ----------
    network : str, torch.nn.Module or callable
        As the parameter of `LipOCC`.
    n_features : int
    generator : torch.Generator
        Handed to the builder.
    image_shape : tuple of int or None
        Handed to a builder that takes it and has no value of its own.
    **of_rows
        `rows`, `normal`, `margin` and `contamination`, handed to a builder that takes them.

    Returns
    -------
    network : torch.nn.Module

    Raises
    ------
    TypeError
        If the builder does not return a torch module.
    ValueError
        If the network cannot be trained on rows of this width; if a builder needs an `image_shape`
        and there is none.
    """
    if isinstance(network, torch.nn.Module):
        _check_network(network, n_features)
        return copy.deepcopy(network)
    builder = _builder(network)
    taken = inspect.signature(builder).parameters
    needed = {key for key, one in taken.items() if one.default is inspect.Parameter.empty}
    if "image_shape" in needed and image_shape is None:
        raise ValueError(
            "image_shape must be (height, width) or (channels, height, width) of the images "
            f"that the rows are for network={network!r}, got None"
        )
    given = {"image_shape": image_shape, **of_rows}
    fixed = getattr(builder, "keywords", {})  # of functools.partial
    keywords = {key: given[key] for key in given if key in taken and key not in fixed}
    built: torch.nn.Module = builder(n_features, generator=generator, **keywords)
    _check_network(built, n_features)
    return built


def _check_network(network: Any, n_features: int) -> None:
    """Raise TypeError or ValueError unless the network can be trained on rows of this width."""
    required = "network must be a torch.nn.Module that maps (n, d) to (n, 1) or (n,)"
    if not isinstance(network, torch.nn.Module):
        raise TypeError(f"{required}, got {network!r}")
    check_unwrapped(network)
    if next(network.parameters(), None) is None:
        raise ValueError(f"{required} and has parameters, got {network!r}")
    try:
        with torch.no_grad():
            shape = tuple(copy.deepcopy(network).float()(torch.zeros(2, n_features)).shape)
    except RuntimeError as error:
        raise ValueError(f"{required}, here of d = {n_features} columns, got {error}") from error
    if shape not in ((2,), (2, 1)):
        raise ValueError(
            f"{required}, got an output of shape {shape} for an input of shape (2, {n_features})"
        )


def _training(
    p: Mapping[str, Any], network: torch.nn.Module, margin: float, domain: Domain
) -> Training:
    """Resolve the parameters of the training; margin and domain are in units of the network.

    A network that starts from rows is a distance function: one Newton step reaches the level, and
    few small steps of training suffice: of a table so few that they cost no more than the start. Of
    a rate that falls from r to 0, n steps of Adam move a parameter by about r n / 2 at most, so no
    coordinate of a centre and no radius moves by more than a margin; of tables, by more than a
    tenth. Other networks of images train longer, unless outliers are among the images: a long
    training learns these too.

    Images take no Newton steps. Along the gradient of a 1-Lipschitz network f rises by no more than
    the length of a step, which then acts as a wider margin does. A network that pools would know
    the negatives by the texture that Newton steps leave, as noise does. Few weights of such a
    network serve many pixels: it bears a larger rate and small batches.
    """
    of_images = p["image_shape"] is not None
    sampler: Sampler
    if starts_from_rows(network):
        batch_size, max_iter = 256, 100 if of_images else 10
        n_newton_steps, sampler = 1, partial(newton_raphson, level=-1.5)
        schedule = LinearDecay(min(1e-3, margin / 50), 0.0)
    else:
        batch_size, max_iter = (64, 1600 if p["novelty"] else 800) if of_images else (256, 1000)
        n_newton_steps, sampler, rate = 4, newton_raphson, 5e-3
        if _shortens_gradients(network):
            batch_size, max_iter, rate = 32, 1600, 2e-2
        schedule = LinearDecay(rate, 0.0)
    if of_images:
        n_newton_steps, sampler = 0, newton_raphson
    given = p["learning_rate"]
    if isinstance(given, Real):
        schedule = LinearDecay(given, given)  # type: ignore[arg-type]
    return Training(
        batch_size=batch_size if _is_auto(p["batch_size"]) else p["batch_size"],
        max_iter=max_iter if _is_auto(p["max_iter"]) else p["max_iter"],
        n_newton_steps=n_newton_steps if _is_auto(p["n_newton_steps"]) else p["n_newton_steps"],
        n_warmup_steps=p["n_warmup_steps"],
        schedule=given if callable(given) else schedule,
        sampler=sampler if _is_auto(p["sampler"]) else p["sampler"],
        negatives=(
            _negatives(p["image_shape"], p["novelty"], margin)
            if _is_auto(p["negatives"])
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
