"""Where the time of a training step goes, operator by operator."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.report.tables import markdown
from benchmarks.studies.speed.question import Question, Rows
from benchmarks.studies.speed.timing import Effort
from pyod_lipocc.domains import Box
from pyod_lipocc.lipschitz import dense
from pyod_lipocc.sampler import newton_raphson
from pyod_lipocc.stiefel import StiefelAdam
from pyod_lipocc.training import Callback

TOP = 12
TRAINING, SAMPLER, OPTIMIZER = "training", "Algorithm 1", "optimiser"
PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::addbmm", "aten::addmv")
CONVOLUTIONS = ("aten::mkldnn_convolution", "aten::convolution_backward")

QUICK_CASES = {"quick": ((100, 2), {"network": partial(dense, hidden=(8,))}, 2)}
CASES = {
    "default network, 2,000 x 20": ((2_000, 20), {}, 100),
    "2-512x4-1, batch 256, T 4": (
        (2_000, 2),
        {"network": partial(dense, hidden=(512,) * 4), "n_newton_steps": 4},
        20,
    ),
    "Table 2, width 128, batch 64, T 4": (
        (64, 784),
        {
            "network": "conv",
            "image_shape": (28, 28),
            "domain": Box(-5.0, 5.0),
            "batch_size": 64,
            "n_newton_steps": 4,
        },
        3,
    ),
}


class Profiled(Callback):
    """Profile the steps of a training, and nothing else of a fit."""

    def __init__(self) -> None:
        self.profiler = profile(activities=[ProfilerActivity.CPU])
        self.whole = record_function(TRAINING)

    def begin(self, max_iter: int, network: torch.nn.Module) -> None:
        """Start at the first step."""
        self.profiler.__enter__()
        self.whole.__enter__()

    def end(self) -> None:
        """Stop after the last."""
        self.whole.__exit__(None, None, None)
        self.profiler.__exit__(None, None, None)


def recorded(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that the profiler sees by name."""

    @wraps(work)
    def named(*args: Any, **kwargs: Any) -> Any:
        with record_function(name):
            return work(*args, **kwargs)

    return named


def adam(parameters: Any) -> StiefelAdam:
    """Return the default optimiser, seen by name."""
    optimizer = StiefelAdam(parameters)
    optimizer.step = recorded(OPTIMIZER, optimizer.step)
    return optimizer


def measure(effort: Effort) -> Rows:
    """Profile the training steps of fits through the public interface."""
    rows = []
    cases = QUICK_CASES if effort.quick else CASES
    for name, (shape, parameters, steps) in cases.items():
        X = np.random.default_rng(0).normal(size=shape)
        seen = {"sampler": recorded(SAMPLER, newton_raphson), "optimizer": adam}
        build = partial(effort.detector, **seen, **parameters)
        build(max_iter=3).fit(X)
        watch = Profiled()
        build(max_iter=steps, callbacks=[watch]).fit(X)
        operators = [
            {
                "operator": event.key,
                "own": event.self_cpu_time_total * 1e-6 / steps,
                "total": event.cpu_time_total * 1e-6 / steps,
                "calls": event.count / steps,
            }
            for event in watch.profiler.key_averages()
        ]
        rows.append({"case": name, "steps": steps, "operators": operators})
    return rows


def shares(operators: Rows) -> str:
    """Return a paragraph with the parts of a step."""
    total = sum(row["own"] for row in operators)

    def percent(seconds: float) -> str:
        return f"{100 * seconds / total:.0f} %"

    def own(*names: str) -> float:
        return sum(row["own"] for row in operators if row["operator"].startswith(names))

    inside = {row["operator"]: row["total"] for row in operators}
    sampler, optimizer = inside[SAMPLER], inside[OPTIMIZER]
    products, convolutions = own(*PRODUCTS), own(*CONVOLUTIONS)
    # these are regions, whose own time is Python's; torch adds one for Optimizer.step
    python = own(TRAINING, SAMPLER, OPTIMIZER, "Optimizer.")
    return (
        f"{1e3 * total:.2f} ms a step under the profiler: Algorithm 1 {percent(sampler)}, the "
        f"optimiser {percent(optimizer)}, loss, backward pass\nand the rest "
        f"{percent(total - sampler - optimizer)}. By kind: matrix products "
        f"{percent(products)}, convolutions {percent(convolutions)}, Python between operators "
        f"{percent(python)},\nall other operators "
        f"{percent(total - python - products - convolutions)}.\n\n"
    )


def text(rows: Rows) -> str:
    """Return a table for each network."""
    parts = []
    for row in rows:
        operators = sorted(row["operators"], key=lambda one: -one["own"])
        total = sum(one["own"] for one in operators)
        lines = [
            [
                f"`{one['operator']}`",
                f"{1e3 * one['own']:.3f}",
                f"{100 * one['own'] / total:.1f}",
                f"{one['calls']:.3g}",
            ]
            for one in operators[:TOP]
        ]
        header = ["operator", "own time, ms a step", "share, %", "calls a step"]
        parts.append(f"### {row['case']}\n\n{shares(operators)}{markdown([header, *lines])}")
    return (
        "Training steps of a fit under `torch.profiler`, which itself costs a few microseconds for "
        "each operator.\nIts clock is the one on the wall.\n\n" + "\n".join(parts)
    )


QUESTION = Question("Where the time of a training step goes", measure, text)
