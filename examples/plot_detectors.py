"""
Beside other detectors of PyOD
==============================

The same rows, four detectors. Only the scores of LipOCC have a unit and a proven bound.
"""

import numpy as np
from matplotlib import pyplot as plt
from pyod.models.iforest import IForest
from pyod.models.knn import KNN
from pyod.models.ocsvm import OCSVM

from pyod_lipocc import LipOCC
from pyod_lipocc.datasets import load_toy
from pyod_lipocc.plotting import plot_contours

rng = np.random.default_rng(0)
X = np.vstack([load_toy("two-moons", 475, random_state=0), rng.uniform(-2, 3, (25, 2))])
detectors = [
    LipOCC(contamination=0.05, random_state=0),
    KNN(contamination=0.05),
    OCSVM(contamination=0.05),
    IForest(contamination=0.05, random_state=0),
]

# %%
# Each line is a level of the score, each red line the threshold.
figure, axes = plt.subplots(2, 2, figsize=(8, 6), layout="constrained")
for ax, detector in zip(axes.flat, detectors, strict=True):
    detector.fit(X)
    plot_contours(
        lambda z, d=detector: d.threshold_ - d.decision_function(z),
        (-2, 3, -2, 2.5),
        X=X,
        resolution=120,
        ax=ax,
    )
    ax.set_title(type(detector).__name__)
plt.show()
