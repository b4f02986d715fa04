"""Processes of a gloo group, and the work that `test_distributed` gives to them."""

from __future__ import annotations

import os
import pickle
import signal
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from functools import partial

import numpy as np
import torch
import torch.distributed as dist
from processes import FORKED
from sklearn.base import clone
from small import cloud, small
from torch import nn
from trained import run

from pyod_lipocc import LipOCC
from pyod_lipocc.callbacks import Callback
from pyod_lipocc.distributed import ALONE, Ranks
from pyod_lipocc.domains import Ball
from pyod_lipocc.lipschitz import OrthogonalConv2d, conv, dense

SIZE = 2
DOMAIN = ("radius", "center", "low", "high")
IMAGE = (4, 4)


def join(rank, file, timeout):
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{file}",
        rank=rank,
        world_size=SIZE,
        timeout=timedelta(seconds=timeout),
    )


class Pair:
    """Two processes of one group, each of which runs what it is given."""

    def __init__(self, file, timeout=60):
        self._ranks = [
            ProcessPoolExecutor(1, FORKED, initializer=join, initargs=(rank, file, timeout))
            for rank in range(SIZE)
        ]

    def start(self, work, *arguments):
        return [rank.submit(work, *arguments) for rank in self._ranks]

    def run(self, work, *arguments):
        """Return the result of each rank."""
        return [future.result(timeout=120) for future in self.start(work, *arguments)]

    def errors(self, work, *arguments):
        """Return the error of each rank."""
        return [future.exception(timeout=120) for future in self.start(work, *arguments)]

    def close(self):
        for rank in self._ranks:
            rank.shutdown()


# one network for each kind of gradient: by coordinates of square and other weights, by weights, and
# of free parameters
NETWORKS = {
    "dense": partial(dense, hidden=(8, 8)),
    "conv": partial(conv, image_shape=IMAGE, width=4, depth=2),
    "orthogonal conv": partial(
        conv, image_shape=IMAGE, width=4, depth=2, convolution=OrthogonalConv2d
    ),
    "unconstrained": lambda d, generator: nn.Sequential(
        nn.Linear(d, 8), nn.ReLU(), nn.Linear(8, 1)
    ),
}


def stepped(name, dtype, part=slice(None), ranks=ALONE):
    """Take a few steps on a part of given rows and negatives; return the weights and the loss."""
    torch.manual_seed(0)
    network = NETWORKS[name](16, generator=torch.Generator().manual_seed(0)).to(dtype)
    points = torch.randn(2, 6, 24, 16, generator=torch.Generator().manual_seed(1), dtype=dtype)
    x, z = points[:, :, part]
    z = iter(z)
    history = run(
        network,
        x,
        negatives=lambda *_: next(z),
        n_newton_steps=0,
        domain=Ball(9.0).expand(16).to(dtype),
        ranks=ranks,
    )
    return [weight.detach().numpy() for weight in network.parameters()], history.loss


def stepped_together(name, dtype):
    ranks = Ranks.of(None, torch.device("cpu"))
    return stepped(name, dtype, slice(ranks.rank, None, SIZE), ranks)


def state(detector):
    """Everything that a fit writes, as bytes and texts."""
    fitted = {name: value for name, value in vars(detector).items() if name.endswith("_")}
    distance, history = fitted.pop("distance_"), fitted.pop("history_")
    del fitted["fit_seconds_"]
    arrays = {**fitted, **vars(history), **vars(distance.scaling), "margin": distance.margin}
    tensors = {**distance.network.state_dict(), **vars(distance.domain)}
    arrays |= {name: tensor.numpy() for name, tensor in tensors.items()}
    return {name: np.asarray(value).tobytes() for name, value in arrays.items()}


def shard(X):
    return X[dist.get_rank() :: SIZE]


def fitted(X, parameters, more=()):
    """Fit shards, then continue on shards of more rows; return the detector."""
    detector = small(**parameters).fit(shard(X))
    for rows in more:
        detector.partial_fit(shard(rows))
    return detector


def fitted_state(*arguments):
    return state(fitted(*arguments))


def fitted_by_batch_size(X):
    fitted(X, {"batch_size": 1 + dist.get_rank()})


def checked_rows():
    Ranks.of(None, torch.device("cpu")).check_rows(dist.get_rank())


class StopOnOneRank(Callback):
    def step(self, iteration, metrics):
        return iteration == 7 and dist.get_rank() == 1


class ChangeOneRank(Callback):
    def begin(self, max_iter, network):
        self.network = network

    @torch.no_grad()
    def step(self, iteration, metrics):
        if iteration == 150 and dist.get_rank() == 1:
            next(self.network.parameters()).mul_(1 + 1e-6)


class DieOnOneRank(Callback):
    def step(self, iteration, metrics):
        if iteration == 7 and dist.get_rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)


class StallOneRank(Callback):
    def step(self, iteration, metrics):
        if iteration == 7 and dist.get_rank() == 1:
            time.sleep(2)


def draws(seed):
    """Draw as the training of this rank does."""
    ranks = Ranks.of(None, torch.device("cpu"))
    return ranks.spawn(np.random.default_rng(seed)).random(4).tolist()


def copies(folder):
    """Return the process group of a clone, of a pickle's copy and of a file's copy."""
    detector = small(process_group=dist.group.WORLD, max_iter=2).fit(shard(cloud()))
    path = f"{folder}/{dist.get_rank()}"
    detector.save(path)
    others = clone(detector), pickle.loads(pickle.dumps(detector)), LipOCC.load(path)
    return [other.process_group is dist.group.WORLD for other in others], detector.n_iter_


def alone(parameters):
    """Fit on each rank by itself."""
    group, _ = dist.new_subgroups(1)
    return state(small(process_group=group, **parameters).fit(cloud()))


def wrapped(wrap):
    small(network=wrap(dense(3, hidden=(8,)))).fit(cloud())
