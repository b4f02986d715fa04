"""Peak memory of a fit and of scoring from a memory map, beyond what the data occupy."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import psutil

from benchmarks.benchmark_utils.measure import limited_threads
from benchmarks.report.tables import markdown
from benchmarks.studies.speed.question import Question, Rows
from benchmarks.studies.speed.timing import Effort

MIB = 2**20
INTERVAL = 1e-3  # seconds

FIT = (1_000_000, 32)
SCORE = (10_000_000, 16)
QUICK = (3_000, 4)


def own_memory(process: psutil.Process) -> int:
    """Return the resident bytes that no file holds; the system can drop those of a memory map."""
    info = process.memory_info()
    return info.rss - info.shared


def fit(effort: Effort, shape: tuple[int, int], file: Path) -> Callable[[], object]:
    """Return a default fit on rows in memory."""
    X = np.random.default_rng(0).normal(size=shape)
    return lambda: effort.detector().fit(X)


def score(effort: Effort, shape: tuple[int, int], file: Path) -> Callable[[], object]:
    """Return the scoring of rows on disk by a detector of default settings."""
    rng = np.random.default_rng(0)
    rows = np.lib.format.open_memmap(file, mode="w+", dtype=np.float64, shape=shape)
    for start in range(0, len(rows), 100_000):
        part = rows[start : start + 100_000]
        part[:] = rng.normal(size=part.shape)
    rows.flush()
    detector = effort.detector().fit(rng.normal(size=(1_000, shape[1])))
    return lambda: detector.decision_function(np.load(file, mmap_mode="r"))


TASKS = {"fit": (fit, FIT), "score": (score, SCORE)}


def child(pipe: Connection, name: str, effort: Effort, shape: tuple[int, int], file: Path) -> None:
    """Prepare, say so, do the work, say so."""
    with limited_threads(1):
        work = TASKS[name][0](effort, shape, file)
        pipe.send("ready")
        pipe.recv()
        work()
        pipe.send("done")


def peak(name: str, effort: Effort, shape: tuple[int, int]) -> int:
    """Return the growth of a new process's own memory during a task, watched from outside."""
    context = get_context("spawn")
    here, there = context.Pipe()
    with tempfile.TemporaryDirectory() as folder:
        arguments = (there, name, effort, shape, Path(folder) / "rows.npy")
        process = context.Process(target=child, args=arguments)
        process.start()
        there.close()
        here.recv()
        watched = psutil.Process(process.pid)
        before = highest = own_memory(watched)
        here.send("go")
        while not here.poll(INTERVAL):
            highest = max(highest, own_memory(watched))
        here.recv()
        process.join()
    return highest - before


def measure(effort: Effort) -> Rows:
    """Measure each task once: memory does not vary as time does."""
    rows = []
    for name, (_, full) in TASKS.items():
        shape = QUICK if effort.quick else full
        rows.append(
            {"what": name, "n": shape[0], "d": shape[1], "bytes": peak(name, effort, shape)}
        )
    return rows


def text(rows: Rows) -> str:
    """Return the table of peaks."""
    where = {"fit": "fit, rows in memory", "score": "`decision_function`, rows in a memory map"}
    lines = []
    for row in rows:
        data = row["n"] * row["d"] * 8
        lines.append(
            [
                where[row["what"]],
                f"{row['n']:,} x {row['d']}",
                f"{data / MIB:,.0f}",
                f"{row['bytes'] / MIB:,.0f}",
                f"{row['bytes'] / data:.2f}",
            ]
        )
    header = ["what", "rows x features", "data, MiB", "peak beyond the data, MiB", "ratio"]
    return (
        "The largest growth of the process's resident memory, pages of files aside, as another "
        "process sees it\nevery millisecond. The fit is the first in its process: its growth "
        "includes libraries that are loaded lazily,\nand the results, 8 bytes a row and array. "
        "Each is measured once.\n\n" + markdown([header, *lines])
    )


QUESTION = Question("Peak memory", measure, text)
