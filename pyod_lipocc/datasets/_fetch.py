"""Registered files as verified bytes, out of the folder LIPOCC_DATA or downloaded and cached."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from pathlib import Path
from typing import Any

from pyod_lipocc._extras import import_extra
from pyod_lipocc.datasets._registry import Collection

__all__ = ["read"]


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
        Decompressed where the file's name ends with ".gz".

    Raises
    ------
    FileNotFoundError
        If the file is neither under LIPOCC_DATA nor to be downloaded.
    ValueError
        If its content is not the registered one.
    ImportError
        If a download is needed and the extra `data` is not installed.
    """
    filename, expected = name + collection.suffix, collection.hashes[name]
    root = os.environ.get("LIPOCC_DATA")
    if not root:
        path = _downloaded(collection, filename, expected)
    elif not (path := Path(root).expanduser() / collection.folder / filename).is_file():
        raise FileNotFoundError(
            f"LIPOCC_DATA={root} lacks a file: put {collection.origins[0] + filename} at {path}, "
            "or unset LIPOCC_DATA to have it downloaded"
        )
    return _verified(path.read_bytes(), path, expected)


def _downloaded(collection: Collection, filename: str, expected: str) -> Path:
    pooch = import_extra("pooch", "data")
    folder = pooch.os_cache("pyod_lipocc") / collection.folder

    def download(url: str, output: str, cache: Any) -> None:
        # The cache takes the file in after this check, hence no altered one.
        pooch.HTTPDownloader()(url, output, cache)
        _verified(Path(output).read_bytes(), Path(filename), expected)

    failures = []
    for origin in collection.origins:
        cache = pooch.create(folder, origin, registry={filename: None})
        try:
            return Path(cache.fetch(filename, downloader=download))
        except (OSError, ValueError) as error:
            failures.append(f"{origin}{filename}: {error}")
    raise FileNotFoundError(
        f"{filename} could not be downloaded. Get {collection.origins[0]}{filename} elsewhere, put "
        f"it at <folder>/{collection.folder}/{filename} and set the environment variable "
        f"LIPOCC_DATA to <folder>. Tried {'; '.join(failures)}"
    )


def _verified(content: bytes, path: Path, expected: str) -> bytes:
    """Return what the file holds, decompressed, if its hash is the expected one."""
    damaged = f"{path} is truncated or altered"
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{damaged}: {error}") from error
    if expected.startswith("git:"):
        found = "git:" + hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    else:
        found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise ValueError(f"{damaged}: expected the hash {expected}, found {found}")
    return content
