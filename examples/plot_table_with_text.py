"""
A table with text and missing values
====================================

LipOCC takes finite numbers. scikit-learn turns text and gaps into numbers, in the same pipeline.
"""

import io

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from pyod_lipocc import LipOCC

# %%
# A file of orders. Some amounts are missing, and five orders are odd.
rng = np.random.default_rng(0)
orders = pd.DataFrame(
    {
        "amount": rng.gamma(4.0, 25.0, 600),
        "items": rng.integers(1, 8, 600),
        "country": rng.choice(["DE", "FR", "IT"], 600, p=[0.6, 0.3, 0.1]),
    }
)
orders.loc[rng.choice(595, 30, replace=False), "amount"] = np.nan
orders.loc[595:, "amount"] = [950.0, 5.0, 870.0, 700.0, 820.0]
orders.loc[595:, "items"] = [1, 40, 2, 30, 1]
file = io.StringIO(orders.to_csv(index=False))

# %%
table = pd.read_csv(file)
numbers = table.select_dtypes("number").columns
prepared = make_column_transformer(
    (SimpleImputer(strategy="median"), list(numbers)),
    (OneHotEncoder(sparse_output=False, handle_unknown="ignore"), ["country"]),
    verbose_feature_names_out=False,
).set_output(transform="pandas")
pipeline = make_pipeline(prepared, LipOCC(contamination=0.01, random_state=0)).fit(table)

# %%
# The labelled rows.
table["score"] = pipeline.decision_function(table)
table["label"] = pipeline.predict(table)
print(table.nlargest(6, "score"))

# %%
detector = pipeline[-1]
figure, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
points = ax.scatter(table["amount"], table["items"], c=table["score"], cmap="viridis", s=12)
odd = table[table["label"] == 1]
ax.scatter(odd["amount"], odd["items"], s=80, facecolors="none", edgecolors="red")
ax.set(xlabel="amount", ylabel="items", title="label 1 is circled")
figure.colorbar(points, label="score")
plt.show()

# %%
# ``detector.report("report.html", prepared.transform(table))`` writes one page about these rows.
