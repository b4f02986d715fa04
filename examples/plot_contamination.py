"""
Clean or contaminated training rows
===================================

One parameter matters most: whether the training rows are clean. Here a tenth of them are outliers,
half of these in a clump.
"""

import numpy as np
from matplotlib import pyplot as plt
from sklearn.metrics import roc_auc_score

from pyod_lipocc import LipOCC
from pyod_lipocc.datasets import load_toy
from pyod_lipocc.plotting import plot_contours

rng = np.random.default_rng(0)
normal = load_toy("two-blobs", 900, random_state=0)
scattered, clump = rng.uniform(-6, 6, (50, 2)), rng.normal((4, -4), 0.4, (50, 2))
X, y = np.vstack([normal, scattered, clump]), np.repeat([0, 1], [900, 100])

# %%
# ``novelty=True`` takes all rows for normal: the support reaches out to the outliers.
# ``contamination=0.1``, PyOD's convention, says that a tenth may be outliers: rows that look like
# outliers lose their say.
detectors = {
    "novelty=True": LipOCC(novelty=True, random_state=0),
    "contamination=0.1": LipOCC(contamination=0.1, random_state=0),
}
figure, axes = plt.subplots(1, 2, figsize=(9, 4.4), layout="constrained")
for ax, (name, detector) in zip(axes, detectors.items(), strict=True):
    detector.fit(X)
    auc = roc_auc_score(y, detector.decision_scores_)
    plot_contours(lambda z, d=detector: d.threshold_ + d.signed_distance(z), (-6, 6, -6, 6), ax=ax)
    ax.scatter(*X.T, s=6, c=np.where(y, "black", "gold"))
    ax.set_title(f"{name}: ROC AUC {auc:.3f}")
plt.show()

# %%
# Red lines are where labels change. Black points are the outliers. The scores of the training rows
# are those of rows as if they were new, so ``decision_scores_`` ranks even memorised rows honestly.
