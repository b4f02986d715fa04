"""Modules that only some examples need, each from an extra of the package."""

from __future__ import annotations

import importlib
import os
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


def require_mnist() -> None:
    """End the script if MNIST is to be downloaded and the downloader is missing."""
    if not os.environ.get("LIPOCC_DATA"):
        require("pooch", extra="data")
