from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pyod.models.iforest import IForest
from sklearn.metrics import average_precision_score, roc_auc_score

from pyod_lipocc import LipOCC
from pyod_lipocc.datasets import load_digits_one_class
from pyod_lipocc.domains import Ball
from pyod_lipocc.recipe import Recipe

pytest.importorskip("benchopt", reason='needs the extra "benchmarks"')
from benchopt.benchmark import Benchmark
from benchopt.cli.main import run
from benchopt.utils.run_context import RunContext

import pyod_lipocc
from benchmarks.benchmark_utils.lipocc import WITHOUT_EFFECT
from benchmarks.benchmark_utils.measure import PeakMemory
from benchmarks.benchmark_utils.protocols import contaminated_digit, one_class_split
from benchmarks.benchmark_utils.solver import source_digest
from benchmarks.report import __main__ as report
from benchmarks.report.ablation import ABLATION, DEFAULT_VALUES
from benchmarks.report.pages import PROTOCOLS, write
from benchmarks.report.runs import newest, read_benchopt, read_kept
from benchmarks.report.section import CERTIFIED, Section

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "benchmarks"

# logs each fit's seed; at the second fit, where a file asks for it, waits to be killed
COUNTING = """
import os, time
from pathlib import Path
from benchmark_utils.solver import DetectorSolver
from pyod.models.knn import KNN

class Solver(DetectorSolver):
    name = "Counting"

    def build(self, seed):
        folder = Path(os.environ["COUNTING"])
        with (folder / "fits").open("a") as fits:
            fits.write(f"{seed}\\n")
        while len((folder / "fits").read_text().split()) == 2 and (folder / "hang").exists():
            time.sleep(0.05)
        return KNN()
"""


def arguments(*selected: str, output: Path) -> list[str]:
    return [str(FOLDER), *selected, "--no-plot", "--output", str(output)]


@pytest.fixture(scope="module")
def benchmark() -> Benchmark:
    return Benchmark(FOLDER)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("embedded")
    config = ["--config", str(FOLDER / "configs" / "embedded.yml")]
    solvers = ["-s", "IForest", "-s", "KNN", "-s", "KNN-largest"]
    selected = [*solvers, "-d", "digits-one-class[set=[3,8]]"]
    output = folder / "embedded.parquet"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCHOPT_CACHE", str(folder / "cache"))
        run.main(arguments(*config, *selected, output=output), standalone_mode=False)
    return output


def dataset(benchmark: Benchmark, name: str, **parameters):
    kind = next(kind for kind in benchmark.get_datasets() if kind.name == name)
    return kind.get_instance(**parameters)


def objective(benchmark: Benchmark):
    return benchmark.get_benchmark_objective().get_instance()


def test_every_data_set_and_solver_loads(benchmark):
    assert set(benchmark.get_dataset_names()) == {
        "toy",
        "digits-one-class",
        "mnist-one-class",
        "mnist-contaminated-5",
        "mnist-contaminated-10",
        "odds-contaminated",
        "odds-one-class",
        "adbench-one-class",
    }
    assert set(benchmark.get_solver_names()) == {
        "LipOCC",
        "LipOCC-ablation",
        "OCSVM",
        "IForest",
        "DeepSVDD",
        "KNN",
        "KNN-largest",
        "Subspaces",
    }
    assert all(solver.is_installed() for solver in benchmark.get_solvers())


def test_a_run_is_one_fit_with_the_seed_of_data_set_solver_and_repetition(outputs):
    digit = load_digits_one_class(8)
    context = RunContext(
        base_seed="0", dataset_name="digits-one-class[set=8]", solver_name="IForest", repetition=0
    )
    seed = context.get_seed("Solver", use_dataset=True, use_solver=True, use_repetition=True)
    scores = IForest(random_state=seed).fit(digit.X_train).decision_function(digit.X_test)

    runs = pd.read_parquet(outputs).set_index(["p_dataset_set", "solver_name"])
    found = runs.loc[(8, "IForest")]
    assert_allclose(found["objective_roc_auc"], roc_auc_score(digit.y_test, scores))
    assert_allclose(
        found["objective_average_precision"], average_precision_score(digit.y_test, scores)
    )
    assert (found["objective_n_train"], found["objective_n_test"]) == (len(digit.X_train), 599)
    assert len(runs) == 2 * 4
    assert (runs[["objective_fit_seconds", "objective_score_seconds"]] > 0).all(axis=None)


