"""
Negatives: proposals, and what the sampler makes of them
========================================================

A one-class learner has no second class. Training draws proposals Q0; of tables, Newton-Raphson
steps move these towards the boundary (Algorithm 1).
"""

import torch
from matplotlib import pyplot as plt

from pyod_lipocc import LipOCC
from pyod_lipocc.datasets import load_digits_one_class, load_toy
from pyod_lipocc.domains import Box
from pyod_lipocc.negatives import (
    CutPaste,
    Erase,
    ImageAugmentation,
    LocalNoise,
    Overlay,
    PatchShuffle,
    Rotate,
    Warp,
    shuffled_marginals,
)
from pyod_lipocc.negatives import uniform as uniform_negatives
from pyod_lipocc.plotting import plot_contours, plot_images
from pyod_lipocc.sampler import newton_raphson

# %%
# Tables: points of the domain, noise around the rows, rows whose features are shuffled. Arrows show
# the way of each proposal to the level -m.
X = load_toy("two-moons", 1000, random_state=0)
detector = LipOCC(novelty=True, standardize=False, random_state=0).fit(X)
score, margin = detector.to_torch(), detector.margin_
rows, generator = torch.from_numpy(X[:60]), torch.Generator().manual_seed(0)
proposals = {
    "uniform": uniform_negatives,
    "noise": LocalNoise(margin, 100 * margin),
    "shuffled": shuffled_marginals,
}
figure, axes = plt.subplots(1, 3, figsize=(10, 3.2), layout="constrained")
for ax, (name, propose) in zip(axes, proposals.items(), strict=True):
    start = propose(rows, detector.domain_, generator)
    end = newton_raphson(
        lambda z: margin - score(z),
        start,
        domain=detector.domain_,
        margin=margin,
        n_steps=4,
        generator=generator,
    )
    plot_contours(detector.signed_distance, (-2, 3, -1.5, 2), resolution=150, ax=ax)
    ax.quiver(*start.T, *(end - start).T, angles="xy", scale_units="xy", scale=1, width=0.004)
    ax.set_title(name)
plt.show()

# %%
# Images: edits that leave the strokes and break the digit. The default has an equal share of each,
# and moves none.
data = load_digits_one_class(3)
shape, images = data.image_shape, torch.from_numpy(data.X_train[:10])
box = Box(0.0, 1.0).expand(images.shape[1]).to(images.dtype)
edits = {
    "turned or flipped": ImageAugmentation(shape, mixing=(1.0, 1.0)),
    "pasted": CutPaste(shape),
    "shuffled": PatchShuffle(shape, grid=4),
    "warped": Warp(shape),
    "rotated": Rotate(shape),
    "erased": Erase(shape),
    "overlaid": Overlay(shape),
}
figure, axes = plt.subplots(len(edits) + 1, 1, figsize=(7, 7.4), layout="constrained")
plot_images(images, shape, n_columns=10, limits=(0, 1), ax=axes[0])
axes[0].set_title("training images", fontsize=9)
for ax, (name, edit) in zip(axes[1:], edits.items(), strict=True):
    plot_images(edit(images, box, generator), shape, n_columns=10, limits=(0, 1), ax=ax)
    ax.set_title(name, fontsize=9)
plt.show()
