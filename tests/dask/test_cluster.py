"""Two workers, each a process: the same bits as in memory, also where a worker is killed."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import nullcontext
from functools import partial

import dask
import numpy as np
import pytest
from small import cloud

pytest.importorskip("distributed")
import cloudpickle
import dask.array as da
from distributed import Client, LocalCluster
from distributed.utils import get_mp_context
from partitions import array, frame

from pyod_lipocc import LipOCC as Local
from pyod_lipocc.callbacks import Callback
from pyod_lipocc.dask import LipOCC
from pyod_lipocc.lipschitz import dense

# The workers cannot import this file.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

N = 2000
X = cloud(N, 3) * [1.0, 5.0, 0.1] + [0.0, 3.0, -1.0]
NARROW = partial(dense, hidden=(16, 16))
QUICK = {"network": NARROW, "max_iter": 10, "random_state": 0}
PARTITIONS = {"equal": (500,) * 4, "unequal": (1, 1299, 0, 700), "one": (N,)}


def preloaded(*modules):
    get_mp_context().set_forkserver_preload([*modules])
    return nullcontext()


@pytest.fixture(scope="module")
def client():
    # A worker, also one that takes the place of a killed one, is a fork of a process that has the
    # imports: these take seconds.
    with (
        dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}),
        preloaded("distributed", "dask.dataframe", "pyod_lipocc.dask"),
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def expected():
    return bits(Local(**QUICK).fit(X))


def bits(detector):
    """Return everything that must depend neither on the partitions nor on the workers."""
    scaling, domain = detector.scaling_, detector.domain_
    weights = [weight.numpy() for weight in detector.network_.state_dict().values()]
    numbers = (detector.margin_, detector.threshold_, scaling.unit, float(domain.radius))
    rows = dask.compute(detector.decision_scores_, detector.labels_)
    parts = (numbers, scaling.location, scaling.scale, *weights, *rows)
    return [np.asarray(part).tobytes() for part in (*parts, detector.calibration_scores_)]


def die_once(marker):
    """Kill the process, unless the marker says that this has happened."""
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


class DieOnce(Callback):
    """Kill the process that trains."""

    def __init__(self, marker):
        self.marker = marker

    def step(self, iteration, metrics):
        die_once(self.marker)


def mortal(X, folder, reading):
    """Return an array whose second block kills the worker when it is read for the n-th time."""

    def read(block, block_id=None):
        if block_id == (1, 0):
            (folder / f"read {time.time_ns()}").touch()
            if len([*folder.glob("read *")]) == reading:
                die_once(folder / "dead")
        return block

    return array(X, (800, 700, 500)).map_blocks(read, meta=np.empty((0, 0)))


@pytest.mark.parametrize("kind", [array, frame])
@pytest.mark.parametrize("lengths", PARTITIONS.values(), ids=PARTITIONS)
def test_a_fit_has_the_bits_of_a_fit_in_memory(client, expected, kind, lengths):
    assert bits(LipOCC(**QUICK).fit(kind(X, lengths))) == expected


# The second block is read for the lengths, for the range, the mean, the deviation, the margin, the
# domain and the training, and then for the scores.
@pytest.mark.parametrize("reading", [3, 8], ids=["scaling", "scoring"])
def test_a_worker_killed_while_it_reads_changes_nothing(client, expected, tmp_path, reading):
    detector = LipOCC(**QUICK).fit(mortal(X, tmp_path, reading))
    assert (tmp_path / "dead").exists()
    assert bits(detector) == expected


def test_a_worker_killed_while_it_trains_changes_nothing(client, expected, tmp_path):
    callback = DieOnce(tmp_path / "dead")
    detector = LipOCC(callbacks=[callback], **QUICK).fit(array(X, (800, 700, 500)))
    assert (tmp_path / "dead").exists()
    assert bits(detector) == expected


def test_scores_that_a_killed_worker_held_are_computed_again(client, tmp_path):
    detector = LipOCC(**QUICK).fit(array(X, (800, 700, 500)))
    local = Local(**QUICK).fit(X).set_threshold(contamination=0.03)
    client.submit(die_once, tmp_path / "dead", pure=False).result()
    detector.set_threshold(contamination=0.03)
    assert detector.threshold_ == local.threshold_
    np.testing.assert_array_equal(detector.labels_, local.labels_)


def test_lazy_answers_survive_a_killed_worker(client, tmp_path):
    detector = LipOCC(**QUICK).fit(array(X, (N,)))
    rows = mortal(X, tmp_path, 1)
    found = detector.decision_function(rows).compute()
    assert (tmp_path / "dead").exists()
    # Blocks do not start at multiples of a chunk: the last bits may differ.
    np.testing.assert_allclose(found, detector.to_local().decision_function(X), rtol=1e-12)
    assert isinstance(detector.decision_function(rows), da.Array)