def test_precision_at_n_counts_the_outliers_among_the_first_n(benchmark):
    judge = objective(benchmark)
    generator = np.random.default_rng(0)
    y, scores = np.repeat([0, 1], [70, 30]), generator.normal(size=100)
    judge.set_data(np.zeros((5, 2)), np.zeros((100, 2)), y, 0.1)
    found = judge.evaluate_result(scores=scores, threshold=0.0, lipschitz_constant=np.inf)
    assert_allclose(found["precision_at_n"], y[np.argsort(-scores)[:30]].mean())


def test_only_a_finite_constant_certifies_and_only_images(benchmark):
    judge = objective(benchmark)
    y, scores = np.repeat([0, 1], 50), np.linspace(0, 1, 100)
    certified = [f"certified_roc_auc_{radius}" for radius in (8, 16, 36, 72)]
    for image_shape, constant, proven in (
        ((2, 2), 1.0, True),
        ((2, 2), np.inf, False),
        (None, 1.0, False),
    ):
        judge.set_data(np.zeros((5, 4)), np.zeros((100, 4)), y, 0.0, image_shape)
        found = judge.evaluate_result(scores=scores, threshold=0.0, lipschitz_constant=constant)
        values = [found["roc_auc"], *(found[name] for name in certified)]
        assert np.isfinite(values[1:]).all() == proven
        assert not proven or (np.diff(values) < 0).all()


def test_false_alarms_are_normal_rows_above_the_threshold(benchmark):
    judge = objective(benchmark)
    judge.set_data(np.zeros((5, 2)), np.zeros((4, 2)), np.array([0, 0, 1, 1]), 0.1)
    found = judge.evaluate_result(
        scores=np.array([0.0, 2.0, 3.0, 4.0]), threshold=1.0, lipschitz_constant=1.0
    )
    assert (found["false_alarm_rate"], found["alarm_rate"]) == (0.5, 0.75)


@pytest.mark.parametrize("contamination", [0.0, 0.2])
def test_clean_training_parts_are_fitted_as_novelty(benchmark, contamination):
    solver = next(kind for kind in benchmark.get_solvers() if kind.name == "LipOCC").get_instance()
    solver.set_objective(np.zeros((9, 2)), np.zeros((9, 2)), contamination, None, 1)
    detector = solver.build(0)
    assert detector.novelty == (contamination == 0)
    assert detector.contamination == (contamination or 0.1)


def test_the_certificate_of_lipocc_is_that_of_a_unit_gradient(benchmark):
    generator = np.random.default_rng(0)
    kind = next(kind for kind in benchmark.get_solvers() if kind.name == "Subspaces")
    solver = kind.get_instance(kind="principal")
    X = generator.uniform(size=(100, 64))
    solver.set_objective(X, X[:7], 0.0, (8, 8), 1)
    found = solver.certificate(solver.build(0).fit(X))
    assert_allclose(found["lipschitz_constant"], 1, rtol=1e-6)
    assert_allclose(found["gradient_norm"], 1, rtol=1e-6)
    assert solver.skip(image_shape=None)[0]


