from __future__ import annotations

import sys

import numpy as np
import pytest
import scipy.linalg
import scipy.special
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from trained import FIELDS, Recorder, SpySampler, build, data, run

from pyod_lipocc.callbacks import (
    Callback,
    EarlyStopping,
    ProgressBar,
    TensorBoard,
    WeightAveraging,
)
from pyod_lipocc.lipschitz import lipschitz_bound, parameter_groups
from pyod_lipocc.stiefel import StiefelAdam, StiefelRMSprop


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


class TestTensorBoard:
    @pytest.mark.parametrize("every", [1, 2])
    def test_writes_the_figures_of_the_history(self, tmp_path, every):
        pytest.importorskip("tensorboard")
        events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
        history = run(callbacks=[TensorBoard(tmp_path, every)])
        written = events.EventAccumulator(str(tmp_path)).Reload()
        steps = np.arange(every, 6, every)
        for name in FIELDS:
            scalars = written.Scalars(f"training/{name}")
            assert [scalar.step for scalar in scalars] == steps.tolist()
            figures = [scalar.value for scalar in scalars]
            np.testing.assert_allclose(figures, getattr(history, name)[steps - 1], rtol=1e-6)

    def test_a_missing_package_is_named_with_the_extra(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
        with pytest.raises(ImportError, match=r'pip install "pyod_lipocc\[tensorboard\]"'):
            run(callbacks=[TensorBoard()])

    @pytest.mark.parametrize("every", [0, -1, 1.5, True, None])
    def test_steps_out_of_range(self, every):
        with pytest.raises(ValueError, match="every must be an int >= 1, got"):
            TensorBoard(every=every)


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
        network, _ = averaged(0.5, max_iter=10, schedule=lambda _: rate)
        assert lipschitz_bound(network) <= 1 + 1e-9

    def test_an_average_that_is_not_finite_is_reported(self):
        with pytest.raises(FloatingPointError, match=r"weight must be finite.*diverged"):
            averaged(0.1, batches=[data().fill_(np.nan)])

    @pytest.mark.parametrize("share", [0.0, -1.0, 1.1, np.nan, "all", True, None])
    def test_a_share_out_of_range(self, share):
        with pytest.raises(ValueError, match=r"share must be a finite number in \(0, 1\], got"):
            WeightAveraging(share)
