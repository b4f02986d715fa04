"""What a type checker tells a user: nothing where all is right, something of every slip."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[1]

RIGHT = """
detector = LipOCC(contamination=0.05, novelty=True, network=partial(dense, hidden=(8, 8)),
                  domain=Ball(5.0), margin=0.1, learning_rate=1e-3).fit(X)
score: float = float(detector.decision_function(X)[0])
detector.set_threshold(contamination=0.02).set_threshold("boundary").set_threshold(0.3)
detector.partial_fit(X).certified_radius(X, units="scaled")
LipOCC.load("detector").set_params(margin=0.2).predict_proba(X, method="unify")
points, distance, bound = detector.counterfactual(X, return_distance=True)
scores = detector.to_torch()(torch.zeros(1, 2))
"""

WRONG = """
detector.decison_function(X)
detector.certified_radii(X)
detector.fit(X).lables_
LipOCC(threshold="percentile")
LipOCC(network="nearest-subspaces")
LipOCC(optimizer="sgd")
LipOCC(margin="automatic")
LipOCC(contamintion=0.1)
LipOCC(n_newton_steps="four")
detector.set_threshold("bondary")
detector.certified_radius(X, units="inputs")
detector.predict_proba(X, method="lin")
pgd_l2(torch.sum, torch.zeros(1, 2), 0.1, direction="up")
"""

IMPORTS = """
from functools import partial
import numpy as np
import torch
from pyod_lipocc import LipOCC
from pyod_lipocc.attacks import pgd_l2
from pyod_lipocc.domains import Ball
from pyod_lipocc.lipschitz import dense
X = np.zeros((10, 2))
"""


def test_slips_are_errors_and_nothing_else_is(tmp_path):
    """In the folder of `make lint`, whose cache knows the package and torch."""
    script = tmp_path / "script.py"
    script.write_text(IMPORTS + RIGHT + WRONG)
    run = subprocess.run(
        [sys.executable, "-m", "mypy", str(script)],
        env={"PATH": ""},
        capture_output=True,
        text=True,
        cwd=PACKAGE,
    )
    lines = script.read_text().splitlines()
    found = [
        lines[int(line.split(":")[1]) - 1]
        for line in run.stdout.splitlines()
        if "script.py:" in line and ": error:" in line
    ]
    assert found == WRONG.strip().splitlines(), run.stdout + run.stderr
