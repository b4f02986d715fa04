"""
Members of the class from noise
===============================

The sampler that finds negatives during training also synthesises images: from noise along the
gradient of the score to a level inside the support (Figure 2 of the paper).
"""

import numpy as np
from matplotlib import pyplot as plt

from pyod_lipocc import LipOCC
from pyod_lipocc.datasets import load_digits_one_class
from pyod_lipocc.plotting import plot_images

# %%
# Ten samples of two digits, uncurated.
figure, axes = plt.subplots(2, 1, figsize=(7, 1.9), layout="constrained")
for digit, ax in zip((0, 3), axes, strict=True):
    data = load_digits_one_class(digit)
    detector = LipOCC(
        novelty=True,
        network="nearest-subspace",
        standardize=False,
        image_shape=data.image_shape,
        random_state=0,
    ).fit(data.X_train)
    samples = detector.sample(10, random_state=0)
    inside = np.count_nonzero(detector.signed_distance(samples) > 0)
    plot_images(samples, data.image_shape, n_columns=10, limits=(0.0, 1.0), ax=ax)
    ax.set_title(f"{digit}: {inside} of 10 inside the support", fontsize=8)
plt.show()
