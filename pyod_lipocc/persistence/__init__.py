"""Fitted values in files that cannot run code: safetensors with a JSON description.

A file is in the safetensors format: any reader of that format finds the weights and fitted arrays
in it by name. Its metadata hold one JSON text under "pyod_lipocc"::

    {"format": 2, "package": "0.1.0", "sha256": "...", "object":
     {"kind": "LipOCC", "values": {"distance": {...}, "fitted": {...}, "parameters": {...}}}}

The hash is that of the object and of all tensors. Files of format 1 are read as well.
"""

from pyod_lipocc.persistence._container import FORMAT, digest, is_plain, load, save

__all__ = ["FORMAT", "digest", "is_plain", "load", "save"]
