"""
Watching a training
===================

The paper's dense network learns the signed distance from scratch. `history_` keeps every step.
"""

from functools import partial

from matplotlib import pyplot as plt

from pyod_lipocc import LipOCC
from pyod_lipocc.callbacks import EarlyStopping
from pyod_lipocc.datasets import load_toy
from pyod_lipocc.lipschitz import dense
from pyod_lipocc.plotting import plot_contours, plot_history

X = load_toy("two-moons", 1000, random_state=0)
detector = LipOCC(
    novelty=True,
    network=partial(dense, hidden=(64, 64, 64)),
    margin=0.05,
    max_iter=500,
    standardize=False,
    callbacks=[EarlyStopping(patience=100)],
    random_state=0,
).fit(X)
print(f"{detector.n_iter_} steps")

# %%
# Recall: the share of the data inside. False positives: the share of the negatives inside. The
# gradient norm at the negatives is 1 for a signed distance.
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
plot_history(detector.history_, ax=left)
plot_contours(
    detector.signed_distance,
    (-2, 3, -1.5, 2),
    X=X,
    ax=right,
)
right.set_title("the signed distance learned")
plt.show()
