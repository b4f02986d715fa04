"""Write the tables and figures of ``benchmarks/results`` from what benchopt has measured.

A CSV file keeps the runs of each protocol, and newer runs update it. The page and the figures of
the protocol follow from that file alone: they can be made again where nothing was run.

    python -m benchmarks.report
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks import OUTPUTS, RESULTS
from benchmarks.report.pages import PROTOCOLS, write
from benchmarks.report.runs import read_benchopt


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder")
    parser.add_argument(
        "--runs", type=Path, nargs="*", help="parquet files, oldest first; default: all outputs"
    )
    arguments = parser.parse_args(argv)
    files = arguments.runs
    if files is None:
        files = sorted(OUTPUTS.glob("*.parquet"), key=lambda f: f.stat().st_mtime)
    measured = [read_benchopt(file) for file in files]
    arguments.output.mkdir(parents=True, exist_ok=True)
    for protocol in PROTOCOLS:
        if write(protocol, measured, arguments.output):
            print(arguments.output / f"{protocol.name}.md")


if __name__ == "__main__":
    main()
