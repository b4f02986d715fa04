from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import roc_auc_score

from pyod_lipocc import LipOCC
from pyod_lipocc.datasets import Dataset
from pyod_lipocc.starts import prototypes

pytest.importorskip("benchopt", reason='needs the extra "benchmarks"')
from benchopt.benchmark import Benchmark

import benchmarks
from benchmarks.studies import save_arrays
from benchmarks.studies.frontier import __main__ as frontier
from benchmarks.studies.frontier import functions, records, sums

FEW_SETS = ("cardio", "10_cover")  # one to explore, one to report; one of ODDS, one of ADBench


@pytest.fixture
def short(monkeypatch):
    """Train the networks for a few steps: accuracy is not tested here."""
    monkeypatch.setattr(functions, "LipOCC", lambda **given: LipOCC(**(given | {"max_iter": 3})))


@pytest.fixture
def synthetic(monkeypatch):
    """Put a small set in the place of each of a few sets."""
    random = np.random.default_rng(0)
    X = random.normal(size=(260, 4)) * [1.0, 1.0, 0.3, 3.0]
    y = (np.arange(260) < 26).astype(int)
    X[y == 1] *= 3.0

    def load(name: str) -> Dataset:
        return Dataset(name, X, y)

    monkeypatch.setattr(records, "SETS", FEW_SETS)
    for name in ("load_odds", "load_adbench"):
        monkeypatch.setattr(records, name, load)
    return load


@pytest.mark.parametrize("contamination", [0.0, 0.1])
def test_functions_keep_their_lipschitz_constant(short, contamination):
    random = np.random.default_rng(1)
    rows = random.normal(size=(150, 5)) * [1.0, 1.0, 1.0, 0.02, 5.0]
    X = 3.0 * rows[random.integers(150, size=400)] + random.normal(size=(400, 5))
    moved = X + random.normal(size=X.shape) * 10.0 ** random.uniform(-3, 1, size=(400, 1))
    moved[200:, :3] = X[200:, :3]  # along the directions that whitening stretches most
    moved[200:, 4] = X[200:, 4]
    distance = np.linalg.norm(moved - X, axis=1)
    names = []
    for family in functions.families(rows, contamination, 0):
        before, after = family.score(X), family.score(moved)
        assert set(before) == set(family.own) == set(family.constants)
        for name, constant in family.constants.items():
            bound = constant * distance * (1 + 1e-9) + 1e-9
            assert np.all(np.abs(after[name] - before[name]) <= bound), name
            assert len(family.own[name]) == len(rows)
            names.append(name)
    assert len(names) == len(set(names))
    protocol = "contaminated" if contamination else "one-class"
    assert set(sums.SUMMED[protocol]) <= set(names)


def test_isolation_is_that_of_prototypes():
    random = np.random.default_rng(2)
    rows, X = random.normal(size=(90, 3)), random.normal(size=(20, 3))
    scores = functions.neighbours(rows, 0.1).score(X)
    network = prototypes(torch.from_numpy(rows).float(), 5, isolation=0.5).eval()
    with torch.no_grad():
        expected = -network(torch.from_numpy(X).float()).numpy()[:, 0]
    assert_allclose(scores["isolation 0.5, 5"], expected, rtol=1e-4)


def test_rows_are_not_their_own_neighbours():
    rows = np.arange(60.0)[:, None] ** 1.5
    own = functions.neighbours(rows, 0.0).own
    gaps = np.diff(rows[:, 0])
    assert_allclose(own["nearest 1"][1:-1], np.minimum(gaps[:-1], gaps[1:]))


def test_splits_are_those_of_the_benchmark(synthetic, monkeypatch):
    kinds = Benchmark(Path(benchmarks.__file__).parent).get_datasets()
    kind = next(kind for kind in kinds if kind.name == "odds-contaminated")
    monkeypatch.setitem(kind.load.__globals__, "load_odds", synthetic)
    expected = kind.get_instance(set="cardio", split=1).load()
    found = records.load("contaminated", "cardio", 1)
    for part in ("X_train", "X_test"):
        assert_array_equal(np.sort(found[part], axis=0), np.sort(expected[part], axis=0))
    assert found["contamination"] == expected["contamination"]


def test_roc_auc_of_rows_with_ties():
    random = np.random.default_rng(3)
    scores, y = random.integers(5, size=(3, 40)), random.integers(2, size=40)
    expected = [roc_auc_score(y, row) for row in scores]
    assert_allclose(sums.roc_aucs(scores, y), expected)


def test_sums_are_distinct_and_counted():
    found = sums.all_sums(tuple("abcdefghij"))
    assert len(found) == 10 + 45 + 120 + 210 + 6 * 45
    assert found["a + 0.1 x b"] == {"a": 1.0, "b": 0.1}


def test_run_resumes_and_page_follows_from_the_files(short, synthetic, tmp_path, monkeypatch):
    measured = []
    measure = records.measure

    def counting(found, seed):
        if len(measured) == 2 and (tmp_path / "killed").exists():
            raise KeyboardInterrupt
        measured.append(seed)
        return measure(found, seed)

    monkeypatch.setattr(records, "measure", counting)
    (tmp_path / "killed").touch()
    command = ["--runs", str(tmp_path / "runs"), "--output", str(tmp_path), "--splits", "0"]
    with pytest.raises(KeyboardInterrupt):
        frontier.main(command)
    (tmp_path / "killed").unlink()
    frontier.main(command)
    assert len(measured) == 4  # two protocols of two sets, none of them twice
    files = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert files == sorted(f"{p}.{name}.0.npz" for p in records.PROTOCOLS for name in FEW_SETS)
    page = (tmp_path / "frontier.md").read_text(encoding="utf-8")
    assert "| LipOCC | 1 |" in page
    assert "explore 1 | report 1" in page

    for name in ("load_odds", "load_adbench"):
        monkeypatch.delattr(records, name)
    (tmp_path / "frontier.png").unlink()
    frontier.main([*command, "--page-only"])
    assert (tmp_path / "frontier.md").read_text(encoding="utf-8") == page
    assert (tmp_path / "frontier.png").stat().st_size > 0
    assert len(measured) == 4


def test_files_of_other_code_are_measured_again(tmp_path, monkeypatch):
    path = tmp_path / "record.npz"
    assert not records.is_current(path)
    save_arrays(path, version=records.VERSION)
    assert records.is_current(path)
    monkeypatch.setattr(records, "VERSION", "another")
    assert not records.is_current(path)
