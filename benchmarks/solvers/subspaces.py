from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmark_utils.lipocc import LipOCCSolver
from pyod_lipocc.lipschitz import NearestSubspace
from pyod_lipocc.starts import k_subspaces

# number of subspaces, and of their directions
SIZES = {"principal": (1, 20), "k-subspaces": (20, 15)}


def plain_subspaces(
    n_features: int, *, rows: Tensor, sizes: tuple[int, int], generator: torch.Generator
) -> NearestSubspace:
    """Build the plain distance to the nearest subspace, that to the first one for PCA."""
    seed = int(torch.randint(2**31, (), generator=generator))
    network = k_subspaces(rows, *sizes, n_nearest=1, seed=seed)
    network.assign(
        contraction=torch.zeros_like(network.contraction), offset=torch.zeros_like(network.offset)
    )
    return network


class Solver(LipOCCSolver):
    """Distance to one principal subspace or the nearest of many, in the plumbing of LipOCC.

    One step too small to be seen leaves the functions as they are.
    """

    name = "Subspaces"
    parameters = {"kind": list(SIZES)}

    def skip(self, image_shape: tuple[int, ...] | None, **_: Any) -> tuple[bool, str | None]:
        if image_shape is None:
            return True, "its numbers of subspaces and directions are those for images"
        return False, None

    def settings(self) -> dict[str, Any]:
        builder = partial(plain_subspaces, sizes=SIZES[self.kind])
        return {"network": builder, "max_iter": 1, "learning_rate": 1e-12}
