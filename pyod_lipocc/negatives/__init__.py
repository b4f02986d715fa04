"""Initial proposals Q0, from which the sampler starts its way to the boundary.

A proposal is a callable ``(x, domain, generator) -> z`` that receives the current batch of data,
shape (n, d), and returns as many points of the domain, shape (n, d). Batch, domain and generator
are on one device and in one precision, which the points have too. Units are those of the batch.
"""

from pyod_lipocc.negatives._deformations import Erase, Overlay, Rotate, Warp
from pyod_lipocc.negatives._images import CutPaste, ImageAugmentation, PatchShuffle
from pyod_lipocc.negatives._points import (
    Away,
    LocalNoise,
    Mixture,
    Proposal,
    gaussian,
    nearest_distance,
    push_away,
    shuffled_marginals,
    uniform,
)

__all__ = [
    "Away",
    "CutPaste",
    "Erase",
    "ImageAugmentation",
    "LocalNoise",
    "Mixture",
    "Overlay",
    "PatchShuffle",
    "Proposal",
    "Rotate",
    "Warp",
    "gaussian",
    "nearest_distance",
    "push_away",
    "shuffled_marginals",
    "uniform",
]
