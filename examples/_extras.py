"""Modules that only some examples need, each from an extra of the package."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType


def require(module: str, *, extra: str) -> ModuleType:
    """Import a module, or end the script with the command that installs the missing package."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = (error.name or module).partition(".")[0]
        message = f'{sys.argv[0]} needs {package}: pip install "pyod_lipocc[{extra}]"'
        raise SystemExit(message) from error
