"""The scorer as torch's own tools take it: modes, precisions, graphs, transforms, copies.

Its values are those of `decision_function`, for every kind of network and any number of rows.
"""

from __future__ import annotations

import copy
import pickle
from functools import cache, partial

import numpy as np
import pytest
import torch
from conftest import ROUNDING
from small import cloud
from torch import nn
from torch.autograd import forward_ad

from pyod_lipocc import LipOCC, lipschitz
from pyod_lipocc.lipschitz import (
    FullSort,
    GaussianBlur,
    GroupSort2,
    InvertibleDownsampling2d,
    L2NormPool2d,
    Maximum,
    Mean,
    Minimum,
    NearestSubspace,
    OrthogonalConv2d,
    OrthogonalLinear,
    ReshapedConv2d,
    ScaledAvgPool2d,
    conv,
    conv_deep,
    dense,
)

# torch says so of itself, also where it differentiates forward for the first time
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:`torch.jit.{name}` is deprecated:DeprecationWarning")
    for name in ("trace", "trace_method", "script")
]

IMAGE = (8, 8)
PIXELS = {"image_shape": IMAGE}


def flat(n_rows):
    """Rows near a plane: 90 % of their variance is in fewer directions than they have."""
    return cloud(n_rows, 5) * [3.0, 2.0, 0.1, 0.2, 0.1]


def of_images(*layers):
    """Build a network of layers between the unfolding and the flattening of images."""

    def build(n_features, generator):
        built = (layer(generator=generator) for layer in layers)
        body = nn.Sequential(nn.Unflatten(1, (1, *IMAGE)), *built, nn.Flatten())
        width = body(torch.zeros(1, n_features)).shape[1]
        return nn.Sequential(body, OrthogonalLinear(width, 1, generator=generator))

    return build


def without_draws(layer, *arguments, **keywords):
    return lambda generator: layer(*arguments, **keywords)


def orthogonal(**keywords):
    """Convolve with kernels of even and odd sides, one of them strided."""
    layer = partial(OrthogonalConv2d, **keywords)
    return of_images(
        *(partial(layer, 1, 3, 2), without_draws(GroupSort2, dim=1)),
        *(partial(layer, 3, 4, 4, stride=2), partial(layer, 4, 4, 3)),
    )


def combined(kind):
    """Combine points, planes and layers, two of these inside another combination."""

    def build(n_features, generator):
        points = NearestSubspace(n_features, 9, n_nearest=3, generator=generator)
        planes = NearestSubspace(n_features, 4, 2, n_nearest=2, generator=generator)
        planes.assign(contraction=torch.rand(4, 2, generator=generator))
        return kind(points, Mean(planes, dense(n_features, hidden=(8,), generator=generator)))

    return build


def of_a_user(n_features, generator):
    """Layers of torch, two of which have a mode."""
    layers = [nn.Linear(n_features, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 1)]
    for layer in (layers[0], layers[-1]):
        nn.init.normal_(layer.weight, generator=generator)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


KINDS = {
    "clusters of contaminated rows": (flat(80), {}),
    "clusters": (flat(80), {"novelty": True}),
    "as many points as are screened": (
        cloud(2100, 3),
        {"novelty": True, "network": "nearest-subspace"},
    ),
    "subspaces of images": (cloud(1000, 64), {"standardize": False, **PIXELS}),
    "balls": (cloud(80, 2), {"network": "inscribed-balls"}),
    "dense": (flat(80), {"network": partial(dense, hidden=(9, 8))}),
    "dense full sort": (
        flat(80),
        {"network": partial(dense, hidden=(9, 8), activation=FullSort)},
    ),
    "conv": (cloud(60, 64), {"network": partial(conv, width=5, depth=2), **PIXELS}),
    "conv deep": (
        cloud(60, 64),
        {"network": partial(conv_deep, stages=((1, 3), (1, 4))), **PIXELS},
    ),
    "circular and pools": (
        cloud(60, 64),
        {
            "network": of_images(
                without_draws(InvertibleDownsampling2d),
                partial(ReshapedConv2d, 4, 5, 3, padding_mode="circular"),
                without_draws(FullSort, dim=1),
                partial(ReshapedConv2d, 5, 4, 3, stride=2, padding_mode="circular"),
                without_draws(L2NormPool2d),
            )
        },
    ),
    "orthogonal": (cloud(60, 64), {"network": orthogonal()}),
    "orthogonal circular": (cloud(60, 64), {"network": orthogonal(padding_mode="circular")}),
    "averages": (
        cloud(60, 64),
        {
            "network": of_images(
                *(without_draws(nn.Flatten), without_draws(GaussianBlur, (1, *IMAGE), 0.7)),
                *(without_draws(nn.Unflatten, 1, (1, *IMAGE)), partial(ReshapedConv2d, 1, 3, 3)),
                without_draws(ScaledAvgPool2d, 3),
                without_draws(GroupSort2),
            )
        },
    ),
    "maximum": (flat(80), {"network": combined(Maximum)}),
    "minimum": (flat(80), {"network": combined(Minimum)}),
    "of a user": (flat(80), {"network": of_a_user}),
}
every_kind = pytest.mark.parametrize("kind", KINDS)
EVERY_LAYER = (
    *("clusters of contaminated rows", "as many points as are screened", "conv", "conv deep"),
    *("circular and pools", "averages", "maximum", "minimum", "of a user"),
)
"""Kinds that together hold every layer: torch takes a second to compile one."""

