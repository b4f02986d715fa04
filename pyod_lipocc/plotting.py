"""Figures of scores, on matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

__all__ = ["plot_contours", "plot_histograms"]


def _axes(ax: Axes | None) -> Axes:
    return plt.subplots(layout="constrained")[1] if ax is None else ax


def plot_contours(
    score: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]],
    extent: tuple[float, float, float, float],
    *,
    X: npt.ArrayLike | None = None,
    resolution: int = 300,
    levels: int | Sequence[float] = 15,
    ax: Axes | None = None,
) -> Axes:
    """Draw a function of the plane by its level lines, the zero level thick.

    Where the function is a signed distance, such as `LipOCC.signed_distance`, the lines are as far
    apart as their levels.

    Parameters
    ----------
    score : callable
        Maps points (n, 2) to (n,); positive inside, as a signed distance is.
    extent : tuple of float
        (left, right, bottom, top) of the window, in the units of the points.
    X : array-like of shape (n, 2), optional
        Points to mark.
    resolution : int, default=300
        Points of the grid along each side.
    levels : int or sequence of float, default=15
        Levels, or about how many equally spaced ones.
    ax : Axes, optional
        Where to draw; None makes a new figure.

    Returns
    -------
    ax : Axes

    Raises
    ------
    ValueError
        If the window is empty or `resolution` below 2.

    Examples
    --------
    >>> ax = plot_contours(lambda x: 1 - np.linalg.norm(x, axis=1), (-2, 2, -2, 2), resolution=50)
    >>> ax.get_aspect()
    1.0
    """
    left, right, bottom, top = extent
    if not (left < right and bottom < top):
        raise ValueError(
            "extent must be (left, right, bottom, top) with left < right and bottom < top, "
            f"got {extent!r}"
        )
    if resolution < 2:
        raise ValueError(f"resolution must be an int >= 2, got {resolution!r}")
    x, y = np.linspace(left, right, resolution), np.linspace(bottom, top, resolution)
    grid = np.stack(np.meshgrid(x, y), axis=-1)
    values = np.reshape(score(grid.reshape(-1, 2)), (resolution, resolution))
    if isinstance(levels, int):
        levels = MaxNLocator(levels).tick_values(values.min(), values.max())
    ax = _axes(ax)
    # The colours meet at 0, so that the sign can be told without the line.
    bound = float(np.abs(levels).max())
    ax.contourf(x, y, values, levels, cmap="RdBu", vmin=-bound, vmax=bound, extend="both")
    ax.contour(x, y, values, levels, colors="black", linewidths=0.4, linestyles="solid")
    if X is not None:
        points = np.asarray(X)
        ax.scatter(points[:, 0], points[:, 1], s=2, color="black", alpha=0.4, linewidths=0)
    if values.min() < 0 < values.max():
        ax.contour(x, y, values, [0.0], colors="red", linewidths=1.8)
    ax.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
    return ax


def plot_histograms(groups: Mapping[str, npt.ArrayLike], *, ax: Axes | None = None) -> Axes:
    """Draw the densities of groups of scores over common bins.

    Parameters
    ----------
    groups : mapping of str to array-like of shape (n,)
        Finite scores of each group under its name in the legend.
    ax : Axes, optional
        Where to draw; None makes a new figure.

    Returns
    -------
    ax : Axes

    Raises
    ------
    ValueError
        If there is no group, or one without scores.

    Examples
    --------
    >>> ax = plot_histograms({"data": [0.1, 0.2, 0.2], "uniform": [-2.0, -1.0, 0.1]})
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['data', 'uniform']
    """
    scores = {name: np.asarray(group, dtype=np.float64) for name, group in groups.items()}
    sizes = {name: group.size for name, group in scores.items()}
    if not sizes or 0 in sizes.values():
        raise ValueError(f"groups must map names to at least one score each, got sizes {sizes!r}")
    edges = np.histogram_bin_edges(np.concatenate(list(scores.values())), bins=60)
    ax = _axes(ax)
    for name, group in scores.items():
        ax.hist(group, edges.tolist(), density=True, alpha=0.6, label=name)
    ax.set_ylabel("density")
    ax.legend()
    return ax
