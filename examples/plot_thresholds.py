"""
Three thresholds and what they promise
======================================

The scores stay the same: a threshold says from which score on a row is labelled 1.
"""

import numpy as np
from matplotlib import pyplot as plt

from pyod_lipocc import LipOCC
from pyod_lipocc.datasets import load_toy

train, new = (load_toy("two-circles", n, random_state=seed) for n, seed in ((2000, 0), (20000, 1)))

# %%
# ``threshold="conformal"`` holds a quarter of the rows out of training. Its promise: a new normal
# row is labelled 1 with probability at most `alpha`, whatever the data.
detector = LipOCC(novelty=True, threshold="conformal", alpha=0.05, random_state=0).fit(train)
scores = detector.decision_function(new)
conformal = detector.threshold_
print(f"conformal, alpha 0.05: {np.mean(scores > conformal):.4f} of new normal rows labelled 1")

# %%
# `set_threshold` sets another threshold without learning again.
thresholds = {"conformal, alpha = 0.05": conformal}
thresholds["contamination = 0.1"] = detector.set_threshold(contamination=0.1).threshold_
thresholds["boundary"] = detector.set_threshold("boundary").threshold_

figure, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
ax.hist(scores, bins=100, color="lightgray")
for (name, threshold), color in zip(thresholds.items(), ("C0", "C1", "C2"), strict=True):
    ax.axvline(threshold, color=color, label=f"{name}: {np.mean(scores > threshold):.1%} above")
ax.set(xlabel="score of a new normal row", yticks=[])
ax.legend()
plt.show()

# %%
# With an `attack_radius` the promise holds for rows that an adversary has moved. A score rises by
# at most `lipschitz_constant_` times the radius, so the threshold is higher by as much.
detector.set_threshold("conformal", alpha=0.05, attack_radius=0.1)
rise = detector.threshold_ - conformal
print(f"attacks of size 0.1 raise the threshold by {rise:.3f}")
