from __future__ import annotations

import gzip
import hashlib
import re
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pooch
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyod_lipocc.datasets._fetch import read
from pyod_lipocc.datasets._registry import ADBENCH, MNIST, ODDS, Collection

CONTENT = b"rows and labels " * 40


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def collection(*origins, content=CONTENT, suffix=".mat"):
    return Collection(
        "odds", suffix, origins or ("https://a.invalid/",), {"cardio": sha256(content)}
    )


def put(root, content, suffix=".mat"):
    path = root / "odds" / f"cardio{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


class Server(ThreadingHTTPServer):
    """Serves a folder on this machine and keeps the paths asked for."""

    def __init__(self, folder):
        self.requests = requests = []

        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, *_):
                requests.append(self.path)

        super().__init__(("127.0.0.1", 0), partial(Handler, directory=folder))
        self.url = f"http://127.0.0.1:{self.server_port}/"


@pytest.fixture
def origin(tmp_path):
    folder = tmp_path / "origin"
    folder.mkdir()
    with Server(folder) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield folder, server
        server.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder into which pooch downloads; no LIPOCC_DATA."""
    monkeypatch.delenv("LIPOCC_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    return tmp_path / "cache" / "pyod_lipocc"


@pytest.fixture
def data_root(tmp_path, monkeypatch):
    root = tmp_path / "data"
    monkeypatch.setenv("LIPOCC_DATA", str(root))
    return root


@pytest.mark.parametrize("registered", [ODDS, ADBENCH, MNIST], ids=lambda c: c.folder)
def test_registry_is_whole(registered):
    assert all(re.fullmatch("https://.*/", url) for url in registered.origins)
    hashes = list(registered.hashes.values())
    assert all(re.fullmatch("[0-9a-f]{64}|git:[0-9a-f]{40}", value) for value in hashes)
    assert len(set(hashes)) == len(hashes)


def test_download_once_then_from_the_cache(origin, cache):
    folder, server = origin
    (folder / "cardio.mat").write_bytes(CONTENT)
    assert [read(collection(server.url), "cardio") for _ in range(2)] == [CONTENT, CONTENT]
    assert server.requests == ["/cardio.mat"]
    assert (cache / "odds" / "cardio.mat").read_bytes() == CONTENT


@pytest.mark.parametrize("bad", [CONTENT[:-1], CONTENT[:40], CONTENT + b"\0", b""])
def test_damaged_download_is_refused_and_not_cached(origin, cache, bad):
    folder, server = origin
    (folder / "cardio.mat").write_bytes(bad)
    with pytest.raises(FileNotFoundError) as caught:
        read(collection(server.url), "cardio")
    for part in ("cardio.mat", "truncated or altered", sha256(CONTENT), sha256(bad)):
        assert part in str(caught.value)
    assert list((cache / "odds").iterdir()) == []


def test_next_mirror_serves_where_others_fail(origin, cache):
    folder, server = origin
    (folder / "cardio.mat").write_bytes(b"moved")
    (folder / "good").mkdir()
    (folder / "good" / "cardio.mat").write_bytes(CONTENT)
    mirrors = collection(server.url + "absent/", server.url, server.url + "good/")
    assert read(mirrors, "cardio") == CONTENT


def test_damage_in_the_cache_is_refused(origin, cache):
    folder, server = origin
    (folder / "cardio.mat").write_bytes(CONTENT)
    read(collection(server.url), "cardio")
    path = cache / "odds" / "cardio.mat"
    path.write_bytes(CONTENT[:-3])
    with pytest.raises(ValueError, match=f"{re.escape(str(path))} is truncated or altered"):
        read(collection(server.url), "cardio")


def test_offline_message_says_what_to_put_where(cache):
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        url = f"http://127.0.0.1:{server.server_port}/"
    # closed: nothing listens there any more
    with pytest.raises(FileNotFoundError) as caught:
        read(collection(url), "cardio")
    message = str(caught.value)
    assert f"Get {url}cardio.mat elsewhere, put it at <folder>/odds/cardio.mat" in message
    assert "set the environment variable LIPOCC_DATA to <folder>" in message


def test_missing_extra_is_answered_by_its_install_line(cache, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=re.escape('pip install "pyod_lipocc[data]"')):
        read(collection(), "cardio")


def test_local_folder_needs_no_extra(data_root, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    put(data_root, CONTENT)
    assert read(collection(), "cardio") == CONTENT


def test_local_folder_without_the_file(data_root):
    path = data_root / "odds" / "cardio.mat"
    message = re.escape(f"put https://a.invalid/cardio.mat at {path}")
    with pytest.raises(FileNotFoundError, match=message):
        read(collection(), "cardio")


@settings(deadline=None)
@given(at=st.integers(0, len(CONTENT) - 1), flip=st.integers(1, 255), truncate=st.booleans())
def test_any_damage_in_the_local_folder_is_refused(tmp_path_factory, at, flip, truncate):
    rest = b"" if truncate else bytes([CONTENT[at] ^ flip]) + CONTENT[at + 1 :]
    bad = CONTENT[:at] + rest
    root = tmp_path_factory.mktemp("data")
    path = put(root, bad)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("LIPOCC_DATA", str(root))
        with pytest.raises(ValueError, match="truncated or altered") as caught:
            read(collection(), "cardio")
    for part in (str(path), f"expected the hash {sha256(CONTENT)}", f"found {sha256(bad)}"):
        assert part in str(caught.value)


def test_compressed_anyhow_but_not_damaged(data_root):
    whole = gzip.compress(CONTENT, compresslevel=1, mtime=12345)
    for good in (whole, gzip.compress(CONTENT, compresslevel=9)):
        put(data_root, good, ".gz")
        assert read(collection(suffix=".gz"), "cardio") == CONTENT
    for bad in (whole[:-9], whole[:5], b"", b"no gzip", gzip.compress(CONTENT[:-1])):
        path = put(data_root, bad, ".gz")
        with pytest.raises(ValueError, match=f"{re.escape(str(path))} is truncated or altered"):
            read(collection(suffix=".gz"), "cardio")


def test_content_known_by_its_name_in_git(data_root):
    # `printf 'hello\n' | git hash-object --stdin`
    known = {"cardio": "git:ce013625030ba8dba906f756967f9e9ca394464a"}
    put(data_root, b"hello\n")
    assert read(Collection("odds", ".mat", (), known), "cardio") == b"hello\n"
    put(data_root, b"Hello\n")
    with pytest.raises(ValueError, match="expected the hash git:ce01"):
        read(Collection("odds", ".mat", (), known), "cardio")
