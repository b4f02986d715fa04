"""LipOCC on dask arrays and dataframes."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from pyod_lipocc import detector as local
from pyod_lipocc._confidence import Reference
from pyod_lipocc._isolation import isolated
from pyod_lipocc._random import numpy_generator
from pyod_lipocc._table import Indices
from pyod_lipocc.dask._blocks import Blocks
from pyod_lipocc.dask._collections import blocks, check_columns, is_collection, lazily
from pyod_lipocc.dask._selection import quantile
from pyod_lipocc.dask._training_scores import Column, summary, training_scores
from pyod_lipocc.learning import Learned, learn
from pyod_lipocc.recipe import Recipe
from pyod_lipocc.thresholds import ThresholdRule

__all__ = ["LipOCC"]


class LipOCC(local.LipOCC):
    """`pyod_lipocc.LipOCC` for dask arrays and dataframes, on one machine or on a cluster.

    The parameters are those of `pyod_lipocc.LipOCC`. `fit` reads the partitions about eight times,
    and trains in one task: persist a collection that is dear to compute and fits into the cluster.
    The methods that take rows answer lazily for dask collections, with the chunks or the index of
    X, and at once for rows in memory. All work is in graphs: what a lost worker held is computed
    again. Without a client of `distributed`, the same graphs run in the threads of this process.

    The scaling, the margin, the domain, the weights, the threshold and the training scores have the
    bits of a fit in memory, whatever the partitions. Scores of the other methods have these bits
    where partitions start at multiples of 512 rows; else they differ in rounding, within the bound
    that certificates account for.

    Parameters
    ----------
    contamination : float in (0, 0.5], default=0.1
        A threshold object needs all scores in memory: fit on `to_local` instead.
    **parameters
        As of `pyod_lipocc.LipOCC`. Draws of the training do not move a `random_state` that is a
        generator.

    Attributes
    ----------
    decision_scores_, labels_ : dask.array.Array of shape (n,)
        Of the training rows. The scores are persisted, 8 bytes a row, with chunks as X less its
        empty partitions.
    calibration_scores_ : ndarray of shape (n_held_out,)
    threshold_ : float
        The exact percentile, not an approximation.

    All other attributes are those of `pyod_lipocc.LipOCC`.

    Notes
    -----
    ``threshold="contamination"``, "boundary" and "conformal" work, `set_threshold` too.
    `partial_fit` takes batches in memory: use that of ``to_local()``. `predict_with_rejection` and
    `counterfactual` take rows in memory.

    Examples
    --------
    >>> import dask.array as da
    >>> from pyod_lipocc.dask import LipOCC
    >>> X = da.random.default_rng(0).normal(size=(1000, 2), chunks=(300, 2))
    >>> detector = LipOCC(random_state=0).fit(X)
    >>> scores = detector.decision_function(X)
    >>> scores.chunks == X.chunks[:1]
    True
    >>> detector.to_local().predict([[0.0, 0.0], [9.0, 9.0]])
    array([0, 1])
    """

    @isolated()
    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the signed distance to the support of X.

        Parameters
        ----------
        X : dask array of shape (n, d) or dask dataframe of d columns
            Chunks of unknown size and empty partitions are fine.
        y : ignored

        Returns
        -------
        self : LipOCC

        Raises
        ------
        TypeError
            If X is no dask collection, or `contamination` a threshold object.
        ValueError, TypeError
            If a parameter or X is not as documented; the message names the partition. The object is
            then as it was before.
        """
        if not is_collection(X):
            raise TypeError(
                f"X must be a dask array or dataframe, got {type(X).__name__}: for rows in memory "
                "use pyod_lipocc.LipOCC"
            )
        if not isinstance(self.contamination, (Real, str)):
            raise TypeError(
                f"contamination must be a float in (0, 0.5], got {self.contamination!r}: a "
                "threshold object reads all scores at once, which no machine may hold"
            )
        started = time.perf_counter()
        table, recipe, columns = self._prepare(X, reset=True)
        rng = numpy_generator(self.random_state)
        table.seed = int(rng.integers(2**63))
        held_out = recipe.hold_out(len(table), recipe.leaves_own_rows_out, rng)
        learned = learn(table.without(held_out), recipe, rng)
        return self._adopt(learned, recipe, table, held_out, columns, started, reset=True)

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Refuse: a pass over a stream is made by a detector in memory.

        Raises
        ------
        TypeError
            Always; the message names the way.
        """
        raise TypeError(
            "partial_fit takes batches in memory: call it on detector.to_local(), with one "
            "partition after the other"
        )

    def decision_function(self, X: Any) -> Any:
        """Score rows: minus the signed distance to the support; lazily.

        Parameters
        ----------
        X : dask array or dataframe, or array-like

        Returns
        -------
        scores : dask array or series, or ndarray, of shape (n,)
        """
        return self._answer("decision_function", X)

    def signed_distance(self, X: Any) -> Any:
        """Return the learned signed distance to the boundary of the support; lazily.

        Parameters
        ----------
        X : dask array or dataframe, or array-like

        Returns
        -------
        distance : dask array or series, or ndarray, of shape (n,)
        """
        return self._answer("signed_distance", X)

    def predict(self, X: Any, return_confidence: bool = False) -> Any:
        """Label rows: 1 where the score exceeds `threshold_`, else 0; lazily.

        Parameters
        ----------
        X : dask array or dataframe, or array-like
        return_confidence : bool, default=False
            Return `predict_confidence` as well.

        Returns
        -------
        labels : dask array or series, or ndarray, of shape (n,)
        confidence : dask array or series, or ndarray, of shape (n,)
            Only where asked for.
        """
        labels = self._answer("predict", X, dtype=np.int64)
        return (labels, self.predict_confidence(X)) if return_confidence else labels

    def predict_proba(
        self,
        X: Any,
        method: Literal["linear", "unify"] = "linear",
        return_confidence: bool = False,
    ) -> Any:
        """Turn scores into probabilities; lazily.

        Parameters
        ----------
        X : dask array or dataframe, or array-like
        method : {"linear", "unify"}, default="linear"
        return_confidence : bool, default=False
            Return `predict_confidence` as well.

        Returns
        -------
        probabilities : dask array or dataframe, or ndarray, of shape (n, 2)
            Of being normal, and of being an outlier.
        confidence : dask array or series, or ndarray, of shape (n,)
            Only where asked for.
        """
        probabilities = self._answer("predict_proba", X, columns=[0, 1], method=method)
        return (probabilities, self.predict_confidence(X)) if return_confidence else probabilities

    def predict_confidence(self, X: Any) -> Any:
        """Return PyOD's confidence of each label; lazily.

        Parameters
        ----------
        X : dask array or dataframe, or array-like

        Returns
        -------
        confidence : dask array or series, or ndarray, of shape (n,)
        """
        return self._answer("predict_confidence", X)

    def predict_with_rejection(self, X: Any, *args: Any, **options: Any) -> Any:
        """Label rows in memory, or reject labels of low confidence.

        Parameters
        ----------
        X : array-like of shape (n, d)
        *args, **options
            As of `pyod_lipocc.LipOCC.predict_with_rejection`.

        Returns
        -------
        labels : ndarray of int of shape (n,)

        Raises
        ------
        TypeError
            If X is a dask collection.
        """
        return self.to_local().predict_with_rejection(X, *args, **options)

    def certified_radius(self, X: Any, *, units: Literal["input", "scaled"] = "input") -> Any:
        """Return the l2 radius around each row in which `predict` cannot change; lazily.

        Parameters
        ----------
        X : dask array or dataframe, or array-like
        units : {"input", "scaled"}, default="input"

        Returns
        -------
        radius : dask array or series, or ndarray, of shape (n,)
        """
        return self._answer("certified_radius", X, units=units)

    def explain(self, X: Any) -> Any:
        """Split the signed distance of each row into contributions of its features; lazily.

        Parameters
        ----------
        X : dask array or dataframe, or array-like

        Returns
        -------
        contributions : dask array or dataframe, or ndarray, of shape (n, d)
        """
        columns = [*getattr(X, "columns", range(np.shape(X)[-1]))] if is_collection(X) else None
        return self._answer("explain", X, columns=columns)

    def to_local(self) -> local.LipOCC:
        """Return an ordinary LipOCC for rows in memory, small whatever n was.

        Returns
        -------
        detector : pyod_lipocc.LipOCC
            As `pyod_lipocc.LipOCC.for_scoring` returns: without the scores and labels of the
            training rows.

        Raises
        ------
        NotFittedError
            Before `fit`.
        """
        small = self.for_scoring()
        detector = local.LipOCC(**self.get_params(deep=False))
        vars(detector).update(vars(small))
        return detector

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `to_local` to a file that `pyod_lipocc.LipOCC.load` reads.

        Parameters
        ----------
        path : path-like
        """
        self.to_local().save(path)

    def __getstate__(self) -> Any:
        # Tasks of a cluster mean nothing to who opens the pickle.
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name not in local.OF_TRAINING_ROWS}

    def _answer(
        self,
        name: str,
        X: Any,
        /,
        *,
        columns: Sequence[Any] | None = None,
        dtype: npt.DTypeLike = np.float64,
        **options: Any,
    ) -> Any:
        model = self.to_local()
        if not is_collection(X):
            return getattr(model, name)(X, **options)
        check_columns(model, X, reset=False)
        return lazily(name, X, model, dtype=dtype, columns=columns, **options)

    def _read(self, described: local.LipOCC, X: Any, *, reset: bool) -> Any:
        check_columns(described, X, reset=reset)
        columns = local.LipOCC()  # without the parameters, which may be large
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(described, name):
                setattr(columns, name, getattr(described, name))
        table = Blocks.measured(blocks(X, columns), columns.n_features_in_)
        if not len(table):
            raise ValueError(f"X must have at least one row, got 0 rows in {X!r}")
        return table

    def _score(
        self, learned: Learned, recipe: Recipe, rows: Any, held_out: Indices
    ) -> tuple[Any, npt.NDArray[np.float64]]:
        column = training_scores(learned, recipe, rows, held_out)
        lengths = tuple(length for length in rows.lengths if length)
        scores = column.array(np.float64)[:, 0].rechunk((lengths,)).persist()
        return scores, column.chosen(held_out)

    def _summary(self, scores: Any) -> Reference:
        return summary(Column.of_array(scores[:, None]))

    def _labelled(self, rule: ThresholdRule, fitted: Mapping[str, Any]) -> dict[str, Any]:
        scores = fitted["decision_scores_"]
        column = Column.of_array(scores[:, None])
        threshold = rule.value(
            lambda percentage: quantile(column, percentage / 100),
            fitted["calibration_scores_"],
            fitted["distance_"],
        )
        labels = (scores > threshold).astype(int)
        share = self._assumed_share(rule, float(labels.mean()))
        return {"threshold_": threshold, "labels_": labels, "contamination_": share}
