"""The network that the parameter `network` stands for, and what is known of it before training."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

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
from pyod_lipocc.starts import clusters, inscribed_balls, nearest_subspace
from pyod_lipocc.training import check_unwrapped

__all__ = [
    "NETWORKS",
    "Builder",
    "automatic",
    "build",
    "leaves_own_rows_out",
    "repeats_its_start",
    "shortens_gradients",
    "starts_from_rows",
]

Builder = Callable[..., torch.nn.Module]

_FEW_IMAGES = 1000
_HIDDEN_OF_MANY_IMAGES = (256, 256)
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


def shortens_gradients(network: torch.nn.Module) -> bool:
    """Tell whether a network pools, as the paper's convolutional networks do."""
    kinds = (GlobalL2NormPool2d, L2NormPool2d, ScaledAvgPool2d)
    return any(isinstance(module, kinds) for module in network.modules())


def _builder(network: Any) -> Any:
    """Return the builder that a name stands for; a builder or a module stands for itself."""
    return NETWORKS.get(network) if isinstance(network, str) else network


def leaves_own_rows_out(network: Any, image_shape: Sequence[int] | None) -> bool:
    """Tell whether `starts.nearest_subspace` will have the rows themselves as centres."""
    builder, keywords = _unwrapped(network, image_shape)
    of_tables = keywords["image_shape"] is None and not keywords.get("n_components")
    return builder is nearest_subspace and of_tables


def repeats_its_start(network: Any, image_shape: Sequence[int] | None) -> bool:
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
    if builder not in NETWORKS.values():
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
