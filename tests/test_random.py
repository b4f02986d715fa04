from __future__ import annotations

import numpy as np
import pytest
import torch

from pyod_lipocc._random import (
    global_seed,
    local_generator,
    numpy_generator,
    reproducible_convolutions,
    torch_generator,
)

SEEDS = {
    "int": lambda: 7,
    "NumPy int": lambda: np.int64(7),
    "NumPy unsigned int": lambda: np.uint8(7),
    "zero": lambda: 0,
    "large int": lambda: 2**40,
    "RandomState": lambda: np.random.RandomState(7),
    "Generator": lambda: np.random.default_rng(7),
}
SEEDED = pytest.mark.parametrize("seed", SEEDS.values(), ids=SEEDS)


def draw(generator):
    return generator.integers(2**63, size=4).tolist()


@SEEDED
def test_reproducible_without_touching_the_global_generators(seed, global_rngs_untouched):
    assert draw(numpy_generator(seed())) == draw(numpy_generator(seed()))
    first, second = (torch_generator(numpy_generator(seed())) for _ in range(2))
    assert torch.equal(torch.randn(4, generator=first), torch.randn(4, generator=second))


def test_ints_of_any_kind_are_the_same_seed():
    assert draw(numpy_generator(7)) == draw(numpy_generator(np.int64(7)))
    assert draw(numpy_generator(7)) != draw(numpy_generator(8))


def test_none_is_fresh_and_independent_of_the_global_seed(global_rngs_untouched):
    assert draw(numpy_generator(None)) != draw(numpy_generator(None))


def test_a_generator_is_used_itself():
    generator = np.random.default_rng(0)
    assert numpy_generator(generator) is generator


def test_a_random_state_moves_on():
    state = np.random.RandomState(0)
    assert draw(numpy_generator(state)) != draw(numpy_generator(state))


@SEEDED
def test_torch_generator_advances_its_source(seed):
    source = numpy_generator(seed())
    first, second = torch_generator(source), torch_generator(source)
    assert first.initial_seed() != second.initial_seed()
    assert first.device == torch.device("cpu")


@pytest.mark.parametrize("value", [-1, 0.5, 1.0, "0", True, np.True_, [0], np.random, object])
def test_anything_else_is_named(value):
    with pytest.raises(
        ValueError, match=r"random_state must be an int >= 0, .* or None, got"
    ) as error:
        numpy_generator(value)
    assert repr(value) in str(error.value)


def test_global_draws_are_seeded_inside_and_untouched_outside(global_rngs_untouched):
    drawn = []
    for _ in range(2):
        with global_seed(7):
            drawn.append(torch.rand(3))
        with local_generator(7):
            drawn.append(torch.rand(3))
    assert torch.equal(drawn[0], drawn[2])
    assert torch.equal(drawn[1], drawn[3])


@pytest.mark.parametrize("deterministic", [False, True])
def test_convolutions_are_as_before_after_an_error(deterministic, monkeypatch):
    cudnn = torch.backends.cudnn
    monkeypatch.setattr(cudnn, "deterministic", deterministic)
    monkeypatch.setattr(cudnn, "benchmark", True)

    @reproducible_convolutions()
    def fail():
        assert (cudnn.deterministic, cudnn.benchmark) == (True, False)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert cudnn.deterministic == deterministic
    assert cudnn.benchmark
