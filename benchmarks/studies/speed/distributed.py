"""Fitting and scoring of Parquet files on local workers: rows a second and peak memory."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import dask.dataframe as dd
import numpy as np
import pandas as pd
import psutil
from distributed import Client, LocalCluster

from benchmarks.report.tables import markdown
from benchmarks.studies.speed.question import Question, Rows
from benchmarks.studies.speed.timing import Effort
from pyod_lipocc.dask import LipOCC

MIB = 2**20
FEATURES = 20
QUICK_ROWS = 2_000
PARTITIONS = 40
LIMIT = 2048 * MIB  # of the memory of a worker
WORKERS = (1, 2)


def write(folder: Path, n: int) -> None:
    """Write n rows of normal numbers, a file for each partition."""
    rng = np.random.default_rng(0)
    for part in range(PARTITIONS):
        frame = pd.DataFrame(rng.normal(size=(n // PARTITIONS, FEATURES)))
        frame.columns = frame.columns.astype(str)
        frame.to_parquet(folder / f"{part:03d}.parquet")


@contextmanager
def watched(processes: list[psutil.Process], peaks: list[int]) -> Iterator[None]:
    """Keep the largest resident memory of each process."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            for i, process in enumerate(processes):
                peaks[i] = max(peaks[i], process.memory_info().rss)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def run(effort: Effort, folder: Path, n: int, workers: int) -> dict[str, object]:
    """Fit and score once with some workers."""
    with (
        LocalCluster(
            n_workers=workers, threads_per_worker=1, memory_limit=LIMIT, dashboard_address=":0"
        ) as cluster,
        Client(cluster) as client,
    ):
        pids = [psutil.Process().pid, *client.run(lambda: psutil.Process().pid).values()]
        processes = [psutil.Process(pid) for pid in pids]
        # A first fit, of few rows, imports what is imported lazily.
        few = dd.read_parquet(folder / "000.parquet").head(200, compute=False)
        LipOCC(random_state=0, max_iter=1).fit(few)
        client.run(lambda: __import__("pyod_lipocc.dask"))
        before = [process.memory_info().rss for process in processes]
        peaks = before.copy()
        detector = LipOCC(random_state=0, **({"max_iter": 2} if effort.quick else {}))
        with watched(processes, peaks):
            start = perf_counter()
            X = dd.read_parquet(folder)
            detector.fit(X)
            fitted = perf_counter()
            detector.decision_function(X).mean().compute()
            scored = perf_counter()
    return {
        "n": n,
        "workers": workers,
        "fit": fitted - start,
        "score": scored - fitted,
        "before": before,
        "peaks": peaks,
        "threshold": detector.threshold_,
    }


def measure(effort: Effort) -> Rows:
    """Fit and score files of a quarter of the rows, then of all."""
    n = QUICK_ROWS if effort.quick else effort.rows
    rows = []
    for size in (n // 4, n):
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), size)
            rows += [run(effort, Path(folder), size, workers) for workers in WORKERS]
    return rows


def text(rows: Rows) -> str:
    """Return the table of times and peaks."""
    seconds = {(row["n"], row["workers"]): row["fit"] + row["score"] for row in rows}
    lines = []
    for row in rows:
        growth = [(peak - low) / MIB for low, peak in zip(row["before"], row["peaks"], strict=True)]
        lines.append(
            [
                f"{row['n']:,} x {FEATURES}",
                str(row["workers"]),
                f"{row['fit']:.1f}",
                f"{row['score']:.1f}",
                f"{seconds[row['n'], 1] / seconds[row['n'], row['workers']]:.2f}",
                f"{row['n'] * FEATURES * 8 / MIB:,.0f}",
                f"{growth[0]:,.0f}",
                f"{max(growth[1:]):,.0f}",
            ]
        )
    header = [
        *("rows x features", "workers", "fit, s", "score, s", "times as fast as 1 worker"),
        *("data, MiB", "growth of the client, MiB", "growth of a worker, MiB"),
    ]
    least, most = min(row["n"] for row in rows), max(row["n"] for row in rows)
    held = max(before for row in rows for before in row["before"][1:])
    slope = np.log(seconds[most, 1] / seconds[least, 1]) / np.log(most / least)
    return (
        f"`pyod_lipocc.dask.LipOCC` on {PARTITIONS} Parquet files, by processes of one thread on "
        "this machine. Times are of the clock, once;\nother work on the machine lengthens them. "
        f"Each worker may use {LIMIT // MIB:,} MiB, and held\n{held / MIB:,.0f} before the fit. "
        f"Of one worker, seconds ~ n^**{slope:.2f}**.\n\n" + markdown([header, *lines])
    )


QUESTION = Question("Parquet files on local workers", measure, text)
