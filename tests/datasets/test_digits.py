from __future__ import annotations

import numpy as np
import pytest
from registered import put, skip_without
from sklearn.datasets import load_digits

from pyod_lipocc import datasets
from pyod_lipocc.datasets._registry import MNIST


@pytest.mark.parametrize("load", [datasets.load_digits_one_class, datasets.load_mnist])
@pytest.mark.parametrize("one_class", [-1, 10, 1.0, "1", True, None])
def test_one_class_is_a_digit(load, one_class):
    with pytest.raises(ValueError, match="one_class must be an int from 0 to 9, got"):
        load(one_class)


def test_digits_split_once_and_for_all(global_rngs_untouched):
    sets = [datasets.load_digits_one_class(c) for c in range(10)]
    for c, digits in enumerate(sets):
        assert digits.name == f"digits-{c}"
        assert digits.X_train.dtype == digits.X_test.dtype == np.float32
        assert digits.image_shape == (1, 8, 8)
        assert (digits.X_train.min(), digits.X_train.max()) == (0.0, 1.0)
        np.testing.assert_array_equal(digits.X_test, sets[0].X_test)
    # each test row belongs to one class, and training and test rows make up the whole set
    np.testing.assert_array_equal(sum(digits.y_test for digits in sets), np.full(599, 9))
    rows = np.concatenate([sets[0].X_test, *(digits.X_train for digits in sets)])
    everything = load_digits().data / 16
    np.testing.assert_array_equal(np.sort(rows, axis=0), np.sort(everything, axis=0))


def test_mnist_is_split_by_class(tmp_path, monkeypatch):
    generator, contents, images = np.random.default_rng(0), {}, {}
    for part, digits in {"train": [0, 1, 1, 2, 1], "t10k": [1, 0, 1]}.items():
        images[part] = generator.integers(0, 256, (len(digits), 784), dtype=np.uint8)
        header = np.array([2051, len(digits), 28, 28], dtype=">i4").tobytes()
        contents[f"{part}-images-idx3-ubyte"] = header + images[part].tobytes()
        header = np.array([2049, len(digits)], dtype=">i4").tobytes()
        contents[f"{part}-labels-idx1-ubyte"] = header + bytes(digits)
    put(tmp_path, monkeypatch, MNIST, contents)
    mnist = datasets.load_mnist(1)
    assert (mnist.name, mnist.image_shape) == ("mnist-1", (1, 28, 28))
    assert mnist.X_train.dtype == mnist.X_test.dtype == np.float32
    np.testing.assert_allclose(mnist.X_train, images["train"][[1, 2, 4]] / 255, rtol=1e-6)
    np.testing.assert_allclose(mnist.X_test, images["t10k"] / 255, rtol=1e-6)
    np.testing.assert_array_equal(mnist.y_test, [0, 1, 0])


def test_the_real_mnist():
    for name in MNIST.hashes:
        skip_without(MNIST, name)
    zero, eight = datasets.load_mnist(0), datasets.load_mnist(8)
    assert (zero.X_train.shape, eight.X_train.shape) == ((5923, 784), (5851, 784))
    assert zero.X_test.shape == (10_000, 784)
    assert (np.sum(zero.y_test == 0), np.sum(eight.y_test == 0)) == (980, 974)
    assert (zero.X_train.min(), zero.X_train.max()) == (0.0, 1.0)
