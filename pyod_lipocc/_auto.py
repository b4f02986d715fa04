"""What "auto" stands for: one rule for all data sets, from the rows alone, never from labels."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.neighbors import NearestNeighbors

from pyod_lipocc._scaling import Scaling, chunks
from pyod_lipocc._validation import check_domain, check_network
from pyod_lipocc.domains import Ball, Box, Domain
from pyod_lipocc.lipschitz.networks import BUILDERS
from pyod_lipocc.training import LinearDecay, Schedule

__all__ = [
    "AUTO_MAX_ITER",
    "AUTO_NEWTON_STEPS",
    "resolve_domain",
    "resolve_margin",
    "resolve_network",
    "resolve_schedule",
]

AUTO_MAX_ITER = 1000
AUTO_NEWTON_STEPS = 4
_AUTO_NETWORK = "dense"
_AUTO_SCHEDULE = LinearDecay(5e-3, 0.0)
_RADIUS = 1.5  # in distances of the farthest row from the mean
_QUERIES = 512
_REFERENCES = 8192
_MARGIN_OF_THE_PAPER = 0.05


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
    image_shape: tuple[int, ...] | None,
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


def _of_images(
    builder: Callable[..., torch.nn.Module], network: Any, image_shape: tuple[int, ...] | None
) -> dict[str, Any]:
    """Return the keyword `image_shape` for a builder that takes it and has no value of its own."""
    taken = inspect.signature(builder).parameters.get("image_shape")
    if taken is None or taken.default not in (inspect.Parameter.empty, None):
        return {}
    if image_shape is None and taken.default is inspect.Parameter.empty:
        raise ValueError(
            "image_shape must be (height, width) or (channels, height, width) of the images that "
            f"the rows are for network={network!r}, got None"
        )
    return {"image_shape": image_shape}


def resolve_network(
    network: Any,
    n_features: int,
    image_shape: tuple[int, ...] | None,
    generator: torch.Generator,
) -> torch.nn.Module:
    """Return an untrained network of its own: by name, by a builder, or as a copy of a module.

    Parameters
    ----------
    network : str, torch.nn.Module or callable
    n_features : int
    image_shape : tuple of int or None
        Handed to a builder that takes it.
    generator : torch.Generator
        Handed to the builder.

    Returns
    -------
    network : torch.nn.Module

    Raises
    ------
    TypeError, ValueError
        As `check_network`; ValueError if a builder needs an `image_shape` and there is none.
    """
    if isinstance(network, torch.nn.Module):
        built = copy.deepcopy(network)
    else:
        name = _AUTO_NETWORK if network == "auto" else network
        builder = BUILDERS[name] if isinstance(name, str) else name
        images = _of_images(builder, network, image_shape)
        built = builder(n_features, generator=generator, **images)
    check_network(built, n_features)
    return built


def resolve_schedule(learning_rate: float | Schedule | str) -> Schedule:
    """Return the learning rate as a function of progress; "auto" falls linearly from 5e-3 to 0.

    Parameters
    ----------
    learning_rate : float, callable or "auto"
        A number is kept constant, as in the paper.

    Returns
    -------
    schedule : callable
    """
    if isinstance(learning_rate, str):
        return _AUTO_SCHEDULE
    if callable(learning_rate):
        return learning_rate
    return LinearDecay(learning_rate, learning_rate)
