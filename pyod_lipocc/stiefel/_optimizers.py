"""Temporary: the name that moved to `pyod_lipocc.stiefel.optimizers`."""

from pyod_lipocc.stiefel.optimizers import tangent_gradients

__all__ = ["tangent_gradients"]
