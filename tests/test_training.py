from __future__ import annotations

import copy
import dataclasses
import itertools
import pickle
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import torch
from conftest import ORTHOGONAL
from trained import FIELDS, HKR, MARGIN, SpySampler, build, data, run

from pyod_lipocc.callbacks import Callback
from pyod_lipocc.domains import Ball
from pyod_lipocc.lipschitz import conv, dense, lipschitz_bound, parameter_groups
from pyod_lipocc.losses import binary_cross_entropy
from pyod_lipocc.stiefel import StiefelAdam, StiefelRMSprop
from pyod_lipocc.training import History, LinearDecay

OPTIMIZERS = pytest.mark.parametrize("optimizer", [StiefelAdam, StiefelRMSprop])


class TestReproduction:
    @OPTIMIZERS
    def test_same_seed_same_bits(self, optimizer, global_rngs_untouched):
        networks = build(), build()
        first, second = (run(network, optimizer=optimizer, max_iter=5) for network in networks)
        for name in FIELDS:
            np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
        for ours, theirs in zip(*(n.parameters() for n in networks), strict=True):
            assert torch.equal(ours, theirs)

    def test_another_seed_other_negatives(self):
        assert (run(seed=0).mean_negatives != run(seed=1).mean_negatives).all()

    def test_data_and_domain_are_left_alone(self):
        x, domain = data(), Ball(5.0).expand(2)
        before = x.clone()
        run(batches=itertools.repeat(x), domain=domain)
        assert torch.equal(x, before)
        assert not x.requires_grad
        assert domain.center.tolist() == [0.0, 0.0]


class TestStep:
    """One step, recomputed by hand."""

    @pytest.fixture(params=[HKR, binary_cross_entropy], ids=["hkr", "bce"])
    def loss(self, request):
        return request.param

    @pytest.fixture
    def step(self, loss):
        network, x, spy = build(), data(), SpySampler()
        before = copy.deepcopy(network)
        history = run(network, iter([x]), sampler=spy, loss=loss)
        return before, network, x, spy.negatives[0], history

    def test_history(self, step, loss):
        network, _, x, z, history = step
        z = z.clone().requires_grad_()
        f, g = network(x)[:, 0], network(z)[:, 0]
        (gradient,) = torch.autograd.grad(g.sum(), z, retain_graph=True)
        expected = {
            "loss": loss(f).mean() + loss(-g).mean(),
            "hinge": (MARGIN - f).clamp_min(0).mean() + (MARGIN + g).clamp_min(0).mean(),
            "kr": f.mean() - g.mean(),
            "mean_data": f.mean(),
            "mean_negatives": g.mean(),
            "recall": (f > 0).double().mean(),
            "false_positives": (g > 0).double().mean(),
            "gradient_norm": gradient.norm(dim=1).mean(),
        }
        assert list(expected) == FIELDS
        for name, value in expected.items():
            np.testing.assert_allclose(getattr(history, name), [value.item()], rtol=1e-12)

    def test_weights(self, step, loss):
        network, trained, x, z, _ = step
        optimizer = StiefelAdam(parameter_groups(network), lr=1e-2)
        (loss(network(x)).mean() + loss(-network(z)).mean()).backward()
        optimizer.step()
        for ours, theirs in zip(network.parameters(), trained.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-13)

    def test_hkr_is_the_sum_of_its_parts(self):
        history = run()
        np.testing.assert_allclose(history.loss, 10 * history.hinge - history.kr)

    def test_negatives_are_as_many_as_the_data_and_in_the_domain(self):
        spy, domain = SpySampler(), Ball(0.5).expand(2)
        run(batches=[data(3), data(7)], sampler=spy, domain=domain)
        assert [len(z) for z in spy.negatives] == [3, 7]
        for z in spy.negatives:
            assert (z.norm(dim=1) <= 0.5 + 1e-12).all()

    def test_gradient_norm_of_a_network_of_one_layer_is_one(self):
        network = dense(2, hidden=(), generator=torch.Generator().manual_seed(0)).double()
        np.testing.assert_allclose(run(network).gradient_norm, 1.0)

    def test_a_network_may_return_a_vector(self):
        class Vector(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.column = build()

            def forward(self, x):
                return self.column(x)[:, 0]

        np.testing.assert_array_equal(run(Vector()).loss, run().loss)


class SpyOptimizer(torch.optim.SGD):
    """Keep the gradients that each step finds."""

    def __init__(self, groups):
        super().__init__(groups)
        self.seen = []

    def step(self):
        weights = [weight for group in self.param_groups for weight in group["params"]]
        self.seen.append([weight.grad.clone() for weight in weights])


class TestGradients:
    """Formed by tangent coordinates where the optimiser is one of `stiefel`, or Euclidean."""

    NETWORKS = {
        "dense": partial(dense, hidden=(8, 8, 5)),
        "conv": partial(conv, image_shape=(1, 2), width=4, depth=1),
    }

    @pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS)
    @OPTIMIZERS
    def test_both_give_the_same_training(self, build, optimizer):
        subclass = type("Subclass", (optimizer,), {})  # which finds Euclidean gradients
        ours, theirs = (build(2, generator=torch.Generator().manual_seed(0)) for _ in range(2))
        history = run(ours.double(), optimizer=optimizer, max_iter=10)
        euclidean = run(theirs.double(), optimizer=subclass, max_iter=10)
        for weight, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(weight, other, rtol=0, atol=1e-8)
        for name in FIELDS:
            np.testing.assert_allclose(getattr(history, name), getattr(euclidean, name), atol=1e-6)

    def test_other_optimisers_find_the_euclidean_ones(self):
        network, x, sampler = build(), data(), SpySampler()
        spy = SpyOptimizer(parameter_groups(network))
        run(network, iter([x]), optimizer=lambda _: spy, sampler=sampler)
        (z,) = sampler.negatives
        total = HKR(network(x)[:, 0]).mean() + HKR(-network(z)[:, 0]).mean()
        weights = [weight for group in spy.param_groups for weight in group["params"]]
        expected = torch.autograd.grad(total, weights)
        torch.testing.assert_close(spy.seen, [list(expected)], rtol=1e-12, atol=1e-12)

    def test_are_euclidean_again_when_a_step_has_failed(self):
        network = build()
        with pytest.raises(RuntimeError, match="the loss failed"):
            run(network, loss=fail)
        network(data()).sum().backward()
        assert all(weight.grad is not None for weight in network.parameters())

    def test_two_threads_train_as_one(self):
        networks, alone = (build(0), build(1)), (build(0), build(1))
        for network in alone:
            run(network)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(run, networks))
        for network, other in zip(networks, alone, strict=True):
            assert all(map(torch.equal, network.parameters(), other.parameters()))


