"""The fits of an earlier version: a change of structure must not change a bit of their answers.

``python tests/test_same_bits.py`` records them again, after a change of the defaults.
"""

from __future__ import annotations

import os
import platform
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

from pyod_lipocc import LipOCC
from pyod_lipocc.datasets import load_odds, load_toy
from pyod_lipocc.lipschitz import Mean, NearestSubspace, conv, conv_deep, dense

RECORD = Path(__file__).parent / "files" / "fits.npz"
N_ROWS = 40
SHORT = {"max_iter": 2, "batch_size": 16}
ODDS = ("cardio", "glass", "ionosphere")


def toy():
    return load_toy("two-moons", 400, random_state=0)


def digits(n):
    return load_digits().data[:n] / 16.0


def module():
    generator = torch.Generator().manual_seed(0)
    networks = (NearestSubspace(2, 6, 1, generator=generator), dense(2, generator=generator))
    return Mean(*networks)


def images(n, **parameters):
    return lambda: (digits(n), {"novelty": True, "image_shape": (8, 8), **parameters})


FITS = {
    "table": lambda: (toy(), {}),
    "clean table": lambda: (toy(), {"novelty": True}),
    "units of X": lambda: (toy(), {"standardize": False, "threshold": "boundary"}),
    "conformal": lambda: (toy(), {"novelty": True, "threshold": "conformal"}),
    "inscribed balls": lambda: (toy(), {"novelty": True, "network": "inscribed-balls"}),
    "dense": lambda: (
        load_toy("two-blobs", 1200, random_state=0),
        {"network": "dense", "max_iter": 40},
    ),
    "module": lambda: (toy(), {"network": module()}),
    "builder": lambda: (toy(), {"network": partial(dense, hidden=(16, 16)), "max_iter": 40}),
    "few images": images(200, max_iter=60),
    "images": images(1200),
    "dense on images": images(300, network="dense", max_iter=20),
    # Narrow: certificates of the default widths take seconds.
    "conv": images(60, network=partial(conv, width=16), **SHORT, standardize=False),
    "conv-deep": images(60, network=partial(conv_deep, stages=((2, 8), (1, 16))), **SHORT),
    **{name: lambda name=name: (load_odds(name).X, {}) for name in ODDS},
    **{f"clean {name}": lambda name=name: (load_odds(name).X, {"novelty": True}) for name in ODDS},
}


def machine():
    """Name what bits may depend on."""
    cpu = Path("/proc/cpuinfo")
    models = [line for line in cpu.read_text().splitlines() if line.startswith("model name")]
    parts = (platform.machine(), *models[:1], torch.__version__, np.__version__)
    return "; ".join(map(str, parts))


def answers(name):
    """Fit, and return scores, training scores, certified radii and single numbers."""
    X, parameters = FITS[name]()
    detector = LipOCC(random_state=0, **parameters).fit(X)
    seen, new = X[:N_ROWS], X[:N_ROWS] + 0.1
    numbers = (detector.threshold_, detector.margin_, detector.lipschitz_constant_)
    return np.concatenate(
        [
            numbers,
            detector.decision_scores_[:N_ROWS],
            *(detector.decision_function(rows) for rows in (seen, new)),
            *(detector.certified_radius(rows) for rows in (seen, new)),
        ]
    )


@pytest.mark.parametrize("name", FITS)
def test_answers_are_those_of_the_record(name):
    if name.split()[-1] in ODDS and "LIPOCC_DATA" not in os.environ:
        pytest.skip("LIPOCC_DATA names no folder with the ODDS sets")
    with np.load(RECORD) as record, threadpool_limits(1):
        found, expected = answers(name), record[name]
        if machine() == record["machine"]:
            np.testing.assert_array_equal(found, expected)
        else:
            # Steps of training in float32 amplify what another processor rounds otherwise.
            np.testing.assert_allclose(found, expected, rtol=0.02, atol=0.02 * expected.std())


if __name__ == "__main__":
    torch.set_num_threads(1)
    with threadpool_limits(1):
        np.savez_compressed(RECORD, machine=machine(), **{name: answers(name) for name in FITS})
