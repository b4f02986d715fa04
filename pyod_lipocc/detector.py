"""LipOCC: one-class classification by the signed distance that a 1-Lipschitz network learns."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pyod.models.base import BaseDetector
from sklearn.utils.validation import check_is_fitted, validate_data

from pyod_lipocc._auto import (
    plan_training,
    resolve_domain,
    resolve_margin,
    resolve_negatives,
    resolve_network,
    resolve_schedule,
)
from pyod_lipocc._fitted import FittedMethods
from pyod_lipocc._random import RandomState, local_generator, torch_generator
from pyod_lipocc._scaling import Scaling, chunks
from pyod_lipocc._validation import check_device, check_image_shape, check_parameters
from pyod_lipocc.certificates import Certificate
from pyod_lipocc.conformal import conformal_threshold, minimum_calibration
from pyod_lipocc.domains import Domain
from pyod_lipocc.lipschitz import NearestSubspace
from pyod_lipocc.lipschitz.networks import parameter_groups, polish
from pyod_lipocc.losses import hkr
from pyod_lipocc.negatives import Proposal
from pyod_lipocc.sampler import Sampler
from pyod_lipocc.stiefel import StiefelAdam, StiefelRMSprop
from pyod_lipocc.training import Callback, History, ProgressBar, Schedule, train
from pyod_lipocc.trimming import inliers

__all__ = ["LipOCC"]

_OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": StiefelAdam,
    # "Default hyper-parameters" of the paper are those of Keras.
    "rmsprop": partial(StiefelRMSprop, alpha=0.9, eps=1e-7),
}


_START = {"table": 4096, "images": 8192}  # rows that a network may start from, at most
_FEWEST_TO_HOLD_OUT = 1000
_MOST_HELD_OUT = 1000
_TRAINING_NUMBERS = 2**25  # numbers held in float32 for training


class LipOCC(FittedMethods, BaseDetector):
    r"""One-class classifier that learns the signed distance to the support of normal data.

    A network f, 1-Lipschitz by construction, is trained with the hinge Kantorovich-Rubinstein loss
    to separate the data from negatives that a Newton-Raphson sampler places at its boundary
    (Béthune & Serrurier, 2022, Algorithms 1 and 2). :math:`S(x) = f(x) - m` approximates the signed
    distance to the boundary of the support: positive inside, negative outside. Scores are -S:
    higher is more abnormal, as everywhere in PyOD.

    A score changes by at most `lipschitz_constant_` times the l2 distance that its row is moved,
    for all rows and without assumption on the data; `certified_radius` accounts for the rounding of
    the scores as well.

    Parameters
    ----------
    contamination : float in (0, 0.5] or threshold object, default=0.1
        Share of outliers expected in the training rows: sets `threshold_` at that percentile of
        `decision_scores_`. An object of PyThresh sets the threshold by its own rule.
    novelty : bool, default=False
        True: the training rows are clean, all of them shape the support. False, PyOD's convention:
        up to a share `contamination` of them are outliers, and the rows that look like it, twice
        that share, lose their say (see `trimming.inliers`).
    network : str, torch.nn.Module or callable, default="auto"
        f. "nearest-subspace", which is "auto": starts from the data, see
        `subspaces.nearest_subspace`. "dense": three orthogonal layers of 128 with GroupSort2.
        "conv": the paper's Table 2, "conv-deep": its follow-up's; both need `image_shape`. A module
        is copied and trained; a callable receives the number of features, a keyword `generator`
        (torch.Generator) and those that it takes of `image_shape`, `rows` (data to start from, in
        the network's units), `normal` (which of them look it), `margin` and `contamination`, and
        returns a module, such as
        ``functools.partial(dense, hidden=(512,) * 4)``. Modules map (n, d) to (n, 1) or (n,).
    margin : float or "auto", default="auto"
        m > 0, in the units of the scores. "auto": half the median distance of a row to its nearest
        other row.
    regularization : float, default=100.0
        lambda > 0, weight of the hinge against the Kantorovich-Rubinstein term.
    n_newton_steps : int or "auto", default="auto"
        T >= 0 of Algorithm 1. "auto": 4; 1 for a network that starts from the data,
        which is a distance function: one step reaches the level.
    domain : Domain or "auto", default="auto"
        B, in the units of the scores; must contain the data. "auto": a ball around the mean, half
        as wide again as the data; for images the box of the smallest to the largest pixel.
    negatives : callable or "auto", default="auto"
        Q0, ``(x, domain, generator) -> z``, see `negatives`. "auto": uniform on the domain; with
        `novelty`, a third each uniform, noise around the data and shuffled marginals; for images
        one in ten uniform, the others augmentations of the data.
    standardize : bool, default=True
        Bring every feature to mean 0 and variance 1 first; scores are then in standardised units.
        With False they are in the units of X.
    threshold : {"contamination", "boundary", "conformal"}, default="contamination"
        Where a label becomes 1: PyOD's percentile; S < 0; or where a quarter of the rows, held out
        of training, says that at most a share `alpha` of new rows will be above (split conformal
        prediction: for rows exchangeable with these, without other assumption).
    alpha : float in (0, 1), default=0.05
        False-alarm rate at most, for "conformal".
    attack_radius : float, default=0.0
        For "conformal": the rate holds also where every new row is moved by up to this l2 distance,
        in the units of X.
    image_shape : tuple of int or None, default=None
        (height, width) or (channels, height, width) where rows are flattened images: for
        "conv", "conv-deep" and the automatic domain.
    max_iter : int or "auto", default="auto"
        Gradient steps at most. "auto": 50 for a network that starts from the data, else 1,000.
    batch_size : int, default=256
        Rows, and as many negatives, in a step.
    learning_rate : float, callable or "auto", default="auto"
        A constant, or a function of the share of `max_iter` done. "auto": linearly to 0, from 5e-3;
        from 1e-3, or margin / 50 if that is less, for a network that starts from the data.
    optimizer : {"adam", "rmsprop"} or callable, default="adam"
        On the Stiefel manifold. A callable receives parameter groups, those with ``stiefel=True``
        to be kept on the manifold, and returns a torch optimizer.
    sampler : callable or "auto", default="auto"
        Algorithm 1 or a variant: ``functools.partial(newton_raphson, ...)``. "auto": as the paper
        prints it, with the level -1.5 m for a network that starts from the data.
    n_warmup_steps : int, default=0
        First steps without Newton-Raphson.
    callbacks : sequence of Callback or None, default=None
        Watch the training and may stop it; copied at each fit.
    device : str, torch.device or None, default=None
        Where to train and score. None: the CPU.
    random_state : int, RandomState, Generator or None, default=None
        Used in `fit` only. An int gives the same bits at each fit on the same machine.
    verbose : int or bool, default=0
        1 shows a progress bar.

    Attributes
    ----------
    decision_scores_ : ndarray of shape (n,)
        -S of the training rows as if they were new: rows that are centres of the network are left
        out of their own score; for images and other networks, from 1,000 rows on, a twentieth,
        at most 1,000, is held out of training and shows by how much the others must be raised.
    threshold_ : float
        Rows with a greater score are labelled 1.
    labels_ : ndarray of shape (n,)
        Labels of the training rows: 1 for outliers.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only where X has string column names.
    n_iter_ : int
        Gradient steps done.
    history_ : History
        Loss, recall, gradient norm and more, of each step.
    network_ : torch.nn.Module
        f, in float64, in the network's own units.
    margin_ : float
        m, in the units of the scores.
    domain_ : Domain
        B, in the units of the scores.
    scaling_ : Scaling
        The affine map from X to the network's units.
    lipschitz_constant_ : float
        Proven upper bound of \|score(x) - score(x')\| / \|x - x'\|_2 in the units of X, for the
        score in exact arithmetic: see `certificates`. ``inf`` where a module is unknown.

    References
    ----------
    Béthune & Serrurier, *Certifiable Metric One Class Learning with adversarially trained Lipschitz
    Classifier*, ML Safety Workshop, NeurIPS 2022.

    Examples
    --------
    >>> import numpy as np
    >>> from pyod_lipocc import LipOCC
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> detector = LipOCC(max_iter=100, random_state=0).fit(X)
    >>> detector.predict([[0.0, 0.0], [9.0, 9.0]])
    array([0, 1])
    """

    decision_scores_: npt.NDArray[np.float64]
    threshold_: float
    labels_: npt.NDArray[np.int_]
    n_features_in_: int
    n_iter_: int
    history_: History
    network_: torch.nn.Module
    margin_: float
    domain_: Domain
    scaling_: Scaling
    lipschitz_constant_: float

    def __init__(
        self,
        contamination: Any = 0.1,
        *,
        novelty: bool = False,
        network: Any = "auto",
        margin: float | str = "auto",
        regularization: float = 100.0,
        n_newton_steps: int | str = "auto",
        domain: Domain | str = "auto",
        negatives: Proposal | str = "auto",
        standardize: bool = True,
        threshold: str = "contamination",
        alpha: float = 0.05,
        attack_radius: float = 0.0,
        image_shape: tuple[int, ...] | None = None,
        max_iter: int | str = "auto",
        batch_size: int = 256,
        learning_rate: float | Schedule | str = "auto",
        optimizer: Any = "adam",
        sampler: Sampler | str = "auto",
        n_warmup_steps: int = 0,
        callbacks: Sequence[Callback] | None = None,
        device: str | torch.device | None = None,
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
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: npt.ArrayLike, y: Any = None) -> LipOCC:
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
        """
        fitted = self._unfitted_copy()
        check_parameters(fitted.get_params(deep=False), type(self).__name__)
        rows = fitted._validate(X, reset=True)
        with local_generator(self.random_state) as rng:
            calibration = fitted._hold_out(len(rows), rng)
            seen = np.delete(np.arange(len(rows)), calibration)
            fitted._learn(rows[seen] if len(calibration) else rows, rng)
        fitted._set_threshold(rows, own=seen[fitted.__dict__.pop("_start")], held_out=calibration)
        self.__dict__ = fitted.__dict__
        return self

    def partial_fit(self, X: npt.ArrayLike, y: Any = None) -> LipOCC:
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
        if not hasattr(self, "network_"):
            return self.fit(X)
        fitted = copy.copy(self)
        check_parameters(fitted.get_params(deep=False), type(self).__name__)
        rows = fitted._validate(X, reset=False)
        with local_generator(self.random_state) as rng:
            calibration = fitted._hold_out(len(rows), rng)
            fitted._continue(np.delete(rows, calibration, axis=0), rng)
        fitted._set_threshold(rows, own=calibration[:0], held_out=calibration)
        self.__dict__ = fitted.__dict__
        return self

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
        check_is_fitted(self, "network_")
        return self._score(self._validate(X, reset=False))

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
        if self.threshold == "contamination":
            return super().predict(X, return_confidence=return_confidence)
        labels = (self.decision_function(X) > self.threshold_).astype(int)
        return (labels, self.predict_confidence(X)) if return_confidence else labels

    def predict_proba(
        self, X: npt.ArrayLike, method: str = "linear", return_confidence: bool = False
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
        # PyOD reads X.shape
        rows = X if hasattr(X, "shape") else np.asarray(X)
        return super().predict_proba(rows, method=method, return_confidence=return_confidence)

    def _unfitted_copy(self) -> LipOCC:
        twin = object.__new__(type(self))
        twin.__dict__ = {
            name: value for name, value in vars(self).items() if not name.endswith("_")
        }
        return twin

    def _validate(self, X: npt.ArrayLike, *, reset: bool) -> npt.NDArray[Any]:
        rows = validate_data(self, X, reset=reset, dtype="numeric")
        if rows.dtype.kind not in "biuf":
            raise ValueError(f"X must hold real numbers, got {rows.dtype}")
        check_image_shape(self.image_shape, rows.shape[1])
        return rows

    def _learn(self, X: npt.NDArray[Any], rng: np.random.Generator) -> None:
        """Resolve what depends on X, build the network and train it."""
        device = check_device(self.device)
        self.scaling_ = Scaling.fit(X, standardize=self.standardize)
        self.margin_ = resolve_margin(self.margin, X, self.scaling_, rng)
        self.domain_ = resolve_domain(self.domain, X, self.scaling_, self.margin_, self.image_shape)
        chosen = self._training_rows(X, rng)
        rows = self._to_tensor(X[chosen])
        most = _START["table" if self.image_shape is None else "images"]
        start = np.sort(rng.choice(len(rows), size=min(len(rows), most), replace=False))
        normal = torch.ones(len(rows), dtype=torch.bool)
        contamination = 0.0
        if not self.novelty:
            contamination = self._share_of_outliers
            normal[:] = False
            normal[inliers(rows.numpy(), contamination, rng)] = True
        self._start = chosen[start]
        network = resolve_network(
            self.network,
            X.shape[1],
            torch_generator(rng),
            image_shape=self.image_shape,
            rows=rows[start],
            normal=normal[start],
            margin=self.margin_ / self.scaling_.unit,
            contamination=contamination,
        )
        rows = rows[normal] if contamination else rows
        plan = plan_training(network, self.margin_ / self.scaling_.unit)
        max_iter = plan.max_iter if isinstance(self.max_iter, str) else self.max_iter
        schedule = resolve_schedule(self.learning_rate, plan)
        self._train(network.to(device), rows, max_iter=max_iter, schedule=schedule, rng=rng)

    def _continue(self, X: npt.NDArray[Any], rng: np.random.Generator) -> None:
        """Train a copy of the network with one pass over X."""
        for rows in chunks(X):
            self.domain_ = self.domain_.enclose(torch.from_numpy(self.scaling_.to_scores(rows)))
        network = copy.deepcopy(self.network_).to(check_device(self.device))
        plan = plan_training(network, self.margin_ / self.scaling_.unit)
        rate = resolve_schedule(self.learning_rate, plan)(0.0)
        history = self.history_
        max_iter = math.ceil(len(X) / self.batch_size)
        rows = self._to_tensor(X[self._training_rows(X, rng)])
        self._train(network, rows, max_iter=max_iter, schedule=lambda progress: rate, rng=rng)
        self.history_ = history + self.history_
        self.n_iter_ = len(self.history_)

    def _training_rows(self, X: npt.NDArray[Any], rng: np.random.Generator) -> npt.NDArray[np.intp]:
        """Choose the rows that training may see: all, as far as memory for a copy is bounded."""
        n = min(len(X), max(_TRAINING_NUMBERS // X.shape[1], 1))
        return np.sort(rng.choice(len(X), size=n, replace=False)) if n < len(X) else np.arange(n)

    def _to_tensor(self, X: npt.NDArray[Any]) -> torch.Tensor:
        """Bring rows to the network's units, in float32."""
        rows = torch.empty(X.shape, dtype=torch.float32)
        for batch, filled in zip(chunks(X), chunks(rows), strict=True):
            filled.copy_(torch.from_numpy(self.scaling_.to_network(batch)))
        return rows

    def _train(
        self,
        network: torch.nn.Module,
        rows: torch.Tensor,
        *,
        max_iter: int,
        schedule: Schedule,
        rng: np.random.Generator,
    ) -> None:
        """Run Algorithm 2 in float32 and in the network's units; keep the network in float64."""
        device = next(network.parameters()).device
        network = network.float().train()
        plan = plan_training(network, self.margin_ / self.scaling_.unit)
        optimizer = _OPTIMIZERS.get(self.optimizer, self.optimizer)
        margin = self.margin_ / self.scaling_.unit
        domain = self.scaling_.domain_to_network(self.domain_).to(torch.float32, device)
        generator = torch_generator(rng, device)
        callbacks = [copy.copy(callback) for callback in self.callbacks or ()]
        self.history_ = train(
            network,
            self._batches(rows.to(device), generator),
            domain=domain,
            margin=margin,
            loss=partial(hkr, margin=margin, regularization=self.regularization),
            optimizer=optimizer(parameter_groups(network)),
            schedule=schedule,
            max_iter=max_iter,
            n_newton_steps=(
                plan.n_newton_steps if isinstance(self.n_newton_steps, str) else self.n_newton_steps
            ),
            n_warmup_steps=self.n_warmup_steps,
            negatives=resolve_negatives(
                self.negatives,
                domain=domain,
                margin=margin,
                novelty=self.novelty,
                image_shape=self.image_shape,
            ),
            sampler=plan.sampler if isinstance(self.sampler, str) else self.sampler,
            callbacks=[*callbacks, *([ProgressBar()] if self.verbose else [])],
            generator=generator,
        )
        self.n_iter_ = len(self.history_)
        if not all(weight.isfinite().all() for weight in network.parameters()):
            raise FloatingPointError(
                "training has diverged: weights are not finite. Lower learning_rate "
                f"(got {self.learning_rate!r}), or check the network if it is your own"
            )
        network.zero_grad(set_to_none=True)
        self.network_ = network.double().eval()
        polish(self.network_)
        proven = Certificate.of(self.network_, self.scaling_, self.margin_)
        self.lipschitz_constant_ = proven.lipschitz_constant

    def _batches(self, rows: torch.Tensor, generator: torch.Generator) -> Iterator[torch.Tensor]:
        """Draw independent rows for ever."""
        size = (self.batch_size,)
        while True:
            yield rows[torch.randint(len(rows), size, generator=generator, device=generator.device)]

    def _score(self, X: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        device = next(self.network_.parameters()).device
        scores = np.empty(len(X))
        start = 0
        with torch.inference_mode():
            for rows in chunks(X):
                z = torch.from_numpy(self.scaling_.to_network(rows)).to(device)
                scores[start : start + len(rows)] = self.network_(z).reshape(-1).cpu().numpy()
                start += len(rows)
        return self.margin_ - self.scaling_.unit * scores

    def _hold_out(self, n: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
        """Choose the rows that are not trained on, for a threshold that new rows will respect."""
        if self.threshold == "conformal":
            least = minimum_calibration(self.alpha)
            if n <= least:
                raise ValueError(
                    f"alpha={self.alpha!r} needs at least {least + 1} rows for "
                    f"threshold='conformal', {least} of them to calibrate it, got {n}"
                )
            return rng.permutation(n)[: max(least, n // 4)]
        leaves_rows_out = self.image_shape is None and self.network in ("auto", "nearest-subspace")
        if leaves_rows_out or n < _FEWEST_TO_HOLD_OUT:
            return np.empty(0, dtype=np.intp)
        return rng.permutation(n)[: min(n // 20, _MOST_HELD_OUT)]

    def _set_threshold(
        self,
        X: npt.NDArray[Any],
        *,
        own: npt.NDArray[np.intp],
        held_out: npt.NDArray[np.intp],
    ) -> None:
        """Score X and set threshold and labels.

        Rows that the network holds as its `own` are scored as if it did not. Where rows were held
        out, the others are raised by what training has lowered them, as the percentile shows.
        """
        self.decision_scores_ = self._score(X)
        layers = [m for m in self.network_.modules() if isinstance(m, NearestSubspace)]
        if len(own) and any(layer.leave_one_out for layer in layers):
            self.network_.train()
            self.decision_scores_[own] = self._score(X[own])
            self.network_.eval()
        elif len(held_out):
            seen = np.delete(np.arange(len(X)), held_out)
            level = 1 - self._share_of_outliers
            unseen, lowered = (
                np.quantile(self.decision_scores_[i], level) for i in (held_out, seen)
            )
            self.decision_scores_[seen] += max(unseen - lowered, 0.0)
        self._set_n_classes(None)
        self._process_decision_scores()
        if self.threshold == "contamination":
            if not isinstance(self.contamination, Real):
                self.threshold_ = self._threshold_of_object()
            return
        self.threshold_ = 0.0
        if self.threshold == "conformal":
            self.threshold_ = conformal_threshold(
                self.decision_scores_[held_out],
                self.alpha,
                radius=self.attack_radius,
                lipschitz_constant=self.lipschitz_constant_,
            )
        self.labels_ = (self.decision_scores_ > self.threshold_).astype(int)

    @property
    def _share_of_outliers(self) -> float:
        """Contamination as a number; PyOD's default where an object finds the threshold."""
        return float(self.contamination) if isinstance(self.contamination, Real) else 0.1

    def _threshold_of_object(self) -> float:
        """Return the threshold of an object in the units of the scores.

        PyThresh's own is in units of its own or None, and PyOD overwrites a 0 by the share of
        outliers.
        """
        threshold, scores = self.contamination.thresh_, self.decision_scores_
        if threshold is not None and np.array_equal(scores > threshold, self.labels_):
            return float(threshold)
        return float(scores[self.labels_ == 0].max(initial=scores.min()))

    def __getstate__(self) -> Mapping[str, Any]:
        state = dict(super().__getstate__())
        if "network_" in state:
            state["network_"] = copy.deepcopy(state["network_"]).cpu()
        return state
