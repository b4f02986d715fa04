r"""Processes that fit one detector together, each with its own rows, over torch.distributed.

The processes of a group, called ranks, fit one detector to the rows of all of them. Afterwards
every rank holds this detector, bit for bit, and scores, certifies and saves without the others.

======================= ============================================================================
X                       The rows of one rank, its shard, as in torch's data parallelism. Shards
                        should be random parts of the rows, of about the same size.
parameters              The same on all ranks, but for `device`, `random_state`, `verbose` and
                        `callbacks`. The `random_state` of rank 0 counts.
scaling, margin, domain Those of all rows, with the bits that one process finds.
weights                 Start from those of rank 0; a network that starts from rows, from its rows.
`batch_size`            Rows of one rank. A rank draws its batches and negatives by a seed of its
                        own, and a step of two ranks is that of one process with both batches.
`history_`              Means over the ranks.
callbacks               Run on every rank, after the same figures and weights. If a callback of a
                        rank stops, all ranks stop.
`decision_scores_`,     Of all rows, those of rank 0 first, on every rank; ``predict(X)`` has the
`labels_`, `threshold_` labels of one shard. The threshold is exact.
======================= ============================================================================

All ranks call `fit` and `partial_fit`, in the same order and one at a time. If one of them refuses
its rows, all raise. If a rank is killed, or does not answer before the timeout of the group, the
others raise torch's RuntimeError. Detectors are then as they were before.

One all-reduce in a step averages the gradients that the optimiser reads. Those of orthogonal layers
are by coordinates of the manifold, which DistributedDataParallel and FSDP do not see: networks that
they wrap are refused. Every 100 steps the ranks compare a checksum of the weights.

``examples/train_on_ranks.py`` is a script for torchrun.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import reduce
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor, nn

from pyod_lipocc._progress import unwatched
from pyod_lipocc._table import Indices, Rows, Table

__all__ = ["ALONE", "Ranks"]

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """The processes that fit together, as one of them sees them.

    All ranks call each method, in the same order.

    Attributes
    ----------
    group : torch.distributed.ProcessGroup or None
        None: this process fits alone, and each method returns what it is given.
    device : torch.device
        Where the group exchanges tensors.
    """

    group: Any
    device: torch.device

    @classmethod
    def of(cls, group: Any, device: torch.device) -> Ranks:
        """Return the ranks of a group, or of the default group where it is initialised.

        Parameters
        ----------
        group : torch.distributed.ProcessGroup or None
        device : torch.device
            Where this process trains.

        Returns
        -------
        ranks : Ranks
            `ALONE` for a group of one process.

        Raises
        ------
        ValueError
            If the group cannot exchange tensors on the device.
        """
        if group is None and not (dist.is_available() and dist.is_initialized()):
            return ALONE
        group = dist.group.WORLD if group is None else group
        if group.size() == 1:
            return ALONE
        if dist.get_backend(group) == "nccl" and device.type != "cuda":
            raise ValueError(
                "device must be the GPU of this rank where process_group is of NCCL, "
                f"got {str(device)!r}: pass device=f'cuda:{{local_rank}}'"
            )
        return cls(group, device)

    @property
    def size(self) -> int:
        """Number of processes."""
        return 1 if self.group is None else dist.get_world_size(self.group)

    @property
    def rank(self) -> int:
        """Number of this process, from 0."""
        return 0 if self.group is None else dist.get_rank(self.group)

    def table(self, X: Rows) -> Table:
        """Return the rows of all ranks, of which this one holds X."""
        return Table.of(X) if self.group is None else _Shards(X, self)

    def spawn(self, rng: np.random.Generator) -> np.random.Generator:
        """Return a generator of this rank's own that follows from the generator of rank 0."""
        if self.group is None:
            return rng
        return np.random.default_rng((self.first(int(rng.integers(2**63))), self.rank))

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, in their order."""
        if self.group is None:
            return [value]
        values = [None] * self.size
        with self._current_device():
            dist.all_gather_object(values, value, self.group)
        return values

    def first(self, value: Any) -> Any:
        """Return the value of rank 0."""
        if self.group is None:
            return value
        values = [value if self.rank == 0 else None]
        with self._current_device():
            dist.broadcast_object_list(values, dist.get_global_rank(self.group, 0), self.group)
        return values[0]

    def concatenate(self, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the rows of all ranks, in their order."""
        return np.concatenate(self.gather(rows))

    def in_turn(self, function: Callable[[T], T], value: T) -> T:
        """Apply the function of each rank, one after the other, to the result of the last."""
        for rank in range(self.size):
            value = self.gather(function(value) if rank == self.rank else None)[rank]
        return value

    def any(self, flag: Any) -> bool:
        """Tell whether the flag of a rank is true."""
        if self.group is None:
            return bool(flag)
        votes = torch.tensor([float(bool(flag))], device=self.device)
        self.average([votes])
        return bool(votes > 0)

    @torch.no_grad()
    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their means over the ranks, in one all-reduce."""
        if self.group is None:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat, group=self.group)
        means = torch.split(flat.div_(self.size), [tensor.numel() for tensor in tensors])
        for tensor, mean in zip(tensors, means, strict=True):
            tensor.copy_(mean.view_as(tensor))

    @torch.no_grad()
    def share(self, network: nn.Module) -> None:
        """Give the weights and buffers of the network of rank 0 to all ranks."""
        if self.group is None:
            return
        for tensor in (*network.parameters(), *network.buffers()):
            shared = tensor.contiguous()
            dist.broadcast(shared, dist.get_global_rank(self.group, 0), self.group)
            tensor.copy_(shared)

    def check_weights(self, network: nn.Module) -> None:
        """Raise RuntimeError on all ranks if the weights of a network differ in a bit."""
        if self.group is None:
            return
        digest = hashlib.sha256()
        for weight in network.parameters():
            digest.update(weight.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
        found = self.gather(digest.hexdigest())
        others = [rank for rank, one in enumerate(found) if one != found[0]]
        if others:
            raise RuntimeError(
                f"the weights of rank 0 differ from those of {others}: the ranks must run on "
                "machines of one kind, with the same versions and numbers of threads, and nothing "
                "but the training may change the weights"
            )

    def check_equal(self, values: Mapping[str, Any]) -> None:
        """Raise ValueError on all ranks if a value differs between them."""
        first, *others = self.gather(values)
        for rank, other in enumerate(others, start=1):
            for name in {**first, **other}:
                if first.get(name) != other.get(name):
                    raise ValueError(
                        f"{name} must be the same on all ranks, got {first.get(name)!r} on rank 0 "
                        f"and {other.get(name)!r} on rank {rank}"
                    )

    def check_rows(self, n: int) -> None:
        """Raise ValueError on all ranks if one of them has no rows."""
        counts = self.gather(n)
        if not all(counts):
            raise ValueError(f"each rank needs rows to learn from, got {counts} rows")

    @contextmanager
    def together(self) -> Iterator[None]:
        """Raise on all ranks if one of them raises in the context, which is not collective."""
        error: Exception | None = None
        try:
            yield
        except Exception as raised:
            error = raised
        messages = self.gather(error and str(error))
        if error is not None:
            raise error
        for rank, message in enumerate(messages):
            if message is not None:
                raise ValueError(f"rank {rank} has stopped: {message}")

    def _current_device(self) -> AbstractContextManager[Any]:
        """Return a context in which NCCL exchanges objects through the GPU of this rank."""
        is_gpu = self.device.type == "cuda"
        return torch.cuda.device(self.device) if is_gpu else nullcontext()


ALONE = Ranks(None, torch.device("cpu"))
"""One process that fits by itself."""


class _Shards(Table):
    """The rows of all ranks, in their order, of which this process holds some."""

    def __init__(self, X: Rows, ranks: Ranks, left_out: Indices | None = None) -> None:
        counts = ranks.gather(len(X))
        super().__init__(sum(counts), X.shape[1], *([] if left_out is None else [left_out]))
        self._X, self._ranks = X, ranks
        self._start = sum(counts[: ranks.rank])

    def here(self, rows: Indices) -> Indices:
        own: Indices = rows - self._start
        return own[(own >= 0) & (own < len(self._X))]

    def without(self, rows: Indices) -> Table:
        return _Shards(self._X, self._ranks, np.sort(rows))

    def fold(
        self,
        measure: Callable[[Rows], T],
        merge: Callable[[T, T], T],
        progress: Callable[[int], object] = unwatched,
    ) -> T:
        left = Table.of(self._X).without(self.here(self._left_out))
        with self._ranks.together():
            measured = [left.fold(measure, merge, progress)] if len(left) else []
        found: list[list[T]] = self._ranks.gather(measured)
        return reduce(merge, (one for shard in found for one in shard))

    def take(
        self,
        chosen: Indices,
        convert: Callable[[Rows], Rows],
        dtype: npt.DTypeLike,
        use: Callable[[Rows], Any] | None = None,
    ) -> Any:
        """Use the chosen rows that this process holds; without a use, return those of all ranks."""
        own = Table.of(self._X).take(self.here(self.original(chosen)), convert, dtype)
        return use(own) if use else self._ranks.concatenate(own)
