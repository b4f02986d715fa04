"""Fitted detectors in files that cannot run code: safetensors with a JSON description.

A file is in the safetensors format: any reader of that format finds the weights and fitted arrays
in it by name. Its metadata hold one JSON text under "pyod_lipocc"::

    {"format": 1, "package": "0.1.0", "sha256": "...",
     "detector": {"class": "LipOCC", "parameters": {...}, "fitted": {...}}}

The hash is that of the description and of all tensors.
"""

from pyod_lipocc.persistence._detectors import FORMAT, load, save

__all__ = ["FORMAT", "load", "save"]
