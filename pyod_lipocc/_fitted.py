"""What a fitted signed distance offers beyond scores: proofs, synthesis, explanations, files."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from sklearn.utils.validation import check_is_fitted
from typing_extensions import Self

from pyod_lipocc import explanations
from pyod_lipocc._chunks import chunks
from pyod_lipocc._isolation import isolated
from pyod_lipocc._random import RandomState, numpy_generator, torch_generator
from pyod_lipocc._state import DetectorState
from pyod_lipocc.certificates import Certificate
from pyod_lipocc.counterfactuals import Counterfactuals, counterfactual
from pyod_lipocc.sampler import Score
from pyod_lipocc.synthesis import sample

if TYPE_CHECKING:
    from pyod_lipocc.export import Scorer

__all__ = ["FittedMethods"]

_ANCHORS = 64  # members of the class that a search for the boundary may start from


class FittedMethods(DetectorState):
    """Methods of a detector whose score is a learned signed distance."""

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
        scores: npt.NDArray[np.float64] = self.decision_function(X)
        return -scores

    @isolated()
    def certified_radius(
        self, X: npt.ArrayLike, *, units: Literal["input", "scaled"] = "input"
    ) -> npt.NDArray[np.float64]:
        """Return the l2 radius around each row in which `predict` cannot change, as computed.

        The rounding of the scores is accounted for: see `certificates` for the assumptions, which
        are about floating-point arithmetic only, not about the data.

        Parameters
        ----------
        X : array-like of shape (n, d)
        units : {"input", "scaled"}, default="input"
            Balls in the units of X, or in those of the scores.

        Returns
        -------
        radius : ndarray of shape (n,)
            0 where rounding alone might change the label.

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
        check_is_fitted(self, "network_")
        rows = self._validate(X, reset=False)
        certificate = Certificate.of(self._network(), self.scaling_, self.margin_)
        scores = self._score(rows)
        return certificate.radius(rows, scores, self.threshold_, units=units)

    @isolated()
    def sample(
        self,
        n_samples: int = 1,
        *,
        eta: float = 1.0,
        n_steps: int = 64,
        random_state: RandomState = None,
    ) -> npt.NDArray[np.float64]:
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
        check_is_fitted(self, "network_")
        rng = numpy_generator(random_state)
        return self._to_input(self._sample(n_samples, eta, n_steps, rng))

    @isolated()
    def counterfactual(
        self, X: npt.ArrayLike, *, level: float = 0.0, return_distance: bool = False
    ) -> Any:
        """Find for each row the nearest point of the boundary.

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
        check_is_fitted(self, "network_")
        rows, unit = self._validate(X, reset=False), self.scaling_.unit
        found = self._nearest_boundary(rows, level)
        points, distance, bound = map(torch.cat, zip(*found, strict=True))
        if not return_distance:
            return self._to_input(points)
        return self._to_input(points), unit * distance.cpu().numpy(), unit * bound.cpu().numpy()

    @isolated()
    def explain(self, X: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Split the signed distance of each row into contributions of its features.

        Gradients are integrated from the nearest boundary point found, where S is 0, to the row.

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
        check_is_fitted(self, "network_")
        rows = self._validate(X, reset=False)
        boundary = self._nearest_boundary(rows, 0.0)
        signed = self._signed()
        parts = [
            explanations.explain(signed, z, found.points)
            for z, found in zip(self._in_network(rows), boundary, strict=True)
        ]
        return self.scaling_.unit * torch.cat(parts).cpu().numpy()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted detector to one file that cannot run code: see `persistence.save`.

        Parameters
        ----------
        path : path-like
        """
        from pyod_lipocc.persistence import save

        check_is_fitted(self, "network_")
        save(self, path)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, device: Any = None) -> Self:
        """Read a detector that `save` has written: see `persistence.load`.

        Parameters
        ----------
        path : path-like
        device : str, torch.device or None, default=None
            Where to score; None: the CPU.

        Returns
        -------
        detector : LipOCC

        Raises
        ------
        ValueError
            If the file is cut, altered, foreign or of a newer version.
        """
        from pyod_lipocc.persistence import load

        kind: Any = cls
        loaded: Self = load(path, device, kind=kind)
        return loaded

    def to_torch(self, dtype: torch.dtype = torch.float64) -> Scorer:
        """Return a torch module that maps raw rows (n, d) to scores (n,): see `export.to_torch`.

        Parameters
        ----------
        dtype : torch.dtype, default=torch.float64

        Returns
        -------
        module : torch.nn.Module
        """
        from pyod_lipocc.export import to_torch

        check_is_fitted(self, "network_")
        return to_torch(self, dtype)  # type: ignore[arg-type]

    def to_onnx(self, path: str | os.PathLike[str], dtype: torch.dtype = torch.float64) -> None:
        """Write an ONNX model of raw rows to scores and labels: see `export.to_onnx`.

        Parameters
        ----------
        path : path-like
        dtype : {torch.float64, torch.float32}, default=torch.float64
            Of the input, the network and the scores.
        """
        from pyod_lipocc.export import to_onnx

        check_is_fitted(self, "network_")
        to_onnx(self, path, dtype)  # type: ignore[arg-type]

    def _network(self) -> torch.nn.Module:
        """Return the network in evaluation mode, whatever a parent module has made of it.

        A copy takes its place where a parent module has put it in training mode, or where
        `torch.inference_mode` has made its weights: autograd refuses those.
        """
        tensors = (*self.network_.parameters(), *self.network_.buffers())
        ready = not any(module.training for module in self.network_.modules())
        if ready and not any(tensor.is_inference() for tensor in tensors):
            return self.network_
        return copy.deepcopy(self.network_).eval()

    def _in_network(self, X: npt.NDArray[Any]) -> Iterator[torch.Tensor]:
        """Bring rows to the network's units, chunk by chunk."""
        device = next(self.network_.parameters()).device
        for rows in chunks(X):
            yield torch.from_numpy(self.scaling_.to_network(rows)).to(device)

    def _to_input(self, z: torch.Tensor) -> npt.NDArray[np.float64]:
        X: npt.NDArray[np.float64] = self.scaling_.location + self.scaling_.scale * z.cpu().numpy()
        return X

    def _signed(self) -> Score:
        """Return S in the network's units."""
        network, margin = self._network(), self.margin_ / self.scaling_.unit
        return lambda z: network(z).reshape(-1) - margin

    def _sample(
        self, n_samples: int, eta: float, n_steps: int, rng: np.random.Generator
    ) -> torch.Tensor:
        device = next(self.network_.parameters()).device
        rng.integers(2**63)  # so that samples are those of earlier versions
        return sample(
            self._network(),
            n_samples,
            domain=self.scaling_.domain_to_network(self.domain_).to(torch.float64, device),
            margin=self.margin_ / self.scaling_.unit,
            eta=eta,
            n_steps=n_steps,
            generator=torch_generator(rng, device),
        )

    def _nearest_boundary(self, X: npt.NDArray[Any], level: float) -> Iterator[Counterfactuals]:
        """Search from each row, chunk by chunk, in the network's units."""
        anchors = self._sample(_ANCHORS, 1.0, _ANCHORS, numpy_generator(0))
        signed = self._signed()
        for z in self._in_network(X):
            yield counterfactual(
                signed,
                z,
                level=level / self.scaling_.unit,
                anchors=anchors,
                lipschitz_constant=self.lipschitz_constant_ / self.scaling_.gain,
            )
