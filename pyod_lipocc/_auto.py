"""What "auto" stands for: one rule for all data sets, from the rows alone, never from labels."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.neighbors import NearestNeighbors

from pyod_lipocc._chunks import chunks
from pyod_lipocc._isolation import one_thread
from pyod_lipocc._validation import NETWORKS, check_domain, check_network
from pyod_lipocc.domains import Ball, Box, Domain
from pyod_lipocc.lipschitz import NearestSubspace, OrthogonalConv2d, ReshapedConv2d
from pyod_lipocc.negatives import (
    ImageAugmentation,
    LocalNoise,
    Mixture,
    Proposal,
    shuffled_marginals,
    uniform,
)
from pyod_lipocc.sampler import Sampler, newton_raphson
from pyod_lipocc.starts import nearest_subspace
from pyod_lipocc.training import LinearDecay, Schedule
from pyod_lipocc.units import Scaling

__all__ = [
    "Plan",
    "leaves_own_rows_out",
    "plan_training",
    "resolve_domain",
    "resolve_margin",
    "resolve_negatives",
    "resolve_network",
    "resolve_schedule",
    "threads_for",
]

_AUTO_NETWORK = "nearest-subspace"
_RADIUS = 1.5  # in distances of the farthest row from the mean
_QUERIES = 512
_REFERENCES = 8192
_MARGIN_OF_THE_PAPER = 0.05
_PIXEL_NOISE = 0.05  # share of the range of the pixels
_MANY_WEIGHTS = 2**19  # three layers of 512: below, a second thread costs more than it brings


def resolve_margin(
    margin: float | str, X: npt.NDArray[Any], scaling: Scaling, generator: np.random.Generator
) -> float:
    """Return m; "auto" is half the median distance of a row to its nearest other row.

    Two rows closer than 2 m cannot both be a margin away from a boundary between them, so m is as
    large as the spacing of the data allows. At most 512 rows are compared with at most 8,192.

    Parameters
    ----------
    margin : float or "auto"
        In the units of the scores.
    X : ndarray of shape (n, d)
    scaling : Scaling
    generator : numpy.random.Generator
        Chooses the rows.

    Returns
    -------
    margin : float
        In the units of the scores. Where all rows coincide: the paper's 0.05, in units of the
        network.
    """
    if not isinstance(margin, str):
        return float(margin)
    rows = generator.choice(len(X), size=min(len(X), _REFERENCES), replace=False)
    references = scaling.to_network(X[np.sort(rows)])
    neighbours = NearestNeighbors(n_neighbors=min(2, len(rows))).fit(references)
    distances = neighbours.kneighbors(references[:: -(-len(rows) // _QUERIES)])[0][:, -1]
    apart = distances[distances > 1e-6]
    margin = float(np.median(apart)) / 2 if len(apart) else _MARGIN_OF_THE_PAPER
    return margin * scaling.unit


def resolve_domain(
    domain: Domain | str,
    X: npt.NDArray[Any],
    scaling: Scaling,
    margin: float,
    image_shape: Sequence[int] | None,
) -> Domain:
    """Return B; "auto" is a ball around the data, for images the range of the pixels.

    The ball has the mean of the data as its centre and one and a half times the distance of the
    farthest row, plus two margins, as its radius: the paper's ball of radius 5 around standardised
    data in the plane, for any data. Images have the paper's B, all images whose pixels lie between
    the smallest and the largest seen.

    Parameters
    ----------
    domain : Domain or "auto"
        In the units of the scores.
    X : ndarray of shape (n, d)
    scaling : Scaling
    margin : float
        In the units of the scores.
    image_shape : tuple of int or None

    Returns
    -------
    domain : Domain
        Of the width of X, in the units of the scores.

    Raises
    ------
    ValueError
        If the domain given has another width or does not contain the data.
    """
    if isinstance(domain, str):
        if image_shape is not None:
            low = min(scaling.to_scores(rows).min() for rows in chunks(X))
            high = max(scaling.to_scores(rows).max() for rows in chunks(X))
            return Box(low, high).expand(X.shape[1])
        farthest = max(np.linalg.norm(scaling.to_network(rows), axis=1).max() for rows in chunks(X))
        radius = _RADIUS * scaling.unit * farthest + 2 * margin
        return Ball(radius, 0.0 if scaling.standardized else scaling.location).expand(X.shape[1])
    expanded = domain.expand(X.shape[1])
    units = "standardised units" if scaling.standardized else "the units of X"
    for rows in chunks(X):
        check_domain(expanded, scaling.to_scores(rows), units)
    return expanded


def resolve_network(
    network: Any,
    n_features: int,
    generator: torch.Generator,
    *,
    image_shape: Sequence[int] | None,
    **of_data: Any,
) -> torch.nn.Module:
    """Return an untrained network of its own: by name, by a builder, or as a copy of a module.

    "auto" is the nearest-subspace network, which starts from the data.

    Parameters
    ----------
    network : str, torch.nn.Module or callable
    n_features : int
    generator : torch.Generator
        Handed to the builder.
    image_shape : tuple of int or None
        Handed to a builder that takes it and has no value of its own.
    **of_data
        What else a builder may take: `rows`, `normal`, `margin` and `contamination`.

    Returns
    -------
    network : torch.nn.Module

    Raises
    ------
    TypeError, ValueError
        As `check_network`; ValueError if a builder needs an `image_shape` and there is none.
    """
    if isinstance(network, torch.nn.Module):
        check_network(network, n_features)
        return copy.deepcopy(network)
    builder = _builder(network)
    taken = inspect.signature(builder).parameters
    needed = {key for key, one in taken.items() if one.default is inspect.Parameter.empty}
    if "image_shape" in needed and image_shape is None:
        raise ValueError(
            "image_shape must be (height, width) or (channels, height, width) of the images "
            f"that the rows are for network={network!r}, got None"
        )
    given = {"image_shape": image_shape, **of_data}
    fixed = getattr(builder, "keywords", {})  # of functools.partial
    keywords = {key: given[key] for key in given if key in taken and key not in fixed}
    built: torch.nn.Module = builder(n_features, generator=generator, **keywords)
    check_network(built, n_features)
    return built


def _builder(network: Any) -> Any:
    """Return what a name stands for; a builder stands for itself."""
    if not isinstance(network, str):
        return network
    return NETWORKS[_AUTO_NETWORK if network == "auto" else network]


def leaves_own_rows_out(network: Any, image_shape: Sequence[int] | None) -> bool:
    """Tell whether the network of a detector can leave a training row out of its own score.

    So does `subspaces.nearest_subspace` where the rows themselves are its centres.

    Parameters
    ----------
    network : str, torch.nn.Module or callable
        As the parameter of `LipOCC`.
    image_shape : tuple of int or None

    Returns
    -------
    leaves_out : bool
    """
    builder: Any = _builder(network)
    keywords: dict[str, Any] = {"image_shape": image_shape}
    while isinstance(builder, partial):
        builder, keywords = builder.func, builder.keywords | keywords
    of_tables = keywords["image_shape"] is None and not keywords.get("n_components")
    return builder is nearest_subspace and of_tables


@dataclass(frozen=True)
class Plan:
    """What "auto" stands for in the training of a network.

    Attributes
    ----------
    starts_from_data : bool
    max_iter : int
    n_newton_steps : int
    schedule : callable
        Learning rate as a function of progress.
    sampler : callable
    """

    starts_from_data: bool
    max_iter: int
    n_newton_steps: int
    schedule: Schedule
    sampler: Sampler


def threads_for(network: torch.nn.Module) -> AbstractContextManager[None]:
    """Return a context in which torch uses one thread, unless the network keeps several busy.

    Threads that share operations of some microseconds wait for each other most of the time, and for
    the scheduler where other processes hold the cores. A network that starts from data trains for
    few steps of such operations. The rule looks at the network only, so that a fit gives the same
    bits on a busy machine.

    Parameters
    ----------
    network : torch.nn.Module

    Returns
    -------
    context : context manager
        One that changes nothing for convolutions and from 2^19 weights on.
    """
    kinds = (torch.nn.Conv2d, ReshapedConv2d, OrthogonalConv2d)
    convolves = any(isinstance(module, kinds) for module in network.modules())
    n_weights = sum(weight.numel() for weight in network.parameters())
    busy = convolves or n_weights >= _MANY_WEIGHTS
    return nullcontext() if busy and not _starts_from_data(network) else one_thread


def _starts_from_data(network: torch.nn.Module) -> bool:
    return any(isinstance(module, NearestSubspace) for module in network.modules())


def plan_training(network: torch.nn.Module, margin: float) -> Plan:
    """Return what "auto" stands for: fewer, smaller steps for a network that starts from data.

    Of a fall from r to 0, n steps of Adam move a parameter by at most about r n / 2: no centre and
    no radius of such a network leaves its place by more than half a margin.

    Parameters
    ----------
    network : torch.nn.Module
    margin : float
        m, in units of the network.

    Returns
    -------
    plan : Plan
    """
    if not _starts_from_data(network):
        return Plan(False, 1000, 4, LinearDecay(5e-3, 0.0), newton_raphson)
    schedule = LinearDecay(min(1e-3, margin / 50), 0.0)
    return Plan(True, 50, 1, schedule, partial(newton_raphson, level=-1.5))


def resolve_schedule(learning_rate: float | Schedule | str, plan: Plan) -> Schedule:
    """Return the learning rate as a function of progress.

    Parameters
    ----------
    learning_rate : float, callable or "auto"
        A number is kept constant, as in the paper.
    plan : Plan
        Of the network, for "auto".

    Returns
    -------
    schedule : callable
    """
    if isinstance(learning_rate, str):
        return plan.schedule
    if callable(learning_rate):
        return learning_rate
    return LinearDecay(learning_rate, learning_rate)


def resolve_negatives(
    negatives: Proposal | str,
    *,
    domain: Domain,
    margin: float,
    novelty: bool,
    image_shape: Sequence[int] | None,
    starts_from_data: bool,
) -> Proposal:
    """Return Q0; "auto" depends on what the data is.

    Images, for a network that starts from them: one in ten uniform, the others rotated, flipped and
    mixed images of the data themselves. Other networks, which would take the brightness of mixed
    images for the difference, have uniform ones.
    Clean tables: a third each uniform, noise of m to 100 m around the data, and shuffled marginals.
    Contaminated tables: uniform, since negatives near the data would be near its outliers too.

    Parameters
    ----------
    negatives : callable or "auto"
    domain : Domain
        In units of the network.
    margin : float
        In units of the network.
    novelty : bool
    image_shape : tuple of int or None
    starts_from_data : bool

    Returns
    -------
    proposal : callable
    """
    if not isinstance(negatives, str):
        return negatives
    if image_shape is not None and not starts_from_data:
        return uniform
    if image_shape is not None:
        side = float(domain.high.max() - domain.low.min()) if isinstance(domain, Box) else 1.0
        augmented = ImageAugmentation(tuple(image_shape), noise=_PIXEL_NOISE * side)
        return Mixture((uniform, augmented), (0.1, 0.9))
    if novelty:
        return Mixture((uniform, LocalNoise(margin, 100 * margin), shuffled_marginals))
    return uniform
