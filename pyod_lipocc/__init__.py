"""Certified novelty detection for PyOD.

`LipOCC` learns the signed distance to the support of normal data with a 1-Lipschitz network.
`SignedDistance` is the result as a value that knows nothing of PyOD.
"""

from pyod_lipocc._version import __version__
from pyod_lipocc.detector import LipOCC
from pyod_lipocc.signed_distance import SignedDistance

__all__ = ["LipOCC", "SignedDistance", "__version__"]
