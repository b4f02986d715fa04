from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import hypothesis.extra.numpy as hnp
import numpy as np
import pandas as pd
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st

from pyod_lipocc.datasets import load_file

X_SMALL = np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.5]])
Y_SMALL = np.array([0, 0, 1])


def write(path, X, y, label="y"):
    frame = pd.DataFrame(X, columns=[f"f{i}" for i in range(X.shape[1])])
    match path.suffix:
        case ".npz":
            np.savez(path, X=X, **{label: y})
        case ".mat":
            scipy.io.savemat(path, {"X": X, label: y[:, None]})
        case ".csv":
            frame.assign(**{label: y}).to_csv(path, index=False)
        case ".parquet":
            frame.assign(**{label: y}).to_parquet(path)
    return path


SUFFIXES = [".npz", ".mat", ".csv", ".parquet"]


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=25, deadline=None)
@given(
    X=hnp.arrays(
        st.sampled_from([np.float64, np.float32, np.int16, np.uint8, bool]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=6),
    ),
    label=st.sampled_from(["y", "label", "outlier", "class"]),
    data=st.data(),
)
def test_every_format_gives_back_what_was_written(tmp_path_factory, suffix, X, label, data):
    y = data.draw(hnp.arrays(np.int8, len(X), elements=st.integers(0, 1)))
    path = write(tmp_path_factory.mktemp("files") / f"mine{suffix}", X, y, label)
    dataset = load_file(path, label=label if label == "class" else None)
    assert dataset.name == "mine"
    assert (dataset.X.dtype, dataset.y.dtype) == (np.float64, np.int64)
    # text holds the shortest digits that tell a float32 from its neighbours, not its exact value
    rtol = 1e-7 if suffix == ".csv" else 0.0
    np.testing.assert_allclose(dataset.X, X.astype(np.float64), rtol=rtol)
    np.testing.assert_array_equal(dataset.y, y)
    named = suffix in (".csv", ".parquet")
    assert dataset.feature_names == (tuple(f"f{i}" for i in range(X.shape[1])) if named else None)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_labels_are_optional(tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}", X_SMALL, Y_SMALL, label="other")
    dataset = load_file(str(path))
    assert dataset.y is None
    assert dataset.X.shape == (3, 3 if suffix in (".csv", ".parquet") else 2)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_upper_case_suffix(tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}", X_SMALL, Y_SMALL)
    upper = Path(shutil.move(path, tmp_path / f"B{suffix.upper()}"))
    np.testing.assert_array_equal(load_file(upper).y, Y_SMALL)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("y", "label", "message"),
    [
        (np.array([-1, 1, 1]), None, r"0 \(normal\) and 1 \(outlier\) only, got \[-1"),
        (np.array([0.0, np.nan, 1.0]), None, r"only, got \[nan"),
        (np.array(["a", "b", "c"]), None, "y in .* must hold real numbers"),
        (Y_SMALL, "target", "label must name labels that .* holds, got 'target'"),
    ],
)
def test_bad_labels_are_refused(tmp_path, suffix, y, label, message):
    path = write(tmp_path / f"a{suffix}", X_SMALL, y)
    with pytest.raises(ValueError, match=message):
        load_file(path, label=label)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y": Y_SMALL}, "must hold an array X"),
        (
            {"X": X_SMALL[0], "y": Y_SMALL},
            r"X in .* must have a shape \(n, d\), not empty, got \(2,\)",
        ),
        ({"X": np.empty((0, 2))}, r"not empty, got \(0, 2\)"),
        ({"X": X_SMALL, "y": Y_SMALL[:2]}, "a label for each of 3 rows, got 2"),
        ({"X": X_SMALL + 1j}, "X in .* must hold real numbers, got dtype complex128"),
        ({"X": np.array([["a"]])}, "X in .* must hold real numbers"),
        ({"X": X_SMALL.astype(object)}, "Object arrays cannot be loaded"),
        ({"X": X_SMALL, "y": Y_SMALL, "outlier": Y_SMALL}, "label must say which of y, outlier"),
    ],
)
def test_bad_arrays_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        load_file(tmp_path / "a.npz")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_text_columns_are_named(tmp_path, suffix):
    frame = pd.DataFrame({"a": [1.0, 2.0], "city": ["x", "y"]})
    path = tmp_path / f"a{suffix}"
    frame.to_csv(path, index=False) if suffix == ".csv" else frame.to_parquet(path)
    with pytest.raises(ValueError, match="columns must be numeric, drop or encode city"):
        load_file(path)


def test_missing_values_stay_missing(tmp_path):
    pd.DataFrame({"a": pd.array([1, None, 3], "Int64"), "b": [0.5, 1.5, np.nan]}).to_parquet(
        tmp_path / "a.parquet"
    )
    expected = [[1.0, 0.5], [np.nan, 1.5], [3.0, np.nan]]
    np.testing.assert_array_equal(load_file(tmp_path / "a.parquet").X, expected)


@pytest.mark.parametrize("suffix", [".npz", ".mat", ".parquet"])
def test_truncated_files_are_refused(tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}", np.arange(600.0).reshape(200, 3), np.arange(200) % 2)
    content = path.read_bytes()
    for size in (0, 3, 100, 200, len(content) // 2, len(content) - 30):
        path.write_bytes(content[:size])
        with pytest.raises(ValueError, match=re.escape(str(path))):
            load_file(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_other_content_is_refused(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"\x80\x04N." * 40)  # a pickle, as it happens
    with pytest.raises(ValueError, match=f"cannot be read as {re.escape(suffix)}"):
        load_file(path)


def test_matlab_7_3_is_answered_by_what_to_do(tmp_path):
    header = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    (tmp_path / "a.mat").write_bytes(header + bytes(400))
    with pytest.raises(
        ValueError, match=r"format v7.3; save it again with '-v7', or read it with h5py"
    ):
        load_file(tmp_path / "a.mat")


@pytest.mark.parametrize("name", ["a.pkl", "a.txt", "a", "a.npy"])
def test_other_types_are_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"must end with one of \.npz, \.mat, \.csv, \.parquet, got"
    ):
        load_file(tmp_path / name)


def test_absent_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.npz"):
        load_file(tmp_path / "nowhere.npz")


@pytest.mark.parametrize(
    ("suffix", "module"), [(".csv", "pandas"), (".parquet", "pandas"), (".parquet", "pyarrow")]
)
def test_tables_without_the_extra(tmp_path, monkeypatch, suffix, module):
    path = write(tmp_path / f"a{suffix}", X_SMALL, Y_SMALL)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        ImportError, match=f"{module} is needed.*" + re.escape('"pyod_lipocc[data]"')
    ):
        load_file(path)
