"""Measure the frontier of accuracy: what certified functions and their sums reach.

Each set and split is one file under ``benchmarks/outputs/frontier``; one that is there is not
measured again, so a run that was killed goes on where it was. The page and its figure follow from
the files alone.

    python benchmarks/frontier.py              # half an hour on one core
    python benchmarks/frontier.py --page-only  # measures nothing
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

import frontier_data
from benchmark_utils import limited_threads
from frontier_data import FOLDER, PROTOCOLS, SETS, SPLITS
from frontier_page import write_page


def measure_missing(folder: Path, splits: Sequence[int]) -> None:
    """Measure what no file holds yet."""
    jobs = list(itertools.product(PROTOCOLS, splits, SETS))
    for protocol, split, name in tqdm(jobs, disable=None):
        path = frontier_data.path_of(folder, protocol, name, split)
        if not frontier_data.is_current(path):
            data = frontier_data.load(protocol, name, split)
            frontier_data.write(path, frontier_data.measure(data, split))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=Path, default=FOLDER / "outputs" / "frontier")
    parser.add_argument("--output", type=Path, default=FOLDER / "results", help="folder")
    parser.add_argument("--splits", nargs="+", type=int, default=SPLITS, choices=SPLITS)
    parser.add_argument("--page-only", action="store_true", help="measure nothing")
    arguments = parser.parse_args(argv)
    with limited_threads(1):
        if not arguments.page_only:
            measure_missing(arguments.runs, arguments.splits)
        print(write_page(arguments.runs, arguments.output))


if __name__ == "__main__":
    main()
