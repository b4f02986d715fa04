from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.collections import PathCollection
from matplotlib.contour import QuadContourSet
from matplotlib.patches import Rectangle

from pyod_lipocc.metrics import certified_roc_auc_score
from pyod_lipocc.plotting import (
    plot_certified_roc_auc,
    plot_contours,
    plot_explanation,
    plot_histograms,
    plot_history,
    plot_images,
)
from pyod_lipocc.training import History

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


def test_a_threshold_is_a_vertical_line():
    (line,) = plot_histograms({"data": [0.0, 1.0]}, threshold=0.25).lines
    assert set(line.get_xdata()) == {0.25}
    assert not plot_histograms({"data": [0.0, 1.0]}).lines


def curves(ax):
    return {line.get_label(): line.get_ydata() for line in ax.lines if line.get_label()[0] != "_"}


def test_the_certified_curve_is_the_metric_and_the_attack_lies_beside_it():
    y, scores, radii = [0, 0, 1, 1], [-2.0, -1.0, 0.0, 1.0], np.linspace(0, 2, 9)
    ax = plot_certified_roc_auc(y, scores, radii, lipschitz_constant=0.5, attacked=1 - radii / 9)
    drawn = curves(ax)
    assert list(drawn) == ["certified", "attacked"]
    expected = certified_roc_auc_score(y, scores, radii, lipschitz_constant=0.5)
    np.testing.assert_array_equal(drawn["certified"], expected)
    np.testing.assert_array_equal(drawn["attacked"], 1 - radii / 9)


def test_detectors_are_compared_on_one_axes():
    _, ax = plt.subplots()
    for name in ("one", "two"):
        call = ([0, 1], [0.0, 1.0], [0.0, 1.0])
        assert plot_certified_roc_auc(*call, attacked=[1.0, 0.5], label=name, ax=ax) is ax
    assert list(curves(ax)) == [
        "one, certified",
        "one, attacked",
        "two, certified",
        "two, attacked",
    ]
    colors = {line.get_label(): line.get_color() for line in ax.lines}
    assert colors["one, certified"] == colors["one, attacked"] != colors["two, certified"]