of_today = pytest.mark.skipif(
    not hasattr(torch.func, "debug_unwrap"), reason="torch 2.4 does not export autocast"
)

MANY = 700  # rows, above which one block of heights is no longer all
TRACED = 5
"""Rows that torch records."""

close = partial(torch.testing.assert_close, rtol=ROUNDING[torch.float64], atol=1e-12)


@cache
def fitted(kind):
    X, parameters = KINDS[kind]
    return LipOCC(max_iter=3, random_state=0, **parameters).fit(X)


def rows(kind, n_rows):
    """Rows near those of the fit."""
    X = KINDS[kind][0]
    rng = np.random.default_rng(n_rows)
    noise = rng.normal(size=(n_rows, X.shape[1]))
    return torch.from_numpy(X[rng.integers(len(X), size=n_rows)] + 0.1 * X.std(0) * noise)


def scores(kind, X):
    return torch.from_numpy(fitted(kind).decision_function(X.numpy()))


def assert_scores_of(kind, module, *, numbers=(1, 2, TRACED, MANY)):
    """Assert that a module gives the scores of the detector, for any number of rows."""
    for number in numbers:
        X = rows(kind, number)
        close(module(X), scores(kind, X))


def of_a_row(scorer):
    return lambda row: scorer(row[None]).squeeze(0)


def gradient(scorer, X):
    """The gradient of each row, by torch's backward pass."""
    X = X.clone().requires_grad_()
    return torch.autograd.grad(scorer(X).sum(), X)[0]


def jacobian(scorer, X):
    """Scores depend on their own rows only."""
    expected = torch.zeros(len(X), *X.shape, dtype=X.dtype)
    expected[range(len(X)), range(len(X))] = gradient(scorer, X)
    return expected


class TestModes:
    @every_kind
    def test_no_training_mode_moves_a_score(self, kind):
        scorer = fitted(kind).to_torch()
        assert not scorer.training
        parent = nn.Sequential(scorer)
        ours = [m for m in scorer.modules() if type(m).__module__.startswith("pyod_lipocc")]
        for module in (scorer, parent, *ours):
            module.train()
            assert_scores_of(kind, scorer, numbers=[TRACED])
        assert parent.training
        assert scorer.train() is scorer
        assert not scorer.training

    @every_kind
    def test_the_network_of_the_detector_stays_as_it_was(self, kind):
        network = fitted(kind).network_
        before = pickle.dumps(network)
        fitted(kind).to_torch(torch.float32)
        assert pickle.dumps(network) == before

    @every_kind
    def test_no_parameter_is_trained(self, kind):
        scorer = fitted(kind).to_torch()
        assert not any(parameter.requires_grad for parameter in scorer.parameters())
        assert not scorer(rows(kind, TRACED)).requires_grad

    @every_kind
    def test_the_gradient_by_a_row_is_that_of_differences(self, kind):
        scorer, X, h = fitted(kind).to_torch(), rows(kind, TRACED), 1e-6
        step = h * torch.nn.functional.normalize(torch.from_numpy(cloud(*X.shape)), dim=1)
        slope = (scorer(X + step) - scorer(X - step)) / 2
        expected = (gradient(scorer, X) * step).sum(1)
        torch.testing.assert_close(slope, expected, rtol=1e-5, atol=1e-5 * h)

    @every_kind
    @pytest.mark.parametrize("context", [torch.inference_mode, torch.no_grad])
    def test_without_autograd(self, kind, context):
        with context():
            assert_scores_of(kind, fitted(kind).to_torch(), numbers=[TRACED])


