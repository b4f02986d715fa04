from __future__ import annotations

import copy
import dataclasses
import itertools
import pickle
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest
import scipy.linalg
import scipy.special
import torch
from conftest import ORTHOGONAL
from hypothesis import given, settings
from hypothesis import strategies as st

from pyod_lipocc import training
from pyod_lipocc.domains import Ball
from pyod_lipocc.lipschitz import conv, dense, lipschitz_bound, parameter_groups
from pyod_lipocc.losses import binary_cross_entropy, hkr
from pyod_lipocc.sampler import newton_raphson
from pyod_lipocc.stiefel import StiefelAdam, StiefelRMSprop
from pyod_lipocc.training import (
    Callback,
    EarlyStopping,
    History,
    LinearDecay,
    ProgressBar,
    WeightAveraging,
    train,
)

MARGIN = 0.1
HKR = partial(hkr, margin=MARGIN, regularization=10.0)
FIELDS = [field.name for field in dataclasses.fields(History)]


def build(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return dense(2, hidden=(8, 8), generator=generator).double()


def data(n=16, seed=0):
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def run(network=None, batches=None, *, seed=0, optimizer=StiefelAdam, **changes):
    """Train a small network with parameters that tests may change."""
    network = build() if network is None else network
    arguments = {
        "domain": Ball(5.0).expand(2).to(next(network.parameters()).dtype),
        "margin": MARGIN,
        "loss": HKR,
        "optimizer": optimizer(parameter_groups(network)),
        "schedule": lambda progress: 1e-2,
        "max_iter": 5,
        "generator": torch.Generator().manual_seed(seed),
    }
    batches = itertools.repeat(data()) if batches is None else batches
    return train(network, batches, **(arguments | changes))


class Recorder(Callback):
    """Write down every call; stop or fail where told."""

    def __init__(self, stop_at=None, fail_at=None, error=ValueError):
        self.calls, self.metrics = [], []
        self.stop_at, self.fail_at, self.error = stop_at, fail_at, error

    def begin(self, max_iter, network):
        self.network = network
        self.calls.append(("begin", max_iter))
        if self.fail_at == 0:
            raise self.error

    def step(self, iteration, metrics):
        self.calls.append(("step", iteration))
        self.metrics.append({name: float(value) for name, value in metrics.items()})
        if iteration == self.fail_at:
            raise self.error
        return iteration == self.stop_at

    def end(self):
        self.calls.append(("end",))


class SpySampler:
    """Algorithm 1 that keeps what it was asked, and what the network was like meanwhile."""

    def __init__(self, network=None, fail_at=None):
        self.network, self.fail_at = network, fail_at
        self.negatives, self.n_steps, self.trainable = [], [], []

    def __call__(self, score, proposals, **arguments):
        self.n_steps.append(arguments["n_steps"])
        if self.network is not None:
            self.trainable.append([w.requires_grad for w in self.network.parameters()])
        if len(self.n_steps) == self.fail_at:
            raise RuntimeError("the sampler failed")
        self.negatives.append(newton_raphson(score, proposals, **arguments))
        return self.negatives[-1]


class TestReproduction:
    @pytest.mark.parametrize("optimizer", [StiefelAdam, StiefelRMSprop])
    def test_same_seed_same_bits(self, optimizer, global_rngs_untouched):
        networks = build(), build()
        first, second = (run(network, optimizer=optimizer, max_iter=20) for network in networks)
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
        history = run(max_iter=20)
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
    @pytest.mark.parametrize("optimizer", [StiefelAdam, StiefelRMSprop])
    def test_both_give_the_same_training(self, build, optimizer, monkeypatch):
        ours, theirs = (build(2, generator=torch.Generator().manual_seed(0)) for _ in range(2))
        history = run(ours.double(), optimizer=optimizer, max_iter=20)
        monkeypatch.setattr(training, "tangent_gradients", nullcontext)
        euclidean = run(theirs.double(), optimizer=optimizer, max_iter=20)
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
            run(network, max_iter=20)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda network: run(network, max_iter=20), networks))
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
    @pytest.mark.parametrize("optimizer", [StiefelAdam, StiefelRMSprop])
    @pytest.mark.parametrize("lr", [1e-3, 1e-1])
    def test_stays_lipschitz(self, optimizer, lr):
        network = build().float()
        batches = itertools.repeat(data().float())
        run(network, batches, optimizer=optimizer, schedule=lambda progress: lr, max_iter=50)
        assert lipschitz_bound(network) <= (1 + ORTHOGONAL[torch.float32]) ** 3

    @pytest.mark.parametrize("optimizer", [StiefelAdam, StiefelRMSprop])
    def test_weights_stay_on_the_manifold(self, optimizer):
        network = dense(2, hidden=(96, 64, 64, 32), generator=torch.Generator().manual_seed(0))
        run(network, itertools.repeat(data().float()), optimizer=optimizer, max_iter=200)
        for weight in parameter_groups(network)[0]["params"]:
            sigma = torch.linalg.svdvals(weight.detach().double())
            assert ((sigma - 1).abs() <= ORTHOGONAL[torch.float32]).all()

    def test_separates_the_data_from_its_complement(self):
        batches = itertools.repeat(0.3 * data(64))
        history = run(batches=batches, max_iter=150)
        assert history.recall[-20:].mean() > 0.9
        assert history.kr[-1] > history.kr[0]
        assert history.loss[-20:].mean() < history.loss[:20].mean()


