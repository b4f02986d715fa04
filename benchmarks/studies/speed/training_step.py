"""What the constraint costs: a training step beside that of the same network without it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from benchmarks.report.tables import markdown
from benchmarks.studies.speed.question import Question, Rows
from benchmarks.studies.speed.timing import Effort, interleaved, ratio, span
from pyod_lipocc.distributed import ALONE, Ranks
from pyod_lipocc.domains import Ball, Box, Domain
from pyod_lipocc.lipschitz import (
    FullSort,
    GlobalL2NormPool2d,
    GroupSort2,
    L2NormPool2d,
    OrthogonalLinear,
    ReshapedConv2d,
    conv,
    dense,
    parameter_groups,
)
from pyod_lipocc.losses import hkr
from pyod_lipocc.negatives import uniform
from pyod_lipocc.sampler import newton_raphson
from pyod_lipocc.stiefel import StiefelAdam
from pyod_lipocc.training import train

try:
    from deel import torchlip
except ImportError:
    torchlip = None

Substitutes = Mapping[type[nn.Module], Callable[[Any], nn.Module]]

MARGIN = 0.05
RATE = 1e-3


@dataclass(frozen=True)
class Case:
    """A network and how it is trained.

    Attributes
    ----------
    name : str
    build : callable
        Number of features -> the network with its constraints.
    n_features : int
    domain : Domain
    batch_size : int
    n_newton_steps : int
    steps : int
        Training steps in one timing.
    """

    name: str
    build: Callable[[int], nn.Module]
    n_features: int
    domain: Domain
    batch_size: int
    n_newton_steps: int
    steps: int


def table_2(width: int) -> Case:
    """Return the paper's convolutional network at a width."""
    build = partial(conv, image_shape=(28, 28), width=width)
    return Case(f"Table 2, width {width}", build, 784, Box(-1.0, 1.0), 64, 4, 1)


CASES = (
    Case("2-512x4-1", partial(dense, hidden=(512,) * 4), 2, Ball(5.0), 256, 4, 5),
    Case("784-512-512-1", partial(dense, hidden=(512, 512)), 784, Box(-1.0, 1.0), 128, 16, 5),
    table_2(32),
    table_2(128),
)
QUICK_CASES = (
    Case("2-16-1", partial(dense, hidden=(16,)), 2, Ball(5.0), 8, 2, 2),
    Case(
        "conv, width 4",
        partial(conv, image_shape=(4, 4), width=4, depth=2),
        *(16, Box(-1.0, 1.0), 4, 1, 1),
    ),
)

UNCONSTRAINED: Substitutes = {
    OrthogonalLinear: lambda layer: nn.Linear(layer.in_features, layer.out_features),
    ReshapedConv2d: lambda layer: nn.Conv2d(
        layer.in_channels, layer.out_channels, layer.kernel_size, padding="same"
    ),
}
TORCHLIP: Substitutes = torchlip and {
    OrthogonalLinear: lambda layer: torchlip.SpectralLinear(layer.in_features, layer.out_features),
    ReshapedConv2d: lambda layer: torchlip.SpectralConv2d(
        layer.in_channels, layer.out_channels, layer.kernel_size, padding="same"
    ),
    GroupSort2: lambda layer: torchlip.GroupSort2(),
    FullSort: lambda layer: torchlip.FullSort(),
    L2NormPool2d: lambda layer: torchlip.ScaledL2NormPool2d(layer.window),
    GlobalL2NormPool2d: lambda layer: nn.Sequential(
        torchlip.ScaledAdaptativeL2NormPool2d(), nn.Flatten()
    ),
}


def rebuilt(module: nn.Module, substitutes: Substitutes) -> nn.Module:
    """Return a sequential network with its layers exchanged by type."""
    if isinstance(module, nn.Sequential):
        return nn.Sequential(*(rebuilt(child, substitutes) for child in module))
    build = substitutes.get(type(module))
    return build(module) if build else copy.deepcopy(module)


