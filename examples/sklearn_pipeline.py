"""LipOCC at the end of a scikit-learn Pipeline, with a DataFrame, stored and loaded again."""

import pickle

from _extras import require
from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import RobustScaler

from pyod_lipocc import LipOCC

pd = require("pandas", extra="data")

if __name__ == "__main__":
    data = load_breast_cancer(as_frame=True)
    malignant = pd.Series(data.target == 0)
    benign = data.data[~malignant]

    pipeline = make_pipeline(
        RobustScaler(),
        PCA(n_components=10, random_state=0),
        LipOCC(contamination=0.05, random_state=0, verbose=1),
    )
    pipeline.fit(benign[:200])

    unseen = pd.concat([benign[200:], data.data[malignant]])
    is_malignant = malignant[unseen.index]
    scores = pipeline.decision_function(unseen)
    print(f"ROC AUC, malignant against unseen benign: {roc_auc_score(is_malignant, scores):.3f}")

    restored = pickle.loads(pickle.dumps(pipeline))
    print(
        "restored pipeline gives the same bits:",
        (restored.decision_function(unseen) == scores).all(),
    )
