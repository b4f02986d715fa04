"""Deployment: a fitted detector in a file, loaded by a new process, and as an ONNX model."""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from _extras import require

from pyod_lipocc import LipOCC
from pyod_lipocc.datasets import load_digits_one_class

require("onnx", extra="onnx")
onnxruntime = require("onnxruntime", extra="onnx")

SCORE = """
import sys
import numpy as np
from pyod_lipocc import LipOCC
path, rows, scores = sys.argv[1:]
np.save(scores, LipOCC.load(path).decision_function(np.load(rows)))
"""

if __name__ == "__main__":
    data = load_digits_one_class(3)
    detector = LipOCC(novelty=True, threshold="boundary", random_state=0)
    detector.fit(data.X_train)
    expected = detector.decision_function(data.X_test)

    with tempfile.TemporaryDirectory() as folder:
        path, rows, scores = (Path(folder, name) for name in ("detector", "X.npy", "scores.npy"))
        detector.save(path)
        np.save(rows, data.X_test)
        subprocess.run([sys.executable, "-c", SCORE, path, rows, scores], check=True)
        print(f"a file of {path.stat().st_size / 2**20:.1f} MB")
        print(f"the same bits in a new process: {np.array_equal(np.load(scores), expected)}")

        model = Path(folder, "detector.onnx")
        detector.to_onnx(model, torch.float32)
        session = onnxruntime.InferenceSession(model)
        onnx_scores, onnx_labels = session.run(["scores", "labels"], {"X": data.X_test})
        print(f"ONNX Runtime, float32: scores within {abs(onnx_scores - expected).max():.1e}")
        agree = (onnx_labels == detector.predict(data.X_test)).mean()
        print(f"ONNX Runtime, float32: labels that agree {agree:.3f}")

    scorer = detector.to_torch()
    difference = abs(scorer(torch.from_numpy(data.X_test)).numpy() - expected).max()
    print(f"torch module: scores within {difference:.1e}")
