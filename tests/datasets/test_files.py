from __future__ import annotations

import re
import shutil
import sys
from decimal import Decimal
from pathlib import Path

import hypothesis.extra.numpy as hnp
import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet as pq
import pytest
import scipy.io
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pyod_lipocc.datasets import LABEL_NAMES, load_file

SEPARATORS = [",", ";", "\t", "|", " "]
X_SMALL = np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.5]])
Y_SMALL = np.array([0, 0, 1])


def write(path, X, y, label="y"):
    if path.suffix == ".npz":
        np.savez(path, X=X, **{label: y})
    elif path.suffix == ".mat":
        scipy.io.savemat(path, {"X": X, label: y[:, None]})
    else:
        write_frame(pd.DataFrame(X).add_prefix("f").assign(**{label: y}), path)
    return path


def write_frame(frame, path):
    frame.to_csv(path, index=False) if path.suffix == ".csv" else frame.to_parquet(path)


TABLES = [".csv", ".parquet"]
SUFFIXES = [".npz", ".mat", ".csv", ".parquet"]


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=25, deadline=None)
@given(
    X=hnp.arrays(
        st.sampled_from([np.float64, np.float32, np.int16, np.uint8, bool]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=6),
    ),
    label=st.sampled_from(["y", "Label", "is_outlier", "class"]),
    label_type=st.sampled_from([np.int8, np.uint16, bool, np.float64]),
    data=st.data(),
)
def test_every_format_gives_back_what_was_written(
    tmp_path_factory, suffix, X, label, label_type, data
):
    y = data.draw(hnp.arrays(np.int8, len(X), elements=st.integers(0, 1))).astype(label_type)
    path = write(tmp_path_factory.mktemp("files") / f"mine{suffix}", X, y, label)
    dataset = load_file(path, label=label if label == "class" else None)
    assert (dataset.name, dataset.label_name) == ("mine", label)
    assert (dataset.X.dtype, dataset.y.dtype) == (np.float64, np.int64)
    # Text holds the shortest digits that tell a float32 from its neighbours, not its exact value.
    found = dataset.X.astype(X.dtype) if suffix == ".csv" else dataset.X
    np.testing.assert_array_equal(found, X)
    np.testing.assert_array_equal(dataset.y, y)
    names = tuple(f"f{i}" for i in range(X.shape[1]))
    assert dataset.feature_names == (names if suffix in TABLES else None)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_labels_are_optional(tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}", X_SMALL, Y_SMALL, label="other")
    dataset = load_file(str(path))
    assert (dataset.y, dataset.label_name) == (None, None)
    assert dataset.X.shape == (3, 3 if suffix in TABLES else 2)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_upper_case_suffix(tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}", X_SMALL, Y_SMALL)
    upper = Path(shutil.move(path, tmp_path / f"B{suffix.upper()}"))
    np.testing.assert_array_equal(load_file(upper).y, Y_SMALL)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("y", "label", "message"),
    [
        ([-1, 1, 1], None, r"y in .* must hold 0 .* only, .*, got \[-1\.?\]: encode"),
        ([-1, 1, 1], None, r"\(labels == -1\)\.astype\(int\) where -1 marks outliers, and give"),
        ([1, 2, 1], None, r"got \[2\.?\]: .*\(labels == 2\)\.astype.* where 2 marks"),
        ([0.0, np.nan, np.nan], None, r"2 missing label\(s\), the first in (row 2|line 3): fill"),
        (["normal", "anomaly", "normal"], None, "got .?'normal.*encode labels, as in"),
        (["yes", "no", "no"], "y", "y in .* must hold .*, or False and True, got .?'yes"),
        (Y_SMALL, "target", r"label must be one of the names that .* \(.*'y'\), got 'target'"),
        (Y_SMALL, "Y", r"label must be one of the names that .* \(.*'y'\), got 'Y'"),
        (Y_SMALL, "X", r"label must be one of the names that .* \(.*'y'\), got 'X'"),
    ],
)
def test_bad_labels_are_refused(tmp_path, suffix, y, label, message):
    path = write(tmp_path / f"a{suffix}", X_SMALL, np.array(y))
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
        ({"X": X_SMALL, "y": Y_SMALL, "Outlier": Y_SMALL}, "label must say which of y, Outlier"),
    ],
)
def test_bad_arrays_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        load_file(tmp_path / "a.npz")


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


