"""The signed distance that was learned: a value that scores, certifies, samples and explains."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from typing_extensions import Self

from pyod_lipocc import explanations, export, persistence, synthesis
from pyod_lipocc._checks import check_device
from pyod_lipocc._chunks import chunks, slices
from pyod_lipocc._isolation import isolated
from pyod_lipocc._progress import phase
from pyod_lipocc._random import RandomState, numpy_generator, torch_generator
from pyod_lipocc._weigh import fingerprint, n_bytes
from pyod_lipocc.certificates import Certificate
from pyod_lipocc.counterfactuals import Counterfactuals, counterfactual
from pyod_lipocc.domains import Domain
from pyod_lipocc.lipschitz import NearestSubspace, fold
from pyod_lipocc.lipschitz.dispatch import computes_as
from pyod_lipocc.sampler import Score
from pyod_lipocc.scorer import Scorer
from pyod_lipocc.units import Scaling

__all__ = ["SignedDistance"]

Floats = npt.NDArray[np.float64]

_ANCHORS = 64  # members of the class that a search for the boundary may start from
_N_PROBES = 16  # rows that a file must score in the same bits


@dataclass(frozen=True, eq=False)
class SignedDistance:
    r"""The signed distance S to the boundary of the support of rows, as a network has learned it.

    .. math:: S(x) = u\, f(z) - m, \qquad z = (x - location) / scale

    S is positive inside the support and negative outside. The score of a row is -S. The attributes
    must not be changed.

    Attributes
    ----------
    network : torch.nn.Module
        f, in float64, in evaluation mode, in the network's own units.
    scaling : Scaling
        The location, the scale and the unit u.
    margin : float
        m, in the units of the scores.
    domain : Domain
        B, where samples start, in the units of the scores.

    Examples
    --------
    >>> from pyod_lipocc import LipOCC
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> distance = LipOCC(random_state=0).fit(X).distance_
    >>> (distance([[0.0, 0.0], [9.0, 9.0]]) > 0).tolist()
    [True, False]
    >>> bool(distance.certified_radius([[9.0, 9.0]]) > 5)
    True
    """

    network: nn.Module
    scaling: Scaling
    margin: float
    domain: Domain

    @property
    def certificate(self) -> Certificate:
        """What is proven of the scores; see `certificates` for the assumptions.

        The proof is made once, and anew where a weight, a layer or a hook of the network changed.
        """
        state = _state(self.network)
        proven: tuple[str | None, Certificate] | None = vars(self).get("_proven")
        if proven is None or state is None or proven[0] != state:
            proven = state, Certificate.of(self._evaluated(), self.scaling, self.margin)
            vars(self)["_proven"] = proven
        return proven[1]

    @property
    def lipschitz_constant(self) -> float:
        r"""Proven upper bound of \|S(x) - S(x')\| / \|x - x'\|_2 in the units of X.

        The bound is that of S in exact arithmetic; ``inf`` where a module is unknown.
        """
        return self.certificate.lipschitz_constant

    def __call__(self, X: npt.ArrayLike) -> Floats:
        """Return S(x) of rows X of shape (n, d), shape (n,)."""
        return -self.scores(X)

    @isolated()
    def scores(self, X: npt.ArrayLike, *, leave_own_out: bool = False, verbose: int = 0) -> Floats:
        """Return -S(x) of rows.

        Parameters
        ----------
        X : array-like of shape (n, d)
        leave_own_out : bool, default=False
            Score rows that are centres of the network as if the network did not have them.
        verbose : int, default=0
            1 shows a progress bar where scoring takes more than a second.

        Returns
        -------
        scores : ndarray of shape (n,)
            Higher is more abnormal. In standardised units where `scaling.standardized`, else in
            those of X.

        Raises
        ------
        ValueError
            If X is not a finite real matrix of the width of the training rows.
        """
        rows = self._rows(X)
        network = self._evaluated()
        scorer = Scorer(
            copy.deepcopy(network) if leave_own_out else network, self.scaling, self.margin
        )
        for module in scorer.modules():
            if leave_own_out and isinstance(module, NearestSubspace):
                module.train()
        scores = np.empty(len(rows))
        with (
            torch.inference_mode(),
            phase("scores", total=len(rows), verbose=verbose, leave=True, delay=1) as bar,
        ):
            for batch in slices(*rows.shape):
                x = torch.from_numpy(np.array(rows[batch], dtype=np.float64, order="C"))
                scores[batch] = scorer(x.to(self._device)).cpu().numpy()
                bar.update(len(x))
        return scores

    @isolated()
    def certified_radius(
        self,
        X: npt.ArrayLike,
        threshold: float = 0.0,
        *,
        units: Literal["input", "scaled"] = "input",
    ) -> Floats:
        """Return the l2 radius around each row in which no score crosses a threshold, as computed.

        The rounding of the scores is accounted for. The assumptions, see `certificates`, are about
        floating-point arithmetic only, not about the data.

        Parameters
        ----------
        X : array-like of shape (n, d)
        threshold : float, default=0.0
            In the units of the scores.
        units : {"input", "scaled"}, default="input"
            Balls in the units of X, or in those of the scores.

        Returns
        -------
        radius : ndarray of shape (n,)
            0 where rounding alone might carry the score across the threshold.

        Raises
        ------
        ValueError
            If X is not as documented, or `units` another text; if nothing is proven of the network:
            `lipschitz_constant` is infinite.
        """
        rows = self._rows(X)
        return self.certificate.radius(rows, self.scores(rows), threshold, units=units)

    @isolated()
    def sample(
        self,
        n_samples: int = 1,
        *,
        eta: float = 1.0,
        n_steps: int = 64,
        random_state: RandomState = None,
    ) -> Floats:
        """Synthesise members of the class: Algorithm 1 towards the level f = 2 m.

        Parameters
        ----------
        n_samples : int, default=1
        eta : float in (0, 1], default=1.0
            Share of the way to the level that the steps cover together where f is a distance. As
            printed, Algorithm 1 covers 63 %: see `synthesis.sample`.
        n_steps : int, default=64
            T.
        random_state : int, RandomState, Generator or None, default=None
            Draws the starting points, uniform on the domain.

        Returns
        -------
        samples : ndarray of shape (n_samples, d)
            In the units of X. Members are those with S > 0.

        Raises
        ------
        ValueError
            If `eta` is out of range.
        """
        rng = numpy_generator(random_state)
        return self.scaling.to_input(self._sample(n_samples, eta, n_steps, rng).cpu().numpy())

    @isolated()
    def counterfactual(
        self, X: npt.ArrayLike, *, level: float = 0.0, return_distance: bool = False
    ) -> Any:
        """Find for each row the nearest point at which S has a level.

        Parameters
        ----------
        X : array-like of shape (n, d)
        level : float, default=0.0
            Value of S to reach; 0 is the boundary.
        return_distance : bool, default=False
            Return the distances as well.

        Returns
        -------
        points : ndarray of shape (n, d)
            In the units of X; NaN where the search has not met the level.
        distance, lower_bound : ndarray of shape (n,)
            Only where asked for, in the units of the scores: achieved, and certified (no point of
            the level is nearer).

        Raises
        ------
        ValueError
            If X is not as documented.
        """
        found = self._nearest(self._rows(X), level)
        points, distance, bound = (
            torch.cat(part).cpu().numpy() for part in zip(*found, strict=True)
        )
        if not return_distance:
            return self.scaling.to_input(points)
        unit = self.scaling.unit
        return self.scaling.to_input(points), unit * distance, unit * bound

    @isolated()
    def explain(self, X: npt.ArrayLike) -> Floats:
        """Split S of each row into contributions of its features.

        Gradients are integrated from the nearest boundary point found, where S is 0, to the row.

        Parameters
        ----------
        X : array-like of shape (n, d)

        Returns
        -------
        contributions : ndarray of shape (n, d)
            In the units of the scores; each row sums to S up to rounding. NaN where no boundary
            point was found.

        Raises
        ------
        ValueError
            If X is not as documented.
        """
        rows = self._rows(X)
        signed, boundary = self._in_network(), self._nearest(rows, 0.0)
        parts = [
            explanations.explain(signed, z, found.points)
            for z, found in zip(self._to_network(rows), boundary, strict=True)
        ]
        contributions: Floats = self.scaling.unit * torch.cat(parts).cpu().numpy()
        return contributions

    @isolated()
    def to_torch(self, dtype: torch.dtype = torch.float64, *, threshold: float = 0.0) -> Scorer:
        """Return a torch module that maps raw rows (n, d) to scores (n,).

        Parameters
        ----------
        dtype : {torch.float64, torch.float32}, default=torch.float64
            Precision of the network and of the scores; float64 gives those of `scores`.
        threshold : float, default=0.0
            Of the labels, kept by the module.

        Returns
        -------
        scorer : Scorer
            In evaluation mode, its parameters frozen, on the device of the network. The module is a
            copy: training either does not change the other.

        Raises
        ------
        ValueError
            If `dtype` is another.
        """
        network = fold(self.network)
        scorer = Scorer(network, self.scaling, self.margin, threshold, dtype)
        network.to(dtype)
        return scorer

    def to_onnx(
        self,
        path: str | os.PathLike[str],
        dtype: torch.dtype = torch.float64,
        *,
        threshold: float = 0.0,
        feature_names: list[str] | None = None,
    ) -> None:
        """Write an ONNX model of raw rows to scores and labels: see `export.to_onnx`.

        Parameters
        ----------
        path : path-like
        dtype : {torch.float64, torch.float32}, default=torch.float64
            Of the input, the network and the scores.
        threshold : float, default=0.0
            Rows with a greater score are labelled 1.
        feature_names : list of str, optional
            Go into the metadata of the model, as do the threshold, the margin and the Lipschitz
            constant.
        """
        metadata = {
            "threshold": float(threshold),
            "margin": float(self.margin),
            "lipschitz_constant": float(self.lipschitz_constant),
            "feature_names": feature_names,
        }
        export.to_onnx(self.to_torch(dtype, threshold=threshold), path, metadata)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the signed distance to one file that cannot run code: see `persistence.save`.

        Parameters
        ----------
        path : path-like
        """
        values = {"distance": self.to_values()}
        persistence.save(path, type(self).__name__, values, self.scores_as)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, device: str | torch.device | None = None
    ) -> Self:
        """Read a signed distance that `save` has written, or that of a saved `LipOCC`.

        Parameters
        ----------
        path : path-like
        device : str, torch.device or None, default=None
            Where to score; None: the CPU.

        Returns
        -------
        distance : SignedDistance

        Raises
        ------
        ValueError
            If the file is cut, altered, foreign or of a newer version.
        """
        target = check_device(device)
        return persistence.load(path, lambda values: cls.from_values(values["distance"], target))

    def to_values(self) -> dict[str, Any]:
        """Return the attributes by name, which are the content of a file."""
        names = ("network", "scaling", "margin", "domain")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_values(cls, values: Mapping[str, Any], device: torch.device) -> Self:
        """Return the signed distance of these attributes on a device; raise if it cannot score."""
        kinds = {"network": nn.Module, "scaling": Scaling, "margin": float, "domain": Domain}
        for name, kind in kinds.items():
            if not isinstance(values[name], kind):
                raise ValueError(f"{name} must be of {kind.__name__}, got {values[name]!r}")
        distance = cls(**values)
        lengths = np.array([distance.margin, distance.scaling.unit, *distance.scaling.scale])
        if not (np.isfinite(lengths).all() and (lengths > 0).all()):
            raise ValueError(f"margin, unit and scale must be finite and > 0, got {lengths!r}")
        distance.network.to(device).eval()
        distance._probe()
        return distance

    def scores_as(self, values: Mapping[str, Any]) -> bool:
        """Tell whether the content of a file scores a few rows in the same bits."""
        other = self.from_values(values["distance"], self._device)
        return other._probe().tobytes() == self._probe().tobytes()

    def __getstate__(self) -> dict[str, Any]:
        # A pickle must open where no GPU is.
        return self.to_values() | {"network": copy.deepcopy(self.network).cpu().eval()}

    def __sizeof__(self) -> int:
        return object.__sizeof__(self) + n_bytes(vars(self))

    def __dask_tokenize__(self) -> str:
        values = self.to_values()
        state = _state(self.network)
        return fingerprint(type(self), values if state is None else values | {"network": state})

    def _probe(self) -> Floats:
        location, scale = self.scaling.location, self.scaling.scale
        noise = np.random.default_rng(0).normal(size=(_N_PROBES, len(location)))
        return self.scores(location + scale * noise)

    @property
    def _device(self) -> torch.device:
        return next(self.network.parameters()).device

    def _rows(self, X: npt.ArrayLike) -> npt.NDArray[Any]:
        rows, d = np.asarray(X), len(self.scaling.location)
        is_matrix = rows.dtype.kind in "biuf" and rows.shape[1:] == (d,) and len(rows) > 0
        if not (is_matrix and np.isfinite(rows).all()):
            received = "NaN or infinity" if is_matrix else f"{rows.dtype} of shape {rows.shape}"
            raise ValueError(f"X must hold finite real numbers in {d} columns, got {received}")
        return rows

    def _evaluated(self) -> nn.Module:
        """Return the network in evaluation mode, whatever a parent module has made of it.

        A copy takes its place where a parent module has put it in training mode, or where
        `torch.inference_mode` has made its weights: autograd refuses those.
        """
        tensors = (*self.network.parameters(), *self.network.buffers())
        ready = not any(module.training for module in self.network.modules())
        if ready and not any(tensor.is_inference() for tensor in tensors):
            return self.network
        return copy.deepcopy(self.network).eval()

    def _in_network(self) -> Score:
        """Return S in the network's units."""
        network, margin = self._evaluated(), self.scaling.length_to_network(self.margin)
        return lambda z: network(z).reshape(-1) - margin

    def _to_network(self, rows: npt.NDArray[Any]) -> Iterator[Tensor]:
        """Bring rows to the network's units, chunk by chunk."""
        for batch in chunks(rows):
            yield torch.from_numpy(self.scaling.to_network(batch)).to(self._device)

    def _sample(self, n_samples: int, eta: float, n_steps: int, rng: np.random.Generator) -> Tensor:
        rng.integers(2**63)  # so that samples are those of earlier versions
        domain = self.scaling.domain_to_network(self.domain)
        return synthesis.sample(
            self._evaluated(),
            n_samples,
            domain=domain.to(torch.float64, self._device),
            margin=self.scaling.length_to_network(self.margin),
            eta=eta,
            n_steps=n_steps,
            generator=torch_generator(rng, self._device),
        )

    def _nearest(self, rows: npt.NDArray[Any], level: float) -> Iterator[Counterfactuals]:
        """Search for a level from each row, chunk by chunk, in the network's units."""
        anchors = self._sample(_ANCHORS, 1.0, _ANCHORS, numpy_generator(0))
        signed = self._in_network()
        for z in self._to_network(rows):
            yield counterfactual(
                signed,
                z,
                level=self.scaling.length_to_network(level),
                anchors=anchors,
                lipschitz_constant=self.certificate.lipschitz,
            )


def _state(network: nn.Module) -> str | None:
    """Return a hash of all that decides on values; None where a module may compute anything."""
    if not all(computes_as(module, type(module)) for module in network.modules()):
        return None
    try:
        return persistence.digest(network)
    except ValueError:
        return None
