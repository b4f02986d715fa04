"""Size and content of objects, as schedulers ask for them before they move an object."""

from __future__ import annotations

import hashlib
import pickle
import uuid
from typing import Any

import numpy as np
import torch

__all__ = ["fingerprint", "n_bytes"]


def n_bytes(value: Any) -> int:
    """Return the bytes that arrays and tensors in the attributes of a value take."""
    if isinstance(value, (np.ndarray, torch.Tensor)):
        return int(value.nbytes)
    if isinstance(value, torch.nn.Module):
        return sum(map(n_bytes, (*value.parameters(), *value.buffers())))
    held = value.values() if isinstance(value, dict) else getattr(value, "__dict__", {}).values()
    return sum(map(n_bytes, held))


def fingerprint(*content: Any) -> str:
    """Return a text that is the same for the same content; one of its own if pickle refuses."""
    try:
        return hashlib.sha256(pickle.dumps(content)).hexdigest()
    except Exception:  # what users pass may raise anything
        return uuid.uuid4().hex
