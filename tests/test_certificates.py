"""Certificates hold in exact arithmetic, against oracles of rational numbers."""

from __future__ import annotations

import copy
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pyod_lipocc import LipOCC
from pyod_lipocc.certificates import Certificate, certified_radius
from pyod_lipocc.lipschitz import (
    FullSort,
    GaussianBlur,
    GroupSort2,
    Maximum,
    Mean,
    Minimum,
    NearestSubspace,
    OrthogonalConv2d,
    OrthogonalLinear,
    conv,
    conv_deep,
    dense,
    lipschitz_bound,
    polish,
)
from pyod_lipocc.lipschitz.functional import convolution_bound
from pyod_lipocc.lipschitz.proofs import (
    frobenius_norm,
    gamma,
    orthonormality_defect,
    product,
    quotient,
    root,
    spectral_norm,
    subspace_norm,
    total,
)
from pyod_lipocc.lipschitz.proofs._rounding import Rounding, rounding_bound
from pyod_lipocc.units import Scaling

magnitudes = st.floats(0.0, 1e100)
PRECISIONS = [torch.float32, torch.float64]


def _exact(values):
    """Rows of a matrix as rational numbers."""
    return [[Fraction(value) for value in row] for row in np.asarray(values, np.float64).tolist()]


def _image(matrix, vector):
    return [sum(w * x for w, x in zip(row, vector, strict=True)) for row in matrix]


def _square(vector):
    return sum(x * x for x in vector)


class TestUpwardArithmetic:
    @given(st.lists(magnitudes, max_size=4))
    def test_sums_and_products_are_never_below(self, values):
        fractions = [Fraction(value) for value in values]
        for computed, true in (
            (total(*values), sum(fractions)),
            (product(*values), math.prod(fractions)),
        ):
            assert computed == math.inf or Fraction(computed) >= true
            assert true > 2**1000 or Fraction(math.nextafter(computed, 0.0)) <= true

    @given(magnitudes, st.floats(1e-100, 1e100))
    def test_nor_are_roots_and_quotients(self, x, y):
        assert Fraction(root(x)) ** 2 >= Fraction(x)
        assert Fraction(quotient(x, y)) * Fraction(y) >= Fraction(x)

    def test_what_is_a_float_stays_exact(self):
        assert total(0.25, 0.5) == 0.75
        assert product(1.0, 1.0, 3.0) == 3.0
        assert product() == 1.0
        assert root(9.0) == 3.0
        assert quotient(1.0, 4.0) == 0.25

    def test_what_is_too_large_is_infinite(self):
        assert product(1e200, 1e200) == math.inf
        assert total(1.0, math.inf) == math.inf
        assert product(0.0, math.inf) == math.inf
        assert gamma(2**24, torch.float32) == math.inf


