from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import ranks
import torch
from ranks import NETWORKS, Pair
from small import cloud, small
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from pyod_lipocc import LipOCC
from pyod_lipocc.callbacks import EarlyStopping

X = cloud(202)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    pair = Pair(tmp_path_factory.mktemp("pair") / "store")
    yield pair
    pair.close()


@pytest.fixture
def mortal(tmp_path):
    """Two ranks that wait for a second for each other."""
    pair = Pair(tmp_path / "store", timeout=1)
    yield pair
    pair.close()


def one(results):
    """Return the result of all ranks, which must be equal."""
    assert results[0] == results[1]
    return results[0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", NETWORKS)
def test_two_ranks_step_as_one_process_with_all_rows_and_negatives(pair, name, dtype):
    (weights, loss), (others, other_loss) = pair.run(ranks.stepped_together, name, dtype)
    np.testing.assert_array_equal(loss, other_loss)
    expected, expected_loss = ranks.stepped(name, dtype)
    tolerance = {"rtol": 0, "atol": 1e-9 if dtype == torch.float64 else 1e-4}
    np.testing.assert_allclose(loss, expected_loss, **tolerance)
    for weight, other, one_process in zip(weights, others, expected, strict=True):
        np.testing.assert_array_equal(weight, other)
        np.testing.assert_allclose(weight, one_process, **tolerance)


@pytest.mark.parametrize(
    "parameters",
    [
        {"max_iter": 400, "n_newton_steps": 1, "batch_size": 16},
        {"novelty": True, "threshold": "conformal"},
        {"network": "dense", "image_shape": (3, 1), "standardize": False},
        {"network": "nearest-subspace", "threshold": "boundary", "random_state": None},
    ],
    ids=["1,200 steps", "conformal", "images", "nearest-subspace"],
)
def test_ranks_hold_the_same_bits(pair, parameters):
    """After a fit and two of `partial_fit`."""
    one(pair.run(ranks.fitted_state, X, parameters, [3 * X[:50], X[:41]]))


def test_scores_and_threshold_are_those_of_all_rows(pair):
    detector, _ = pair.run(ranks.fitted, X, {})
    rows = np.concatenate((X[::2], X[1::2]))
    scores = detector.decision_function(rows)
    np.testing.assert_allclose(detector.decision_scores_, scores, rtol=0, atol=1e-12)
    assert detector.threshold_ == np.percentile(detector.decision_scores_, 90)
    assert detector.labels_.sum() == 21


@pytest.mark.parametrize(
    "parameters",
    [{}, {"standardize": False}, {"image_shape": (3, 1)}, {"threshold": "conformal"}],
    ids=str,
)
def test_scaling_margin_and_domain_have_the_bits_of_one_process(pair, parameters):
    parameters |= {"max_iter": 1}
    found = one(pair.run(ranks.fitted_state, X, parameters))
    expected = ranks.state(small(**parameters).fit(np.concatenate((X[::2], X[1::2]))))
    for name in ("location", "scale", "margin", *ranks.DOMAIN):
        assert found.get(name) == expected.get(name)


def test_a_rank_draws_rows_and_negatives_of_its_own(pair):
    first, second = pair.run(ranks.draws, 0)
    assert not {*first} & {*second}
    assert [first, second] == pair.run(ranks.draws, 0)


def test_a_group_of_one_process_fits_as_one_process(pair):
    assert one(pair.run(ranks.alone, {})) == ranks.state(small().fit(cloud()))


@pytest.mark.parametrize(
    ("callback", "n_iter"),
    [(ranks.StopOnOneRank(), 7), (EarlyStopping(patience=5, min_delta=0.5), None)],
)
def test_ranks_stop_at_the_same_step(pair, callback, n_iter):
    steps = one([d.n_iter_ for d in pair.run(ranks.fitted, X, {"callbacks": [callback]})])
    assert steps == n_iter if n_iter else 5 < steps < 30


def test_copies_of_a_detector_leave_the_group_behind(pair, tmp_path):
    (is_group, n_iter) = one(pair.run(ranks.copies, tmp_path))
    assert is_group == [True, False, False]
    assert n_iter == 2


class TestErrors:
    """All ranks raise, and the group goes on working."""

    @staticmethod
    def on_all(pair, kind, message, work, *arguments):
        for error in pair.errors(work, *arguments):
            assert isinstance(error, kind)
            assert message in str(error)
        pair.run(ranks.draws, 0)

    def test_rows_that_one_rank_refuses(self, pair):
        rows = X.copy()
        rows[1, 0] = np.nan
        self.on_all(pair, ValueError, "got NaN in column 0", ranks.fitted, rows, {})

    def test_no_rows_to_learn_from_on_a_rank(self, pair):
        message = "each rank needs rows to learn from, got [0, 1] rows"
        self.on_all(pair, ValueError, message, ranks.checked_rows)

    def test_another_parameter_on_a_rank(self, pair):
        message = "batch_size must be the same on all ranks, got 1 on rank 0 and 2 on rank 1"
        self.on_all(pair, ValueError, message, ranks.fitted_by_batch_size, X)

    def test_other_weights_on_a_rank(self, pair):
        parameters = {"max_iter": 300, "callbacks": [ranks.ChangeOneRank()]}
        message = "weights of rank 0 differ from those of [1]"
        self.on_all(pair, RuntimeError, message, ranks.fitted, X, parameters)

    @pytest.mark.parametrize("wrap", [DistributedDataParallel, fully_shard])
    def test_wrapped_networks(self, pair, wrap):
        self.on_all(pair, ValueError, "network must be a plain module", ranks.wrapped, wrap)


@pytest.mark.parametrize("callback", [ranks.DieOnOneRank(), ranks.StallOneRank()])
def test_a_rank_that_is_lost_is_an_error(mortal, callback):
    error, _ = mortal.errors(ranks.fitted, X, {"callbacks": [callback]})
    assert isinstance(error, RuntimeError)


def test_torchrun_starts_the_example(tmp_path):
    """Each rank has half of the rows, and the scores of all."""
    example = Path(__file__).parents[1] / "examples" / "train_on_ranks.py"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*torchrun, f"--nproc-per-node={ranks.SIZE}", example]
    ended = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True
    )
    for rank in range(ranks.SIZE):
        assert ended.stdout.count(f"rank {rank}: 1000 rows of 2000") == 1
    assert LipOCC.load(tmp_path / "two-moons.safetensors").decision_scores_.shape == (2000,)
