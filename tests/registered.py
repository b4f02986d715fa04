"""Registered data sets: small ones in place of the real ones, and the real ones where they are."""

from __future__ import annotations

import gzip
import hashlib
import os
from pathlib import Path

import pytest


def put(root, monkeypatch, collection, contents):
    """Register contents under names of a collection and put their files into LIPOCC_DATA."""
    monkeypatch.setenv("LIPOCC_DATA", str(root))
    folder = root / collection.folder
    folder.mkdir()
    for name, content in contents.items():
        monkeypatch.setitem(collection.hashes, name, hashlib.sha256(content).hexdigest())
        compressed = gzip.compress(content) if collection.suffix == ".gz" else content
        (folder / f"{name}{collection.suffix}").write_bytes(compressed)


def skip_without(collection, name):
    """Skip a test of a real data set that is not at hand."""
    root = os.environ.get("LIPOCC_DATA")
    path = Path(root or "", collection.folder, f"{name}{collection.suffix}")
    if not (root and path.is_file()):
        pytest.skip(f"LIPOCC_DATA names no folder with {collection.folder}/{path.name}")
