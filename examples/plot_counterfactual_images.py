"""
The nearest image that would pass
=================================

Trained on the digit 3: another digit, the nearest image found on the boundary of the support, and
the difference of both.
"""

from matplotlib import pyplot as plt

from pyod_lipocc import LipOCC
from pyod_lipocc.datasets import load_digits_one_class
from pyod_lipocc.plotting import plot_images

data = load_digits_one_class(3)
detector = LipOCC(
    novelty=True,
    network="nearest-subspace",
    standardize=False,
    image_shape=data.image_shape,
    threshold="boundary",
    random_state=0,
).fit(data.X_train)

# %%
# The first ten images of other digits. Where both distances agree, the image is proven the nearest.
others = data.X_test[data.y_test == 1][:10].astype(float)
nearest, distance, bound = detector.counterfactual(others, return_distance=True)
print("distance to the boundary  ", distance.round(2))
print("no point of it is nearer  ", bound.round(2))

# %%
figure, axes = plt.subplots(3, 1, figsize=(7, 2.9), layout="constrained")
shown = {"row": others, "counterfactual": nearest, "difference": 0.5 + (nearest - others) / 2}
for ax, (name, images) in zip(axes, shown.items(), strict=True):
    plot_images(images, data.image_shape, n_columns=10, limits=(0.0, 1.0), ax=ax)
    ax.set_title(name, fontsize=9)
plt.show()
