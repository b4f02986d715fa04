from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
QUICK = {
    "deployment.py": [],
    "ensemble.py": [],
    "figures.py": [
        *("synthesis", "histograms", "contours", "certified", "explanation", "history"),
        *("--digits", "0", "--max-iter", "20", "--output", "figures"),
    ],
    "lipocc_example.py": [],
    "mnist_one_class.py": ["--embedded", "--digits", "0", "--minutes", "0.02", "--hidden", "32"],
    "novelty_detection.py": [],
    "signed_distance.py": ["--quick", "--networks", "dense", "--output", "sd"],
    "sklearn_pipeline.py": [],
    "toy_experiment.py": [
        *("--sets", "two-moons", "--hidden", "16", "16", "--max-iter", "100", "--output", "toy"),
    ],
}
RUN_BY_MAKE = {"demo.py"}
HELPERS = {"toy_figures.py"}


@pytest.mark.parametrize("script", QUICK)
def test_example_runs_without_warnings(script, tmp_path):
    subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / script, *QUICK[script]],
        cwd=tmp_path,
        env=os.environ | {"MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
        timeout=300,
    )


def test_every_example_is_run():
    assert {path.name for path in EXAMPLES.glob("*.py")} == {*QUICK, *RUN_BY_MAKE, *HELPERS}
