"""The parameters of a detector with "auto" resolved: one rule for all data, never from labels."""

from pyod_lipocc.recipe._networks import NETWORKS, automatic, build, starts_from_rows
from pyod_lipocc.recipe._recipe import Recipe
from pyod_lipocc.recipe._training import OPTIMIZERS, Training

__all__ = [
    "NETWORKS",
    "OPTIMIZERS",
    "Recipe",
    "Training",
    "automatic",
    "build",
    "starts_from_rows",
]
