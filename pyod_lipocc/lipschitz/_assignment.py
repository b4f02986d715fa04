"""Parameters set by name."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

__all__ = ["assign_parameters"]


@torch.no_grad()
def assign_parameters(layer: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Set parameters of a layer by name, each to a tensor of its shape."""
    for name, value in values.items():
        parameter = layer.get_parameter(name)
        if parameter.shape != value.shape:
            raise ValueError(
                f"{name} must have shape {tuple(parameter.shape)}, got {tuple(value.shape)}"
            )
        parameter.copy_(value)
