from __future__ import annotations

import json

import pytest
import torch

pytest.importorskip("psutil", reason='needs the extra "benchmarks"')
from benchmarks.studies.speed import __main__ as speed
from benchmarks.studies.speed import scaling, timing, training_step


# memory and ranks start processes, detectors fits a hundred epochs: all are for the full run
def test_sections_are_on_one_page_and_earlier_answers_stay(tmp_path):
    command = ["--quick", "--repeats", "1", "--output", str(tmp_path), "--sections"]
    asked = ["training_step", "scoring", "scaling", "operators"]
    speed.main([*command, *asked[:2]])
    speed.main([*command, *asked[2:]])
    answers = json.loads((tmp_path / "speed.json").read_text(encoding="utf-8"))
    assert list(answers) == asked
    text = (tmp_path / "speed.md").read_text(encoding="utf-8")
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert len(headings) == len(asked)
    assert "quick" in text
    assert (tmp_path / "speed-scaling.png").stat().st_size > 0


def test_contestants_take_turns():
    order: list[str] = []
    contestants = {name: (lambda name=name: order.append(name)) for name in "ab"}
    seconds = timing.interleaved(contestants, 2)
    assert order == ["a", "b"] * 3
    assert [len(values) for values in seconds.values()] == [2, 2]


def test_ratios_are_of_minima_and_of_medians():
    assert timing.ratio([4.0, 2.0, 9.0], [1.0, 8.0, 4.0]) == "2.00 (1.00)"
    assert timing.span([0.004, 0.002, 0.009], 1e-3) == "2 (4)"


def test_slope_is_the_exponent():
    rows = [{"size": size, "fit": [3.0 * size**1.5]} for size in (10, 100, 1000)]
    assert scaling.slope(rows, "fit") == pytest.approx(1.5)


def test_unconstrained_network_has_the_same_layers_and_weights_without_the_constraint():
    for case in training_step.CASES[:3]:
        network = case.build(case.n_features)
        free = training_step.rebuilt(network, training_step.UNCONSTRAINED)
        sizes = sorted(weight.numel() for weight in free.parameters())
        assert sizes == sorted(weight.numel() for weight in network.parameters())
        x = torch.rand(2, case.n_features)
        assert free(x).shape == network(x).shape == (2, 1)
        kinds = {type(module).__name__ for module in free.modules()}
        assert not kinds & {"OrthogonalLinear", "ReshapedConv2d"}
