"""Short trainings of small networks, which the tests of Algorithm 2 and of callbacks share."""

from __future__ import annotations

import dataclasses
import itertools
from functools import partial

import torch

from pyod_lipocc.callbacks import Callback
from pyod_lipocc.domains import Ball
from pyod_lipocc.lipschitz import dense, parameter_groups
from pyod_lipocc.losses import hkr
from pyod_lipocc.sampler import newton_raphson
from pyod_lipocc.stiefel import StiefelAdam
from pyod_lipocc.training import History, train

MARGIN = 0.1
HKR = partial(hkr, margin=MARGIN, regularization=10.0)
FIELDS = [field.name for field in dataclasses.fields(History)]


def build(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return dense(2, hidden=(8, 8), generator=generator).double()


def data(n=16, seed=0):
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def run(network=None, batches=None, *, seed=0, optimizer=StiefelAdam, **changes):
    """Train a small network with parameters that tests may change."""
    network = build() if network is None else network
    arguments = {
        "domain": Ball(5.0).expand(2).to(next(network.parameters()).dtype),
        "margin": MARGIN,
        "loss": HKR,
        "optimizer": optimizer(parameter_groups(network)),
        "schedule": lambda progress: 1e-2,
        "max_iter": 5,
        "generator": torch.Generator().manual_seed(seed),
    }
    batches = itertools.repeat(data()) if batches is None else batches
    return train(network, batches, **(arguments | changes))


class Recorder(Callback):
    """Write down every call; stop or fail where told."""

    def __init__(self, stop_at=None, fail_at=None, error=ValueError):
        self.calls, self.metrics = [], []
        self.stop_at, self.fail_at, self.error = stop_at, fail_at, error

    def begin(self, max_iter, network):
        self.network = network
        self.calls.append(("begin", max_iter))
        if self.fail_at == 0:
            raise self.error

    def step(self, iteration, metrics):
        self.calls.append(("step", iteration))
        self.metrics.append({name: float(value) for name, value in metrics.items()})
        if iteration == self.fail_at:
            raise self.error
        return iteration == self.stop_at

    def end(self):
        self.calls.append(("end",))


class SpySampler:
    """Algorithm 1 that keeps what it was asked, and what the network was like meanwhile."""

    def __init__(self, network=None, fail_at=None):
        self.network, self.fail_at = network, fail_at
        self.negatives, self.n_steps, self.trainable = [], [], []

    def __call__(self, score, proposals, **arguments):
        self.n_steps.append(arguments["n_steps"])
        if self.network is not None:
            self.trainable.append([w.requires_grad for w in self.network.parameters()])
        if len(self.n_steps) == self.fail_at:
            raise RuntimeError("the sampler failed")
        self.negatives.append(newton_raphson(score, proposals, **arguments))
        return self.negatives[-1]
