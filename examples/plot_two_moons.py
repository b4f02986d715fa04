"""
Two moons: distances, certified balls, a counterfactual
=======================================================

A detector learns from 1,000 rows, all of them normal. Its score is a distance, so each label comes
with a ball in which it cannot change, and each outlier with the nearest point that is none.

``python examples/plot_two_moons.py two-moons.png`` saves the picture.
"""

import sys

import numpy as np
from matplotlib import pyplot as plt

from pyod_lipocc import LipOCC
from pyod_lipocc.datasets import load_toy
from pyod_lipocc.plotting import plot_contours

# %%
# The moons are features that share a unit: ``standardize=False`` keeps it. In up to 5 features
# ``network="inscribed-balls"`` knows how deep inside the support a point is.
X = load_toy("two-moons", 1000, random_state=0)
detector = LipOCC(
    novelty=True,
    network="inscribed-balls",
    standardize=False,
    threshold="boundary",
    random_state=0,
).fit(X)

# %%
# Two rows inside, three outside. No attack that stays in its ball changes the label of a row: this
# is proven. The balls end at the boundary, so the proof gives nothing away here.
rows = np.array([[-0.85, 0.5], [1.74, -0.18], [0.5, 1.35], [-0.6, -0.45], [2.4, -0.1]])
radii = detector.certified_radius(rows)
for row, label, radius in zip(rows, detector.predict(rows), radii, strict=True):
    print(f"{row}: label {label}, certified within {radius:.2f}")

# %%
# The counterfactual of an outlier is the nearest point found on the boundary.
nearest, distance, bound = detector.counterfactual(rows[-1:], return_distance=True)
print(f"distance {distance[0]:.2f}; no point of the boundary is nearer than {bound[0]:.2f}")

# %%
# The lines are level sets of the learned signed distance, the red line its zero.
levels = np.linspace(-0.6, 0.6, 25)
figure, ax = plt.subplots(figsize=(7.5, 4.6), layout="constrained")
plot_contours(detector.signed_distance, (-1.7, 2.9, -1.1, 1.75), X=X, levels=levels, ax=ax)
for row, radius in zip(rows, radii, strict=True):
    ax.add_patch(plt.Circle(row, radius, fill=False, color="black", linewidth=1.4))
ax.plot(*rows.T, "o", color="black", markersize=5)
ax.annotate("", nearest[0], rows[-1], arrowprops={"arrowstyle": "->", "linewidth": 1.6})
ax.annotate("counterfactual", rows[-1], (-36, -16), textcoords="offset points", fontsize=9)
ax.set(xticks=[], yticks=[])
for path in sys.argv[1:]:
    figure.savefig(path, dpi=100)
plt.show()
