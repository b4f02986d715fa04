"""How close scoring comes to the speed of its matrix products."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.report.tables import markdown
from benchmarks.studies.speed.question import Question, Rows
from benchmarks.studies.speed.timing import Effort, interleaved, ratio, span
from pyod_lipocc.lipschitz import dense

N_FEATURES = 784
HIDDEN = (512, 512)
SHAPES = tuple(zip((N_FEATURES, *HIDDEN), (*HIDDEN, 1), strict=True))
CHUNKS = (256, 1024, 4096)


def products(x: Tensor, chunk: int) -> Callable[[], None]:
    """Return the network's matrix products alone, into allocated memory."""
    weights = [torch.randn(wide, narrow, dtype=x.dtype) for wide, narrow in SHAPES]
    outputs = [torch.empty(chunk, narrow, dtype=x.dtype) for _, narrow in SHAPES]

    def multiply() -> None:
        for rows in x.split(chunk):
            z = rows
            for weight, output in zip(weights, outputs, strict=True):
                z = torch.mm(z, weight, out=output[: len(rows)])

    return multiply


def forward(network: nn.Module, x: Tensor, chunk: int) -> Callable[[], None]:
    """Return the network's forward pass alone."""

    def score() -> None:
        with torch.inference_mode():
            for rows in x.split(chunk):
                network(rows)

    return score


def measure(effort: Effort) -> Rows:
    """Time `decision_function`, the network in both precisions, and their matrix products."""
    X = np.random.default_rng(0).normal(size=(512 if effort.quick else 16384, N_FEATURES))
    detector = effort.detector(network=partial(dense, hidden=HIDDEN), max_iter=1).fit(X[:300])
    x = torch.from_numpy(X)
    single = copy.deepcopy(detector.network_).float()
    contestants = {"decision_function, float64": lambda: detector.decision_function(X)}
    for chunk in CHUNKS:
        contestants |= {
            f"network, float64, {chunk}": forward(detector.network_, x, chunk),
            f"products, float64, {chunk}": products(x, chunk),
            f"network, float32, {chunk}": forward(single, x.float(), chunk),
            f"products, float32, {chunk}": products(x.float(), chunk),
        }
    seconds = interleaved(contestants, effort.repeats)
    return [{"n": len(X), "what": name, "seconds": values} for name, values in seconds.items()]


def text(rows: Rows) -> str:
    """Return the table of shares of the roofline."""
    n = rows[0]["n"]
    seconds = {row["what"]: row["seconds"] for row in rows}

    def fastest(start: str) -> list[float]:
        return min((v for name, v in seconds.items() if name.startswith(start)), key=min)

    gflop = 2e-9 * n * sum(wide * narrow for wide, narrow in SHAPES)
    lines = []
    for what, precision in (
        ("decision_function", "float64"),
        ("network", "float64"),
        ("network", "float32"),
    ):
        roof, taken = fastest(f"products, {precision}"), fastest(f"{what}, {precision}")
        lines.append(
            [
                f"`{what}`" if "_" in what else what,
                precision,
                f"{n / min(taken):,.0f}",
                f"{gflop / min(taken):.1f}",
                f"{gflop / min(roof):.1f}",
                ratio(roof, taken),
            ]
        )
    header = ["what", "precision", "rows/s", "GFLOP/s", "GFLOP/s of the products", "share"]
    return (
        f"784-512-512-1, {n:,} rows. The roofline is the three matrix products alone, into "
        f"allocated memory, at the best of\n{CHUNKS} rows at a time. `decision_function` is the "
        "public call, which also checks and scales the rows\n"
        f"({span(fastest('decision_function'))} s).\n\n" + markdown([header, *lines])
    )


QUESTION = Question("Scoring against the matrix products", measure, text)