def test_parquet_without_the_extra(tmp_path, monkeypatch):
    path = write(tmp_path / "a.parquet", X_SMALL, Y_SMALL)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match="pyarrow is needed.*" + re.escape('"pyod_lipocc[data]"')):
        load_file(path)


@pytest.mark.parametrize("suffix", [".npz", ".mat", ".csv"])
def test_the_others_need_no_extra(tmp_path, monkeypatch, suffix):
    path = write(tmp_path / f"a{suffix}", X_SMALL, Y_SMALL)
    for module in ("pandas", "pyarrow"):
        monkeypatch.setitem(sys.modules, module, None)
    np.testing.assert_array_equal(load_file(path).X, X_SMALL)


# ------------------------------------------------------------------------------------------ labels


@given(
    name=st.sampled_from(LABEL_NAMES),
    separators=st.lists(st.sampled_from(["", " ", "-", "_", "."]), min_size=15, max_size=15),
    capitals=st.lists(st.booleans(), min_size=15, max_size=15),
)
def test_names_of_labels_are_found_however_they_are_written(
    tmp_path_factory, name, separators, capitals
):
    written = "".join(
        (letter.upper() if capital else letter) + separator
        for letter, separator, capital in zip(name, separators, capitals, strict=False)
    )
    dataset = load_file(
        write(tmp_path_factory.mktemp("labels") / "a.npz", X_SMALL, Y_SMALL, written)
    )
    np.testing.assert_array_equal(dataset.y, Y_SMALL)
    assert dataset.label_name == written


@pytest.mark.parametrize(
    "name",
    ["inlier", "is_normal", "anomaly_score", "label_1", "outlierness", "year", "yy", "score"],
)
def test_other_names_are_no_labels(tmp_path, name):
    dataset = load_file(write(tmp_path / "a.npz", X_SMALL, Y_SMALL, name))
    assert (dataset.y, dataset.label_name) == (None, None)


def test_documented_names_of_labels_are_written_plainly():
    for name in LABEL_NAMES:
        assert re.fullmatch("[a-z]+", name)


@pytest.mark.parametrize("suffix", TABLES)
@pytest.mark.parametrize("name", ["Class", "target", "Is_Fraud"])
def test_what_may_be_labels_is_a_feature_with_a_warning(tmp_path, suffix, name):
    path = write(tmp_path / f"a{suffix}", X_SMALL, Y_SMALL, name)
    with pytest.warns(UserWarning, match=f"'{name}' of .* is a feature: pass label='{name}'"):
        dataset = load_file(path)
    assert dataset.feature_names == ("f0", "f1", name)
    assert dataset.y is None
    dataset = load_file(path, label=name)
    assert (dataset.feature_names, dataset.label_name) == (("f0", "f1"), name)
    load_file(write(path, X_SMALL, np.arange(3), name))  # no labels: they have three values


