"""Files of format 1, which held the attributes of a detector under their own names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyod_lipocc.persistence._codec import RECORDS

__all__ = ["translate"]

_NUMBERS = {"float", "scalar"}

_DISTANCE = {"network_": "network", "scaling_": "scaling", "margin_": "margin", "domain_": "domain"}
_DERIVED = {"_classes", "_mu", "_sigma", "lipschitz_constant_", "n_iter_"}


def translate(detector: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of a detector as format 2 has it.

    Format 1 also held the parameters that only `fit` needs. They become a text that `fit` refuses.
    """
    fitted = detector["fitted"]
    values = {
        "distance": {name: fitted[old] for old, name in _DISTANCE.items()},
        "fitted": {
            name: value
            for name, value in fitted.items()
            if name not in _DISTANCE and name not in _DERIVED
        },
        "parameters": {
            name: value if _is_plain(value) else "not saved: an object of format 1"
            for name, value in detector["parameters"].items()
        },
    }
    return {"kind": detector["class"], "values": values}


def _is_plain(node: Any) -> bool:
    if isinstance(node, list):
        return all(map(_is_plain, node))
    if not isinstance(node, dict):
        return True
    if node["kind"] == "record":
        return node["name"] in RECORDS
    return _is_plain(node["items"]) if node["kind"] == "tuple" else node["kind"] in _NUMBERS
