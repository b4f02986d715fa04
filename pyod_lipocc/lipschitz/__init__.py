"""1-Lipschitz building blocks in torch: they know nothing of anomaly detection."""

from pyod_lipocc.lipschitz._activations import FullSort, GroupSort2
from pyod_lipocc.lipschitz._boxes import NearestBox
from pyod_lipocc.lipschitz._builders import conv, conv_deep, dense, norm_preserving
from pyod_lipocc.lipschitz._combinations import Maximum, Mean, Minimum
from pyod_lipocc.lipschitz._conv import OrthogonalConv2d, ReshapedConv2d
from pyod_lipocc.lipschitz._dense import OrthogonalLinear
from pyod_lipocc.lipschitz._filters import GaussianBlur
from pyod_lipocc.lipschitz._folding import fold, frozen
from pyod_lipocc.lipschitz._pooling import (
    GlobalL2NormPool2d,
    InvertibleDownsampling2d,
    L2NormPool2d,
    ScaledAvgPool2d,
)
from pyod_lipocc.lipschitz._stiefel_layers import parameter_groups, polish
from pyod_lipocc.lipschitz._subspace import NearestSubspace
from pyod_lipocc.lipschitz.proofs import lipschitz_bound

__all__ = [
    "FullSort",
    "GaussianBlur",
    "GlobalL2NormPool2d",
    "GroupSort2",
    "InvertibleDownsampling2d",
    "L2NormPool2d",
    "Maximum",
    "Mean",
    "Minimum",
    "NearestBox",
    "NearestSubspace",
    "OrthogonalConv2d",
    "OrthogonalLinear",
    "ReshapedConv2d",
    "ScaledAvgPool2d",
    "conv",
    "conv_deep",
    "dense",
    "fold",
    "frozen",
    "lipschitz_bound",
    "norm_preserving",
    "parameter_groups",
    "polish",
]