@pytest.mark.parametrize("suffix", TABLES)
def test_a_second_column_of_labels_is_asked_about_and_warned_of(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_frame(pd.DataFrame({"a": [1.0, 2.0], "Outlier": [0, 1], "y": [1, 1]}), path)
    with pytest.raises(ValueError, match="label must say which of Outlier, y in"):
        load_file(path)
    with pytest.warns(UserWarning, match="column 'y' of .* may hold labels and is a feature"):
        dataset = load_file(path, label="Outlier")
    assert dataset.feature_names == ("a", "y")


@pytest.mark.parametrize("suffix", TABLES)
@pytest.mark.parametrize("names", [("x", "y"), ("X", "Y")])
def test_coordinates_are_features(tmp_path, suffix, names):
    path = tmp_path / f"a{suffix}"
    frame = pd.DataFrame([[0.5, 1.5], [2.5, 3.5], [4.5, 5.5]], columns=names)
    write_frame(frame, path)
    assert load_file(path).feature_names == names
    with pytest.raises(ValueError, match="must hold 0"):
        load_file(path, label=names[1])
    write_frame(frame.assign(Label=[0, 0, 1]), path)
    dataset = load_file(path)
    assert (dataset.feature_names, dataset.label_name) == (names, "Label")
    write_frame(frame.assign(**{names[1]: [0, 0, 1]}), path)
    assert load_file(path).label_name == names[1]


# ------------------------------------------------------------------------------------ csv, parquet


NAMES = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\r\0\ufeff"), max_size=5
).map(lambda text: text + "q")
CELLS = {
    "float": st.floats() | st.just(np.nan),
    "int": st.integers(-(2**53), 2**53),
    "bool": st.booleans(),
}


@pytest.mark.parametrize("separator", SEPARATORS)
@given(
    names=st.lists(NAMES, min_size=1, max_size=4, unique=True),
    n_rows=st.integers(1, 4),
    line=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig"]),
    data=st.data(),
)
def test_every_column_comes_back_in_order(
    tmp_path_factory, separator, names, n_rows, line, encoding, data
):
    blanks = separator == " "
    assume(not (blanks and "\n" in "".join(names)))
    columns = {}
    for name in names:
        cells = CELLS[data.draw(st.sampled_from(list(CELLS)))]
        columns[name] = data.draw(st.lists(cells, min_size=n_rows, max_size=n_rows))
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    frame = pd.DataFrame(columns)
    na_rep = "NaN" if blanks else ""
    frame.to_csv(
        path, sep=separator, index=False, lineterminator=line, encoding=encoding, na_rep=na_rep
    )
    dataset = load_file(path, separator=separator)
    assert dataset.feature_names == tuple(names)
    np.testing.assert_array_equal(dataset.X, frame.to_numpy(dtype=np.float64))


@given(
    n_columns=st.integers(1, 5),
    n_rows=st.integers(1, 5),
    surplus=st.integers(-4, 3).filter(bool),
    empty=st.booleans(),
    data=st.data(),
)
def test_a_row_of_another_length_is_refused(
    tmp_path_factory, n_columns, n_rows, surplus, empty, data
):
    assume(n_columns + surplus > 0)
    lines = [[f"f{i}" for i in range(n_columns)]] + [["7"] * n_columns for _ in range(n_rows)]
    ragged = data.draw(st.integers(1, n_rows))
    lines[ragged] = (lines[ragged] + ["" if empty else "7"] * 3)[: n_columns + surplus]
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_text("\n".join(map(",".join, lines)))
    with pytest.raises(
        ValueError,
        match=rf"line {ragged + 1} has {n_columns + surplus} field.* names {n_columns} column",
    ):
        load_file(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2,\n3,4,\n", r"line 2 has 3 field\(s\), the first line names 2 column\(s\): name"),
        ("a,b\nrow1,1,2\nrow2,3,4\n", "line 2 has 3 field"),  # R's row names
        ("a,b\n1,5,2,5\n", "line 2 has 4 field.*decimal point"),
        ("a,b\n\n1,2\n\n3\n", "line 5 has 1 field"),
        ('"a\nb",c\n1,"2\n"\n3\n', "line 5 has 1 field"),
        ("a,b\n1,2\ntotal\n", "line 3 has 1 field"),
        ("a,a\n1,2\n", "names of columns must differ, got more than one 'a'"),
        ("a,b,y,y\n1,2,0,1\n", "more than one 'y'"),
        ("", "first line must name the columns, got none"),
        ("\n \n", "first line must name the columns, got none"),
        ("1,2\n3,4\n", "first line must name the columns, got '1', '2': put a line of names"),
        ("1,1\n3,4\n", "first line must name the columns"),
        ("0.0,1.0\n3,4\n", "first line must name the columns"),
        ("5\n6\n", "first line must name the columns"),
        (",1,2,,NA\n3,4,5,6,7\n", "first line must name the columns"),
        (",\n3,4\n", "first line must name the columns"),
        ('a,b\n1,"2\n', "unexpected end of data"),
        ('a,b\n1,"2"3\n', "expected after"),
        ("a,b\n", r"X in .* must have a shape \(n, d\), not empty, got \(0, 2\)"),
        ("y\n0\n1\n", r"not empty, got \(2, 0\)"),
        (b"a,\xe9\n1,2\n", "it must be saved as UTF-8"),
        ("a,b\n1,2\n".encode("utf-16"), "it must be saved as UTF-8"),
    ],
)
def test_bad_csv_is_refused(tmp_path, content, message):
    path = tmp_path / "a.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message):
        load_file(path)


