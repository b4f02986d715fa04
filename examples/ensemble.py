"""LipOCC beside other PyOD detectors: scores combined, and bagged over features."""

import numpy as np
from _extras import require
from pyod.models.iforest import IForest
from pyod.models.knn import KNN
from pyod.utils.data import evaluate_print, generate_data
from pyod.utils.utility import standardizer

from pyod_lipocc import LipOCC

# Both modules import combo, which PyOD does not install.
average = require("pyod.models.combination", extra="ensembles").average
FeatureBagging = require("pyod.models.feature_bagging", extra="ensembles").FeatureBagging

if __name__ == "__main__":
    X_train, X_test, _, y_test = generate_data(
        n_train=500, n_test=300, n_features=8, contamination=0.1, random_state=0
    )
    detectors = {
        "LipOCC": LipOCC(random_state=0, verbose=1),
        "IForest": IForest(random_state=0),
        "KNN": KNN(),
        "FeatureBagging(LipOCC)": FeatureBagging(LipOCC(), n_estimators=3, random_state=0),
    }
    scores = []
    for name, detector in detectors.items():
        detector.fit(X_train)
        scores.append(detector.decision_function(X_test))
        evaluate_print(name, y_test, scores[-1])

    evaluate_print("average of all", y_test, average(standardizer(np.column_stack(scores))))
