"""Novelty detection: learn from normal rows, label new ones by the boundary S = 0."""

import numpy as np

from pyod_lipocc import LipOCC
from pyod_lipocc.datasets import load_toy

if __name__ == "__main__":
    rng = np.random.default_rng(0)
    normal = load_toy("two-moons", 1000, random_state=0)
    unseen = load_toy("two-moons", 500, random_state=1)
    novel = rng.uniform(-3, 3, size=(500, 2))

    detector = LipOCC(novelty=True, threshold="boundary", random_state=0, verbose=1)
    detector.fit(normal)

    print(f"threshold_                      {detector.threshold_}")
    print(f"unseen normal rows labelled 1   {detector.predict(unseen).mean():.3f}")
    print(f"rows from the square labelled 1 {detector.predict(novel).mean():.3f}")

    farthest = novel[np.argmin(detector.signed_distance(novel))]
    print(f"the most novel row {farthest.round(2)}: {detector.signed_distance([farthest])[0]:.2f}")
