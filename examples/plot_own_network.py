"""
Your own network, and its constant
==================================

Any torch module can be f. `lipschitz_constant_` is composed from its layers, and is infinite where
a layer is unknown: never an estimate.
"""

import torch
from matplotlib import pyplot as plt
from torch import nn

from pyod_lipocc import LipOCC
from pyod_lipocc.datasets import load_toy
from pyod_lipocc.lipschitz import dense, lipschitz_bound
from pyod_lipocc.plotting import plot_contours

# %%
# Layers of this package have the constant 1. Layers of torch have the norm of their weights.
# Layers that are not known have none.
torch.manual_seed(0)
ours = dense(2, hidden=(64, 64))
theirs = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
unknown = nn.Sequential(nn.Linear(2, 64), nn.GELU(), nn.Linear(64, 1))
for name, network in {"ours": ours, "theirs": theirs, "unknown": unknown}.items():
    print(f"{name:8s} {lipschitz_bound(network):.3f}")

# %%
# Both can be trained. Without the constraint the hinge Kantorovich-Rubinstein loss has no minimum:
# the score of torch's network grows with every step, and its levels are no distances.
X = load_toy("two-blobs", 1000, random_state=0)
figure, axes = plt.subplots(1, 2, figsize=(9, 3.9), layout="constrained")
for ax, (name, network) in zip(axes, {"ours": ours, "theirs": theirs}.items(), strict=True):
    detector = LipOCC(
        novelty=True, network=network, margin=0.1, max_iter=300, standardize=False, random_state=0
    ).fit(X)
    plot_contours(detector.signed_distance, (-5, 5, -5, 5), resolution=100, ax=ax)
    ax.set_title(f"{name}: constant {detector.lipschitz_constant_:.3g}")
plt.show()
