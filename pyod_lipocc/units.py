"""The affine map between the units of X, of the scores and of the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pyod_lipocc._moments import extremes, moments
from pyod_lipocc._progress import unwatched
from pyod_lipocc._table import Table
from pyod_lipocc.domains import Domain

__all__ = ["Scaling"]

_FARTHEST = 1e140


@dataclass(frozen=True)
class Scaling:
    r"""The map from the units of X to those of the network, and the unit of the scores.

    The network sees features of unit scale, :math:`z = (x - location) / scale`. Distances between
    rows, in the units of the scores, are `unit` times those that the network sees:

    ==============  =====================================  ============  ========================
    `standardized`  `scale`                                `unit`        scores are distances in
    ==============  =====================================  ============  ========================
    True            the deviation of each feature          1             standardised units
    False           one number for all features            that number   the units of X
    ==============  =====================================  ============  ========================

    Attributes
    ----------
    location : ndarray of shape (d,)
        Mean of each feature.
    scale : ndarray of shape (d,)
        Divisor of each feature, positive.
    unit : float
        Length in score units of one unit of the network.
    standardized : bool
        Whether scores are in standardised units.
    """

    location: npt.NDArray[np.float64]
    scale: npt.NDArray[np.float64]
    unit: float
    standardized: bool

    @classmethod
    def fit(
        cls,
        X: npt.NDArray[Any] | Table,
        *,
        standardize: bool,
        alike: bool = False,
        progress: Callable[[int], object] = unwatched,
    ) -> Scaling:
        """Measure location and scale in three passes over X.

        The order of the rows, and how they come in blocks, does not change a bit.

        Parameters
        ----------
        X : ndarray of shape (n, d) or Table
        standardize : bool
            True: one scale for each feature; 1 where a feature is constant. False: the root mean
            square deviation over all features.
        alike : bool, default=False
            One location and one scale for all features, such as the pixels of images: each feature
            has then the same meaning in both units.
        progress : callable
            Receives numbers of rows as they are read.

        Returns
        -------
        scaling : Scaling

        Raises
        ------
        ValueError
            If the variance of X overflows float64.
        """
        table = Table.of(X)
        location, deviation = moments(table, alike=alike, progress=progress)
        if not np.isfinite(deviation).all():
            raise ValueError(
                "X must have a variance that float64 can hold, got values of magnitude "
                f"{np.abs(extremes(table)).max():.3g}"
            )
        location = np.broadcast_to(location, table.shape[1:]).copy()
        if standardize:
            scale = np.where(deviation > 0, deviation, 1.0)
            return cls(location, np.broadcast_to(scale, table.shape[1:]).copy(), 1.0, True)
        unit = float(np.linalg.norm(deviation / np.sqrt(len(deviation)))) or 1.0
        return cls(location, np.full_like(location, unit), unit, False)

    def to_network(self, X: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Map rows of X, shape (n, d), to the network's units."""
        with np.errstate(over="ignore"):
            z = (np.asarray(X, dtype=np.float64, order="C") - self.location) / self.scale
        # Farther rows would overflow in the network. A projection lets no distance grow.
        return np.clip(z, -_FARTHEST, _FARTHEST, out=z)

    def to_scores(self, X: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Map rows of X, shape (n, d), to the units of the scores, in which domains are given."""
        return self.to_network(X) if self.standardized else np.asarray(X, dtype=np.float64)

    def to_input(self, z: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Map points z, shape (n, d), from the network's units to those of X."""
        return self.location + self.scale * z

    def length_to_network(self, length: float) -> float:
        """Map a length given in the units of the scores to the network's units."""
        return length / self.unit

    def domain_to_network(self, domain: Domain) -> Domain:
        """Map a domain given in the units of the scores to the network's units."""
        return domain if self.standardized else domain.rescale(self.location, self.unit)