def fail(scores):
    raise RuntimeError("the loss failed")


class TestLength:
    def test_max_iter_batches_are_drawn(self):
        drawn = []
        history = run(batches=(drawn.append(i) or data() for i in itertools.count()), max_iter=4)
        assert len(history) == 4
        assert drawn == [0, 1, 2, 3]

    def test_the_batches_end(self):
        assert len(run(batches=[data(), data(), data()], max_iter=10)) == 3

    def test_no_batches(self):
        history = run(batches=[])
        assert len(history) == 0
        assert all(getattr(history, name).shape == (0,) for name in FIELDS)

    def test_schedule_sees_the_progress_and_sets_every_group(self):
        network, seen = build(), []
        optimizer = StiefelAdam(parameter_groups(network))

        class Rates(Callback):
            def step(self, iteration, metrics):
                seen.append([group["lr"] for group in optimizer.param_groups])

        decay = LinearDecay(1e-2, 2e-3)
        run(network, optimizer=lambda _: optimizer, schedule=decay, callbacks=[Rates()], max_iter=4)
        np.testing.assert_allclose(seen, np.repeat([[0.01], [0.008], [0.006], [0.004]], 2, axis=1))
        assert decay(1.0) == pytest.approx(2e-3)

    def test_warm_up_takes_no_newton_steps(self):
        spy = SpySampler()
        run(sampler=spy, n_newton_steps=3, n_warmup_steps=2)
        assert spy.n_steps == [0, 0, 3, 3, 3]


class TestFreezing:
    def test_the_sampler_sees_frozen_weights_and_the_optimiser_does_not(self):
        network = build()
        next(network.parameters()).requires_grad_(False)
        spy = SpySampler(network)
        before = copy.deepcopy(network)
        run(network, sampler=spy)
        assert not np.any(spy.trainable)
        kept, *moved = zip(before.parameters(), network.parameters(), strict=True)
        assert torch.equal(*kept)
        assert not any(torch.equal(*pair) for pair in moved)
        assert [w.requires_grad for w in network.parameters()] == [False] + [True] * len(moved)

    def test_thaws_when_the_sampler_fails(self):
        network = build()
        with pytest.raises(RuntimeError, match="the sampler failed"):
            run(network, sampler=SpySampler(fail_at=2))
        assert all(weight.requires_grad for weight in network.parameters())


class TestOutcome:
    @OPTIMIZERS
    @pytest.mark.parametrize("rate", [1e-3, 1e-1])
    def test_weights_stay_on_the_manifold(self, optimizer, rate):
        network = dense(2, hidden=(48, 32, 32, 16), generator=torch.Generator().manual_seed(0))
        batches = itertools.repeat(data().float())
        run(network, batches, optimizer=optimizer, schedule=lambda progress: rate, max_iter=50)
        for weight in parameter_groups(network)[0]["params"]:
            sigma = torch.linalg.svdvals(weight.detach().double())
            assert ((sigma - 1).abs() <= ORTHOGONAL[torch.float32]).all()
        assert lipschitz_bound(network) <= (1 + ORTHOGONAL[torch.float32]) ** 5

    def test_separates_the_data_from_its_complement(self):
        batches = itertools.repeat(0.3 * data(64))
        history = run(batches=batches, max_iter=100)
        assert history.recall[-20:].mean() > 0.9
        assert history.kr[-1] > history.kr[0]
        assert history.loss[-20:].mean() < history.loss[:20].mean()


@pytest.fixture(scope="module")
def history():
    return run()


class TestHistory:
    def test_one_entry_for_each_step(self, history):
        assert len(history) == 5
        for name in FIELDS:
            values = getattr(history, name)
            assert values.shape == (5,)
            assert values.dtype == np.float64
            assert np.isfinite(values).all()

    def test_is_frozen(self, history):
        for past in (history, history + history):
            with pytest.raises(dataclasses.FrozenInstanceError):
                past.loss = np.zeros(5)
            for name in FIELDS:
                with pytest.raises(ValueError, match="read-only"):
                    getattr(past, name)[0] = 0.0

    def test_addition_appends(self, history):
        later = run(seed=1, max_iter=3)
        joined = history + later
        assert len(joined) == 8
        for name in FIELDS:
            parts = getattr(history, name), getattr(later, name)
            np.testing.assert_array_equal(getattr(joined, name), np.concatenate(parts))

    def test_nothing_is_neutral(self, history):
        nothing = History.from_records(torch.empty(0, 8))
        for joined in (history + nothing, nothing + history):
            np.testing.assert_array_equal(joined.loss, history.loss)

    def test_survives_pickle(self, history):
        arrived = pickle.loads(pickle.dumps(history))
        for name in FIELDS:
            np.testing.assert_array_equal(getattr(arrived, name), getattr(history, name))
