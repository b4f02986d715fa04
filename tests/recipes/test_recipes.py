"""The recipes of the page about scaling out, each where its engine is installed."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from small import cloud, small

from pyod_lipocc import LipOCC

pd = pytest.importorskip("pandas")

COLUMNS = ["a", "b", "c"]
FRAME = pd.DataFrame(cloud(40, seed=1), columns=COLUMNS)


@pytest.fixture(scope="module")
def detector():
    return small().fit(pd.DataFrame(cloud(), columns=COLUMNS)).for_scoring()


@pytest.fixture(scope="module")
def expected(detector):
    return detector.decision_function(FRAME)


@pytest.mark.filterwarnings("default")
def test_spark_maps_partitions(detector, expected, monkeypatch):
    sql = pytest.importorskip("pyspark.sql")
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)

    def score(frames):
        for frame in frames:
            yield frame.assign(score=detector.decision_function(frame[COLUMNS]))

    builder = sql.SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    with builder.getOrCreate() as spark:
        rows = spark.createDataFrame(FRAME).repartition(3)
        found = rows.mapInPandas(score, "a double, b double, c double, score double").toPandas()
    joined = FRAME.assign(expected=expected).merge(found, on=COLUMNS)
    np.testing.assert_allclose(joined["score"], joined["expected"], rtol=1e-9)
    assert len(joined) == len(FRAME)


@pytest.mark.filterwarnings("default")
def test_ray_maps_batches(detector, expected):
    ray = pytest.importorskip("ray")
    data = pytest.importorskip("ray.data")

    def score(batch):
        rows = pd.DataFrame({name: batch[name] for name in COLUMNS})
        return {**batch, "score": detector.decision_function(rows)}

    ray.init(num_cpus=2, include_dashboard=False, configure_logging=False)
    try:
        found = data.from_pandas(FRAME).map_batches(score, batch_size=16).to_pandas()
    finally:
        ray.shutdown()
    joined = FRAME.assign(expected=expected).merge(found, on=COLUMNS)
    np.testing.assert_allclose(joined["score"], joined["expected"], rtol=1e-9)


@pytest.mark.filterwarnings("default")
def test_mlflow_loads_a_file_that_runs_no_code(detector, expected, tmp_path):
    pyfunc = pytest.importorskip("mlflow.pyfunc")

    class Detector(pyfunc.PythonModel):
        def load_context(self, context):
            self.detector = LipOCC.load(context.artifacts["detector"])

        def predict(self, context, model_input, params=None):
            return self.detector.decision_function(model_input)

    file = tmp_path / "detector.lipocc"
    detector.save(file)
    pyfunc.save_model(
        tmp_path / "model",
        python_model=Detector(),
        artifacts={"detector": str(file)},
        pip_requirements=[],
    )
    found = pyfunc.load_model(str(tmp_path / "model")).predict(FRAME)
    np.testing.assert_array_equal(found, expected)


def test_onnx_runtime_answers_a_service(detector, expected, tmp_path):
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    detector.to_onnx(tmp_path / "detector.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "detector.onnx")

    def answer(body):
        rows = np.array(json.loads(body), dtype=np.float64)
        scores, labels = session.run(["scores", "labels"], {"X": rows})
        return json.dumps({"scores": scores.tolist(), "labels": labels.tolist()}).encode()

    found = json.loads(answer(json.dumps(FRAME.to_numpy().tolist()).encode()))
    np.testing.assert_allclose(found["scores"], expected, rtol=1e-9)
    np.testing.assert_array_equal(found["labels"], detector.predict(FRAME))