class TestCallbacks:
    def test_see_every_step_with_the_figures_of_the_history(self):
        recorder = Recorder()
        history = run(callbacks=[recorder])
        steps = [("step", i) for i in range(1, 6)]
        assert recorder.calls == [("begin", 5), *steps, ("end",)]
        for name in FIELDS:
            seen = [metrics[name] for metrics in recorder.metrics]
            np.testing.assert_array_equal(seen, getattr(history, name))

    def test_any_of_them_stops_and_all_see_the_last_step(self):
        first, second = Recorder(stop_at=3), Recorder()
        assert len(run(callbacks=[first, second])) == 3
        assert first.calls == second.calls
        assert second.calls[-2:] == [("step", 3), ("end",)]

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
    def test_end_after_an_error(self, error):
        witness = Recorder()
        with pytest.raises(error):
            run(callbacks=[witness, Recorder(fail_at=2, error=error)])
        assert witness.calls == [("begin", 5), ("step", 1), ("step", 2), ("end",)]

    def test_end_when_the_sampler_fails(self):
        witness = Recorder()
        with pytest.raises(RuntimeError, match="the sampler failed"):
            run(callbacks=[witness], sampler=SpySampler(fail_at=1))
        assert witness.calls == [("begin", 5), ("end",)]

    def test_those_that_began_end_when_a_later_one_cannot_begin(self):
        witness = Recorder()
        with pytest.raises(ValueError, match=r"^$"):
            run(callbacks=[witness, Recorder(fail_at=0)])
        assert witness.calls == [("begin", 5), ("end",)]

    def test_all_end_though_one_of_them_cannot(self):
        class Stubborn(Callback):
            def end(self):
                raise ValueError("cannot end")

        before, after = Recorder(), Recorder()
        with pytest.raises(ValueError, match="cannot end"):
            run(callbacks=[before, Stubborn(), after])
        assert before.calls[-1] == after.calls[-1] == ("end",)

    def test_are_told_what_is_trained(self):
        network, recorder = build(), Recorder()
        run(network, callbacks=[recorder])
        assert recorder.network is network

    def test_do_nothing_by_themselves(self):
        np.testing.assert_array_equal(run(callbacks=[Callback()]).loss, run().loss)

    def test_do_not_change_the_training(self):
        watched = run(callbacks=[Recorder(), EarlyStopping(), ProgressBar()])
        np.testing.assert_array_equal(watched.loss, run().loss)


class TestProgressBar:
    def test_writes_to_stderr_only(self, capsys):
        run(callbacks=[ProgressBar("Training", every=2)])
        written = capsys.readouterr()
        assert written.out == ""
        assert "Training" in written.err
        assert "5/5" in written.err
        for name in ("loss", "recall", "gradient_norm"):
            assert f"{name}=" in written.err

    def test_closes_after_an_error(self, capsys):
        bar = ProgressBar()
        with pytest.raises(ValueError, match=r"^$"):
            run(callbacks=[bar, Recorder(fail_at=2)])
        closed = capsys.readouterr().err
        assert closed.endswith("\n")


def stopping_iteration(callback, losses):
    """Feed losses to a callback; return the iteration at which it stops, or None."""
    callback.begin(len(losses), torch.nn.Identity())
    for iteration, loss in enumerate(losses, start=1):
        if callback.step(iteration, {"loss": torch.tensor(loss, dtype=torch.float64)}):
            return iteration
    return None