class TestPrecision:
    @every_kind
    def test_float_is_single_precision_from_the_start(self, kind):
        detector, X = fitted(kind), rows(kind, TRACED)
        single = detector.to_torch(torch.float32)
        converted = nn.Sequential(detector.to_torch()).float()
        assert converted(X).dtype == torch.float32
        assert torch.equal(converted(X), single(X))
        assert converted[0].location.dtype == converted[0].scale.dtype == torch.float64
        torch.testing.assert_close(converted.double()(X), scores(kind, X), rtol=1e-4, atol=1e-4)

    def test_rows_far_from_zero_survive_it(self):
        X = cloud(60) + 1e9
        detector = LipOCC(max_iter=1, random_state=0).fit(X)
        scored = detector.to_torch().float()(torch.from_numpy(X)).numpy()
        np.testing.assert_allclose(scored, detector.decision_function(X), rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("kind", ["clusters of contaminated rows", "dense", "orthogonal"])
    def test_far_rows_do_not_overflow(self, kind):
        X = 1e100 * rows(kind, TRACED)
        scorer = fitted(kind).to_torch()
        close(scorer(X), scores(kind, X))
        assert scorer.float()(X).isfinite().all()

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_other_precisions_are_refused_before_anything_changes(self, dtype):
        scorer = fitted("dense").to_torch()
        with pytest.raises(ValueError, match=rf"got {dtype}.* to_torch\(torch.float32\)"):
            nn.Sequential(scorer).to(dtype)
        assert_scores_of("dense", scorer)

    def test_devices_take_the_scaling_with_them(self):
        scorer = fitted("dense").to_torch().float().to("meta")
        assert {buffer.device.type for buffer in scorer.buffers()} == {"meta"}
        restored = scorer.to_empty(device="cpu")
        restored.load_state_dict(fitted("dense").to_torch(torch.float32).state_dict())
        X = rows("dense", TRACED)
        assert torch.equal(restored(X), fitted("dense").to_torch(torch.float32)(X))

    @every_kind
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    def test_autocast_changes_nothing(self, kind, dtype):
        scorer, X = fitted(kind).to_torch(dtype), rows(kind, TRACED)
        expected = scorer(X)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(scorer(X), expected)


def exported(kind, **options):
    """Export for any number of rows."""
    shapes = ({0: torch.export.Dim("n")},)
    scorer = fitted(kind).to_torch()
    return torch.export.export(
        scorer, (rows(kind, TRACED),), dynamic_shapes=shapes, **options
    ).module()


class TestGraphs:
    def test_every_layer_is_compiled(self):
        layers = {
            layer
            for layer in map(vars(lipschitz).get, lipschitz.__all__)
            if isinstance(layer, type) and issubclass(layer, nn.Module)
        }
        compiled = {type(m) for kind in EVERY_LAYER for m in fitted(kind).network_.modules()}
        assert layers <= compiled

    @every_kind
    def test_exported_scores_are_the_same(self, kind):
        assert_scores_of(kind, exported(kind, strict=False))

    @of_today
    @pytest.mark.parametrize("kind", ["circular and pools", "maximum"])
    def test_strictly_exported_scores_are_the_same(self, kind):
        """The tracer is the one that compiles: `EVERY_LAYER` is shown to it there."""
        assert_scores_of(kind, exported(kind, strict=True))

    @every_kind
    def test_traced_scores_are_the_same(self, kind):
        traced = torch.jit.trace(fitted(kind).to_torch(), rows(kind, TRACED))
        assert_scores_of(kind, traced)
        assert traced(rows(kind, 0)).shape == (0,)

    @pytest.mark.parametrize("kind", EVERY_LAYER)
    def test_compiled_scores_and_gradients_are_the_same(self, kind):
        torch.compiler.reset()  # torch compiles one `forward` a few times only
        scorer = fitted(kind).to_torch()
        compiled = torch.compile(scorer, backend="eager", fullgraph=True)
        assert_scores_of(kind, compiled, numbers=(TRACED, MANY))
        X = rows(kind, TRACED)
        close(gradient(compiled, X), gradient(scorer, X))

    def test_what_is_recorded_does_not_split_many_rows(self):
        kind = "as many points as are screened"
        scorer, X = fitted(kind).to_torch(), rows(kind, TRACED)
        many = rows(kind, 3000)
        traced = torch.jit.trace(scorer, many)
        for module in (traced, torch.export.export(scorer, (many,), strict=False).module()):
            assert_scores_of(kind, module, numbers=[3000])
        close(traced(X), scores(kind, X))

    @of_today
    def test_an_exported_scorer_is_left_alone_by_autocast(self):
        scorer, X = fitted("dense").to_torch(torch.float32), rows("dense", TRACED)
        graph = torch.export.export(scorer, (X,), strict=False).module()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            torch.testing.assert_close(graph(X), scorer(X), rtol=1e-6, atol=1e-6)


class TestTransforms:
    @every_kind
    def test_mapped_over_rows(self, kind):
        scorer, X = fitted(kind).to_torch(), rows(kind, TRACED)
        close(torch.func.vmap(of_a_row(scorer))(X), scores(kind, X))

    @every_kind
    def test_gradients_of_rows(self, kind):
        scorer, X = fitted(kind).to_torch(), rows(kind, TRACED)
        expected = gradient(scorer, X)
        close(torch.func.vmap(torch.func.grad(of_a_row(scorer)))(X), expected)
        _, pull_back = torch.func.vjp(scorer, X)
        close(pull_back(torch.ones(TRACED, dtype=X.dtype))[0], expected)

    @every_kind
    @pytest.mark.parametrize("transform", [torch.func.jacrev, torch.func.jacfwd])
    def test_jacobians(self, kind, transform):
        scorer, X = fitted(kind).to_torch(), rows(kind, TRACED)
        close(transform(scorer)(X), jacobian(scorer, X))

    @every_kind
    def test_backward_passes_mapped_over_what_they_start_from(self, kind):
        scorer, X = fitted(kind).to_torch(), rows(kind, TRACED).requires_grad_()
        output = scorer(X)

        def back(start):
            return torch.autograd.grad(output, X, start, retain_graph=True)[0]

        starts = torch.eye(TRACED, dtype=X.dtype)
        close(torch.func.vmap(back)(starts), jacobian(scorer, X.detach()))

    @every_kind
    def test_tangents(self, kind):
        scorer, X = fitted(kind).to_torch(), rows(kind, TRACED)
        tangent = torch.from_numpy(cloud(*X.shape))
        expected = (gradient(scorer, X) * tangent).sum(1)
        close(torch.func.jvp(scorer, (X,), (tangent,))[1], expected)
        with forward_ad.dual_level():
            dual = scorer(forward_ad.make_dual(X, tangent))
            close(forward_ad.unpack_dual(dual).tangent, expected)

    @every_kind
    def test_second_derivatives(self, kind):
        scorer, row = of_a_row(fitted(kind).to_torch()), rows(kind, 1)[0]
        expected = torch.autograd.functional.hessian(scorer, row)
        torch.testing.assert_close(torch.func.hessian(scorer)(row), expected, rtol=1e-8, atol=1e-8)

    @every_kind
    def test_mapped_over_networks(self, kind):
        scorer, X = fitted(kind).to_torch(), rows(kind, TRACED)
        stacked = {name: torch.stack([w, w]) for name, w in scorer.named_parameters()}
        both = torch.func.vmap(lambda w: torch.func.functional_call(scorer, w, (X,)))(stacked)
        close(both, scores(kind, X).expand(2, -1))


class TestCopies:
    @every_kind
    @pytest.mark.parametrize(
        "copied", [copy.deepcopy, lambda scorer: pickle.loads(pickle.dumps(scorer))]
    )
    def test_score_the_same_and_stay_in_evaluation_mode(self, kind, copied):
        scorer, X = fitted(kind).to_torch(), rows(kind, TRACED)
        twin = copied(scorer)
        assert torch.equal(twin(X), scorer(X))
        assert not twin.train().training

    @pytest.mark.parametrize("network", ["auto", partial(dense, hidden=(9, 8))])
    def test_a_state_makes_one_scorer_another(self, network):
        first, second = (
            LipOCC(network=network, novelty=True, max_iter=1, random_state=0).fit(cloud(seed=seed))
            for seed in (0, 1)
        )
        scorer, X = first.to_torch(), torch.from_numpy(cloud(seed=2))
        scorer.load_state_dict(second.to_torch().state_dict())
        assert torch.equal(scorer(X), second.to_torch()(X))
