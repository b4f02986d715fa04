from __future__ import annotations

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.collections import PathCollection
from matplotlib.contour import QuadContourSet
from matplotlib.patches import Rectangle

from pyod_lipocc.plotting import plot_contours, plot_histograms

WINDOW = (-2.0, 2.0, -2.0, 2.0)


@pytest.fixture(autouse=True)
def _headless():
    plt.switch_backend("Agg")
    yield
    plt.close("all")


def disc(x):
    return 1.0 - np.linalg.norm(x, axis=1)


def level_lines(ax, level):
    sets = [child for child in ax.get_children() if isinstance(child, QuadContourSet)]
    (index,) = np.flatnonzero(np.isclose(sets[-1].levels, level))
    return sets[-1].get_paths()[index].vertices


def test_the_zero_level_lies_where_the_score_vanishes():
    ax = plot_contours(disc, WINDOW, resolution=200)
    radii = np.linalg.norm(level_lines(ax, 0.0), axis=1)
    np.testing.assert_allclose(radii, 1.0, atol=1e-3)


def test_levels_given_are_the_levels_drawn():
    levels = [-0.75, -0.5, 0.25]
    ax = plot_contours(disc, WINDOW, resolution=50, levels=levels)
    lines = [child for child in ax.get_children() if isinstance(child, QuadContourSet)]
    np.testing.assert_array_equal(lines[1].levels, levels)


def test_axes_of_the_score_are_those_of_the_picture():
    ax = plot_contours(lambda x: x[:, 0] - 0.5, (-1.0, 1.0, -3.0, 3.0), resolution=40)
    line = level_lines(ax, 0.0)
    np.testing.assert_allclose(line[:, 0], 0.5)
    assert np.ptp(line[:, 1]) == pytest.approx(6.0)
    assert ax.get_ylim() == (-3.0, 3.0)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_score_of_one_sign_has_no_zero_level(sign):
    ax = plot_contours(lambda x: sign * (1.0 + x[:, 0] ** 2), WINDOW, resolution=20)
    lines = [child for child in ax.get_children() if isinstance(child, QuadContourSet)]
    assert len(lines) == 2


def test_a_constant_score_is_drawn():
    assert plot_contours(lambda x: np.full(len(x), 0.3), WINDOW, resolution=20).has_data()


def test_points_are_marked_on_the_axes_given():
    _, ax = plt.subplots()
    X = np.random.default_rng(0).normal(size=(17, 2))
    assert plot_contours(disc, WINDOW, X=X, resolution=20, ax=ax) is ax
    (points,) = (child for child in ax.get_children() if type(child) is PathCollection)
    np.testing.assert_array_equal(points.get_offsets(), X)


@pytest.mark.parametrize("extent", [(1.0, 1.0, 0.0, 1.0), (0.0, 1.0, 2.0, 1.0)])
def test_an_empty_window_is_refused(extent):
    with pytest.raises(ValueError, match="extent must be"):
        plot_contours(disc, extent)


def test_a_grid_of_one_point_is_refused():
    with pytest.raises(ValueError, match="resolution must be an int >= 2, got 1"):
        plot_contours(disc, WINDOW, resolution=1)


def test_histograms_are_densities_over_common_bins():
    rng = np.random.default_rng(0)
    groups = {"data": rng.normal(size=500), "uniform": rng.uniform(-9, 3, size=50)}
    ax = plot_histograms(groups)
    bars = np.array(
        [
            (bar.get_x(), bar.get_width(), bar.get_height())
            for bar in ax.patches
            if isinstance(bar, Rectangle)
        ]
    ).reshape(2, -1, 3)
    np.testing.assert_allclose(bars[0, :, :2], bars[1, :, :2])
    np.testing.assert_allclose((bars[..., 1] * bars[..., 2]).sum(axis=1), 1.0)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(groups)


@pytest.mark.parametrize("groups", [{}, {"data": []}])
def test_histograms_of_nothing_are_refused(groups):
    with pytest.raises(ValueError, match="groups must map"):
        plot_histograms(groups)
