"""A report: one HTML page about a detector and about rows that it has not seen."""

import numpy as np
from sklearn.datasets import load_wine

from pyod_lipocc import LipOCC

if __name__ == "__main__":
    wine = load_wine()
    is_normal = wine.target == 0
    normal, others = wine.data[is_normal], wine.data[~is_normal]

    detector = LipOCC(novelty=True, random_state=0).fit(normal[:40])
    detector.report(
        "report.html", np.concatenate([normal[40:], others[:10]]), normal_rows=normal[:40]
    )
    print("Open report.html in a browser.")
