"""
A ROC AUC that no attack can push lower
=======================================

Each score moves by at most `lipschitz_constant_` times the size of an attack. So the ROC AUC under
the worst attack has a lower bound, which needs no attack to be known.
"""

import numpy as np
import torch
from matplotlib import pyplot as plt
from sklearn.metrics import roc_auc_score

from pyod_lipocc import LipOCC
from pyod_lipocc.attacks import pgd_l2
from pyod_lipocc.datasets import load_digits_one_class
from pyod_lipocc.domains import Box
from pyod_lipocc.metrics import certified_roc_auc_curve
from pyod_lipocc.plotting import plot_certified_roc_auc

data = load_digits_one_class(3)
detector = LipOCC(
    novelty=True,
    network="nearest-subspace",
    standardize=False,
    image_shape=data.image_shape,
    random_state=0,
).fit(data.X_train)

# %%
# The attacker sees the gradients. Normal images get higher scores, the others lower ones; the
# pixels stay in [0, 1].
scorer, X, y = detector.to_torch(), torch.from_numpy(data.X_test).double(), data.y_test


def attacked(radius: float) -> float:
    """Return the ROC AUC of images that projected gradient descent has moved."""
    moved = X.clone()
    for label, direction in ((0, "raise"), (1, "lower")):
        moved[y == label] = pgd_l2(
            scorer,
            X[y == label],
            radius,
            direction=direction,
            domain=Box(0.0, 1.0),
            n_steps=5,
            n_restarts=1,
            random_state=0,
        )
    return roc_auc_score(y, detector.decision_function(moved.numpy()))


# %%
# The truth lies between the bound and the attack.
scores, constant = detector.decision_function(data.X_test), detector.lipschitz_constant_
radii, _ = certified_roc_auc_curve(y, scores, n_radii=9, lipschitz_constant=constant)
figure, ax = plt.subplots(figsize=(5.5, 3.8), layout="constrained")
plot_certified_roc_auc(
    y,
    scores,
    radii,
    lipschitz_constant=constant,
    attacked=np.array([attacked(radius) for radius in radii]),
    ax=ax,
)
ax.set_title("a digit 3 against the others")
plt.show()