@pytest.mark.parametrize(
    ("content", "names", "rows"),
    [
        ("a,b\n1,\n,2\n,\n", ("a", "b"), [[1, np.nan], [np.nan, 2], [np.nan, np.nan]]),
        ("\na,b\n\n1,2\n  \n3,4\n\n", ("a", "b"), [[1, 2], [3, 4]]),
        ('a\n1\n""\n3\n', ("a",), [[1], [np.nan], [3]]),
        ("a,b\r1,2\r", ("a", "b"), [[1, 2]]),
        ("\ufeffa,b\n1,2", ("a", "b"), [[1, 2]]),
        ("a, b\n1, 2\n +3 ,-4e-1\n", ("a", " b"), [[1, 2], [3, -0.4]]),
        ('"a","b,c"\n"1","2"\n', ("a", "b,c"), [[1, 2]]),
        ("a,b,c\nTRUE,false,True\n1,.5,5.\n", ("a", "b", "c"), [[1, 0, 1], [1, 0.5, 5]]),
        ("a,b,c\nNA,NaN,null\n#N/A,-nan,-1.#IND\n", ("a", "b", "c"), np.full((2, 3), np.nan)),
        ("a,b\ninf,-Infinity\n", ("a", "b"), [[np.inf, -np.inf]]),
        ("0,1,2\n3,4,5\n", ("0", "1", "2"), [[3, 4, 5]]),  # pandas writes these without names
        ("sepal length\n5.1\n", ("sepal length",), [[5.1]]),
        ("sepal length,a;b\n1,2\n", ("sepal length", "a;b"), [[1, 2]]),
        ("nan\n1\n", ("nan",), [[1]]),
    ],
)
def test_good_csv_is_read(tmp_path, content, names, rows):
    path = tmp_path / "a.csv"
    path.write_bytes(content.encode())
    dataset = load_file(path)
    assert dataset.feature_names == names
    np.testing.assert_array_equal(dataset.X, rows)


@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize("quote", ["", '"'])
@pytest.mark.parametrize("other", SEPARATORS)
def test_another_separator_is_named(tmp_path, separator, quote, other):
    path = tmp_path / "a.csv"
    names = separator.join(f"{quote}{name}{quote}" for name in ("a", "b", "Label"))
    path.write_text(f"{names}\n{separator.join('120')}\n")
    if other == separator:
        path.write_text(path.read_text().replace("2", "1"))
        np.testing.assert_array_equal(load_file(path, separator=other).X, [[1, 1]])
    else:
        expected = re.escape(f"by {separator!r}, not by {other!r}: pass separator={separator!r}")
        with pytest.raises(ValueError, match=f"fields seem to be separated {expected}"):
            load_file(path, separator=other)


def test_decimal_commas_are_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a;b\n1,5;2,5\n")
    with pytest.raises(ValueError, match="pass separator=';'"):
        load_file(path)
    with pytest.raises(ValueError, match=r"a: '1,5' in line 2, b: '2,5'.*a decimal point"):
        load_file(path, separator=";")
    for blank in ",' \u2019\u00a0\u2009\u202f":
        path.write_text(f'a\n"1{blank}000{blank}000.5"\n', encoding="utf-8")
        with pytest.raises(ValueError, match=r"no thousands separator.*pandas\.read_csv"):
            load_file(path)


