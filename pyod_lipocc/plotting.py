"""Figures of scores, on matplotlib.

Every function draws on the axes given, or in a new figure, and returns the axes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from pyod_lipocc._checks import check_integer
from pyod_lipocc.metrics import certified_roc_auc_score
from pyod_lipocc.training import History

__all__ = [
    "plot_certified_roc_auc",
    "plot_contours",
    "plot_explanation",
    "plot_histograms",
    "plot_history",
    "plot_images",
]

# Blue is inside and red outside, as in the contours' "RdBu".
_INSIDE, _OUTSIDE = "#3a7cb8", "#c5413f"


def _axes(ax: Axes | None) -> Axes:
    return plt.subplots(layout="constrained")[1] if ax is None else ax


def plot_contours(
    score: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    extent: tuple[float, float, float, float],
    *,
    X: ArrayLike | None = None,
    resolution: int = 300,
    levels: int | Sequence[float] = 15,
    ax: Axes | None = None,
) -> Axes:
    """Draw a function of the plane by its level lines, the zero level thick.

    The lines of a signed distance, such as `LipOCC.signed_distance`, are as far apart as their
    levels.

    Parameters
    ----------
    score : callable
        Maps points (n, 2) to (n,), positive inside.
    extent : tuple of float
        (left, right, bottom, top) of the window.
    X : array-like of shape (n, 2), optional
        Points to mark.
    resolution : int, default=300
        Points along each side of the grid, at least 2.
    levels : int or sequence of float, default=15
        Levels, or about how many of equal spacing.
    ax : Axes, optional

    Returns
    -------
    ax : Axes

    Raises
    ------
    ValueError
        If `extent` or `resolution` is out of range.

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
    check_integer("resolution", resolution, 2)
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


