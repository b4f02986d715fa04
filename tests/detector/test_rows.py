"""Errors about rows name the column and show the way out."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.pipeline import Pipeline
from small import cloud, small

from pyod_lipocc import LipOCC

N = 100


def frame(**columns):
    return pd.DataFrame(cloud(N), columns=["a", "b", "c"]).assign(**columns)


def with_missing(X):
    X = X.copy()
    X[3:5, 1] = np.nan
    return X


CITIES = np.where(np.arange(N) % 2, "Paris", "Rome")
MISSING = np.where(np.arange(N) < 2, np.nan, np.arange(N))

WITH_TEXT = {
    "strings": (frame(city=CITIES), "'city' (such as 'Rome')"),
    "objects": (frame(city=CITIES.astype(object)), "'city' (such as 'Rome')"),
    "categories": (frame(city=pd.Categorical(CITIES)), "'city' (such as 'Rome')"),
    "text beside missing": (frame(city=CITIES, b=MISSING), "'city' (such as 'Rome')"),
    "array": (np.column_stack((CITIES.astype(object), cloud(N))), "0 (such as 'Rome')"),
    "numbers as names": (frame(city=CITIES).set_axis([3, 2, 1, 0], axis=1), "3 (such as 'Rome')"),
}

WITH_NAN = {
    "frame": (frame(b=MISSING), "'b' (2 of 100 rows)"),
    "nullable": (frame(b=pd.array([None, None, *range(N - 2)], "Int64")), "'b' (2 of 100 rows)"),
    "array": (with_missing(cloud(N)), "1 (2 of 100 rows)"),
    "float32": (with_missing(cloud(N)).astype(np.float32), "1 (2 of 100 rows)"),
    "list": (with_missing(cloud(N)).tolist(), "1 (2 of 100 rows)"),
    "None": (np.where(with_missing(cloud(N)) > -9, cloud(N), None), "1 (2 of 100 rows)"),
}


def error_of(call, X):
    with pytest.raises((ValueError, TypeError)) as caught:
        call(X)
    return str(caught.value)


def run_what_is_shown(message, X):
    """Fit the pipeline in the message as it stands."""
    shown = "\n".join(line[4:] for line in message.splitlines() if line.startswith("    "))
    scope = {"LipOCC": lambda: small(max_iter=2)}
    exec(shown, scope)
    assert isinstance(scope["detector"], Pipeline)
    scores = scope["detector"].fit(X).decision_function(X)
    assert np.isfinite(scores).all()


@pytest.mark.parametrize(("X", "described"), WITH_TEXT.values(), ids=WITH_TEXT)
def test_text_names_the_column_and_shows_an_encoder_that_works(X, described):
    message = error_of(LipOCC().fit, X)
    assert f"column {described}" in message
    run_what_is_shown(message, X)


@pytest.mark.parametrize(("X", "described"), WITH_NAN.values(), ids=WITH_NAN)
def test_missing_values_name_the_column_and_show_an_imputer_that_works(X, described):
    message = error_of(LipOCC().fit, X)
    assert f"NaN in column {described}" in message
    run_what_is_shown(message, pd.DataFrame(X).astype(float).to_numpy())


@pytest.mark.parametrize("value", [np.inf, -np.inf, "1e999"])
def test_infinite_values_name_the_column(value):
    X = cloud(N).astype(object)
    X[7, 2] = value
    assert "infinity in column 2 (1 of 100 rows)" in error_of(LipOCC().fit, X)


def test_many_columns_are_counted():
    X = pd.DataFrame(np.full((4, 9), np.nan)).add_prefix("f")
    message = error_of(LipOCC().fit, X)
    assert re.search(r"columns 'f0' \(4 of 4 rows\), .*'f4' \(4 of 4 rows\) and 4 more\.", message)


def test_a_word_among_numbers_is_shown():
    X = frame(a=[1.0] * (N - 1) + ["?"])
    assert "column 'a' (such as '?')" in error_of(LipOCC().fit, X)


def test_dates_are_named():
    X = frame(when=pd.date_range("2026-01-01", periods=N))
    message = error_of(LipOCC().fit, X)
    assert "'when' (such as" in message
    assert "turn dates into numbers" in message


def test_infinity_beside_missing_values_is_named_too():
    X = frame(b=MISSING)
    X.loc[5, "c"] = np.inf
    message = error_of(LipOCC().fit, X)
    assert (
        "NaN in column 'b' (2 of 100 rows), and infinity in column 'c' (1 of 100 rows)" in message
    )


def test_numbers_beyond_float64_are_infinite():
    X = cloud(N).astype(object)
    X[3, 1] = 10**400
    assert "infinity in column 1 (1 of 100 rows)" in error_of(LipOCC().fit, X)


def test_a_long_text_is_cut():
    X = frame(note=["x" * 10**6] * N)
    assert len(error_of(LipOCC().fit, X)) < 1500


class Strange:
    """A value that cannot even be shown."""

    def __repr__(self):
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "X",
    [
        pa.table({"a": [1.0, None] * 9, "b": [1, 2] * 9}),
        pd.DataFrame({"d": pd.to_datetime([])}),
        np.empty((0, 2), "m8[s]"),
        np.array([[Strange()]], dtype=object),
    ],
    ids=["arrow", "no dates", "no durations", "strange"],
)
def test_what_cannot_be_described_keeps_its_error(X):
    assert error_of(LipOCC().fit, X)


@pytest.mark.parametrize(
    ("X", "match"),
    [
        (frame(d=np.nan), "feature names"),
        (frame(d="x"), "feature names"),
        (frame(b=MISSING).rename(columns={"a": "z"}), "feature names"),
    ],
)
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_other_columns_are_said_before_their_values(X, match):
    detector = small(max_iter=2).fit(frame())
    assert match in error_of(detector.predict, X)


@pytest.mark.parametrize("method", ["decision_function", "predict", "certified_radius", "explain"])
def test_new_rows_are_described_as_training_rows_are(method):
    detector = small(max_iter=2).fit(frame())
    message = error_of(getattr(detector, method), frame(b=MISSING))
    assert "NaN in column 'b' (2 of 100 rows)" in message


def test_the_message_names_the_class_of_the_user():
    class Mine(LipOCC):
        pass

    assert "SimpleImputer(strategy='median'), Mine())" in error_of(Mine().fit, frame(b=MISSING))


@pytest.mark.parametrize(
    "X", [frame().set_axis(["a", "a", "b"], axis=1).assign(b=CITIES), [["x", 1.0], ["y", 2.0]]]
)
def test_columns_without_names_of_their_own_have_numbers(X):
    assert re.search(r"column \d \(such as", error_of(LipOCC().fit, X))
