"""LipOCC: one-class classification by the signed distance that a 1-Lipschitz network learns."""

from __future__ import annotations

import copy
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import erf
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.validation import check_is_fitted
from typing_extensions import Self

from pyod_lipocc import persistence, report
from pyod_lipocc._atomic import write_atomically
from pyod_lipocc._checks import check_device, check_image_shape
from pyod_lipocc._confidence import Reference, confidence, rejected
from pyod_lipocc._isolation import isolated
from pyod_lipocc._parameters import (
    CONSTRAINTS,
    NOT_SAVED,
    AutoName,
    NetworkName,
    OptimizerName,
    ThresholdName,
    check_parameters,
    is_missing,
)
from pyod_lipocc._pyod import BaseDetector
from pyod_lipocc._random import RandomState, local_generator, numpy_generator
from pyod_lipocc._rows import check_rows
from pyod_lipocc._weigh import fingerprint, n_bytes
from pyod_lipocc.domains import Domain
from pyod_lipocc.learning import Learned, continue_learning, learn, leaves_rows_out, training_scores
from pyod_lipocc.negatives import Proposal
from pyod_lipocc.recipe import Recipe
from pyod_lipocc.sampler import Sampler
from pyod_lipocc.scorer import Scorer
from pyod_lipocc.signed_distance import SignedDistance
from pyod_lipocc.thresholds import ThresholdRule
from pyod_lipocc.training import Callback, History, Schedule
from pyod_lipocc.units import Scaling

__all__ = ["LipOCC"]


_OF_A_RANK = ("callbacks", "device", "process_group", "random_state", "verbose")
_RULES = {"contamination": "contamination", "alpha": "conformal", "attack_radius": "conformal"}
OF_TRAINING_ROWS = ("decision_scores_", "labels_", "_lowered")
"""Fitted attributes that a detector for scoring lacks."""

_FITTED: dict[str, type] = {
    "decision_scores_": np.ndarray,
    "calibration_scores_": np.ndarray,
    "threshold_": Real,
    "contamination_": Real,
    "labels_": np.ndarray,
    "_lowered": np.ndarray,
    "n_features_in_": Integral,
    "feature_names_in_": np.ndarray,
    "history_": History,
}


def _missing(name: str, value: Any) -> str:
    """Return the text that takes the place of a parameter in a file."""
    if name not in CONSTRAINTS:
        raise ValueError(f"{name} cannot be saved, got {value!r}: a subclass must save it itself")
    return f"{NOT_SAVED}{type(value).__qualname__}"


