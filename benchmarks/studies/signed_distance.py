"""How near LipOCC's score comes to the signed distance, on shapes with a known distance.

Fits LipOCC on uniform samples of shapes in 2 to 10 dimensions, of a solid torus and of its surface
alone, and compares the learned distance with the closed form. Writes a table and pictures:

    python -m benchmarks.studies.signed_distance   # all: half an hour on one core
    python -m benchmarks.studies.signed_distance --networks dense --dimensions 2 --shapes shell
    python -m benchmarks.studies.signed_distance --quick --output quick   # seconds, poor figures

The picture of the torus needs the extra ``surfaces``: pip install "pyod_lipocc[surfaces]".
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

from benchmarks import RESULTS
from benchmarks.report.tables import markdown
from pyod_lipocc import LipOCC
from pyod_lipocc.domains import Box
from pyod_lipocc.lipschitz import dense
from pyod_lipocc.metrics import chamfer_distance, eikonal_error, hausdorff_distance, sdf_rmse
from pyod_lipocc.negatives import uniform
from pyod_lipocc.plotting import plot_contours
from pyod_lipocc.shapes import Shape, Surface, unit_shapes

Function = Callable[[np.ndarray], np.ndarray]

BAND = 0.1
LARGEST_DIMENSION = {"inscribed-balls": 3}
# Half the spacing of so many samples, the automatic margin, is too small for dense networks. Larger
# hinge weights place the boundary better and bring the gradient norm further from 1.
SETTINGS: dict[str, dict[str, Any]] = {
    "dense": {
        "network": partial(dense, hidden=(64,) * 3),
        "margin": 0.05,
        "regularization": 30.0,
        "max_iter": 2000,
        "negatives": uniform,
    }
}


class Result(NamedTuple):
    """A fitted detector on a shape, and its figures."""

    name: str
    network: str
    shape: Shape
    detector: LipOCC
    figures: dict[str, float]


def shapes_of(n_features: int) -> dict[str, Shape]:
    """Return the shapes of a dimension, in three with the surface of the torus alone."""
    shapes = unit_shapes(n_features)
    if "torus" in shapes:
        shapes["torus-surface"] = Surface(shapes["torus"])
    return shapes


def fit(shape: Shape, network: str, options: argparse.Namespace) -> LipOCC:
    """Train on uniform samples, in the units of the shape, with negatives in its window."""
    settings = {"network": network} | SETTINGS.get(network, {})
    if options.max_iter is not None:
        settings["max_iter"] = options.max_iter
    X = shape.sample(options.rows, np.random.default_rng(0))
    return LipOCC(
        **settings,
        novelty=True,
        domain=Box(*shape.window),
        standardize=False,
        threshold="boundary",
        random_state=0,
    ).fit(X)


def gradients(function: Function, X: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Differentiate by central differences, in float64."""
    moves = step * np.eye(X.shape[1])
    rises = [function(X + move) - function(X - move) for move in moves]
    return np.stack(rises, axis=1) / (2 * step)


def crossings(
    function: Function, starts: np.ndarray, ends: np.ndarray, n_pieces: int = 32
) -> np.ndarray:
    """Return where segments cross the zero level: changes of sign on a grid, then bisection."""
    shares = np.linspace(0.0, 1.0, n_pieces + 1)[:, None, None]
    points = starts + shares * (ends - starts)
    signs = function(points.reshape(-1, points.shape[2])).reshape(points.shape[:2]) > 0
    piece, segment = np.nonzero(signs[1:] != signs[:-1])
    near, far = points[piece, segment], points[piece + 1, segment]
    sign = signs[piece, segment]
    for _ in range(25 if len(piece) else 0):
        middle = (near + far) / 2
        same = (function(middle) > 0) == sign
        near = np.where(same[:, None], middle, near)
        far = np.where(same[:, None], far, middle)
    return far


