"""What a second process brings: rows that two ranks train on, beside one, a core each."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter, process_time

import torch
import torch.distributed as dist

from benchmarks.report.tables import markdown
from benchmarks.studies.speed.question import Question, Rows
from benchmarks.studies.speed.timing import Effort, ratio
from benchmarks.studies.speed.training_step import CASES, QUICK_CASES, RATE, Case, Contest
from pyod_lipocc.distributed import ALONE, Ranks
from pyod_lipocc.domains import Ball
from pyod_lipocc.lipschitz import dense, parameter_groups
from pyod_lipocc.stiefel import StiefelAdam

SIZE = 2
DEFAULT = Case("20-128-128-128-1", dense, 20, Ball(5.0), 256, 4, 25)
LARGER_BATCH = replace(DEFAULT, batch_size=1024)
LONGER = 4  # times the steps of the study of one process: ranks also wait for each other


def join(rank: int, store: Path) -> None:
    """Become a rank, with a core and a thread of its own."""
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [sorted(os.sched_getaffinity(0))[rank]])
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=SIZE)


def steps(case: Case, ranks: Ranks) -> Callable[[], object]:
    """Return a function that takes the steps of one timing."""
    network = case.build(case.n_features)
    ranks.share(network)
    optimizer = StiefelAdam(parameter_groups(network), lr=RATE)
    return Contest(case).trained(network, optimizer, ranks)


def timed(case: Case, repeats: int) -> dict[str, list[float]]:
    """Time the steps of one rank, while the other waits, and those of both, in turn."""
    together = Ranks.of(None, torch.device("cpu"))
    one, both = steps(case, ALONE), steps(case, together)
    seconds: dict[str, list[float]] = {
        f"{work}, {clock}": [] for work in ("one", "both") for clock in ("elapsed", "processor")
    }
    for repeat in range(repeats + 1):
        for name, work in {"one": one, "both": both}.items():
            dist.barrier()
            if work is one and together.rank:
                continue
            started = perf_counter(), process_time()
            work()
            spent = perf_counter() - started[0], process_time() - started[1]
            if repeat:  # the first round warms up
                for clock, second in zip(("elapsed", "processor"), spent, strict=True):
                    seconds[f"{name}, {clock}"].append(second / case.steps)
    dist.barrier()
    return seconds


def measure(effort: Effort) -> Rows:
    """Time each case in two processes that all cases share."""
    cases = QUICK_CASES if effort.quick else (DEFAULT, LARGER_BATCH, *CASES[:3])
    rows = []
    with ExitStack() as stack:
        store = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "store"
        pool = partial(ProcessPoolExecutor, 1, get_context("spawn"), initializer=join)
        ranks = [stack.enter_context(pool(initargs=(rank, store))) for rank in range(SIZE)]
        for case in cases:
            longer = case if effort.quick else replace(case, steps=LONGER * case.steps)
            first, _ = [rank.submit(timed, longer, effort.repeats) for rank in ranks]
            setting = {"batch": case.batch_size, "T": case.n_newton_steps}
            rows.append({"network": case.name, **setting, "seconds a step": first.result()})
    return rows


def text(rows: Rows) -> str:
    """Return the table of rows a second."""
    lines = []
    for row in rows:
        seconds = row["seconds a step"]
        ratios = [
            ratio([SIZE * second for second in seconds[f"one, {clock}"]], seconds[f"both, {clock}"])
            for clock in ("elapsed", "processor")
        ]
        speeds = (
            row["batch"] / min(seconds["one, elapsed"]),
            SIZE * row["batch"] / min(seconds["both, elapsed"]),
        )
        setting = f"{row['batch']}, {row['T']}"
        lines.append([row["network"], setting, *(f"{speed:,.0f}" for speed in speeds), *ratios])
    header = [
        *("network", "batch of a rank, T", "one rank, rows/s", "two ranks, rows/s"),
        *("two / one", "of processor time alone"),
    ]
    return (
        "Rows that Algorithm 2 trains on in a second, as many negatives not counted: one process, "
        "and two ranks of a\ngloo group on one machine, each with a core and a thread. Here "
        "seconds are those of the clock, which other work\non the machine lengthens. The last "
        "column has those of the processor: it leaves the waiting for messages out,\n"
        "which is a larger part of a short step.\n\n" + markdown([header, *lines])
    )


QUESTION = Question("Two ranks", measure, text)