def _comparable(value: Any) -> Any:
    """Return a value that ranks can compare; of an object, its kind."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    plain = isinstance(value, (Real, str, tuple, list, type(None)))
    return value if plain else type(value).__qualname__


class LipOCC(BaseDetector):
    r"""One-class classifier that learns the signed distance to the support of normal data.

    A network f, 1-Lipschitz by construction, learns :math:`S(x) = f(x) - m`: positive inside the
    support, negative outside, its size the distance to the boundary (Béthune & Serrurier, 2022).
    Scores are -S: higher is more abnormal, as everywhere in PyOD. A score changes by at most
    `lipschitz_constant_` times the l2 distance that its row is moved. This holds for all rows,
    without assumption on the data.

    Three decisions are yours:

    ============================== ================================================================
    Are the training rows clean?   ``novelty=True`` uses all of them. Else up to a share
                                   `contamination` are taken for outliers.
    Are the rows images?           Then give their `image_shape`.
    Which rows get the label 1?    By default the share `contamination` of the training rows that
                                   scores highest. ``threshold="conformal"`` bounds the rate of
                                   false alarms by `alpha`. ``threshold="boundary"`` labels by the
                                   sign of S.
    ============================== ================================================================

    The default "auto" of the other parameters follows from the rows by the rules in the notes.

    Parameters
    ----------
    contamination : float in (0, 0.5] or threshold object, default=0.1
        Share of outliers expected in the training rows. An object of PyThresh sets the threshold by
        its own rule. After `fit`, `set_threshold` sets another threshold.
    novelty : bool, default=False
        True: the training rows are clean, and all of them shape the support. False, PyOD's
        convention: the rows that look most like outliers, twice the share `contamination`, lose
        their say (see `trimming.inliers`). Of larger sets 16,384 rows, drawn at random, are
        searched and trained on.
    network : str, torch.nn.Module or callable, default="auto"
        f. Three start from the rows: "clusters", of tables (see `starts.clusters`);
        "nearest-subspace", of images, or of tables with the rows as centres (see
        `starts.nearest_subspace`); "inscribed-balls", signed distances for up to 5 features (see
        `starts.inscribed_balls`).
        "dense" has three orthogonal layers of 128 units. Four need `image_shape`: "conv" has the
        layers of the paper's Table 2 with orthogonal kernels and 16 channels, "conv-paper" is Table
        2 as printed, "conv-deep" is the network of its follow-up, and "norm-preserving" keeps the
        norm of gradients (see `lipschitz`). A module is copied and trained. A callable receives the
        number of features, a keyword `generator` (torch.Generator), and those that it takes of
        `image_shape`, `rows` (data to start from, in the network's units), `normal` (bool for each
        row), `margin` and `contamination`; it returns a module: ``functools.partial(dense,
        hidden=(512,) * 4)``. Modules map (n, d) to (n, 1) or (n,).
    margin : float or "auto", default="auto"
        m > 0, in the units of the scores.
    regularization : float, default=100.0
        lambda > 0, weight of the hinge against the Kantorovich-Rubinstein term.
    n_newton_steps : int or "auto", default="auto"
        T >= 0 of Algorithm 1.
    domain : Domain or "auto", default="auto"
        B, in the units of the scores; must contain the data.
    negatives : callable or "auto", default="auto"
        Q0, ``(x, domain, generator) -> z``: see `negatives`.
    standardize : bool, default=True
        True: bring every feature to mean 0 and variance 1 first; scores are then in standardised
        units. False: scores are in the units of X. Use False for features that share a unit:
        standardising would give features that hardly vary as much say as the others. The pixels of
        images have one mean and one variance in either case, so that an edit of an image means the
        same in both units.
    threshold : {"contamination", "boundary", "conformal"}, default="contamination"
        Rule of the labels. "conformal" holds a quarter of the rows out of training; its bound is
        for rows exchangeable with the training rows (split conformal prediction).
    alpha : float in (0, 1), default=0.05
        Greatest rate of false alarms, for "conformal".
    attack_radius : float, default=0.0
        For "conformal": the rate also holds where every new row is moved by up to this l2 distance,
        in the units of X.
    image_shape : tuple of int or None, default=None
        (height, width) or (channels, height, width) where rows are flattened images.
    max_iter : int or "auto", default="auto"
        Gradient steps at most, of each network that trains by itself.
    batch_size : int or "auto", default="auto"
        Rows, and as many negatives, in a step.
    learning_rate : float, callable or "auto", default="auto"
        A constant, or a function of the share of `max_iter` that is done.
    optimizer : {"adam", "rmsprop"} or callable, default="adam"
        On the Stiefel manifold. A callable receives parameter groups and returns a torch optimizer,
        which keeps the groups with ``stiefel=True`` on the manifold.
    sampler : callable or "auto", default="auto"
        Algorithm 1 or a variant: ``functools.partial(newton_raphson, ...)``.
    n_warmup_steps : int, default=0
        First steps without Newton-Raphson.
    callbacks : sequence of Callback or None, default=None
        Watch the training and may stop it; copied at each fit.
    device : str, torch.device or None, default=None
        Where to train and score. None: the CPU.
    process_group : torch.distributed.ProcessGroup or None, default=None
        Processes that fit one detector together, each with rows of its own: see `distributed`.
        None: the default group where torch.distributed is initialised, else this process alone.
        Files and pickles leave it out.
    random_state : int, RandomState, Generator or None, default=None
        Used in `fit` only. An int gives the same bits at each fit on the same machine; with
        convolutions or from 2^19 weights on, with the same number of torch's threads.
    verbose : int or bool, default=0
        1 shows a progress bar of each phase: scaling, trimming, start, training, and scores where
        scoring takes long. The log "pyod_lipocc" has the phases at the level INFO and details at
        DEBUG, whatever `verbose` is.

    Attributes
    ----------
    distance_ : SignedDistance
        S as a value that knows nothing of PyOD.
    decision_scores_ : ndarray of shape (n,)
        -S of the training rows as if they were new: see `learning.training_scores`.
    calibration_scores_ : ndarray of shape (n_held_out,)
        -S of the training rows that were held out of training: see
        `thresholds.ThresholdRule.hold_out`.
    threshold_ : float
        Rows with a greater score are labelled 1.
    labels_ : ndarray of shape (n,)
        Labels of the training rows: 1 for outliers.
    contamination_ : float
        Share of outliers that PyOD's confidence assumes: `contamination`, or the share of the
        training rows with the label 1 where another rule gives the labels.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only where X has string column names.
    n_iter_ : int
        Gradient steps done, of all networks together.
    fit_seconds_ : float
        Wall-clock time of the last `fit` or `partial_fit`. Files do not hold it.
    history_ : History
        Loss, recall, gradient norm and more, of each step.
    network_, scaling_, margin_, domain_ : object
        Attributes of `distance_`: f in float64, the affine map from X to the network's units, m and
        B in the units of the scores.
    lipschitz_constant_ : float
        Proven upper bound of \|score(x) - score(x')\| / \|x - x'\|_2 in the units of X, for the
        score in exact arithmetic: see `certificates`. ``inf`` where a module is unknown.

    Notes
    -----
    Rules of "auto". A network that starts from rows is a distance function before any training, so
    it trains for fewer and smaller steps.

    ================ ===============================================================================
    parameter        rule
    ================ ===============================================================================
    `network`        Tables: "clusters"; "inscribed-balls" for 500 clean rows and more of up to 3
                     features, unless a twentieth of the rows are copies. Images:
                     "dense"; with 1,000 clean images and more to train on, the `lipschitz.Mean` of
                     "nearest-subspace" and of a dense network with two layers of 256. Each of the
                     two trains by itself, by its own rules below.
    `margin`         Half the median distance of a row to its nearest other row; a third for images.
                     0.6 times that for a network that pools, whose gradients are shorter.
    `domain`         Tables: a ball around the mean, half as wide again as the data. Images: the
                     range of the pixels.
    `negatives`      Contaminated tables: uniform on the domain. Clean tables: a third each uniform,
                     noise around the rows, and shuffled marginals. Images, for every network: an
                     equal share each of images that are turned or flipped, shuffled, pasted,
                     warped, rotated, erased and overlaid.
    `n_newton_steps` Tables: 4; 1 for a network that starts from rows. Images: 0, since from edited
                     images Newton steps act as a wider margin does.
    `sampler`        Algorithm 1, towards the level -m as the paper prints it; towards -1.5 m for a
                     network that starts from rows of a table.
    `max_iter`       1,000; 5 for a network that starts from rows. Images: 1,600 and 100; 800 for
                     contaminated images and a network that does not pool.
    `batch_size`     256; 64 for a network that starts from rows. Images: 64 and 256; 32 for a
                     network that pools.
    `learning_rate`  Falls linearly to 0: from 5e-3; from 2e-2 for a network that pools; from 1e-3,
                     or m / 50 if that is less, for a network that starts from rows.
    ================ ===============================================================================

    Contaminated images are trained on three times, unless the network starts from rows. Distances
    choose the normal images of the first training; the scores of each training choose those of the
    next.

    Each of fewer than 2,000 rows of a table is scored by a start from the other three quarters of
    the rows, too: that tells how much too low the network scores the rows that it has seen.

    A network starts from a random subset of larger sets; clusters from 4,096 rows of these:

    =========================== =====================================
    data                        rows, at most
    =========================== =====================================
    contaminated tables         4,096
    clean tables of d features  2^17 / d, but from 4,096 to 16,384
    images                      8,192
    =========================== =====================================

    References
    ----------
    Béthune & Serrurier, *Certifiable Metric One Class Learning with adversarially trained Lipschitz
    Classifier*, ML Safety Workshop, NeurIPS 2022.

    Examples
    --------
    >>> import numpy as np
    >>> from pyod_lipocc import LipOCC
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> detector = LipOCC(random_state=0).fit(X)
    >>> detector.predict([[0.0, 0.0], [9.0, 9.0]])
    array([0, 1])
    """

    distance_: SignedDistance
    history_: History
    n_iter_: int
    calibration_scores_: npt.NDArray[np.float64]
    contamination_: float
    n_features_in_: int
    feature_names_in_: npt.NDArray[Any]
    _reference: Reference

    def __init__(
        self,
        contamination: Any = 0.1,
        *,
        novelty: bool = False,
        network: NetworkName | torch.nn.Module | Callable[..., torch.nn.Module] = "auto",
        margin: float | AutoName = "auto",
        regularization: float = 100.0,
        n_newton_steps: int | AutoName = "auto",
        domain: Domain | AutoName = "auto",
        negatives: Proposal | AutoName = "auto",
        standardize: bool = True,
        threshold: ThresholdName = "contamination",
        alpha: float = 0.05,
        attack_radius: float = 0.0,
        image_shape: Sequence[int] | None = None,
        max_iter: int | AutoName = "auto",
        batch_size: int | AutoName = "auto",
        learning_rate: float | Schedule | AutoName = "auto",
        optimizer: OptimizerName | Callable[..., torch.optim.Optimizer] = "adam",
        sampler: Sampler | AutoName = "auto",
        n_warmup_steps: int = 0,
        callbacks: Sequence[Callback] | None = None,
        device: str | torch.device | None = None,
        process_group: Any = None,
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(contamination=contamination)
        self.novelty = novelty
        self.network = network
        self.margin = margin
        self.regularization = regularization
        self.n_newton_steps = n_newton_steps
        self.domain = domain
        self.negatives = negatives
        self.standardize = standardize
        self.threshold = threshold
        self.alpha = alpha
        self.attack_radius = attack_radius
        self.image_shape = image_shape
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.optimizer = optimizer
        self.sampler = sampler
        self.n_warmup_steps = n_warmup_steps
        self.callbacks = callbacks
        self.device = device
        self.process_group = process_group
        self.random_state = random_state
        self.verbose = verbose

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"process_group": None}  # nothing can copy a group

    def __sklearn_clone__(self) -> Self:
        clone = super(LipOCC, copy.copy(self)).__sklearn_clone__()
        clone.process_group = self.process_group
        return clone

    @isolated()
    def fit(self, X: npt.ArrayLike, y: Any = None) -> Self:
        """Learn the signed distance to the support of X.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Finite real numbers; at least one row and one column.
        y : ignored

        Returns
        -------
        self : LipOCC

        Raises
        ------
        ValueError, TypeError
            If a parameter or X is not as documented. The object is then as it was before, as it is
            when fit is interrupted.
        RuntimeError
            If a rank of the process group is lost, or has other weights.
        """
        started = time.perf_counter()
        rows, recipe, columns = self._prepare(X, reset=True)
        table = recipe.ranks.table(rows)
        with local_generator(recipe.ranks.first(numpy_generator(self.random_state))) as rng:
            held_out = recipe.hold_out(len(table), recipe.leaves_own_rows_out, rng)
            learned = learn(table.without(held_out), recipe, rng)
        return self._adopt(learned, recipe, rows, held_out, columns, started, reset=True)

    @isolated()
    def partial_fit(self, X: npt.ArrayLike, y: Any = None) -> Self:
        """Continue training with one pass over new rows; on an unfitted detector, `fit`.

        The scaling stays; the domain grows where the rows need it. `decision_scores_`, `labels_`
        and `threshold_` are those of the rows given.

        Parameters
        ----------
        X : array-like of shape (n, d)
        y : ignored

        Returns
        -------
        self : LipOCC

        Raises
        ------
        ValueError, TypeError
            As `fit`; the object is then as it was before.
        """
        if not hasattr(self, "distance_"):
            return self.fit(X)
        started = time.perf_counter()
        rows, recipe, columns = self._prepare(X, reset=False)
        table = recipe.ranks.table(rows)
        with local_generator(recipe.ranks.first(numpy_generator(self.random_state))) as rng:
            leaves_out = leaves_rows_out(self.distance_.network)
            held_out = recipe.hold_out(len(table), leaves_out, rng)
            seen = np.delete(rows, table.here(held_out), axis=0)
            learned = continue_learning(self.distance_, seen, recipe, rng)
        learned = replace(learned, history=self.history_ + learned.history)
        return self._adopt(learned, recipe, rows, held_out, columns, started, reset=False)

    @isolated()
    def decision_function(self, X: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Score rows: minus the signed distance to the support.

        Parameters
        ----------
        X : array-like of shape (n, d)

        Returns
        -------
        scores : ndarray of shape (n,)
            -S(x), negative inside. In standardised units where `standardize` is True, else in those
            of X.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            If X is not as documented, or has other columns than in `fit`.
        """
        rows = self._rows(X)
        return self.distance_.scores(rows, verbose=self.verbose)

    @isolated()
    def set_threshold(
        self,
        threshold: ThresholdName | float = "contamination",
        *,
        contamination: Any = None,
        alpha: float | None = None,
        attack_radius: float | None = None,
    ) -> Self:
        """Set another threshold without learning again; `labels_` follow.

        The support stays as it was learned, and the parameters stay as they were given: the next
        `fit` or `partial_fit` labels by the parameters again.

        Parameters
        ----------
        threshold : {"contamination", "boundary", "conformal"} or float, default="contamination"
            The rule, as the parameter of `LipOCC`, or the threshold itself, in the units of the
            scores. "conformal" needs rows that `fit` has held out, see `calibration_scores_`.
        contamination : float in (0, 0.5] or threshold object, optional
            For "contamination"; None: the parameter.
        alpha : float in (0, 1), optional
            For "conformal"; None: the parameter.
        attack_radius : float, optional
            For "conformal"; None: the parameter.

        Returns
        -------
        self : LipOCC
            With new `threshold_`, `labels_` and `contamination_`.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If an argument is out of range, or too few rows were held out for `alpha`. The detector
            is then as it was before.

        Examples
        --------
        >>> from pyod_lipocc import LipOCC
        >>> X = np.random.default_rng(0).normal(size=(200, 2))
        >>> detector = LipOCC(contamination=0.1, random_state=0).fit(X)
        >>> int(detector.labels_.sum())
        20
        >>> int(detector.set_threshold(contamination=0.05).labels_.sum())
        10
        """
        check_is_fitted(self, "distance_")
        given = {"contamination": contamination, "alpha": alpha, "attack_radius": attack_radius}
        options = {
            name: getattr(self, name) if value is None else value for name, value in given.items()
        }
        rule = ThresholdRule(threshold, **options)
        for name, value in given.items():
            if value is not None and threshold != _RULES[name]:
                raise ValueError(
                    f"{name} must be None unless threshold={_RULES[name]!r}, got {value!r} with "
                    f"threshold={threshold!r}"
                )
        used = {name: options[name] for name in options if threshold == _RULES[name]}
        check_parameters(used, type(self).__name__)
        label = self._labelled if hasattr(self, "decision_scores_") else self._unlabelled
        vars(self).update(label(rule, vars(self)))
        return self

    @isolated()
    def predict(self, X: npt.ArrayLike, return_confidence: bool = False) -> Any:
        """Label rows: 1 where the score exceeds `threshold_`, else 0.

        Parameters
        ----------
        X : array-like of shape (n, d)
        return_confidence : bool, default=False
            Return PyOD's confidence of each label as well.

        Returns
        -------
        labels : ndarray of int of shape (n,)
        confidence : ndarray of shape (n,)
            Only where asked for.
        """
        scores = self.decision_function(X)
        labels = self._labels(scores)
        return (labels, self._confidence(scores, labels)) if return_confidence else labels

    @isolated()
    def predict_proba(
        self,
        X: npt.ArrayLike,
        method: Literal["linear", "unify"] = "linear",
        return_confidence: bool = False,
    ) -> Any:
        """Turn scores into probabilities.

        Parameters
        ----------
        X : array-like of shape (n, d)
        method : {"linear", "unify"}, default="linear"
            The scores of the training rows brought to [0, 1], or PyOD's unifying scores.
        return_confidence : bool, default=False
            Return PyOD's confidence of each label as well.

        Returns
        -------
        probabilities : ndarray of shape (n, 2)
            Of being normal, and of being an outlier.
        confidence : ndarray of shape (n,)
            Only where asked for.
        """
        scores = self.decision_function(X)
        probabilities = self._probabilities(scores, method)
        if not return_confidence:
            return probabilities
        return probabilities, self._confidence(scores, self._labels(scores))

    @isolated()
    def predict_confidence(self, X: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return PyOD's confidence of each label: how likely other training rows give it too.

        Parameters
        ----------
        X : array-like of shape (n, d)

        Returns
        -------
        confidence : ndarray of shape (n,)
            In [0, 1]. Of more than 2,501 training scores, 2,501 of evenly spaced ranks are known,
            and the ranks between these are interpolated.

        References
        ----------
        Perini, Vercruyssen & Davis, *Quantifying the confidence of anomaly detectors in their
        example-wise predictions*, ECML PKDD 2020.
        """
        scores = self.decision_function(X)
        return self._confidence(scores, self._labels(scores))

    @isolated()
    def predict_with_rejection(
        self,
        X: npt.ArrayLike,
        T: float = 32,
        return_stats: bool = False,
        delta: float = 0.1,
        c_fp: float = 1,
        c_fn: float = 1,
        c_r: float = -1,
    ) -> Any:
        """Label rows, or reject labels of low confidence.

        Parameters
        ----------
        X : array-like of shape (n, d)
        T : float, default=32
            A label is rejected if its certainty is at most 1 - 2 exp(-T).
        return_stats : bool, default=False
            Return `compute_rejection_stats` as well.
        delta, c_fp, c_fn, c_r : float
            See `compute_rejection_stats`.

        Returns
        -------
        labels : ndarray of int of shape (n,)
            0 inlier, 1 outlier, -2 rejected.
        statistics : list of float
            Only where asked for: the expected rate of rejections, a bound of it, and a bound of the
            cost.
        """
        check_is_fitted(self, "distance_")
        if c_r < 0:
            warnings.warn(
                "The cost of rejection must be positive. "
                "It has been set to the contamination rate.",
                stacklevel=3,
            )
        labels, confidence = self.predict(X, return_confidence=True)
        self.rejection_threshold_ = 1 - 2 * np.exp(-T)
        labels[rejected(labels, confidence, T)] = -2
        if not return_stats:
            return labels
        return labels, [*self.compute_rejection_stats(T, delta, c_fp, c_fn, c_r)]

    @isolated()
    def compute_rejection_stats(
        self,
        T: float = 32,
        delta: float = 0.1,
        c_fp: float = 1,
        c_fn: float = 1,
        c_r: float = -1,
        verbose: bool = False,
    ) -> tuple[float, float, float]:
        """Return how often PyOD expects to reject, and bounds of that rate and of the cost.

        Parameters
        ----------
        T : float, default=32
            As of `predict_with_rejection`.
        delta : float, default=0.1
            The bound of the rate holds with probability 1 - delta.
        c_fp, c_fn, c_r : float
            Costs of a false alarm, of a miss and of a rejection; negative: `contamination_`.
        verbose : bool, default=False
            Print them.

        Returns
        -------
        expected_rate, rate_bound, cost_bound : float

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If no training row has the label 1.
        """
        check_is_fitted(self, "distance_")
        if int(self._reference.n * self.contamination_) < 1:
            raise ValueError(
                "the statistics of rejection need a training row with the label 1, got "
                f"contamination_={self.contamination_:g}"
            )
        # PyOD reads the parameter, which a threshold object or `set_threshold` may overrule.
        effective = copy.copy(self)
        effective.contamination = self.contamination_
        # Of scores and labels PyOD reads the number.
        effective.decision_scores_ = np.broadcast_to(0.0, self._reference.n)
        effective.labels_ = np.broadcast_to(0, self._reference.n)
        return super(LipOCC, effective).compute_rejection_stats(T, delta, c_fp, c_fn, c_r, verbose)

    def signed_distance(self, X: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the learned signed distance to the boundary of the support.

        Parameters
        ----------
        X : array-like of shape (n, d)

        Returns
        -------
        distance : ndarray of shape (n,)
            S(x) = f(x) - m, positive inside; the negative of `decision_function`.
        """
        return -self.decision_function(X)

    @isolated()
    def certified_radius(
        self, X: npt.ArrayLike, *, units: Literal["input", "scaled"] = "input"
    ) -> npt.NDArray[np.float64]:
        """Return the l2 radius around each row in which `predict` cannot change, as computed.

        Parameters
        ----------
        X : array-like of shape (n, d)
        units : {"input", "scaled"}, default="input"
            Balls in the units of X, or in those of the scores.

        Returns
        -------
        radius : ndarray of shape (n,)
            0 where rounding alone might change the label. The assumptions, see `certificates`, are
            about floating-point arithmetic only, not about the data.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            If X is not as documented, or `units` another text; if nothing is proven of the network:
            `lipschitz_constant_` is infinite.

        Examples
        --------
        >>> from pyod_lipocc import LipOCC
        >>> X = np.random.default_rng(0).normal(size=(200, 2))
        >>> detector = LipOCC(random_state=0).fit(X)
        >>> bool(detector.certified_radius([[9.0, 9.0]]) > 5)
        True
        """
        rows = self._rows(X)
        return self.distance_.certified_radius(rows, self.threshold_, units=units)

    @isolated()
    def sample(
        self,
        n_samples: int = 1,
        *,
        eta: float = 1.0,
        n_steps: int = 64,
        random_state: RandomState = None,
    ) -> npt.NDArray[np.float64]:
        """Synthesise members of the class: see `SignedDistance.sample`.

        Parameters
        ----------
        n_samples : int, default=1
        eta : float in (0, 1], default=1.0
            Share of the way to the level f = 2 m that the steps cover together.
        n_steps : int, default=64
            T.
        random_state : int, RandomState, Generator or None, default=None
            Draws the starting points, uniform on `domain_`.

        Returns
        -------
        samples : ndarray of shape (n_samples, d)
            In the units of X. Members are those with ``signed_distance > 0``.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If `eta` is out of range.
        """
        check_is_fitted(self, "distance_")
        return self.distance_.sample(n_samples, eta=eta, n_steps=n_steps, random_state=random_state)

    @isolated()
    def counterfactual(
        self, X: npt.ArrayLike, *, level: float = 0.0, return_distance: bool = False
    ) -> Any:
        """Find for each row the nearest point of the boundary: see `SignedDistance.counterfactual`.

        Parameters
        ----------
        X : array-like of shape (n, d)
        level : float, default=0.0
            Signed distance to reach; ``-threshold_`` is where the label changes.
        return_distance : bool, default=False
            Return the distances as well.

        Returns
        -------
        points : ndarray of shape (n, d)
            In the units of X; NaN where the search has not met the level.
        distance, lower_bound : ndarray of shape (n,)
            Only where asked for, in the units of the scores: achieved, and certified (no boundary
            point is nearer).

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            If X is not as documented.
        """
        rows = self._rows(X)
        return self.distance_.counterfactual(rows, level=level, return_distance=return_distance)

    @isolated()
    def explain(self, X: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Split the signed distance of each row into contributions of its features.

        Parameters
        ----------
        X : array-like of shape (n, d)

        Returns
        -------
        contributions : ndarray of shape (n, d)
            In the units of the scores; each row sums to `signed_distance` up to rounding. Columns
            are those of `feature_names_in_`. NaN where no boundary point was found.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            If X is not as documented.
        """
        rows = self._rows(X)
        return self.distance_.explain(rows)

    def report(
        self,
        path: str | os.PathLike[str],
        X: Any = None,
        *,
        normal_rows: Any = None,
        n_rows: int = 5,
    ) -> None:
        """Write one HTML page about the detector, which needs no network and runs no script.

        The page has the scores and the threshold, the share of labels that no attack of a size can
        change, the course of the training, the parameters with "auto" resolved, and the guarantees
        with their assumptions. With rows it has their drift from the training scores, and explains
        the most abnormal ones.

        Parameters
        ----------
        path : path-like
            An existing file is replaced when the new file is complete.
        X : array-like of shape (n, d), optional
            New rows, or the training rows, which the page recognises. A detector does not keep its
            rows: without X no row is shown. Of large tables a random sample is described: at most
            65,536 rows, and 2^25 numbers.
        normal_rows : array-like of shape (n, d), optional
            Rows among which the nearest normal row of each abnormal one is looked for, such as the
            training rows; those with the label 1 are passed over. None: the rows of X.
        n_rows : int, default=5
            Most abnormal rows to explain, at least 0.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            If an argument is not as documented.
        OSError
            If the file cannot be written.

        Examples
        --------
        >>> import tempfile
        >>> from pyod_lipocc import LipOCC
        >>> X = np.random.default_rng(0).normal(size=(50, 2))
        >>> detector = LipOCC(random_state=0).fit(X)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     detector.report(f"{folder}/report.html", X)
        """
        check_is_fitted(self, "distance_")
        if not hasattr(self, "decision_scores_"):
            raise ValueError("a report needs the training scores, which `for_scoring` has left out")
        page = report.render(self, X, normal_rows=normal_rows, n_rows=n_rows)
        write_atomically(path, page.encode())

    def for_scoring(self) -> Self:
        """Return a copy without the scores and labels of the training rows.

        The copy, its pickles and its files are as small as the network, however many rows it was
        fitted on. All methods answer as before but these: `set_threshold` takes a number,
        "boundary" or "conformal", and `report` refuses.

        Returns
        -------
        detector : LipOCC
            Without `decision_scores_` and `labels_`.

        Raises
        ------
        NotFittedError
            Before `fit`.

        Examples
        --------
        >>> from pyod_lipocc import LipOCC
        >>> X = np.random.default_rng(0).normal(size=(200, 2))
        >>> detector = LipOCC(random_state=0).fit(X).for_scoring()
        >>> hasattr(detector, "decision_scores_")
        False
        >>> detector.predict([[0.0, 0.0], [9.0, 9.0]])
        array([0, 1])
        """
        check_is_fitted(self, "distance_")
        small = copy.copy(self)
        for name in OF_TRAINING_ROWS:
            vars(small).pop(name, None)
        return small

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted detector to one file that cannot run code.

        The file holds `distance_`, the scores and labels of the training rows, and the parameters
        that are numbers, texts, tuples or domains. Other parameters, such as callbacks and networks
        of your own, only matter to training. A loaded detector has a text in their place, which
        training refuses: set them again first. `partial_fit` needs no `network`. Pickles hold
        everything.

        Parameters
        ----------
        path : path-like
            An existing file is replaced when the new file is complete: see `persistence.save`.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If the network has a layer that files do not hold, or a subclass a parameter of its own
            that files do not hold.
        OSError
            If the file cannot be written.

        Examples
        --------
        >>> import tempfile
        >>> from pyod_lipocc import LipOCC
        >>> X = np.random.default_rng(0).normal(size=(50, 2))
        >>> detector = LipOCC(random_state=0).fit(X)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     detector.save(f"{folder}/detector.safetensors")
        ...     restored = LipOCC.load(f"{folder}/detector.safetensors")
        >>> bool((restored.decision_function(X) == detector.decision_function(X)).all())
        True
        """
        check_is_fitted(self, "distance_")
        parameters = self.get_params(deep=False)
        values = {
            "distance": self.distance_.to_values(),
            "fitted": {name: vars(self)[name] for name in _FITTED if name in vars(self)},
            "reference": {} if hasattr(self, "decision_scores_") else vars(self._reference),
            "parameters": {
                name: value if persistence.is_plain(value) else _missing(name, value)
                for name, value in parameters.items()
                if name not in ("device", "process_group")
            },
        }
        persistence.save(path, type(self).__name__, values, self.distance_.scores_as)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, device: str | torch.device | None = None
    ) -> Self:
        """Read a detector that `save` has written. Nothing in a file runs.

        Parameters
        ----------
        path : path-like
        device : str, torch.device or None, default=None
            Where to score and to continue training; None: the CPU.

        Returns
        -------
        detector : LipOCC
            Gives the same scores, bit for bit on the same machine and device.

        Raises
        ------
        OSError
            If the file cannot be opened.
        ValueError
            If the file is cut, altered, foreign or of a newer version; if torch cannot use the
            device.
        """
        target = check_device(device)
        detector: Self = persistence.load(
            path, lambda values: cls._of_values(values, target), cls.__name__
        )
        detector.device = device
        return detector

    def to_torch(self, dtype: torch.dtype = torch.float64) -> Scorer:
        """Return a torch module that maps raw rows (n, d) to scores (n,).

        Parameters
        ----------
        dtype : {torch.float64, torch.float32}, default=torch.float64
            Precision of the network and of the scores; float64 gives those of `decision_function`.

        Returns
        -------
        scorer : Scorer
            A copy in evaluation mode, its parameters frozen, on the device of the detector.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If `dtype` is another.
        """
        check_is_fitted(self, "distance_")
        return self.distance_.to_torch(dtype, threshold=self.threshold_)

    def to_onnx(self, path: str | os.PathLike[str], dtype: torch.dtype = torch.float64) -> None:
        """Write an ONNX model of raw rows to scores and labels: see `export.to_onnx`.

        Parameters
        ----------
        path : path-like
            An existing file is replaced when the new file is complete.
        dtype : {torch.float64, torch.float32}, default=torch.float64
            Of the input, the network and the scores.

        Raises
        ------
        ImportError
            Without the extra `onnx`.
        NotFittedError
            Before `fit`.
        ValueError
            If `dtype` is another, or the network has a layer that ONNX models do not hold.
        """
        check_is_fitted(self, "distance_")
        names = getattr(self, "feature_names_in_", None)
        self.distance_.to_onnx(
            path,
            dtype,
            threshold=self.threshold_,
            feature_names=None if names is None else list(names),
        )

    def __sizeof__(self) -> int:
        return object.__sizeof__(self) + n_bytes(vars(self))

    def __dask_tokenize__(self) -> str:
        state = vars(self).copy()
        if "distance_" in state:
            state["distance_"] = self.distance_.__dask_tokenize__()
        return fingerprint(type(self), state)

    @property
    def network_(self) -> torch.nn.Module:
        """The network of `distance_`."""
        return self.distance_.network

    @property
    def scaling_(self) -> Scaling:
        """The scaling of `distance_`."""
        return self.distance_.scaling

    @property
    def margin_(self) -> float:
        """The margin of `distance_`."""
        return self.distance_.margin

    @property
    def domain_(self) -> Domain:
        """The domain of `distance_`."""
        return self.distance_.domain

    @property
    def lipschitz_constant_(self) -> float:
        """The Lipschitz constant of `distance_`."""
        return self.distance_.lipschitz_constant

    @classmethod
    def _of_values(cls, values: Mapping[str, Any], device: torch.device) -> Self:
        """Return the detector of a file; raise almost anything on values that make none."""
        detector = cls(**values["parameters"])
        saved = {k: v for k, v in values["parameters"].items() if not is_missing(v)}
        check_parameters(saved, cls.__name__)
        fitted = {name: values["fitted"][name] for name in _FITTED if name in values["fitted"]}
        # Early files lack these.
        fitted.setdefault("calibration_scores_", np.empty(0))
        if "decision_scores_" in fitted:
            fitted.setdefault("_lowered", np.empty(0))
        rule = ThresholdRule.of(values["parameters"])
        if "labels_" in fitted:
            share = float(np.mean(fitted["labels_"]))
            fitted.setdefault("contamination_", detector._assumed_share(rule, share))
        brief = values.get("reference")
        optional = {"feature_names_in_", *(OF_TRAINING_ROWS if brief else ())}
        for name, kind in _FITTED.items():
            value = fitted.get(name)
            if not isinstance(value, kind) and (name in fitted or name not in optional):
                raise ValueError(f"{name} must not be {value!r}")
        distance = SignedDistance.from_values(values["distance"], device)
        reference = Reference(**brief) if brief else Reference.of(fitted["decision_scores_"])
        names = fitted.get("feature_names_in_", distance.scaling.location)
        fits = len(names) == len(distance.scaling.location) == fitted["n_features_in_"]
        n_labels = len(fitted.get("labels_", range(reference.n)))
        fits &= n_labels == reference.n and len(fitted.get("_lowered", ())) in (0, n_labels)
        if not (fits and np.isfinite(fitted["threshold_"])):
            raise ValueError("the fitted attributes do not go together")
        detector._write(distance, fitted, reference, reset=True)
        return detector

    def _rows(self, X: npt.ArrayLike) -> npt.NDArray[Any]:
        check_is_fitted(self, "distance_")
        return check_rows(self, X, reset=False)

    def _prepare(self, X: npt.ArrayLike, *, reset: bool) -> tuple[Any, Recipe, dict[str, Any]]:
        """Return the rows, the recipe, and the fitted attributes that describe the columns."""
        parameters = self.get_params(deep=False)
        needed = {name: value for name, value in parameters.items() if reset or name != "network"}
        check_parameters(needed, type(self).__name__)
        recipe = Recipe.of(parameters)
        described = copy.copy(self)
        with recipe.ranks.together():
            rows = self._read(described, X, reset=reset)
            if self.image_shape is not None:
                check_image_shape(self.image_shape, rows.shape[1])
        names = ("n_features_in_", "feature_names_in_")
        columns = {name: vars(described)[name] for name in names if name in vars(described)}
        known = parameters | columns | {"fitted": not reset}
        recipe.ranks.check_equal(
            {name: _comparable(value) for name, value in known.items() if name not in _OF_A_RANK}
        )
        return rows, recipe, columns

    def _adopt(
        self,
        learned: Learned,
        recipe: Recipe,
        rows: Any,
        held_out: npt.NDArray[np.intp],
        columns: dict[str, Any],
        started: float,
        *,
        reset: bool,
    ) -> Self:
        """Score and label the training rows, then write all fitted attributes."""
        scores, calibration_scores = self._score(learned, recipe, rows, held_out)
        lowered = np.zeros(len(scores) if len(learned.folded) else 0)
        lowered[learned.folded] = learned.lowered
        fitted = {
            "distance_": learned.distance,
            "decision_scores_": scores,
            "calibration_scores_": calibration_scores,
            "_lowered": lowered,
            "history_": learned.history,
            **columns,
            "fit_seconds_": time.perf_counter() - started,
        }
        fitted |= self._labelled(recipe.rule, fitted)
        self._write(learned.distance, fitted, self._summary(scores), reset=reset)
        return self

    def _read(self, described: Self, X: npt.ArrayLike, *, reset: bool) -> Any:
        """Return the rows, checked; with `reset`, describe their columns."""
        return check_rows(described, X, reset=reset)

    def _score(
        self, learned: Learned, recipe: Recipe, rows: Any, held_out: npt.NDArray[np.intp]
    ) -> tuple[Any, npt.NDArray[np.float64]]:
        """Return the scores of the training rows, and those of the rows that were held out."""
        scores = training_scores(learned, recipe, rows, held_out)
        return scores, scores[held_out]

    def _summary(self, scores: Any) -> Reference:
        """Return the training scores in brief."""
        return Reference.of(scores)

    def _write(
        self,
        distance: SignedDistance,
        fitted: dict[str, Any],
        reference: Reference,
        *,
        reset: bool,
    ) -> None:
        """Write fitted attributes, PyOD's private ones included; forget others on `reset`."""
        written = {
            **fitted,
            "distance_": distance,
            "n_iter_": len(fitted["history_"]),
            "_reference": reference,
            "_mu": reference.mean,
            "_sigma": reference.deviation,
            "_classes": 2,
        }
        forgotten = [name for name in vars(self).keys() - written if reset and name[-1] == "_"]
        vars(self).update(written)  # at once: an interruption leaves the detector whole
        for name in forgotten:
            delattr(self, name)

    def _labelled(self, rule: ThresholdRule, fitted: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fitted attributes that follow from a threshold."""
        scores = fitted["decision_scores_"]
        threshold, labels = rule.label(scores, fitted["calibration_scores_"], fitted["distance_"])
        share = self._assumed_share(rule, float(np.mean(labels)))
        return {"threshold_": threshold, "labels_": labels, "contamination_": share}

    def _unlabelled(self, rule: ThresholdRule, fitted: Mapping[str, Any]) -> dict[str, Any]:
        """Return the same of a detector without the scores of the training rows."""
        if rule.threshold == "contamination":
            raise ValueError(
                "threshold must be a number, 'boundary' or 'conformal' for a detector without the "
                f"scores of its training rows, got {rule.threshold!r}: set it before `for_scoring`"
            )
        calibration_scores, distance = fitted["calibration_scores_"], fitted["distance_"]
        threshold = rule.value(lambda _: np.nan, calibration_scores, distance)
        (n_at_most,) = self._reference.counts(np.array([threshold]))
        share = self._assumed_share(rule, 1 - n_at_most / self._reference.n)
        return {"threshold_": threshold, "contamination_": share}

    def _assumed_share(self, rule: ThresholdRule, labelled: float) -> float:
        """Return the share of outliers that PyOD's confidence assumes."""
        of_the_parameters = rule.threshold in ("contamination", self.threshold)
        is_stated = isinstance(rule.contamination, Real) and of_the_parameters
        return float(rule.contamination if is_stated else labelled)

    def _probabilities(
        self, scores: npt.NDArray[np.float64], method: str
    ) -> npt.NDArray[np.float64]:
        if method == "linear":
            scaler = MinMaxScaler().set_output(transform="default")
            scaler.fit(self._reference.values[:, None])
            outlier = scaler.transform(scores[:, None]).ravel()
        elif method == "unify":
            outlier = erf((scores - self._mu) / (self._sigma * np.sqrt(2)))
        else:
            raise ValueError(
                "method must be one of 'linear', 'unify' for a probability conversion, "
                f"got {method!r}"
            )
        outlier = outlier.clip(0, 1)
        return np.column_stack((1 - outlier, outlier))

    def _labels(self, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.int_]:
        return (scores > self.threshold_).astype(int)

    def _confidence(
        self, scores: npt.NDArray[np.float64], labels: npt.NDArray[np.int_]
    ) -> npt.NDArray[np.float64]:
        reference = self._reference
        counts = reference.counts(scores)
        return confidence(reference.n, counts, self.contamination_, labels)