def plot_histograms(
    groups: Mapping[str, ArrayLike],
    *,
    threshold: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the densities of groups of scores over common bins.

    In the paper's Figure 5 the groups are training rows, unseen rows of the class and rows of other
    classes. The detector generalises where the first two agree; it tells outliers where the third
    lies apart.

    Parameters
    ----------
    groups : mapping of str to array-like of shape (n,)
        Finite scores of each group, under its name in the legend.
    threshold : float, optional
        Score at which to draw a vertical line.
    ax : Axes, optional

    Returns
    -------
    ax : Axes

    Raises
    ------
    ValueError
        If there is no group, or a group without scores.

    Examples
    --------
    >>> ax = plot_histograms({"data": [0.1, 0.2, 0.2], "uniform": [-2.0, -1.0, 0.1]}, threshold=0.0)
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
    if threshold is not None:
        ax.axvline(threshold, color="black", linewidth=1, linestyle="--")
    ax.set_ylabel("density")
    ax.legend()
    return ax


def plot_certified_roc_auc(
    y_true: ArrayLike,
    scores: ArrayLike,
    radii: ArrayLike,
    *,
    lipschitz_constant: float = 1.0,
    attacked: ArrayLike | None = None,
    label: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the certified AUROC against the size of the attack, and the AUROC under an attack.

    The AUROC under any attack lies on or above the certified curve. The worst attack lies between
    the two curves. To compare detectors, call the function for each with the same `ax`.

    Parameters
    ----------
    y_true, scores, lipschitz_constant
        As in `certified_roc_auc_score`.
    radii : array-like of shape (k,)
        l2 sizes of the attack, >= 0, in the units of the rows, in rising order.
    attacked : array-like of shape (k,), optional
        AUROC of rows that an attack, such as `pgd_l2`, has moved by the radii.
    label : str, optional
        Name of the detector in the legend.
    ax : Axes, optional

    Returns
    -------
    ax : Axes

    Raises
    ------
    ValueError
        As `certified_roc_auc_score`, or if `radii` is not 1-D or `attacked` has another shape.

    Examples
    --------
    >>> ax = plot_certified_roc_auc([0, 0, 1], [-1.0, 0.0, 1.0], [0.0, 0.5, 1.0])
    >>> ax.lines[0].get_ydata()
    array([1.  , 0.75, 0.25])
    """
    sizes = np.asarray(radii, dtype=np.float64)
    if sizes.ndim != 1:
        raise ValueError(f"radii must have the shape (k,), got {sizes.shape}")
    certified = certified_roc_auc_score(
        y_true, scores, sizes, lipschitz_constant=lipschitz_constant
    )
    prefix = "" if label is None else f"{label}, "
    ax = _axes(ax)
    (line,) = ax.plot(sizes, np.asarray(certified), label=f"{prefix}certified")
    if attacked is not None:
        reached = np.asarray(attacked, dtype=np.float64)
        if reached.shape != sizes.shape:
            raise ValueError(f"attacked must have the shape {sizes.shape}, got {reached.shape}")
        ax.plot(sizes, reached, "o--", c=line.get_color(), ms=3, label=f"{prefix}attacked")
    ax.axhline(0.5, color="gray", linewidth=0.6, zorder=0)
    ax.set(xlabel="l2 radius of the attack", ylabel="AUROC", ylim=(-0.02, 1.02))
    ax.legend()
    return ax


def plot_images(
    images: ArrayLike,
    image_shape: Sequence[int],
    *,
    n_columns: int | None = None,
    limits: tuple[float, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw flattened images side by side, row by row.

    Parameters
    ----------
    images : array-like of shape (n, d)
    image_shape : sequence of int
        (height, width) or (channels, height, width) with 1 or 3 channels, of product d.
    n_columns : int, optional
        Images in a line, at least 1; None: about as many as lines.
    limits : tuple of float, optional
        Values drawn black and white, or none and full of a channel; None: the smallest and largest
        of all images.
    ax : Axes, optional

    Returns
    -------
    ax : Axes

    Raises
    ------
    ValueError
        If there is no image, the shapes do not fit or `n_columns` is out of range.

    Examples
    --------
    >>> ax = plot_images(np.eye(4), (2, 2), n_columns=2)
    >>> ax.images[0].get_array().shape
    (5, 5, 3)
    """
    pixels = np.asarray(images, dtype=np.float64)
    channels, height, width = (1, *image_shape) if len(image_shape) == 2 else tuple(image_shape)
    if channels not in (1, 3):
        raise ValueError(f"image_shape must have 1 or 3 channels, got {tuple(image_shape)}")
    if pixels.ndim != 2 or not len(pixels) or pixels.shape[1] != channels * height * width:
        raise ValueError(
            f"images must have the shape (n, {channels * height * width}) with n >= 1, "
            f"got {pixels.shape}"
        )
    columns = n_columns if n_columns is not None else int(np.ceil(np.sqrt(len(pixels))))
    check_integer("n_columns", columns, 1)
    low, high = (pixels.min(), pixels.max()) if limits is None else limits
    shades = np.clip((pixels - low) / max(high - low, np.finfo(float).tiny), 0, 1)
    lines = -(-len(pixels) // columns)
    # A white line of one pixel parts neighbours.
    canvas = np.ones((lines * (height + 1) - 1, columns * (width + 1) - 1, 3))
    for index, image in enumerate(shades.reshape(-1, channels, height, width)):
        top, left = (index // columns) * (height + 1), (index % columns) * (width + 1)
        canvas[top : top + height, left : left + width] = np.moveaxis(image, 0, -1)
    ax = _axes(ax)
    ax.imshow(canvas, interpolation="nearest")
    ax.set_axis_off()
    return ax


def plot_explanation(
    contributions: ArrayLike,
    *,
    feature_names: Sequence[str] | None = None,
    n_bars: int = 10,
    ax: Axes | None = None,
) -> Axes:
    """Draw what each feature adds to the signed distance of one row, the largest on top.

    Blue bars pull the row into the support, red bars out of it. The bars add up to its signed
    distance.

    Parameters
    ----------
    contributions : array-like of shape (d,)
        A row of `LipOCC.explain`.
    feature_names : sequence of str, optional
        Of length d; None: "x0", "x1" and so on.
    n_bars : int, default=10
        At least 2. Where there are more features, the last bar is the sum of the smallest.
    ax : Axes, optional

    Returns
    -------
    ax : Axes

    Raises
    ------
    ValueError
        If the shapes do not fit or `n_bars` is out of range.

    Examples
    --------
    >>> ax = plot_explanation([0.1, -2.0, 0.3], feature_names=["age", "dose", "mass"], n_bars=2)
    >>> [text.get_text() for text in ax.get_yticklabels()]
    ['dose', '2 others']
    """
    values = np.asarray(contributions, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"contributions must have the shape (d,), d >= 1, got {values.shape}")
    names = [f"x{i}" for i in range(len(values))] if feature_names is None else list(feature_names)
    if len(names) != len(values):
        raise ValueError(f"feature_names must hold {len(values)} names, got {len(names)}")
    check_integer("n_bars", n_bars, 2)
    order = np.argsort(-np.abs(values), kind="stable")
    n_own = len(values) if len(values) <= n_bars else n_bars - 1
    labels, bars = [names[i] for i in order[:n_own]], list(values[order[:n_own]])
    if n_own < len(values):
        labels.append(f"{len(values) - n_own} others")
        bars.append(values[order[n_own:]].sum())
    ax = _axes(ax)
    ax.barh(range(len(bars)), bars, color=[_INSIDE if bar > 0 else _OUTSIDE for bar in bars])
    ax.axvline(0.0, color="black", linewidth=0.8)
    ax.set_yticks(range(len(bars)), labels)
    ax.invert_yaxis()
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.set_xlabel(f"contribution to the signed distance, {values.sum():.3g} in all")
    return ax


def plot_history(
    history: History,
    *,
    fields: Sequence[str] = ("recall", "false_positives", "gradient_norm"),
    window: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the course of a training.

    Parameters
    ----------
    history : History
        A detector's `history_`.
    fields : sequence of str, default=("recall", "false_positives", "gradient_norm")
        Attributes of `History` with a common unit. By default: the shares of the data and of the
        negatives that are inside, and the gradient norm, which is 1 for a distance function.
    window : int, optional
        Steps in the moving average; None: 1 % of the training.
    ax : Axes, optional

    Returns
    -------
    ax : Axes

    Raises
    ------
    ValueError
        If the history is empty, a field is unknown or `window` is out of range.

    Examples
    --------
    >>> from pyod_lipocc import LipOCC
    >>> X = np.random.default_rng(0).normal(size=(50, 2))
    >>> ax = plot_history(LipOCC(max_iter=20, random_state=0).fit(X).history_)
    >>> len(ax.lines)
    3
    """
    known = [field.name for field in dataclasses.fields(history)]
    unknown = [field for field in fields if field not in known]
    if unknown or not fields:
        raise ValueError(f"fields must be some of {known}, got {list(fields)}")
    steps = len(history)
    if steps == 0:
        raise ValueError("history must have at least one step, got none")
    span = max(1, steps // 100) if window is None else window
    check_integer("window", span, 1, steps)
    ax = _axes(ax)
    for field in fields:
        mean = np.convolve(getattr(history, field), np.full(span, 1 / span), mode="valid")
        ax.plot(np.arange(span, steps + 1), mean, label=field.replace("_", " "), linewidth=1.2)
    ax.set_xlabel("step")
    ax.legend()
    return ax
