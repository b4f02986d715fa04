"""Values of parameters as text."""

from __future__ import annotations

import functools
import reprlib
from dataclasses import fields, is_dataclass
from typing import Any

from pyod_lipocc.domains import Domain

__all__ = ["text"]

_SHORT = reprlib.Repr()
_SHORT.maxother = _SHORT.maxstring = 120


def text(value: Any) -> str:
    """Write a value as code would, but short."""
    if isinstance(value, functools.partial):
        arguments = [*map(text, value.args)]
        arguments += [f"{name}={text(v)}" for name, v in value.keywords.items()]
        return f"{text(value.func)}({', '.join(arguments)})"
    if isinstance(value, (tuple, list)):
        return f"({', '.join(map(text, value))})"
    if isinstance(value, float):
        return f"{value:.4g}"
    if is_dataclass(value) and not isinstance(value, (type, Domain)):
        held = ((f.name, getattr(value, f.name)) for f in fields(value))
        return f"{type(value).__name__}({', '.join(f'{n}={text(v)}' for n, v in held)})"
    if hasattr(value, "__qualname__"):
        return str(value.__qualname__)
    shown = _SHORT.repr(value)
    return f"{type(value).__qualname__}(...)" if shown.startswith("<") else shown