class Contest:
    """One case: the same data, domain, loss and sampler for every contestant."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.generator = torch.Generator().manual_seed(0)
        self.x = 0.3 * torch.randn(case.batch_size, case.n_features, generator=self.generator)
        self.domain = case.domain.expand(case.n_features).to(torch.float32)
        self.loss = partial(hkr, margin=MARGIN, regularization=100.0)

    def contestants(self) -> dict[str, Callable[[], object]]:
        """Return a function for each that takes the steps of one timing."""
        network = self.case.build(self.case.n_features)
        free = rebuilt(network, UNCONSTRAINED)
        engines = {
            "unconstrained": self.trained(free, torch.optim.Adam(free.parameters(), lr=RATE)),
            "constrained": self.trained(network, StiefelAdam(parameter_groups(network), lr=RATE)),
        }
        if torchlip is None:
            return engines
        plain, cached = rebuilt(network, TORCHLIP), rebuilt(network, TORCHLIP)
        return engines | {"torchlip": self.by_hand(plain), "torchlip, cached": self.cached(cached)}

    def trained(
        self, network: nn.Module, optimizer: torch.optim.Optimizer, ranks: Ranks = ALONE
    ) -> Callable[[], object]:
        """Train by this package's Algorithm 2, history included."""
        return lambda: train(
            network,
            repeat(self.x),
            domain=self.domain,
            margin=MARGIN,
            loss=self.loss,
            optimizer=optimizer,
            schedule=lambda progress: RATE,
            max_iter=self.case.steps,
            n_newton_steps=self.case.n_newton_steps,
            generator=self.generator,
            ranks=ranks,
        )

    def by_hand(self, network: nn.Module) -> Callable[[], None]:
        """Train by the loop that a user of another library writes, which keeps no history."""
        optimizer = torch.optim.Adam(network.parameters(), lr=RATE)

        def steps() -> None:
            for _ in range(self.case.steps):
                self.one_by_hand(network, optimizer)

        return steps

    def cached(self, network: nn.Module) -> Callable[[], None]:
        """Train as `by_hand`, but compute each layer's weight once in a step."""
        optimizer = torch.optim.Adam(network.parameters(), lr=RATE)

        def steps() -> None:
            for _ in range(self.case.steps):
                with parametrize.cached():
                    self.one_by_hand(network, optimizer)

        return steps

    def one_by_hand(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        z = newton_raphson(
            network,
            uniform(self.x, self.domain, self.generator),
            domain=self.domain,
            margin=MARGIN,
            n_steps=self.case.n_newton_steps,
            generator=self.generator,
        )
        f = network(torch.cat((self.x, z))).reshape(-1)
        n = len(self.x)
        total = self.loss(f[:n]).mean() + self.loss(-f[n:]).mean()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()


def measure(effort: Effort) -> Rows:
    """Time a training step of every contestant in every case."""
    rows = []
    for case in QUICK_CASES if effort.quick else CASES:
        timings = interleaved(Contest(case).contestants(), effort.repeats)
        seconds = {
            name: [second / case.steps for second in values] for name, values in timings.items()
        }
        setting = f"{case.batch_size}, {case.n_newton_steps}"
        rows.append({"network": case.name, "batch, T": setting, "seconds a step": seconds})
    return rows


def text(rows: Rows) -> str:
    """Return the table of ratios."""
    lines = []
    for row in rows:
        seconds = row["seconds a step"]
        floor, ours = seconds["unconstrained"], seconds["constrained"]
        others = [seconds.get(name) for name in ("torchlip", "torchlip, cached")]
        lines.append(
            [
                row["network"],
                row["batch, T"],
                span(floor, 1e-3),
                ratio(ours, floor),
                *(ratio(other, ours) if other else "-" for other in others),
            ]
        )
    header = [
        *("network", "batch, T", "unconstrained, ms", "constrained / unconstrained"),
        *("deel-torchlip / constrained", "deel-torchlip, cached / constrained"),
    ]
    return (
        "A step of Algorithm 2: T Newton steps for the negatives, then the loss and the optimiser. "
        "Unconstrained is the same\nnetwork of torch's linear layers and convolutions, same "
        "activations, sampler and training loop, under torch's Adam.\ndeel-torchlip has its own "
        "layers in a plain loop, as its README writes it; cached: inside\n"
        "`torch.nn.utils.parametrize.cached()`.\n\n" + markdown([header, *lines])
    )


QUESTION = Question("A training step", measure, text)
