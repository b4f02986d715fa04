from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
import scipy.io
from registered import put, skip_without

from pyod_lipocc import datasets
from pyod_lipocc.datasets._registry import ADBENCH, ODDS

X_SMALL = np.array([[0, 1], [2, 3], [4, 5]], dtype=np.int16)
Y_SMALL = np.array([0, 0, 1], dtype=np.uint8)


def check_small(dataset, name):
    assert dataset.name == name
    assert (dataset.X.dtype, dataset.y.dtype) == (np.float64, np.int64)
    np.testing.assert_array_equal(dataset.X, X_SMALL)
    np.testing.assert_array_equal(dataset.y, Y_SMALL)
    assert (dataset.feature_names, dataset.label_name) == (None, "y")


def test_names():
    assert len(datasets.ODDS_NAMES) == 17
    assert [int(name.split("_")[0]) for name in datasets.ADBENCH_NAMES] == list(range(1, 48))


def test_odds_columns_of_labels_become_flat(tmp_path, monkeypatch):
    file = BytesIO()
    scipy.io.savemat(file, {"X": X_SMALL, "y": Y_SMALL[:, None]})
    put(tmp_path, monkeypatch, ODDS, {"satimage-2": file.getvalue()})
    check_small(datasets.load_odds("satimage-2"), "satimage-2")


@pytest.mark.parametrize("name", ["magic.gamma", "22_magic.gamma"])
def test_adbench_takes_names_with_and_without_number(tmp_path, monkeypatch, name):
    file = BytesIO()
    np.savez(file, X=X_SMALL, y=Y_SMALL)
    put(tmp_path, monkeypatch, ADBENCH, {"22_magic.gamma": file.getvalue()})
    check_small(datasets.load_adbench(name), "22_magic.gamma")


@pytest.mark.parametrize(
    ("load", "name", "message"),
    [
        (datasets.load_odds, "annthyroid", "name must be one of arrhythmia, .*, got 'annthyroid'"),
        (datasets.load_adbench, "99_none", "name must be one of 1_ALOI, .*, got '99_none'"),
    ],
)
def test_other_names_are_refused(load, name, message):
    with pytest.raises(ValueError, match=message):
        load(name)


@pytest.mark.parametrize(
    ("collection", "name"),
    [(collection, name) for collection in (ODDS, ADBENCH) for name in collection.hashes],
    ids=[name for collection in (ODDS, ADBENCH) for name in collection.hashes],
)
def test_the_real_sets(collection, name):
    skip_without(collection, name)
    load = datasets.load_odds if collection is ODDS else datasets.load_adbench
    dataset = load(name)
    assert dataset.X.shape[0] == len(dataset.y) >= 80
    assert np.isfinite(dataset.X).all()
    assert 0.0 < dataset.y.mean() < 0.5
    if name == "cardio":
        assert (*dataset.X.shape, dataset.y.sum()) == (1831, 21, 176)
