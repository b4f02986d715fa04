"""
Which features make a row abnormal
==================================

The contributions of the features sum to the signed distance: they have its unit.
"""

from matplotlib import pyplot as plt
from sklearn.datasets import load_breast_cancer

from pyod_lipocc import LipOCC
from pyod_lipocc.plotting import plot_explanation

data = load_breast_cancer()
benign, malignant = data.data[data.target == 1], data.data[data.target == 0]
detector = LipOCC(novelty=True, random_state=0).fit(benign)

row = malignant[:1]
contributions = detector.explain(row)[0]
distance = detector.signed_distance(row)[0]
print(f"signed distance {distance:.3f}, sum of the contributions {contributions.sum():.3f}")

# %%
# Red bars pull the tumour out of the benign ones. Units: standard deviations of the benign rows.
figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
plot_explanation(contributions, feature_names=list(data.feature_names), ax=ax)
ax.set_title("a malignant tumour, trained on benign ones")
plt.show()

# %%
# The same row with the least change that would make it normal.
nearest = detector.counterfactual(row)[0]
change = (nearest - row[0]) / benign.std(axis=0)
for index in abs(change).argsort()[::-1][:4]:
    name, old, new = data.feature_names[index], row[0, index], nearest[index]
    print(f"{name}: {old:.4g} would have to be {new:.4g}")
