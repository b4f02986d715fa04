"""Certified novelty detection for PyOD.

`LipOCC` learns the signed distance to the support of normal data with a 1-Lipschitz network.
"""

from pyod_lipocc._version import __version__
from pyod_lipocc.detector import LipOCC

__all__ = ["LipOCC", "__version__"]