def zero_sets(
    function: Function, shape: Shape, n_points: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return points of the learned and of the true zero set, each with its counterpart.

    A learned point lies on the normal of a true point, or on a segment through the window. The true
    point that is nearest to a point of the second kind is added: so no distance is due to gaps
    between samples.
    """
    true, normals = shape.sample_surface(n_points, rng)
    reach = 3 * BAND * normals
    low, high = shape.window
    starts = np.vstack([shape.sample(n_points // 2, rng), rng.uniform(low, high, true[1::2].shape)])
    learned = crossings(function, starts, rng.uniform(low, high, starts.shape))
    distance = shape.signed_distance(learned)
    nearest = learned - distance[:, None] * gradients(shape.signed_distance, learned)
    found = np.vstack([crossings(function, true + reach, true - reach), learned])
    return found, np.vstack([true, nearest])


def measure(detector: LipOCC, shape: Shape, n_points: int) -> dict[str, float]:
    """Compare the learned signed distance with the closed form."""
    rng = np.random.default_rng(1)
    learned, true = detector.signed_distance, shape.signed_distance
    window = rng.uniform(*shape.window, (n_points, shape.n_features))
    surface, normals = shape.sample_surface(n_points, rng)
    band = surface + rng.uniform(-BAND, BAND, (n_points, 1)) * normals
    found, truth = zero_sets(learned, shape, n_points, rng)
    return {
        "eikonal error": eikonal_error(gradients(learned, window)),
        "RMSE in the window": sdf_rmse(learned(window), true(window)),
        "RMSE in the band": sdf_rmse(learned(band), true(band), band=BAND + 1e-9),
        "Chamfer": chamfer_distance(found, truth) if len(found) else np.inf,
        "Hausdorff": hausdorff_distance(found, truth) if len(found) else np.inf,
    }


def run(options: argparse.Namespace) -> Iterator[Result]:
    """Fit and measure until time is up."""
    end = time.monotonic() + 60 * options.minutes
    for n_features, name, network in product(options.dimensions, options.shapes, options.networks):
        shape = shapes_of(n_features).get(name)
        if shape is None or n_features > LARGEST_DIMENSION.get(network, np.inf):
            continue
        if time.monotonic() > end:
            print(f"{n_features:2d} {name:14s} {network:17s} left out: time is up")
            continue
        start = time.process_time()
        detector = fit(shape, network, options)
        seconds = time.process_time() - start
        figures = measure(detector, shape, options.points) | {"CPU seconds": seconds}
        described = "  ".join(f"{key} {value:.4f}" for key, value in figures.items())
        print(f"{n_features:2d} {name:14s} {network:17s} {described}", flush=True)
        yield Result(name, network, shape, detector, figures)


def table(results: list[Result]) -> str:
    """Format the figures in markdown."""
    rows = [["d", "shape", "network", *results[0].figures]]
    for result in results:
        *distances, seconds = result.figures.values()
        named = [result.shape.n_features, result.name, result.network]
        rows.append([*named, *(f"{value:.4f}" for value in distances), f"{seconds:.0f}"])
    return markdown(rows, labels=3)


def zero_lines(function: Function, shape: Shape, resolution: int = 300) -> list[np.ndarray]:
    """Extract the zero level of a function of the plane: polylines of shape (n, 2)."""
    (left, bottom), (right, top) = shape.window
    x, y = np.linspace(left, right, resolution), np.linspace(bottom, top, resolution)
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    figure, ax = plt.subplots()
    levels = ax.contour(x, y, function(grid).reshape(resolution, resolution), [0.0])
    plt.close(figure)
    return levels.allsegs[0]


def zero_surface(
    function: Function, shape: Shape, resolution: int = 72
) -> tuple[np.ndarray, np.ndarray]:
    """Extract the zero level of a function of space by marching cubes: vertices and triangles."""
    from skimage.measure import marching_cubes

    low, high = shape.window
    spacing = (high - low).max() / resolution
    axes = [np.arange(a, b + spacing, spacing) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    values = function(grid.reshape(-1, 3)).reshape(grid.shape[:3])
    if not values.min() < 0 < values.max():
        return np.empty((0, 3)), np.empty((0, 3), dtype=int)
    vertices, triangles, _, _ = marching_cubes(values, 0.0, spacing=(spacing,) * 3)
    return vertices + low, triangles


def draw_plane(result: Result, ax: Axes) -> None:
    """Draw the level lines learned, with the true boundary dashed."""
    (left, bottom), (right, top) = result.shape.window
    plot_contours(result.detector.signed_distance, (left, right, bottom, top), ax=ax)
    for line in zero_lines(result.shape.signed_distance, result.shape):
        ax.plot(*line.T, color="black", linewidth=1.2, linestyle="--")
    ax.set(title=f"{result.name}, {result.network}", xticks=[], yticks=[])


def draw_torus(result: Result, ax: Any) -> None:
    """Draw the learned zero level in space, coloured by its distance to the torus."""
    ax.set_axis_off()
    ax.set_title(f"{result.name}, {result.network}")
    vertices, triangles = zero_surface(result.detector.signed_distance, result.shape)
    if not len(triangles):
        ax.text2D(0.5, 0.5, "positive nowhere", ha="center", transform=ax.transAxes)
        return
    faces, solid = vertices[triangles], result.shape
    if isinstance(solid, Surface):  # cut open, to show that there is a hollow
        x, y, _ = faces.mean(axis=1).T
        faces, solid = faces[(x < 0) | (y > 0)], solid.shape
    colors = plt.get_cmap("coolwarm_r")(
        plt.Normalize(-BAND, BAND)(solid.signed_distance(faces.mean(axis=1)))
    )
    patches = Poly3DCollection(faces, facecolors=colors, shade=True, antialiased=False)
    ax.add_collection3d(patches)
    (left, front, bottom), (right, back, top) = vertices.min(axis=0), vertices.max(axis=0)
    ax.set(xlim=(left, right), ylim=(front, back), zlim=(bottom, top))
    ax.set_box_aspect((right - left, back - front, top - bottom), zoom=1.1)
    ax.view_init(elev=40, azim=-60)


def save(path: Path, results: list[Result], draw: Callable[..., None], **subplot: Any) -> None:
    """Draw a line of panels for each network, a column for each shape."""
    if not results:
        return
    networks = list(dict.fromkeys(result.network for result in results))
    names = list(dict.fromkeys(result.name for result in results))
    size = (3 * len(names), 2.8 * len(networks))
    figure = plt.figure(figsize=size, layout="constrained")
    for result in results:
        place = networks.index(result.network) * len(names) + names.index(result.name) + 1
        draw(result, figure.add_subplot(len(networks), len(names), place, **subplot))
    figure.savefig(path, dpi=100)
    plt.close(figure)


REPORT = """\
# Signed distances that are known in closed form

    {command}

Each row is a LipOCC fitted on {rows:,} uniform samples of a shape of unit size, with negatives in a
window that reaches 1.5 beyond it. Errors are in the units of the shape.

- **eikonal error**: the mean of abs(1 - norm of the gradient) over the window.
- **band**: the points within {band} of the boundary, on both sides.
- **Chamfer, Hausdorff**: distances between the learned and the true boundary.

"torus-surface" is trained on points of the surface alone. The true distance has no inside there, so
that the learned boundary runs on both sides of the surface.

{table}
![Level lines in the plane](signed-distance-plane.png)

Red: the learned boundary. Dashed: the true one.

![Learned boundaries of the torus](signed-distance-torus.png)

Colour: the distance of the learned boundary from the true one, from {band} outside it (red) to
{band} inside (blue). A quarter of "torus-surface" is cut away.
"""


def report(command: str, options: argparse.Namespace, results: list[Result]) -> None:
    """Write the table and the pictures."""
    options.output.mkdir(parents=True, exist_ok=True)
    text = REPORT.format(
        command=command,
        rows=options.rows,
        band=BAND,
        table=table(results),
    )
    (options.output / "signed-distance.md").write_text(text)
    plane = [result for result in results if result.shape.n_features == 2]
    save(options.output / "signed-distance-plane.png", plane, draw_plane)
    tori = [result for result in results if result.name.startswith("torus")]
    try:
        save(options.output / "signed-distance-torus.png", tori, draw_torus, projection="3d")
    except ImportError:
        print('No picture of the torus: pip install "pyod_lipocc[surfaces]"')


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--networks",
        nargs="+",
        default=["inscribed-balls", "nearest-subspace", "dense"],
        help="names that LipOCC takes",
    )
    parser.add_argument("--dimensions", nargs="+", type=int, default=[2, 3, 5, 10])
    parser.add_argument("--shapes", nargs="+", default=list(shapes_of(3)), choices=shapes_of(3))
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--points", type=int, default=1000, help="where to measure")
    parser.add_argument("--max-iter", type=int, help="the detector's own where left out")
    parser.add_argument("--minutes", type=float, default=30.0, help="no fit begins afterwards")
    parser.add_argument("--quick", action="store_true", help="20 steps, 2,000 rows, d <= 3")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args(argv)
    if options.quick:
        options.dimensions, options.max_iter, options.points = [2, 3], 20, 200
        options.rows = 2000
    return options


def main(argv: Sequence[str]) -> None:
    """Fit, measure, report."""
    plt.switch_backend("Agg")
    torch.set_num_threads(1)
    options = parse(argv)
    command = shlex.join(["python", "-m", "benchmarks.studies.signed_distance", *argv])
    report(command, options, list(run(options)))


if __name__ == "__main__":
    main(sys.argv[1:])