class TestNorms:
    @pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 5), (5, 3), (20, 20)])
    @pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
    def test_bounds_of_general_matrices(self, shape, scale, rng):
        for _ in range(20):
            W = rng.normal(size=shape)
            bound = spectral_norm(torch.from_numpy(W * scale))
            # ||W v|| of the best v that LAPACK finds, in rational numbers
            v = [Fraction(x) for x in np.linalg.svd(W)[2][0].tolist()]
            assert _square(_image(_exact(W * scale), v)) <= Fraction(bound) ** 2 * _square(v)
            assert bound <= np.linalg.norm(W, 2) * scale * (1 + 1e-11)
            assert Fraction(frobenius_norm(torch.from_numpy(W * scale))) ** 2 >= sum(
                map(_square, _exact(W * scale))
            )

    @pytest.mark.parametrize("dtype", PRECISIONS)
    @pytest.mark.parametrize("shape", [(128, 128), (1, 300), (64, 16)])
    def test_orthogonal_matrices_have_at_most_a_millionth_more(self, shape, dtype, generator):
        layer = OrthogonalLinear(shape[1], shape[0], generator=generator).to(dtype)
        polish(layer)
        assert 1 - 1e-6 < layer.lipschitz_bound() <= 1 + 1e-6
        if dtype == torch.float64:
            assert layer.lipschitz_bound() <= 1 + 1e-10

    @pytest.mark.parametrize("weights", [torch.zeros(3, 2), torch.empty(0, 4)])
    def test_of_nothing_is_zero(self, weights):
        assert spectral_norm(weights) == 0.0
        assert frobenius_norm(weights) == 0.0

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_of_what_is_not_finite_is_infinite(self, value):
        weights = torch.full((2, 2), value)
        assert spectral_norm(weights) == math.inf
        assert convolution_bound(torch.full((1, 1, 3, 3), value)) == math.inf
        layer = OrthogonalLinear(2, 2)
        layer.weight.data = weights
        assert lipschitz_bound(nn.Sequential(layer, nn.ReLU())) == math.inf

    def test_a_repeated_singular_value_is_no_obstacle(self):
        W = torch.diag(torch.tensor([2.0, 2.0, 2.0, 1e-8, 0.0]))
        assert 2.0 <= spectral_norm(W) <= 2.0 + 1e-12

    @pytest.mark.parametrize("kernel_size", [1, 3, 4])
    def test_convolutions_attain_almost_what_is_proven_at_single_frequencies(self, kernel_size):
        generator = torch.Generator().manual_seed(kernel_size)
        kernel = torch.randn(3, 2, kernel_size, kernel_size, generator=generator).double()
        grid = torch.fft.fft2(kernel, s=(128, 128)).permute(2, 3, 0, 1)
        largest = torch.linalg.matrix_norm(grid, ord=2).max().item()
        assert largest <= convolution_bound(kernel) <= 1.04 * largest

    def test_an_orthogonal_convolution_is_told_from_its_kernel(self, generator):
        layer = OrthogonalConv2d(16, 16, 3, generator=generator).double()
        polish(layer)
        assert 1 <= convolution_bound(layer.kernel()) <= 1 + 1e-10
        wide = OrthogonalConv2d(4, 16, 4, stride=2, generator=generator).double()
        polish(wide)
        assert 1 <= convolution_bound(wide.kernel(), 2) <= 1 + 1e-10

    def test_a_blur_is_a_contraction(self):
        for image_shape in ((28, 28), (3, 9, 9)):
            assert lipschitz_bound(GaussianBlur(image_shape, 0.7)) <= 1 + 1e-6

    def test_subspaces_contract_whatever_they_are(self, generator):
        basis = torch.randn(3, 2, 6, generator=generator, dtype=torch.float64)
        shrinkage = torch.tensor([[0.0, 1.0], [1.5, 0.2], [-0.3, 1.0]])
        bound = subspace_norm(basis, shrinkage)
        for U, D in zip(basis, shrinkage.double(), strict=True):
            matrix = torch.eye(6, dtype=torch.float64) - U.T @ torch.diag(D) @ U
            assert torch.linalg.matrix_norm(matrix, ord=2) <= bound
        orthonormal = torch.linalg.qr(basis.mT).Q.mT
        assert subspace_norm(orthonormal, shrinkage.clamp(0, 1)) == 1.0
        assert subspace_norm(torch.empty(3, 0, 6), torch.empty(3, 0)) == 1.0
        assert orthonormality_defect(orthonormal) <= 1e-13
        assert orthonormality_defect(2 * orthonormal) >= 3.0


def _subspaces(n_features, **keywords):
    network = NearestSubspace(n_features, 5, 2, **keywords)
    network.assign(offset=torch.linspace(0, 1, 5), contraction=torch.linspace(0, 1, 10).view(5, 2))
    return network


NETWORKS = {
    "dense": lambda d, g: dense(d, hidden=(8, 9), generator=g),
    "dense-full-sort": lambda d, g: dense(d, hidden=(7, 5), activation=FullSort, generator=g),
    "conv": lambda d, g: conv(d, image_shape=(4, 4), width=3, depth=2, generator=g),
    "conv-deep": lambda d, g: conv_deep(
        d, image_shape=(4, 4), stages=((1, 4), (1, 6)), generator=g
    ),
    "subspaces": lambda d, g: _subspaces(d, generator=g),
    "mean-of-subspaces": lambda d, g: _subspaces(d, n_nearest=3, generator=g),
    "mean-of-networks": lambda d, g: Mean(
        dense(d, hidden=(8,), generator=g), _subspaces(d, generator=g), _subspaces(d, generator=g)
    ),
    "union-behind-a-blur": lambda d, g: nn.Sequential(
        GaussianBlur((4, 4), 0.7),
        Maximum(Minimum(_subspaces(d, generator=g), dense(d, hidden=(8,), generator=g))),
    ),
    "own": lambda d, g: nn.Sequential(nn.Linear(d, 4), nn.Tanh(), nn.Linear(4, 3), nn.Sigmoid()),
}
N_FEATURES = 16


@pytest.fixture(params=NETWORKS)
def network(request, generator):
    network = NETWORKS[request.param](N_FEATURES, generator)
    for parameter in network.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, generator=generator)
    return network


