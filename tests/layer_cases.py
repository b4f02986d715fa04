"""One list of layers and small networks for all laws: a new layer is a line of CASES."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import nn

from pyod_lipocc.lipschitz import (
    FullSort,
    GaussianBlur,
    GlobalL2NormPool2d,
    GroupSort2,
    InvertibleDownsampling2d,
    L2NormPool2d,
    Maximum,
    Mean,
    Minimum,
    NearestBox,
    NearestSubspace,
    OrthogonalConv2d,
    OrthogonalLinear,
    ReshapedConv2d,
    ScaledAvgPool2d,
    conv,
    conv_deep,
    dense,
    norm_preserving,
    parameter_groups,
    polish,
)
from pyod_lipocc.stiefel import StiefelAdam


class Case(NamedTuple):
    """A layer, the shape of one input, and whether all singular values of its Jacobian are 1."""

    build: Callable[[torch.Generator], nn.Module]
    shape: tuple[int, ...]
    orthogonal: bool = False


def drawn(build, *arguments, **keywords):
    return lambda generator: build(*arguments, generator=generator, **keywords)


def fixed(build, *arguments):
    return lambda _: build(*arguments)


def of_torch(build, *arguments, **keywords):
    """Draw the weights of a layer of torch, whose constructor knows no generator."""

    def built(generator):
        layer = build(*arguments, **keywords)
        for weight in layer.parameters():
            weight.data = torch.randn(weight.shape, generator=generator) / 3
        return layer

    return built


def subspaces(n_features, *sizes, generator, **keywords):
    """Draw all parameters of a nearest-subspace network, contractions beyond their interval too."""
    network = NearestSubspace(n_features, *sizes, generator=generator, **keywords)
    network.assign(
        contraction=1.5 * torch.rand(network.contraction.shape, generator=generator) - 0.25,
        offset=torch.randn(network.offset.shape, generator=generator),
        bias=torch.randn((), generator=generator),
    )
    return network


def boxes(n_features, *sizes, generator):
    """Draw all parameters of a nearest-box network, some half-widths below 0."""
    network = NearestBox(n_features, *sizes, generator=generator)
    network.assign(
        half_width=2 * torch.rand(network.half_width.shape, generator=generator) - 0.2,
        offset=torch.randn(network.offset.shape, generator=generator),
        bias=torch.randn((), generator=generator),
    )
    return network


def combined(kind):
    """Combine a dense network with one of subspaces and one of points."""

    def built(generator):
        return kind(
            dense(4, hidden=(5,), generator=generator),
            subspaces(4, 3, 2, generator=generator),
            nn.Sequential(subspaces(4, 9, n_nearest=2, generator=generator)),
        )

    return built


circular = {"padding_mode": "circular"}

CASES = {
    "linear square": Case(drawn(OrthogonalLinear, 6, 6), (6,), True),
    "linear tall": Case(drawn(OrthogonalLinear, 3, 7), (3,), True),
    "linear wide": Case(drawn(OrthogonalLinear, 7, 3, bias=False), (7,), True),
    "linear unit row": Case(drawn(OrthogonalLinear, 7, 1), (7,), True),
    "linear scalar": Case(drawn(OrthogonalLinear, 1, 1), (1,), True),
    "groupsort odd": Case(fixed(GroupSort2), (7,), True),
    "groupsort of one": Case(fixed(GroupSort2), (1,), True),
    "groupsort channels": Case(fixed(GroupSort2, 1), (4, 2, 3), True),
    "fullsort": Case(fixed(FullSort), (6,), True),
    "fullsort channels": Case(fixed(FullSort, 1), (4, 2, 3), True),
    "l2 pooling": Case(fixed(L2NormPool2d), (2, 5, 4), True),
    "global l2 pooling": Case(fixed(GlobalL2NormPool2d), (3, 3, 2), True),
    "average pooling": Case(fixed(ScaledAvgPool2d, 3), (2, 3, 7), True),
    "down-sampling": Case(fixed(InvertibleDownsampling2d), (2, 2, 4), True),
    "blur": Case(fixed(GaussianBlur, (2, 4, 3), 0.7), (24,)),
    "reshaped": Case(drawn(ReshapedConv2d, 2, 3, 3), (2, 4, 4)),
    "reshaped strided": Case(drawn(ReshapedConv2d, 2, 3, 5, stride=2), (2, 5, 4)),
    "reshaped circular": Case(drawn(ReshapedConv2d, 3, 2, 2, bias=False, **circular), (3, 3, 4)),
    "reshaped pixel": Case(drawn(ReshapedConv2d, 4, 3, 1), (4, 2, 2), True),
    "orthogonal": Case(drawn(OrthogonalConv2d, 3, 3, 3), (3, 4, 3)),
    "orthogonal strided": Case(drawn(OrthogonalConv2d, 1, 5, 3, stride=2), (1, 5, 4)),
    "orthogonal circular": Case(drawn(OrthogonalConv2d, 2, 2, 3, **circular), (2, 4, 3), True),
    "orthogonal up": Case(drawn(OrthogonalConv2d, 1, 4, 4, **circular), (1, 4, 4), True),
    "orthogonal down": Case(drawn(OrthogonalConv2d, 4, 1, 3, **circular), (4, 3, 3), True),
    "orthogonal circular strided": Case(
        drawn(OrthogonalConv2d, 2, 3, 3, stride=2, **circular), (2, 4, 4), True
    ),
    "nearest points": Case(drawn(subspaces, 4, 9, n_nearest=2), (4,)),
    "nearest subspace": Case(drawn(subspaces, 5, 4, 2), (5,)),
    "nearest balls": Case(drawn(boxes, 4, 9), (4,)),
    "nearest boxes": Case(drawn(boxes, 5, 4, 2), (5,)),
    "mean": Case(combined(Mean), (4,)),
    "minimum": Case(combined(Minimum), (4,)),
    "maximum": Case(combined(Maximum), (4,)),
    "dense": Case(drawn(dense, 2, hidden=(16, 16)), (2,)),
    "dense odd": Case(drawn(dense, 9, hidden=(5, 2)), (9,)),
    "dense fullsort": Case(drawn(dense, 2, hidden=(8, 8), activation=FullSort), (2,)),
    "conv reshaped": Case(
        drawn(conv, 16, image_shape=(4, 4), width=4, depth=2, convolution=ReshapedConv2d), (16,)
    ),
    "conv": Case(drawn(conv, 18, image_shape=(2, 3, 3), width=3, depth=2), (18,)),
    "norm preserving": Case(
        drawn(norm_preserving, 8, image_shape=(2, 4), depth=1, hidden=(3,)), (8,)
    ),
    "conv deep": Case(drawn(conv_deep, 16, image_shape=(4, 4), stages=((1, 3), (2, 4))), (16,)),
    "torch linear": Case(of_torch(nn.Linear, 5, 4), (5,)),
    "torch conv": Case(of_torch(nn.Conv2d, 2, 3, (2, 3), stride=2, padding=1), (2, 4, 5)),
    "torch circular": Case(of_torch(nn.Conv2d, 2, 2, 3, padding=1, **circular), (2, 4, 3)),
    "torch sequence": Case(of_torch(nn.Sequential, nn.Identity()), (3,), True),
    "identity": Case(fixed(nn.Identity), (3,), True),
    "flatten": Case(fixed(nn.Flatten), (2, 3), True),
    "unflatten": Case(fixed(nn.Unflatten, 1, (2, 3)), (6,), True),
    "relu": Case(fixed(nn.ReLU), (4,)),
    "sigmoid": Case(fixed(nn.Sigmoid), (4,)),
    "tanh": Case(fixed(nn.Tanh), (4,)),
}


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def fresh(case, seed=0):
    layer = case.build(torch.Generator().manual_seed(seed)).double()
    polish(layer)
    return layer


def trained(case, n_steps=10):
    """Take optimiser steps that pull the outputs apart on two blobs, biases included."""
    layer = fresh(case)
    groups = parameter_groups(layer)
    if not groups:
        return layer
    optimizer = StiefelAdam(groups, lr=3e-2)
    for seed in range(n_steps):
        x, z = randn(16, *case.shape, seed=seed) / 4, randn(16, *case.shape, seed=-seed)
        optimizer.zero_grad()
        (layer(3 * z + 1).mean() - layer(x).square().mean()).backward()
        optimizer.step()
    return layer


def in_double(layer):
    """Return a layer of the same numbers in double precision, computed kernels included."""
    fine = copy.deepcopy(layer).double()
    for single, double in zip(layer.modules(), fine.modules(), strict=True):
        if hasattr(single, "kernel"):
            double.kernel = partial(single.kernel().detach().double().clone)
    return fine
