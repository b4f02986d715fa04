from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from pyod_lipocc import LipOCC
from pyod_lipocc.datasets import Dataset

pytest.importorskip("benchopt", reason='needs the extra "benchmarks"')
from benchopt.benchmark import Benchmark

import benchmarks
from benchmarks.studies import frontier

FEW_SETS = ("cardio", "10_cover")  # one to explore, one to report; one of ODDS, one of ADBench


@pytest.fixture
def synthetic(monkeypatch):
    """Put a small set in the place of each of a few sets, and train for a few steps."""
    random = np.random.default_rng(0)
    X = random.normal(size=(260, 4)) * [1.0, 1.0, 0.3, 3.0]
    y = (np.arange(260) < 26).astype(int)
    X[y == 1] *= 3.0

    def read(name: str) -> Dataset:
        return Dataset(name, X, y)

    monkeypatch.setattr(frontier, "SETS", FEW_SETS)
    monkeypatch.setitem(frontier.GROUPS, "all", FEW_SETS)
    monkeypatch.setattr(frontier, "N_SPLITS", 2)
    monkeypatch.setattr(frontier, "LipOCC", lambda **given: LipOCC(**(given | {"max_iter": 2})))
    for name in ("load_odds", "load_adbench"):
        monkeypatch.setattr(frontier, name, read)
    return read


@pytest.mark.parametrize("parameters", frontier.CERTIFIED.values(), ids=frontier.CERTIFIED)
@pytest.mark.parametrize("told", [{"novelty": True}, {"contamination": 0.1}], ids=["clean", "not"])
def test_functions_have_a_proven_constant(parameters, told):
    rows = np.random.default_rng(1).normal(size=(150, 5))
    detector = LipOCC(**told, **(parameters | {"max_iter": 2})).fit(rows)
    assert 1 <= detector.lipschitz_constant_ * detector.scaling_.scale.min() <= 1 + 1e-5


def test_splits_are_those_of_the_benchmark(synthetic, monkeypatch):
    kinds = Benchmark(Path(benchmarks.__file__).parent).get_datasets()
    kind = next(kind for kind in kinds if kind.name == "odds-contaminated")
    monkeypatch.setitem(kind.load.__globals__, "load_odds", synthetic)
    expected = kind.get_instance(set="cardio", split=1).load()
    found = frontier.load("contaminated", "cardio", 1)
    for part in ("X_train", "X_test"):
        assert_array_equal(np.sort(found[part], axis=0), np.sort(expected[part], axis=0))
    assert found["contamination"] == expected["contamination"]


def test_the_page_follows_from_the_files_and_no_file_is_made_twice(synthetic, tmp_path):
    for protocol in frontier.SPLITS:
        for name in FEW_SETS:
            for split in range(2):
                frontier.measure(tmp_path / "runs", protocol, name, split)
    files = sorted((tmp_path / "runs").iterdir())
    assert len(files) == 8
    made = [file.stat().st_mtime_ns for file in files]
    frontier.measure(tmp_path / "runs", "clean", "cardio", 0)
    assert [file.stat().st_mtime_ns for file in files] == made

    frontier.main(["--runs", str(tmp_path / "runs"), "--output", str(tmp_path), "--page-only"])
    page = (tmp_path / "frontier.md").read_text(encoding="utf-8")
    assert page.count("| LipOCC and dense | LipOCC |") == 2
    assert "explore 1 | report 1" in page
    assert (tmp_path / "frontier.png").stat().st_size > 0


def test_the_oracle_does_not_see_the_split_that_it_is_judged_by():
    values = frontier.pd.DataFrame(
        {("a", 0): {"LipOCC": 90.0, "dense": 50.0}, ("a", 1): {"LipOCC": 40.0, "dense": 80.0}}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frontier, "REFERENCES", {})
        assert frontier.oracle(values)["a"] == (50.0 + 40.0) / 2