@pytest.mark.parametrize("separator", SEPARATORS)
def test_lines_of_any_length_are_read(tmp_path, separator):
    path = tmp_path / "a.csv"
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(2, 30000)))
    frame.to_csv(path, sep=separator, index=False)
    np.testing.assert_array_equal(load_file(path, separator=separator).X, frame)
    other = SEPARATORS[SEPARATORS.index(separator) - 1]
    with pytest.raises(ValueError, match=re.escape(f"pass separator={separator!r}")):
        load_file(path, separator=other)


@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize(("start", "other"), [("sep=", ","), ("SEP=", ";"), ("sep=", " ")])
def test_a_line_for_excel_is_named(tmp_path, separator, other, start):
    path = tmp_path / "a.csv"
    path.write_text(f"{start}{separator}\na{separator}b\n1{separator}2\n", encoding="utf-8-sig")
    with pytest.raises(ValueError, match=rf"got '{start}.*, which only Excel reads: delete this"):
        load_file(path, separator=other)


@pytest.mark.parametrize(
    "content", ["# made, by me\na,b,c\n1,2,3\n", "# made by me\na,b\n1,2\n", "# me\na\n1\n"]
)
def test_a_comment_is_named(tmp_path, content):
    path = tmp_path / "a.csv"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"got '# m.*, which seems to be a comment: delete this"):
        load_file(path)
    path.write_text("#a,b\n1,2\n3\n")
    with pytest.raises(ValueError, match="line 3 has 1 field"):
        load_file(path)
    path.write_text("#a,b\n1,2\n")
    assert load_file(path).feature_names == ("#a", "b")


def test_missing_labels_are_counted_by_lines(tmp_path):
    (tmp_path / "a.csv").write_text("a,b,y\n\n1,2,1\n,,\n\n,,\n")
    with pytest.raises(ValueError, match=r"got 2 missing label\(s\), the first in line 4: "):
        load_file(tmp_path / "a.csv")


def test_blanks_separate_by_any_number_of_them(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("  a    b  \n 1.5    2 \n\n10   -3\n")
    dataset = load_file(path, separator=" ")
    assert dataset.feature_names == ("a", "b")
    np.testing.assert_array_equal(dataset.X, [[1.5, 2], [10, -3]])


@pytest.mark.parametrize("separator", ["::", "", "a", None, '"', "\n", 1])
def test_bad_separators_are_refused(tmp_path, separator):
    path = write(tmp_path / "a.csv", X_SMALL, Y_SMALL)
    with pytest.raises(ValueError, match=r"separator must be one of ',', ';', .*, got"):
        load_file(path, separator=separator)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ("1,Paris\n2,Rome", "city: 'Paris' in line 2: drop .*preprocessing.OneHotEncoder"),
        ("1,2\n3,Paris\n4,5", "city: 'Paris' in line 3"),
        ("x,Paris", "a: 'x' in line 2, city: 'Paris' in line 2"),
        ("1_000,2", "a: '1_000' in line 2"),
        ("01.02.2020,2", "a: '01.02.2020' in line 2: drop these columns.*ordered$"),
        ("1,5%", "city: '5%' in line 2"),
        ("1,?", r"city: '\?' in line 2"),
        ("1,0x10", "city: '0x10' in line 2"),
        ("1,yes", "city: 'yes' in line 2"),
    ],
)
def test_text_in_csv_is_shown(tmp_path, cells, message):
    (tmp_path / "a.csv").write_text("a,city\n" + cells)
    with pytest.raises(ValueError, match=f"columns of .* must hold numbers, got {message}"):
        load_file(tmp_path / "a.csv")


