"""Functions of many rows, batch by batch: memory is bounded by a batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["in_batches"]

_BATCH = 1024


def in_batches(function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """Apply a function to batches of rows; return its results one after another."""
    return torch.cat([function(batch) for batch in torch.split(rows, _BATCH)])
