from __future__ import annotations

import re
from functools import partial

import numpy as np
import pytest
import torch

from benchmarks.studies import signed_distance, under_attack
from benchmarks.studies.paper import __main__ as paper
from benchmarks.studies.paper.page import balanced_accuracy
from benchmarks.studies.toy import __main__ as toy
from pyod_lipocc import LipOCC
from pyod_lipocc.datasets import load_digits_one_class


@pytest.fixture
def short_fits(monkeypatch):
    for study in (paper, under_attack):
        monkeypatch.setattr(study, "LipOCC", partial(LipOCC, max_iter=10))


def test_signed_distances_have_a_row_each_and_pictures(tmp_path):
    selected = ["--networks", "dense", "--shapes", "shell", "torus"]
    signed_distance.main(["--quick", *selected, "--output", str(tmp_path)])
    page = (tmp_path / "signed-distance.md").read_text(encoding="utf-8")
    assert "--networks dense --shapes shell torus" in page
    rows = [line.split(" | ")[:3] for line in page.splitlines() if "| dense |" in line]
    assert rows == [["| 2", "shell", "dense"], ["| 3", "shell", "dense"], ["| 3", "torus", "dense"]]
    assert (tmp_path / "signed-distance-plane.png").stat().st_size > 0


def test_toy_experiment_draws_what_was_run_and_runs_nothing_twice(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(toy, "RESOLUTION", 50)
    selected = ["--sets", "two-moons", "disc", "--models", "lipocc", "ocsvm", "conventional"]
    command = [*selected, "--hidden", "8", "--max-iter", "20", "--output", str(tmp_path)]
    toy.main(command)
    files = sorted(tmp_path.glob("cache/*.npz"))
    assert len(files) == 6
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert page.count("hidden [8]") == 4
    assert all((tmp_path / f"{name}.png").exists() for name in ("contours", "shapes", "histograms"))
    made = [file.stat().st_mtime_ns for file in files]
    toy.main(command)
    assert [file.stat().st_mtime_ns for file in files] == made
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == page


def test_the_reproduction_has_a_row_for_each_network_and_trains_nothing_twice(tmp_path, short_fits):
    selected = ["--data", "digits", "--digits", "0", "--networks", "dense", "as-printed"]
    folders = ["--cache", str(tmp_path / "cache"), "--output", str(tmp_path)]
    paper.main([*selected, "--steps", "1", *folders])
    files = sorted(tmp_path.glob("cache/digits/*.npz"))
    assert [file.stem for file in files] == ["as-printed-0", "dense-0"]
    page = (tmp_path / "reproduction.md").read_text(encoding="utf-8")
    for name in ("dense", "as-printed"):
        assert len(re.findall(rf"^\| {name} \|", page, re.MULTILINE)) == 4
    assert "493,697" in page
    made = [file.stat().st_mtime_ns for file in files]
    paper.main([*selected, "--steps", "1", *folders])
    assert [file.stat().st_mtime_ns for file in files] == made
    assert (tmp_path / "reproduction.md").read_text(encoding="utf-8") == page
    paper.main([*selected, "--steps", "2", *folders])
    changed = [file.stat().st_mtime_ns != time for file, time in zip(files, made, strict=True)]
    assert changed == [True, False]


def test_balanced_accuracy_is_the_best_mean_of_both_recalls():
    y, inside = np.array([0, 0, 1, 1, 1, 1]), np.array([2.0, 0.5, 1.0, 0.0, 0.0, 0.0])
    cell = {"y": y, "test": inside}
    assert balanced_accuracy(cell) == 87.5


def test_no_attack_goes_below_what_is_certified(tmp_path, short_fits):
    small = ["--data", "digits", "--digits", "0", "--images", "5", "--steps", "1"]
    under_attack.main([*small, "--cache", str(tmp_path), "--output", str(tmp_path)])
    page = (tmp_path / "under-attack.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line[:2] == "| "]
    values = {name: [float(cell) for cell in cells] for name, *cells in rows[2:]}
    assert len(values) == len(under_attack.TARGETS) + 2
    for name in ("LipOCC", "KNN"):
        pairs = zip(values[f"{name}, attacked"], values[f"{name}, certified"], strict=True)
        assert all(reached >= proven for reached, proven in pairs)
    assert (tmp_path / "under-attack.png").stat().st_size > 0


@pytest.mark.parametrize("name", sorted(set(under_attack.TARGETS) - {"LipOCC", "IForest"}))
def test_the_differentiable_score_is_that_of_the_detector(name):
    data = load_digits_one_class(0)
    target = under_attack.TARGETS[name](data)
    (score,) = target.attack.args
    X = data.X_test[:50].astype(np.float64)
    expected = target.detector.decision_function(X)
    difference = score(torch.from_numpy(X)).detach().numpy() - expected
    assert np.ptp(difference) < 1e-5 * np.ptp(expected)
