"""The detector on a GPU: the same laws, and no synchronisation inside the training loop."""

from __future__ import annotations

import pickle
from functools import partial
from itertools import repeat

import numpy as np
import pytest
import torch
from conftest import ORTHOGONAL, random_states
from small import cloud

from pyod_lipocc import LipOCC
from pyod_lipocc._random import on_host
from pyod_lipocc.domains import Box
from pyod_lipocc.lipschitz import OrthogonalConv2d, conv, dense, parameter_groups
from pyod_lipocc.losses import hkr
from pyod_lipocc.negatives import (
    CutPaste,
    Erase,
    ImageAugmentation,
    LocalNoise,
    Mixture,
    Overlay,
    PatchShuffle,
    Rotate,
    Warp,
    shuffled_marginals,
    uniform,
)
from pyod_lipocc.starts import nearest_subspace
from pyod_lipocc.stiefel import StiefelAdam, StiefelRMSprop
from pyod_lipocc.training import train

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
    # torch says each once in a process; neither is about what is tested.
    pytest.mark.filterwarnings("ignore:Attempting to run cuBLAS"),
    pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype"),
]

IMAGE = (8, 8)
X = cloud(300, 64)
NETWORKS = {
    "dense": partial(dense, hidden=(32, 32)),
    "conv": partial(conv, image_shape=IMAGE, width=8, depth=2),
    "orthogonal conv": partial(
        conv, image_shape=IMAGE, width=8, depth=2, convolution=OrthogonalConv2d
    ),
    "nearest-subspace": "nearest-subspace",
    "subspaces": partial(nearest_subspace, n_components=4),
}


def stiefel_weights(network):
    groups = parameter_groups(network)
    return [weight for group in groups if group.get("stiefel") for weight in group["params"]]


EVERY_NETWORK = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)


def fitted(network, **parameters):
    return LipOCC(
        network=network, novelty=True, max_iter=20, random_state=0, device="cuda", **parameters
    ).fit(X)


@EVERY_NETWORK
def test_scores_are_those_of_the_same_network_on_the_cpu(network, tmp_path):
    detector = fitted(network)
    assert next(detector.network_.parameters()).is_cuda
    detector.save(tmp_path / "detector")
    on_cpu = LipOCC.load(tmp_path / "detector")
    assert not next(on_cpu.network_.parameters()).is_cuda
    rows = cloud(50, 64, seed=1)
    expected = detector.decision_function(rows)
    np.testing.assert_allclose(on_cpu.decision_function(rows), expected, rtol=1e-10)
    np.testing.assert_allclose(
        pickle.loads(pickle.dumps(detector)).decision_function(rows), expected, rtol=1e-10
    )
    assert on_cpu.lipschitz_constant_ == pytest.approx(detector.lipschitz_constant_, rel=1e-9)


@EVERY_NETWORK
def test_weights_are_on_the_manifold(network):
    for weight in stiefel_weights(fitted(network).network_):
        sigma = torch.linalg.svdvals(weight)
        torch.testing.assert_close(sigma, torch.ones_like(sigma), rtol=0, atol=1e-12)


@EVERY_NETWORK
def test_refits_reproduce_and_leave_global_generators(network):
    before = random_states(), torch.cuda.get_rng_state().numpy().tobytes()
    first, second = fitted(network), fitted(network)
    assert (random_states(), torch.cuda.get_rng_state().numpy().tobytes()) == before
    np.testing.assert_allclose(first.decision_scores_, second.decision_scores_, rtol=1e-5)


def test_what_is_offered_beyond_scores_works():
    detector = fitted("nearest-subspace")
    rows = cloud(5, 64, seed=2)
    assert (detector.certified_radius(rows) >= 0).all()
    np.testing.assert_allclose(
        detector.explain(rows).sum(axis=1), detector.signed_distance(rows), atol=1e-6
    )
    assert np.isfinite(detector.counterfactual(rows)).all()
    assert detector.sample(3, random_state=0).shape == (3, 64)
    assert np.isfinite(detector.partial_fit(X).decision_scores_).all()


def test_a_generator_on_the_host_follows_that_of_the_gpu():
    def draws():
        generator = torch.Generator("cuda").manual_seed(0)
        for _ in range(2):
            yield float(torch.rand(1, generator=on_host(generator)))
            torch.rand(1, generator=generator, device="cuda")

    first, second = draws()
    assert first != second
    assert [first, second] == list(draws())


NEGATIVES = {
    "uniform": uniform,
    "mixture": Mixture((uniform, LocalNoise(0.1, 10.0), shuffled_marginals)),
    "images": ImageAugmentation(IMAGE, noise=0.05),
    "edits": Mixture(
        [kind(IMAGE) for kind in (CutPaste, Erase, Overlay, PatchShuffle, Rotate, Warp)]
    ),
}
TRAINED = {key: NETWORKS[key] for key in ("dense", "conv", "orthogonal conv")}


@pytest.mark.parametrize("optimizer", [StiefelAdam, StiefelRMSprop])
@pytest.mark.parametrize("negatives", NEGATIVES.values(), ids=NEGATIVES)
@pytest.mark.parametrize("build", TRAINED.values(), ids=TRAINED)
def test_training_does_not_wait_for_the_device(build, negatives, optimizer):
    network = build(64, generator=torch.Generator().manual_seed(0)).cuda()
    weights = parameter_groups(network)
    x = torch.rand(64, 64, device="cuda")
    loop = partial(
        train,
        network,
        domain=Box(0.0, 1.0).expand(64).to(torch.float32, "cuda"),
        margin=0.1,
        loss=partial(hkr, margin=0.1, regularization=100.0),
        optimizer=optimizer(weights),
        schedule=lambda progress: 1e-2,
        negatives=negatives,
        generator=torch.Generator("cuda").manual_seed(0),
    )
    loop(repeat(x), max_iter=2)  # what is done once may wait

    def watched():
        torch.cuda.set_sync_debug_mode("error")
        yield from repeat(x, 10)
        torch.cuda.set_sync_debug_mode("default")

    try:
        history = loop(watched(), max_iter=20)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(history) == 10
    for weight in stiefel_weights(network):
        sigma = torch.linalg.svdvals(weight)
        torch.testing.assert_close(
            sigma, torch.ones_like(sigma), rtol=0, atol=ORTHOGONAL[torch.float32]
        )