def test_many_text_columns_are_counted(tmp_path):
    names = [f"f{i}" for i in range(8)]
    (tmp_path / "a.csv").write_text(",".join(names) + "\n" + ",".join("abcdefgh"))
    with pytest.raises(ValueError, match=r"f0: 'a' in line 2, .*, f4: 'e' .* and 3 more: "):
        load_file(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([None, "Paris"], "'Paris' of type .*string"),
        (pd.to_datetime(["2020-01-01", "2020-01-02"]), "'2020-01-01 .* of type timestamp"),
        ([[1], [2]], r"'\[1\]' of type list"),
        (pd.Categorical(["a", "b"]), "'a' of type dictionary"),
        (np.array([2**50, 0], "datetime64[s]"), "values of type timestamp"),
        (pd.array([None, None], "string"), "'None' of type .*string"),
    ],
)
def test_text_in_parquet_is_shown(tmp_path, values, message):
    pd.DataFrame({"a": [1, 2], "city": values}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=f"must hold numbers, got city: {message}.*OneHotEncoder"):
        load_file(tmp_path / "a.parquet")


def test_numbers_of_every_type_in_parquet(tmp_path):
    columns = {
        "half": np.array([0.5, 1.5], np.float16),
        "integer": pd.array([7, None], "Int64"),
        "boolean": pd.array([True, None], "boolean"),
        "decimal": [Decimal("1.5"), None],
        "none": [None, None],
    }
    pd.DataFrame(columns).to_parquet(tmp_path / "a.parquet")
    expected = [[0.5, 7, 1, 1.5, np.nan], [1.5, np.nan, np.nan, np.nan, np.nan]]
    np.testing.assert_array_equal(load_file(tmp_path / "a.parquet").X, expected)


def test_names_that_occur_twice_in_parquet_are_refused(tmp_path):
    column = pyarrow.array([1.0])
    pq.write_table(pyarrow.table([column, column], names=["a", "a"]), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="names of columns must differ, got more than one 'a'"):
        load_file(tmp_path / "a.parquet")


# ----------------------------------------------------------------------------------------- indices

FRAME = pd.DataFrame({"a": [1.5, 2.5, 4.5], "b": [1.0, 0.5, 7.0]})


@pytest.mark.parametrize(
    ("content", "column"),
    [
        (FRAME.to_csv(), 1),
        (FRAME[::-1].to_csv(), 1),
        (pd.DataFrame(FRAME.to_numpy()).to_csv(), 1),
        ("a,b,\n1,2,\n3,4,1\n", 3),
        ("Label,a,\n0,2,7\n1,4,5\n", 3),
        ('a," "\n1,2\n', 2),
    ],
)
def test_a_column_without_name_is_a_feature_with_a_warning(tmp_path, content, column):
    path = tmp_path / "a.csv"
    path.write_text(content)
    message = rf"column {column} of .* has no name and is a feature.*to_csv\(path, index=False\)"
    with pytest.warns(UserWarning, match=message) as caught:
        dataset = load_file(path)
    (warning,) = caught
    assert warning.filename == __file__
    names = content.split("\n")[0].replace("Label,", "").split(",")
    assert dataset.X.shape[1] == len(dataset.feature_names) == len(names)
    assert [name.strip('" ') for name in names] == [name.strip() for name in dataset.feature_names]


@pytest.mark.parametrize("suffix", TABLES)
@pytest.mark.parametrize("values", [[0, 1, 2], [1, 0, 2], [7.5, 7.5, np.nan]])
def test_a_name_that_pandas_gives_is_none(tmp_path, suffix, values):
    path = tmp_path / f"a{suffix}"
    write_frame(FRAME.assign(**{"Unnamed: 0": values}), path)
    with pytest.warns(UserWarning, match="column 3 of .* has no name but 'Unnamed: 0'") as caught:
        dataset = load_file(path)
    assert len(caught) == 1
    assert dataset.feature_names == ("a", "b", "Unnamed: 0")


