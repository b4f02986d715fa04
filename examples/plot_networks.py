"""
Three networks on a shape whose distance is known
=================================================

Which network knows the distance, and on which side of the boundary.
"""

from functools import partial

import numpy as np
from matplotlib import pyplot as plt

from pyod_lipocc import LipOCC
from pyod_lipocc.datasets import load_toy, toy_signed_distance
from pyod_lipocc.lipschitz import dense
from pyod_lipocc.plotting import plot_contours

X = load_toy("ring", 1000, random_state=0)
points = np.random.default_rng(0).uniform(-1.5, 1.5, (5000, 2))
true = toy_signed_distance("ring", points)

# %%
# The default starts from the rows and knows the distance outside. Inscribed balls know the depth
# too. The paper's dense network learns both from its negatives alone.
networks = {
    "nearest-subspace": "nearest-subspace",
    "inscribed-balls": "inscribed-balls",
    "dense": partial(dense, hidden=(64, 64)),
}
levels = np.linspace(-0.6, 0.6, 25)
figure, axes = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained")
for ax, (name, network) in zip(axes, networks.items(), strict=True):
    detector = LipOCC(
        novelty=True, network=network, margin=0.05, standardize=False, random_state=0
    ).fit(X)
    error = detector.signed_distance(points) - true
    plot_contours(
        detector.signed_distance, (-1.5, 1.5, -1.5, 1.5), resolution=100, levels=levels, ax=ax
    )
    ax.set_title(name)
    outside = true < 0
    print(
        f"{name:17s} mean absolute error: {abs(error[outside]).mean():.3f} outside, "
        f"{abs(error[~outside]).mean():.3f} inside"
    )
plt.show()
