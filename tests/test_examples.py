"""The scripts of `examples/`, each run as ``python examples/<name>.py``, in this process."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
from matplotlib import pyplot as plt

EXAMPLES = Path(__file__).parents[1] / "examples"
QUICK = {
    "deployment.py",
    "ensemble.py",
    "lipocc_example.py",
    "novelty_detection.py",
    "report.py",
    "sklearn_pipeline.py",
    "train_on_ranks.py",
}
GALLERY = sorted(path.name for path in EXAMPLES.glob("plot_*.py"))
RUN_BY_MAKE = {"demo.py"}
HELPERS = {"_extras.py"}
NEEDS = {
    ("deployment.py", "onnx"): "onnx",
    ("deployment.py", "onnxruntime"): "onnx",
    ("ensemble.py", "combo"): "ensembles",
    ("sklearn_pipeline.py", "pandas"): "data",
}


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Return a function that runs a script in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLES)

    def script(name):
        monkeypatch.setattr(sys, "argv", [str(EXAMPLES / name)])
        runpy.run_path(sys.argv[0], run_name="__main__")

    plt.switch_backend("Agg")
    yield script
    plt.close("all")


@pytest.mark.parametrize("script", [*sorted(QUICK), *GALLERY])
def test_example_runs_without_warnings(script, run):
    run(script)


@pytest.mark.parametrize(("script", "module"), NEEDS)
def test_missing_module_is_named_with_the_command_that_installs_it(
    script, module, run, monkeypatch
):
    for name in (module, *(name for name in sys.modules if name.startswith(f"{module}."))):
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("combination", "feature_bagging"):  # which import combo
        monkeypatch.delitem(sys.modules, f"pyod.models.{name}", raising=False)
    monkeypatch.setenv("LIPOCC_DATA", "")
    with pytest.raises(SystemExit) as ended:
        run(script)
    command = f'pip install "pyod_lipocc[{NEEDS[script, module]}]"'
    assert ended.value.code == f"{EXAMPLES / script} needs {module}: {command}"


def test_every_example_is_run():
    assert {path.name for path in EXAMPLES.glob("*.py")} == {
        *QUICK,
        *GALLERY,
        *RUN_BY_MAKE,
        *HELPERS,
    }