@pytest.mark.parametrize(
    "content",
    [
        "a,Label,,\n1,0,,\n3,1,,\n",
        "a,Label,Unnamed: 2,\n1,0,,NA\n3,1,,\n",
    ],
)
def test_empty_columns_without_names_are_warned_of_once(tmp_path, content):
    (tmp_path / "a.csv").write_text(content)
    with pytest.warns(UserWarning, match=r"column\(s\) 3, 4 of .* are empty") as caught:
        dataset = load_file(tmp_path / "a.csv")
    assert len(caught) == 1
    np.testing.assert_array_equal(dataset.X, [[1, np.nan, np.nan], [3, np.nan, np.nan]])


def test_text_in_a_column_without_name_is_shown(tmp_path):
    FRAME.set_index(pd.Index(["r1", "r2", "r3"])).to_csv(tmp_path / "a.csv")
    with pytest.raises(ValueError, match="got column 1, without a name: 'r1' in line 2: drop"):
        load_file(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("a,,\n1,2,x\n1,y,2\n")
    message = "got column 3, without a name: 'x' in line 2, column 2, without a name: 'y' in line 3"
    with pytest.raises(ValueError, match=message):
        load_file(tmp_path / "a.csv")


@pytest.mark.parametrize("suffix", TABLES)
@pytest.mark.parametrize("name", ["id", "Index", "Row_Number", "level_0"])
@pytest.mark.parametrize("start", [0, 1])
def test_a_column_that_counts_the_rows_is_a_feature_with_a_warning(tmp_path, suffix, name, start):
    path = tmp_path / f"a{suffix}"
    write_frame(FRAME.assign(**{name: range(start, start + 3)}), path)
    with pytest.warns(UserWarning, match=f"column '{name}' of .* counts the rows and is a feature"):
        dataset = load_file(path)
    assert dataset.feature_names == ("a", "b", name)


@pytest.mark.parametrize("suffix", TABLES)
@pytest.mark.parametrize(("name", "values"), [("id", [2, 1, 0]), ("time", [0, 1, 2])])
def test_other_columns_are_not_warned_of(tmp_path, suffix, name, values):
    write_frame(FRAME.assign(**{name: values}), tmp_path / f"a{suffix}")
    load_file(tmp_path / f"a{suffix}")


@pytest.mark.parametrize(
    ("frame", "names"),
    [
        (FRAME.iloc[[0, 2, 1]], ["__index_level_0__"]),
        (FRAME.set_index("b"), ["b"]),
        (FRAME.set_index(pd.Index(["u", "v", "w"], name="who")), ["who"]),
        (FRAME.assign(c=FRAME.a, d=FRAME.b).set_index(["b", "d"]), ["b", "d"]),
    ],
)
def test_a_declared_index_is_left_out_with_a_warning(tmp_path, frame, names):
    path = tmp_path / "a.parquet"
    frame.to_parquet(path)
    with pytest.warns(UserWarning, match="is left out") as caught:
        dataset = load_file(path)
    for name, warning in zip(names, caught, strict=True):
        assert f"the index {name!r} of {path} is left out" in str(warning.message)
    assert dataset.feature_names == tuple(frame.columns)
    np.testing.assert_array_equal(dataset.X, frame)
    with pytest.raises(ValueError, match=f"label must not name the index .*, got '{names[0]}'"):
        load_file(path, label=names[0])
    frame.to_parquet(path, index=False)
    np.testing.assert_array_equal(load_file(path).X, frame)


def test_a_counted_index_is_not_warned_of(tmp_path):
    FRAME[1:].to_parquet(tmp_path / "a.parquet")
    np.testing.assert_array_equal(load_file(tmp_path / "a.parquet").X, FRAME[1:])


def test_parquet_of_others_than_pandas(tmp_path):
    pq.write_table(pyarrow.table({"a": [1.0, None], "Y": [0, 1]}), tmp_path / "a.parquet")
    dataset = load_file(tmp_path / "a.parquet")
    np.testing.assert_array_equal(dataset.X, [[1.0], [np.nan]])
    assert dataset.label_name == "Y"
