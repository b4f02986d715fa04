"""Temporary: names that moved to `pyod_lipocc.lipschitz` and its modules."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from pyod_lipocc.lipschitz import (
    conv,
    conv_deep,
    dense,
    fold,
    frozen,
    lipschitz_bound,
    parameter_groups,
    polish,
)
from pyod_lipocc.lipschitz.dispatch import computes_as

__all__ = [
    "computes_as",
    "conv",
    "conv_deep",
    "dense",
    "fold",
    "frozen",
    "lipschitz_bound",
    "parameter_groups",
    "polish",
]

BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "dense": dense,
    "conv": conv,
    "conv-deep": conv_deep,
}
