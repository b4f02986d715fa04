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
    "sklearn_pipeline.py": [],
}
RUN_BY_MAKE = {"demo.py"}
HELPERS = {"_extras.py"}
NEEDS = {
    ("deployment.py", "onnx"): "onnx",
    ("deployment.py", "onnxruntime"): "onnx",
    ("ensemble.py", "combo"): "ensembles",
    ("figures.py", "pooch"): "data",
    ("mnist_one_class.py", "pooch"): "data",
    ("sklearn_pipeline.py", "pandas"): "data",
}
WITHOUT_EMBEDDED_DATA = {"figures.py": ["histograms", "--data", "mnist"]}


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


@pytest.mark.parametrize(("script", "module"), NEEDS)
def test_missing_module_is_named_with_the_command_that_installs_it(script, module, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(f"import sys; sys.modules[{module!r}] = None")
    path = EXAMPLES / script
    done = subprocess.run(
        [sys.executable, path, *WITHOUT_EMBEDDED_DATA.get(script, [])],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path), "LIPOCC_DATA": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1
    command = f'pip install "pyod_lipocc[{NEEDS[script, module]}]"'
    assert done.stderr == f"{path} needs {module}: {command}\n"


def test_every_example_is_run():
    assert {path.name for path in EXAMPLES.glob("*.py")} == {*QUICK, *RUN_BY_MAKE, *HELPERS}