class TestEarlyStopping:
    def test_a_falling_loss_goes_on(self):
        losses = np.linspace(1.0, 0.0, 2000)
        assert stopping_iteration(EarlyStopping(patience=50), losses) is None

    @pytest.mark.parametrize("patience", [1, 10, 100])
    def test_a_constant_loss_has_its_patience(self, patience):
        assert stopping_iteration(EarlyStopping(patience), np.full(200, 3.0)) == patience

    @pytest.mark.parametrize("noise", [0.0, 0.1])
    def test_stops_on_a_plateau_and_not_before(self, rng, noise):
        losses = np.concatenate([np.linspace(5.0, 1.0, 500), np.full(1500, 1.0)])
        losses += noise * rng.standard_normal(2000)
        stopped = stopping_iteration(EarlyStopping(patience=100, min_delta=1e-2), losses)
        assert 500 + 100 <= stopped < 500 + 100 + 400

    def test_a_rising_loss_stops(self):
        assert stopping_iteration(EarlyStopping(patience=20), np.linspace(0.0, 1.0, 100)) == 20

    def test_without_smoothing_every_improvement_counts(self):
        losses = [3.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0]
        callback = EarlyStopping(patience=3, min_delta=0.0, smoothing=0.0)
        assert stopping_iteration(callback, losses) == 7

    @settings(max_examples=20)
    @given(
        st.lists(st.floats(-10, 10, width=16), min_size=5, max_size=40),
        st.sampled_from([0.25, 2, 1024]),
    )
    def test_the_unit_of_the_loss_does_not_matter(self, losses, unit):
        callback = EarlyStopping(patience=4, smoothing=0.5)
        expected = stopping_iteration(callback, losses)
        assert stopping_iteration(callback, [unit * loss for loss in losses]) == expected

    def test_a_loss_that_is_nan_stops(self):
        assert stopping_iteration(EarlyStopping(patience=5), np.full(20, np.nan)) == 5

    def test_ends_a_training(self):
        history = run(callbacks=[EarlyStopping(patience=3)], schedule=lambda _: 0.0, max_iter=50)
        assert len(history) < 50


class Weights(Callback):
    """Keep the weights after each step."""

    def begin(self, max_iter, network):
        self.network, self.seen = network, []

    def step(self, iteration, metrics):
        self.seen.append([weight.detach().clone() for weight in self.network.parameters()])


def averaged(share, network=None, **changes):
    """Train with averaging; return the network and the weights after each step."""
    network = build() if network is None else network
    weights = Weights()
    run(network, callbacks=[weights, WeightAveraging(share)], **changes)
    return network, weights.seen


class TestWeightAveraging:
    @staticmethod
    def check(network, seen, shares):
        """Compare with the mean of the weights seen, the manifold's nearest point to it."""
        marked = {id(weight) for weight in parameter_groups(network)[0]["params"]}
        for weight, steps in zip(network.parameters(), zip(*seen, strict=True), strict=True):
            expected = torch.tensordot(torch.as_tensor(shares), torch.stack(steps), dims=1).numpy()
            if id(weight) in marked:
                expected, _ = scipy.linalg.polar(expected)
            np.testing.assert_allclose(weight.detach().numpy(), expected, rtol=0, atol=1e-12)

    @pytest.mark.parametrize("rate", [1e-3, 1e-1])
    @pytest.mark.parametrize("optimizer", [StiefelAdam, StiefelRMSprop])
    def test_all_steps_count_as_much_with_share_one(self, optimizer, rate):
        changes = {"max_iter": 12, "optimizer": optimizer, "schedule": lambda _: rate}
        self.check(*averaged(1.0, **changes), np.full(12, 1 / 12))

    @pytest.mark.parametrize("exponent", [1, 4, 9])
    def test_a_share_counts_steps_by_a_power(self, exponent):
        # The recurrence solved: step t of n counts as the binomial (t + k - 1 over k), ~ t^k.
        counts = scipy.special.binom(np.arange(1, 31) + exponent - 1, exponent)
        self.check(*averaged(1 / (exponent + 1), max_iter=30), counts / counts.sum())

    def test_a_training_that_stops_early_averages_what_was(self):
        network, seen = averaged(1.0, batches=[data()] * 4)
        self.check(network, seen, np.full(4, 0.25))

    def test_does_not_change_the_training(self):
        history = run(callbacks=[WeightAveraging()])
        np.testing.assert_array_equal(history.loss, run().loss)

    def test_without_a_step_nothing_moves(self):
        network, _ = averaged(0.1, batches=[])
        for weight, before in zip(network.parameters(), build().parameters(), strict=True):
            torch.testing.assert_close(weight, before, rtol=0, atol=1e-7)

    @pytest.mark.parametrize("rate", [1e-2, 1.0])
    def test_stays_lipschitz(self, rate):
        network, _ = averaged(0.5, max_iter=40, schedule=lambda _: rate)
        assert lipschitz_bound(network) <= 1 + 1e-9

    def test_an_average_that_is_not_finite_is_reported(self):
        with pytest.raises(FloatingPointError, match=r"weight must be finite.*diverged"):
            averaged(0.1, batches=[data().fill_(np.nan)])

    @pytest.mark.parametrize("share", [0.0, -1.0, 1.1, np.nan, "all", True, None])
    def test_a_share_out_of_range(self, share):
        with pytest.raises(ValueError, match=r"share must be a finite number in \(0, 1\], got"):
            WeightAveraging(share)


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
