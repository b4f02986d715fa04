"""Registered data files as verified bytes, from the folder LIPOCC_DATA or downloaded and cached."""

from __future__ import annotations

import gzip
import hashlib
import importlib
import os
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

from pyod_lipocc.datasets._registry import Collection

__all__ = ["import_extra", "read"]


def import_extra(module: str) -> ModuleType:
    """Import a module of the extra `data`, or say how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f'{module} is needed for this: pip install "pyod_lipocc[data]"', name=module
        ) from error


def read(collection: Collection, name: str) -> bytes:
    """Read a file of a collection, downloading it where it is not at hand, and verify it.

    Parameters
    ----------
    collection : Collection
    name : str
        A key of `collection.hashes`.

    Returns
    -------
    content : bytes
        What the file holds; decompressed where its name ends with ".gz".

    Raises
    ------
    FileNotFoundError
        If the file is neither under LIPOCC_DATA nor to be downloaded.
    ValueError
        If its content is not the registered one.
    """
    root = os.environ.get("LIPOCC_DATA")
    path = _local(root, collection, name) if root else _downloaded(collection, name)
    return _verified(path, path.read_bytes(), collection.hashes[name])


def _local(root: str, collection: Collection, name: str) -> Path:
    filename = name + collection.suffix
    path = Path(root).expanduser() / collection.folder / filename
    if not path.is_file():
        raise FileNotFoundError(
            f"LIPOCC_DATA={root} lacks a file: put {collection.origins[0] + filename} at {path}, "
            "or unset LIPOCC_DATA to have it downloaded"
        )
    return path


def _downloaded(collection: Collection, name: str) -> Path:
    pooch = import_extra("pooch")
    filename = name + collection.suffix
    relative = f"{collection.folder}/{filename}"

    def download(url: str, output: str, cache: Any) -> None:
        # runs before the cache takes the file in, so that an altered one never gets there
        pooch.HTTPDownloader()(url, output, cache)
        _verified(Path(filename), Path(output).read_bytes(), collection.hashes[name])

    urls = [origin + filename for origin in collection.origins]
    failures = []
    for url in urls:
        cache = pooch.create(
            pooch.os_cache("pyod_lipocc"), "", registry={relative: None}, urls={relative: url}
        )
        try:
            return Path(cache.fetch(relative, downloader=download))
        except (OSError, ValueError) as error:
            failures.append(f"{url}: {error}")
    raise FileNotFoundError(
        f"{filename} could not be downloaded. Get {urls[0]} elsewhere, put it at "
        f"<folder>/{relative} and set the environment variable LIPOCC_DATA to <folder>. "
        f"Tried {'; '.join(failures)}"
    )


def _verified(path: Path, content: bytes, expected: str) -> bytes:
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{path} is truncated or altered: {error}") from error
    found = (
        "git:" + hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        if expected.startswith("git:")
        else hashlib.sha256(content).hexdigest()
    )
    if found != expected:
        raise ValueError(
            f"{path} is truncated or altered: expected the hash {expected}, found {found}"
        )
    return content