class TestRounding:
    def test_single_precision_is_off_by_less_than_its_bound(self, network, generator):
        rows = torch.randn(200, N_FEATURES, generator=generator)
        x = torch.cat([size * rows for size in (0.0, 1e-30, 1.0, 1e6)])
        with torch.no_grad():
            computed = network(x).double()
            # the weights are the same numbers, the arithmetic a billion times finer
            fine = copy.deepcopy(network).double()(x.double())
        error = torch.linalg.vector_norm(computed - fine, dim=1).numpy()
        bound = rounding_bound(network, N_FEATURES)
        assert (error <= bound.at(np.linalg.norm(x.double().numpy(), axis=1))).all()

    def test_double_precision_depends_on_no_batch(self, network, generator):
        polish(network.double())
        x = torch.randn(64, N_FEATURES, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            alone = torch.cat([network(row[None]) for row in x])
            moved = torch.linalg.vector_norm(network(x) - alone, dim=1).numpy()
        bound = rounding_bound(network, N_FEATURES).at(np.linalg.norm(x.numpy(), axis=1))
        assert (moved <= 2 * bound).all()
        assert bound.max() < 1e-4

    def test_against_rational_arithmetic(self, generator):
        network = dense(4, hidden=(6, 6), generator=generator).double()
        nn.init.normal_(network[0].bias, generator=generator)
        x = torch.randn(20, 4, generator=generator, dtype=torch.float64)
        bound = rounding_bound(network, 4).at(np.linalg.norm(x.numpy(), axis=1))
        for row, computed, limit in zip(x, network(x).detach(), bound, strict=True):
            h = [Fraction(value) for value in row.tolist()]
            for layer in network:
                if isinstance(layer, GroupSort2):
                    pairs = list(zip(h[:3], h[3:], strict=True))
                    h = [max(pair) for pair in pairs] + [min(pair) for pair in pairs]
                else:
                    biases = map(Fraction, layer.bias.tolist())
                    products = _image(_exact(layer.weight.detach()), h)
                    h = [y + b for y, b in zip(products, biases, strict=True)]
            error = abs(Fraction(computed.item()) - h[0])
            assert error <= Fraction(limit)
            assert limit <= 1e-13

    def test_is_infinite_for_what_it_does_not_know(self):
        unknown = nn.Sequential(nn.Linear(3, 3), nn.GELU())
        assert rounding_bound(unknown, 3) == Rounding(math.inf, math.inf)

    @pytest.mark.parametrize("sorting", [FullSort, GroupSort2])
    @pytest.mark.parametrize("dim", [0, -2])
    def test_rows_must_not_be_sorted_among_each_other(self, sorting, dim):
        bound = rounding_bound(nn.Sequential(nn.Linear(3, 4), sorting(dim), nn.Linear(4, 1)), 3)
        assert bound == Rounding(math.inf, math.inf)
        assert dim < 0 or lipschitz_bound(sorting(dim)) == math.inf

    def test_modules_may_work_in_place(self):
        layers = [nn.Linear(3, 40), nn.Linear(40, 1)]
        nn.init.constant_(layers[0].bias, -9.0)
        bounds = [
            rounding_bound(nn.Sequential(layers[0], nn.ReLU(inplace), layers[1]), 3)
            for inplace in (False, True)
        ]
        assert bounds[0] == bounds[1]


@pytest.fixture(params=[True, False], ids=["standardised", "as-it-is"])
def scaling(request, rng):
    X = rng.normal(size=(100, N_FEATURES)) * np.logspace(-3, 3, N_FEATURES) + 10
    return Scaling.fit(X, standardize=request.param)


class TestCertificate:
    def test_the_constant_is_in_the_units_of_the_rows(self, scaling, generator):
        network = dense(N_FEATURES, generator=generator).double()
        polish(network)
        certificate = Certificate.of(network, scaling, 0.3)
        steepest = scaling.unit / scaling.scale.min()
        assert steepest <= certificate.lipschitz_constant <= (1 + 1e-6) * steepest
        assert certificate.lipschitz_constant >= lipschitz_bound(network) * steepest

    def test_contains_the_error_of_the_scaling(self, network, scaling, rng):
        """Scores of float64 against scores of twice its precision, where NumPy has any."""
        if np.finfo(np.longdouble).eps > 1e-18:
            pytest.skip("no extended precision on this machine")
        certificate = Certificate.of(nn.Sequential(nn.Identity()), scaling, 0.3)
        X = rng.normal(size=(100, N_FEATURES)) * 100
        z = (X.astype(np.longdouble) - scaling.location) / scaling.scale
        computed = 0.3 - scaling.unit * scaling.to_network(X)
        error = np.abs(computed - (0.3 - scaling.unit * z))
        assert (np.linalg.norm(error.astype(np.float64), axis=1) <= certificate.error(X)).all()

    def test_the_balls_hold(self, network, scaling, rng):
        network = network.double()
        certificate = Certificate.of(network, scaling, 0.3)

        def scores(X):
            with torch.no_grad():
                f = network(torch.from_numpy(scaling.to_network(X)))[:, 0].numpy()
            return 0.3 - scaling.unit * f

        X = rng.normal(size=(200, N_FEATURES)) * scaling.scale + scaling.location
        threshold = float(np.median(scores(X)))
        direction = rng.normal(size=X.shape)
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        for units, unit in (("input", 1.0), ("scaled", scaling.scale / scaling.unit)):
            radius = certificate.radius(X, scores(X), threshold, units=units)
            moved = X + (0.999 * radius)[:, None] * direction * unit
            assert ((scores(moved) > threshold) == (scores(X) > threshold)).all()
            assert (radius >= 0).all()
        inside = certificate.radius(X, scores(X), threshold)
        if not scaling.standardized:
            np.testing.assert_allclose(inside, radius, rtol=1e-12)

    def test_refuses_what_is_not_proven(self, scaling, rng):
        X = rng.normal(size=(3, N_FEATURES))
        certificate = Certificate.of(nn.Sequential(nn.GELU()), scaling, 0.3)
        assert certificate.lipschitz_constant == math.inf
        with pytest.raises(ValueError, match="network must be made of modules with a proven"):
            certificate.radius(X, np.zeros(3), 0.0)
        known = Certificate.of(dense(N_FEATURES), scaling, 0.3)
        with pytest.raises(ValueError, match="units must be 'input' or 'scaled', got 'pixels'"):
            known.radius(X, np.zeros(3), 0.0, units="pixels")


class TestCertifiedRadius:
    @given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.floats(0.0, 1e3))
    def test_is_rounded_downwards(self, score, threshold, constant, error):
        (radius,) = certified_radius([score], threshold, constant, error).tolist()
        assert radius >= 0
        if radius > 0:
            distance = abs(Fraction(score) - Fraction(threshold))
            assert Fraction(radius) * Fraction(constant) + Fraction(error) < distance

    def test_is_tight(self):
        assert certified_radius([3.0], 1.0, 2.0)[0] == pytest.approx(1.0, rel=1e-14)

    def test_is_zero_at_the_threshold_and_where_nothing_is_known(self):
        scores = [1.0, math.nan, math.inf, 5.0]
        errors = [0.0, 0.0, 0.0, math.inf]
        assert certified_radius(scores, 1.0, 1.0, errors).tolist() == [0.0] * 4

    @pytest.mark.parametrize("constant", [0.0, -1.0, math.inf, math.nan])
    def test_refused_constants(self, constant):
        with pytest.raises(ValueError, match="lipschitz_constant must be a finite number > 0"):
            certified_radius([1.0], 0.0, constant)


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("network", ["dense", "nearest-subspace"])
def test_a_fitted_detector(network, standardize, rng):
    X = rng.normal(size=(200, 3)) * [1.0, 10.0, 0.1]
    detector = LipOCC(network=network, standardize=standardize, max_iter=10, random_state=0).fit(X)
    certificate = Certificate.of(detector.network_, detector.scaling_, detector.margin_)
    scores = detector.decision_function(X)
    steepest = detector.scaling_.unit / detector.scaling_.scale.min()
    assert certificate.lipschitz_constant <= (1 + 1e-6) * steepest
    radius = certificate.radius(X, scores, detector.threshold_)
    gap = np.abs(scores - detector.threshold_)
    allowance = 1e-5 * detector.scaling_.unit / steepest
    np.testing.assert_allclose(radius, gap / steepest, rtol=1e-6, atol=allowance)