@pytest.mark.parametrize("channels", [1, 3])
def test_images_stand_in_reading_order(channels, rng):
    images = rng.uniform(size=(5, channels, 2, 3))
    ax = plot_images(images.reshape(5, -1), (channels, 2, 3), n_columns=2, limits=(0.0, 1.0))
    canvas = np.asarray(ax.images[0].get_array())
    assert canvas.shape == (3 * 3 - 1, 2 * 4 - 1, 3)
    for index, image in enumerate(images):
        top, left = 3 * (index // 2), 4 * (index % 2)
        cell = canvas[top : top + 2, left : left + 3]
        np.testing.assert_allclose(cell, np.broadcast_to(np.moveaxis(image, 0, -1), (2, 3, 3)))
    assert np.all(canvas[2] == 1)
    assert np.all(canvas[:, 3] == 1)
    assert np.all(canvas[-2:, 4:] == 1)


def test_images_share_one_scale_of_grey():
    ax = plot_images([[0.0, 2.0], [4.0, 8.0]], (1, 2), n_columns=1)
    np.testing.assert_array_equal(
        ax.images[0].get_array()[..., 0], [[0.0, 0.25], [1.0, 1.0], [0.5, 1.0]]
    )
    clipped = plot_images([[-9.0, 0.5, 9.0]], (1, 3), limits=(0.0, 1.0))
    np.testing.assert_array_equal(clipped.images[0].get_array()[0, :, 0], [0.0, 0.5, 1.0])
    assert plot_images([[3.0, 3.0]], (1, 2)).has_data()


@pytest.mark.parametrize(("d", "n_bars"), [(1, 2), (4, 4), (5, 4), (64, 10)])
def test_explanation_bars_are_the_largest_first_and_add_up(d, n_bars, rng):
    contributions = rng.normal(size=d)
    ax = plot_explanation(contributions, n_bars=n_bars)
    widths = np.array([bar.get_width() for bar in ax.patches])
    assert len(widths) == min(d, n_bars)
    assert widths.sum() == pytest.approx(contributions.sum())
    own = widths if d <= n_bars else widths[:-1]
    np.testing.assert_array_equal(np.abs(own), np.sort(np.abs(contributions))[::-1][: len(own)])
    labels = [text.get_text() for text in ax.get_yticklabels()]
    for width, label in zip(own, labels, strict=False):
        assert contributions[int(label[1:])] == width
    assert ax.yaxis_inverted()


def test_features_of_one_name_keep_a_bar_each():
    ax = plot_explanation([1.0, -2.0], feature_names=["a", "a"])
    inside, outside = ax.patches[1].get_facecolor(), ax.patches[0].get_facecolor()
    assert [bar.get_width() for bar in ax.patches] == [-2.0, 1.0]
    assert inside != outside


def test_history_is_drawn_as_a_moving_mean(rng):
    records = torch.from_numpy(rng.uniform(size=(300, 8)))
    history = History.from_records(records)
    ax = plot_history(history, fields=["kr", "loss"], window=7)
    assert list(curves(ax)) == ["kr", "loss"]
    kr, _ = ax.lines
    np.testing.assert_array_equal(kr.get_xdata(), np.arange(7, 301))
    expected = [history.kr[step - 7 : step].mean() for step in range(7, 301)]
    np.testing.assert_allclose(kr.get_ydata(), expected)
    assert list(curves(plot_history(history))) == ["recall", "false positives", "gradient norm"]


def no_history(steps, **options):
    return plot_history(History.from_records(torch.zeros(steps, 8)), **options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot_contours(disc, (1.0, 1.0, 0.0, 1.0)), "extent must be"),
        (lambda: plot_contours(disc, (0.0, 1.0, 2.0, 1.0)), "extent must be"),
        (lambda: plot_contours(disc, WINDOW, resolution=1), "resolution must be an int >= 2, got"),
        (lambda: plot_histograms({}), "groups must map"),
        (lambda: plot_histograms({"data": []}), "groups must map"),
        (
            lambda: plot_certified_roc_auc([0, 1], [0.0, 1.0], 0.5),
            r"radii must have the shape \(k,\), got \(\)",
        ),
        (
            lambda: plot_certified_roc_auc([0, 1], [0.0, 1.0], [0.0, 0.5], attacked=[1.0]),
            r"attacked must have the shape \(2,\), got \(1,\)",
        ),
        (lambda: plot_images(np.zeros((2, 5)), (2, 3)), r"\(n, 6\) with n >= 1, got \(2, 5\)"),
        (lambda: plot_images(np.zeros((0, 6)), (2, 3)), r"with n >= 1, got \(0, 6\)"),
        (lambda: plot_images(np.zeros((2, 8)), (2, 2, 2)), r"1 or 3 channels, got \(2, 2, 2\)"),
        (lambda: plot_images(np.zeros((2, 6)), (2, 3), n_columns=0), "n_columns .* >= 1, got 0"),
        (lambda: plot_explanation([[1.0]]), r"contributions must .* d >= 1, got \(1, 1\)"),
        (lambda: plot_explanation([]), "contributions must have"),
        (lambda: plot_explanation([1.0], feature_names=["a", "b"]), "must hold 1 names, got 2"),
        (lambda: plot_explanation([1.0], n_bars=1), "n_bars must be an int >= 2, got 1"),
        (lambda: no_history(0), "history must have at least one step"),
        (lambda: no_history(3, fields=["lost"]), r"some of \['loss', .* got \['lost'\]"),
        (lambda: no_history(3, fields=[]), "fields must be some of"),
        (lambda: no_history(3, window=4), "window must be an int from 1 to 3, got 4"),
    ],
)
def test_bad_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
