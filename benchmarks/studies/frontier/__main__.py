"""Measure the frontier of accuracy, then write its page.

Each set and split is one file under ``benchmarks/outputs/frontier``. A file that is there is not
measured again: a run that was killed goes on where it was. The page and its figure follow from the
files alone.

    python -m benchmarks.studies.frontier              # half an hour on one core
    python -m benchmarks.studies.frontier --page-only  # measures nothing
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from benchmarks import OUTPUTS, RESULTS
from benchmarks.benchmark_utils.measure import limited_threads
from benchmarks.studies import save_arrays
from benchmarks.studies.frontier import records
from benchmarks.studies.frontier.page import write_page


def measure_missing(folder: Path, splits: Sequence[int]) -> None:
    """Measure what no file holds yet."""
    jobs = list(itertools.product(records.PROTOCOLS, splits, records.SETS))
    for protocol, split, name in tqdm(jobs, disable=None):
        path = records.path_of(folder, protocol, name, split)
        if not records.is_current(path):
            data = records.load(protocol, name, split)
            save_arrays(path, **records.measure(data, split))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=Path, default=OUTPUTS / "frontier")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder")
    parser.add_argument(
        "--splits", nargs="+", type=int, default=records.SPLITS, choices=records.SPLITS
    )
    parser.add_argument("--page-only", action="store_true", help="measure nothing")
    arguments = parser.parse_args(argv)
    with limited_threads(1):
        if not arguments.page_only:
            measure_missing(arguments.runs, arguments.splits)
        print(write_page(arguments.runs, arguments.output))


if __name__ == "__main__":
    main()