class TestTheEdgeOfTheBall:
    """An adversary among float64 numbers: two rows beside each other with different labels."""

    @staticmethod
    def crossings(detector, size, rng):
        """Pairs of rows of a large norm that only their small coordinates tell apart.

        Rounding makes the score a staircase there: it jumps where the row hardly moves.
        """
        corner = size * np.sign(rng.normal()) * np.eye(1, 3)[0]
        ends = corner + np.array([[0.0, -1.0, 0.0], [0.0, 1.0, 0.0]])
        for threshold in np.linspace(*detector.decision_function(ends), 7)[1:-1]:
            detector.set_threshold(threshold)
            low, high = ends
            label = detector.predict(np.stack([low, low]))[0]
            while True:
                middle = (low + high) / 2
                if (middle == low).all() or (middle == high).all():
                    break
                same = detector.predict(np.stack([middle, middle]))[0] == label
                low, high = (middle, high) if same else (low, middle)
            yield np.stack([low, high])

    @pytest.mark.parametrize("network", ["dense", "auto", "inscribed-balls"])
    def test_no_certified_ball_holds_a_row_of_another_label(self, network, rng):
        X = rng.normal(size=(200, 3))
        detector = LipOCC(
            network=network, max_iter=5, standardize=False, novelty=True, random_state=0
        ).fit(X)
        found = 0
        for size in (1e4, 1e6, 1e8, 1e12):
            for pair in self.crossings(detector, size, rng):
                labels = detector.predict(pair)
                if labels[0] != labels[1]:
                    found += 1
                    apart = np.linalg.norm(pair[1] - pair[0])
                    assert (detector.certified_radius(pair) < apart).all()
        assert found >= 5
