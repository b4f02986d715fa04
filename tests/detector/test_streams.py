"""A detector that follows a stream, batch by batch."""

from __future__ import annotations

import numpy as np
import pytest
from small import cloud, small

STEP = np.array([0.5, 0.0, 0.0])


def drifting(n_batches, n_rows=200):
    return [cloud(n_rows, seed=i) + i * STEP for i in range(n_batches)]


@pytest.fixture(scope="module")
def followed():
    """Return a detector of the first batch, and the detector after each further batch."""
    first, *batches = drifting(8)
    start = small(max_iter=100).fit(first)
    stream = small(max_iter=100).fit(first)
    thresholds = []
    for batch in batches:
        stream.partial_fit(batch)
        thresholds.append(stream.threshold_)
    return start, stream, thresholds, batches


def test_batches_come_from_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    X = cloud(300)
    table = pyarrow.table({f"x{i}": column for i, column in enumerate(X.T)})
    parquet.write_table(table, tmp_path / "stream.parquet")
    stream, twin = small(), small()
    for batch in parquet.ParquetFile(tmp_path / "stream.parquet").iter_batches(batch_size=100):
        stream.partial_fit(batch.to_pandas())
    for rows in np.split(X, 3):
        twin.partial_fit(rows)
    np.testing.assert_array_equal(stream.decision_scores_, twin.decision_scores_)
    assert stream.n_iter_ == 30 + 2


def test_what_is_kept_and_what_is_forgotten(followed):
    start, stream, _, batches = followed
    assert stream.scaling_.location.tolist() == start.scaling_.location.tolist()
    assert stream.margin_ == start.margin_
    assert float(stream.domain_.radius) >= float(start.domain_.radius)
    assert len(stream.decision_scores_) == len(stream.labels_) == len(batches[-1])
    scores = stream.decision_function(batches[-1])
    np.testing.assert_array_equal(stream.decision_scores_, scores)


def test_the_detector_follows_a_drift_that_another_does_not(followed):
    start, stream, _, batches = followed
    missed = start.predict(batches[-1]).mean()
    assert stream.predict(batches[-1]).mean() == pytest.approx(0.1, abs=0.01)
    assert missed > 0.9


def test_a_smoothed_threshold_follows_too(followed):
    start, stream, thresholds, batches = followed
    smoothed = start.threshold_
    for threshold in thresholds:
        smoothed += 0.5 * (threshold - smoothed)
    assert min(start.threshold_, *thresholds) <= smoothed <= max(start.threshold_, *thresholds)
    assert stream.set_threshold(smoothed).predict(batches[-1]).mean() < 0.5