def test_a_killed_run_goes_on_where_it_was(tmp_path, monkeypatch):
    (tmp_path / "counting.py").write_text(COUNTING)
    (tmp_path / "hang").touch()
    fits, output = tmp_path / "fits", tmp_path / "runs.parquet"
    monkeypatch.setenv("BENCHOPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COUNTING", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    selected = arguments(
        "-s", str(tmp_path / "counting.py"), "-d", "digits-one-class[set=[0,1,2]]",
        output=output,
    )  # fmt: skip

    command = [sys.executable, "-m", "benchopt", "run", *selected]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as killed:
        while killed.poll() is None and not (fits.exists() and len(fits.read_text().split()) == 2):
            time.sleep(0.05)
        killed.kill()
    assert not output.exists()

    (tmp_path / "hang").unlink()
    run.main(selected, standalone_mode=False)
    assert len(pd.read_parquet(output)) == 3
    seeds = fits.read_text().split()
    # only the interrupted second fit was begun twice, both times with its own seed
    assert seeds[1] == seeds[2]
    assert len(set(seeds)) == 3
    assert len(seeds) == 4


def test_tables_show_the_means_of_the_runs(outputs, tmp_path):
    report.main(["--output", str(tmp_path), "--runs", str(outputs)])
    page = (tmp_path / "digits-one-class.md").read_text(encoding="utf-8")
    assert "configs/embedded.yml" in page
    assert "Threads of each fit: 1." in page
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    header = next(row for row in rows if row[0] == "set")
    mean = next(row for row in rows if row[0] == "mean of 2")
    shown = {name: float(cell.strip("*")) for name, cell in zip(header[1:], mean[1:], strict=True)}

    runs = pd.read_parquet(outputs)
    expected = 100 * runs.groupby("solver_name")["objective_roc_auc"].mean()
    assert shown == {name: pytest.approx(value, abs=0.05) for name, value in expected.items()}


def test_the_report_follows_from_the_runs_that_it_keeps(outputs, tmp_path):
    def contents() -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    report.main(["--output", str(tmp_path), "--runs", str(outputs)])
    first = contents()
    assert set(first) == {f"digits-one-class.{kind}" for kind in ("csv", "md", "png")}
    report.main(["--output", str(tmp_path), "--runs"])
    assert contents() == first


def test_no_table_mixes_two_versions_of_a_detector(outputs, capsys):
    old = read_benchopt(outputs)
    new = old[(old["solver"] == "IForest") & (old["set"] == "3")].assign(version="pyod 99")
    joined = newest([old, new])
    assert joined.loc[joined["solver"] == "IForest", "version"].tolist() == ["pyod 99"]
    assert len(joined) == 7
    assert "left out: 1 runs of IForest" in capsys.readouterr().err


def test_runs_of_earlier_reports_need_not_know_every_column(outputs, tmp_path):
    runs = read_benchopt(outputs)
    fewer = [name for name in runs if name not in {*CERTIFIED, "false_alarm_rate"}]
    earlier = runs.loc[runs["solver"] != "KNN[k=1]", fewer]
    earlier.to_csv(tmp_path / "digits-one-class.csv", index=False)
    kept = read_kept(tmp_path / "digits-one-class.csv")
    joined = newest([kept, runs[runs["solver"] == "KNN[k=1]"]])
    assert len(joined) == len(runs)
    page = Section(joined).markdown("figure.png")
    certified = page[page.index("Certified ROC AUC") : page.index("Accuracy of the best")]
    assert "KNN[k=1]" in certified
    assert "KNN[k=5]" not in certified


def test_the_figure_of_the_ablation_has_the_defaults_of_tables():
    detector = LipOCC(novelty=True, random_state=0).fit(
        np.random.default_rng(0).normal(size=(60, 4))
    )
    recipe = Recipe.of(detector.get_params(deep=False))
    training = recipe.training(detector.network_, 0.1, Ball(9.0).expand(4))
    found = {
        "T": training.n_newton_steps,
        "lambda": detector.regularization,
        "steps": training.max_iter,
    }
    assert {name: float(value) for name, value in DEFAULT_VALUES.items()} == found


def test_the_ablation_page_alone_shows_the_variants(outputs, tmp_path):
    runs = read_benchopt(outputs).assign(dataset="odds-contaminated")
    variant = f"{ABLATION}[variant=default]"
    varied = runs[runs["solver"] == "IForest"].assign(solver=variant)
    pages = {protocol.name: protocol for protocol in PROTOCOLS}
    for name, solvers in (("odds-contaminated", set(runs["solver"])), ("ablation", {variant})):
        assert write(pages[name], [runs, varied], tmp_path)
        assert set(read_kept(tmp_path / f"{name}.csv")["solver"]) == solvers
    expected = f"{100 * varied['roc_auc'].mean():.1f}"
    assert f"| default | {expected}" in (tmp_path / "ablation.md").read_text(encoding="utf-8")


def test_the_lead_is_over_the_best_kind_of_neighbours(outputs):
    runs = newest([read_benchopt(outputs)])
    assert Section(runs).lead() == ""
    best = runs[runs["solver"].isin(["KNN[k=1]", "KNN[k=5]", "KNN-largest"])]
    best = best.groupby("solver")["roc_auc"].mean().idxmax()
    ahead = runs[runs["solver"] == best].assign(solver="LipOCC")
    ahead["roc_auc"] += 0.0123
    section = Section(pd.concat([runs, ahead], ignore_index=True))
    assert f"+1.23 ({best})" in section.lead()


def test_means_leave_out_sets_that_some_detector_has_not_finished(outputs):
    runs = newest([read_benchopt(outputs)])
    unfinished = runs[(runs["solver"] != "IForest") | (runs["set"] != "8")]
    section = Section(unfinished)
    assert section.common == ["3"]
    row = unfinished[(unfinished["solver"] == "KNN[k=1]") & (unfinished["set"] == "3")]
    assert section.values("KNN[k=1]", "roc_auc").tolist() == row["roc_auc"].tolist()


@pytest.mark.parametrize("n_normal", [41, 60_000])
def test_one_class_split_trains_on_half_of_the_normal_rows(n_normal):
    generator = np.random.default_rng(0)
    X, y = generator.normal(3, 5, size=(n_normal + 40, 2)), np.repeat([0, 1], [n_normal, 40])
    X[y == 1] += 1000
    split = one_class_split(X, y, split=4)
    n_rows = len(split["X_train"]) + len(split["X_test"])
    assert n_rows == min(len(X), 50_000)
    assert len(split["X_train"]) == (np.sum(split["y_test"] == 0) + len(split["X_train"]) + 1) // 2
    assert_allclose(split["X_train"].mean(axis=0), 0, atol=1e-12)
    assert_allclose(split["X_train"].std(axis=0), 1)
    assert (split["X_test"][split["y_test"] == 1] > 100).all()
    assert split["X_train"].max() < 100
    assert_allclose(one_class_split(X, y, split=4)["X_train"], split["X_train"])
    assert not np.array_equal(one_class_split(X, y, split=5)["X_train"], split["X_train"])


def test_absent_data_and_a_single_class_are_skipped_with_a_reason(benchmark, monkeypatch, tmp_path):
    monkeypatch.setenv("LIPOCC_DATA", str(tmp_path))
    data = dataset(benchmark, "odds-contaminated", set="cardio", split=0).get_data()
    skipped, reason = objective(benchmark).skip(**data)
    assert skipped
    assert "cardio.mat" in reason
    assert objective(benchmark).skip(y_test=np.zeros(3))[0]
    assert objective(benchmark).skip(y_test=np.array([0, 1])) == (False, None)


def test_the_contaminated_protocol_splits_60_to_40(benchmark):
    if not os.environ.get("LIPOCC_DATA"):
        pytest.skip("LIPOCC_DATA names no folder with ODDS")
    data = dataset(benchmark, "odds-contaminated", set="cardio", split=0).get_data()
    assert data["X_train"].shape == (1098, 21)
    assert len(data["X_test"]) == len(data["y_test"]) == 733
    assert_allclose(data["X_train"].mean(axis=0), 0, atol=1e-9)
    assert_allclose(data["contamination"], 176 / 1831)


def test_peak_memory_sees_an_allocation():
    with PeakMemory() as peak:
        block = np.ones(2**24)  # 128 MiB
        time.sleep(5 * PeakMemory.interval)
        del block
    assert 120 < peak.megabytes < 200


def test_the_digest_follows_code_and_not_comments(tmp_path):
    digests = []
    for code in ('"""Doc."""\nx = 1  # why\n', "x = 1\n", "x = 2\n"):
        (tmp_path / "module.py").write_text(code)
        digests.append(source_digest([tmp_path / "module.py"]))
    assert digests[0] == digests[1] != digests[2]


def test_every_module_without_effect_is_one_of_the_package():
    names = {path.stem for path in Path(pyod_lipocc.__file__).parent.iterdir()}
    assert names >= WITHOUT_EFFECT


@pytest.mark.parametrize("share", [0.05, 0.1])
def test_a_contaminated_digit_is_that_digit_and_a_share_of_others(share):
    clean = load_digits_one_class(3)
    found = contaminated_digit(load_digits_one_class, 3, share, split=1)
    n_clean = len(clean.X_train)
    n_train = len(found["X_train"])
    assert abs(n_train - n_clean - share * n_train) <= 0.5
    assert_array_equal(found["X_train"][:n_clean], clean.X_train)
    assert_array_equal(found["X_test"], clean.X_test)
    strangers = {row.tobytes() for row in found["X_train"][n_clean:]}
    assert len(strangers) == n_train - n_clean
    assert not strangers & {row.tobytes() for row in clean.X_train}
    other = contaminated_digit(load_digits_one_class, 3, share, split=2)["X_train"]
    assert {row.tobytes() for row in other[n_clean:]} != strangers
