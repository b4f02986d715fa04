"""1-Lipschitz building blocks in torch: they know nothing of anomaly detection."""

from pyod_lipocc.lipschitz._activations import FullSort, GroupSort2
from pyod_lipocc.lipschitz._dense import OrthogonalLinear
from pyod_lipocc.lipschitz.networks import dense, lipschitz_bound, parameter_groups, polish

__all__ = [
    "FullSort",
    "GroupSort2",
    "OrthogonalLinear",
    "dense",
    "lipschitz_bound",
    "parameter_groups",
    "polish",
]
