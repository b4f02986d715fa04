"""A file appears complete or not at all, in place of a regular file only."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import stat
from contextlib import contextmanager

import numpy as np
import pytest
from small import cloud, small

from pyod_lipocc import LipOCC
from pyod_lipocc._atomic import write_atomically

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes and special files of POSIX")


def write(path):
    write_atomically(path, b"after")


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def umask(mask):
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o666, 0o755])
def test_a_replaced_file_keeps_its_mode(tmp_path, mode):
    path = tmp_path / "model"
    path.write_bytes(b"before")
    path.chmod(mode)
    with umask(0o027):
        write(path)
    assert mode_of(path) == mode
    assert path.read_bytes() == b"after"
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_new_file_has_the_mode_of_the_umask(tmp_path, mask):
    with umask(mask):
        write(tmp_path / "model")
    assert mode_of(tmp_path / "model") == 0o666 & ~mask


def test_nobody_else_may_read_a_private_file_while_it_is_written(tmp_path, monkeypatch):
    path = tmp_path / "model"
    path.write_bytes(b"before")
    path.chmod(0o600)
    modes = []

    def watch(name):
        function = getattr(os, name)

        def watched(*arguments):
            modes.extend(mode_of(one) for one in tmp_path.iterdir())
            return function(*arguments)

        monkeypatch.setattr(os, name, watched)

    watch("chmod")  # the file is new, and empty
    watch("fsync")  # it is complete
    with umask(0):
        write(path)
    assert {*modes} == {0o600}


@pytest.mark.skipif(os.name == "posix" and os.geteuid() != 0, reason="only root gives files away")
def test_a_replaced_file_keeps_its_owner(tmp_path):
    path = tmp_path / "model"
    path.write_bytes(b"before")
    os.chown(path, 1234, 2345)
    write(path)
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 2345)


@pytest.mark.parametrize("exists", [True, False])
def test_links_are_followed(tmp_path, exists):
    (tmp_path / "deep").mkdir()
    target, link = tmp_path / "deep" / "model", tmp_path / "link"
    link.symlink_to("deep/model")
    if exists:
        target.write_bytes(b"before")
        target.chmod(0o600)
    write(link)
    assert link.is_symlink()
    assert target.read_bytes() == b"after"
    assert not exists or mode_of(target) == 0o600
    assert [*target.parent.iterdir()] == [target]


def directory(path):
    path.mkdir()


def fifo(path):
    os.mkfifo(path)


def local_socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def null_device(path):
    path.symlink_to("/dev/null")


def circle(path):
    path.symlink_to(path.name)


def link_to_fifo(path):
    os.mkfifo(path.with_name("pipe"))
    path.symlink_to("pipe")


@pytest.mark.parametrize("make", [directory, fifo, local_socket, null_device, circle, link_to_fifo])
def test_what_is_no_regular_file_is_refused_and_left_alone(tmp_path, monkeypatch, make):
    monkeypatch.chdir(tmp_path)  # a short path: those of sockets are limited
    path = tmp_path / "m"
    make(path)
    before = {one: one.lstat() for one in tmp_path.iterdir()}
    with pytest.raises(OSError, match=r"directory|FIFO|socket|device|symbolic links") as caught:
        write(path)
    assert "m" in str(caught.value)
    assert {one: one.lstat().st_ino for one in tmp_path.iterdir()} == {
        one: status.st_ino for one, status in before.items()
    }


def test_an_empty_path_is_the_folder_itself(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(IsADirectoryError, match="path must name a file, got ''"):
        write("")
    assert [*tmp_path.iterdir()] == [tmp_path / "here"]


def test_a_path_that_ends_as_that_of_a_folder(tmp_path):
    with pytest.raises(IsADirectoryError, match="path must name a file"):
        write(f"{tmp_path}/model/")
    assert [*tmp_path.iterdir()] == []


@pytest.mark.skipif(not os.path.exists("/dev/fd"), reason="no /dev/fd")
def test_a_pipe_behind_a_name_is_refused():
    reading, writing = os.pipe()
    try:
        with pytest.raises(OSError, match="FIFO"):
            write(f"/dev/fd/{writing}")
        with pytest.raises(OSError, match="FIFO"):
            LipOCC.load(f"/dev/fd/{reading}")
    finally:
        os.close(reading)
        os.close(writing)


def test_bytes_are_paths(tmp_path):
    write(os.fsencode(tmp_path / "model"))
    assert (tmp_path / "model").read_bytes() == b"after"


def test_an_error_of_the_system_names_the_path(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write(tmp_path / "model")
    assert caught.value.filename == str(tmp_path / "model")


# Python itself drops what `open` returns where the signal comes before `with` has it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_interruptions_at_any_time_leave_nothing_behind(tmp_path):
    """A signal arrives between any two lines."""
    path = tmp_path / "model"
    path.write_bytes(b"before")

    def interrupt(signal_number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for delay in np.linspace(1e-5, 3e-3, 150):
            with contextlib.suppress(KeyboardInterrupt):
                signal.setitimer(signal.ITIMER_REAL, delay)
                write_atomically(path, b"after")
                signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert [*tmp_path.iterdir()] == [path]
    assert path.read_bytes() in (b"before", b"after")


def test_a_missing_folder_is_named_not_a_temporary_file(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        write(tmp_path / "nowhere" / "model")
    assert caught.value.filename == str(tmp_path / "nowhere" / "model")


@pytest.mark.parametrize("function", ["fsync", "replace", "chmod"])
@pytest.mark.parametrize("error", [OSError("full"), KeyboardInterrupt()])
def test_nothing_is_left_behind_by_a_failure(tmp_path, monkeypatch, function, error):
    path = tmp_path / "model"
    path.write_bytes(b"before")

    def fail(*_):
        raise error

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(type(error)):
        write(path)
    assert [*tmp_path.iterdir()] == [path]
    assert path.read_bytes() == b"before"


@pytest.fixture(scope="module")
def detector():
    return small(max_iter=1).fit(cloud())


@pytest.mark.parametrize("method", ["save", "to_onnx"])
def test_what_a_detector_writes_is_written_atomically(detector, tmp_path, method):
    (tmp_path / "target").write_bytes(b"before")
    (tmp_path / "target").chmod(0o640)
    (tmp_path / "link").symlink_to("target")
    getattr(detector, method)(tmp_path / "link")
    assert (tmp_path / "target").stat().st_size > 6
    assert mode_of(tmp_path / "target") == 0o640
    fifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="FIFO"):
        getattr(detector, method)(tmp_path / "pipe")


@pytest.mark.parametrize("make", [directory, fifo, null_device])
def test_loading_what_is_no_regular_file_says_so_at_once(tmp_path, make):
    make(tmp_path / "m")
    with pytest.raises(OSError, match=r"directory|FIFO|device"):
        LipOCC.load(tmp_path / "m")
