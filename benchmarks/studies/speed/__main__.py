"""Answer questions about speed: the answers go into speed.json, and the page speed.md shows them.

python -m benchmarks.studies.speed                  # all
python -m benchmarks.studies.speed scoring scaling  # some; earlier answers to the others stay
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import RESULTS
from benchmarks.benchmark_utils.measure import limited_threads
from benchmarks.studies.speed import (
    detectors,
    distributed,
    memory,
    operators,
    ranks,
    scaling,
    scoring,
    training_step,
)
from benchmarks.studies.speed.timing import Effort, machine

# in the order of the page
QUESTIONS = {
    "training_step": training_step.QUESTION,
    "scoring": scoring.QUESTION,
    "detectors": detectors.QUESTION,
    "scaling": scaling.QUESTION,
    "memory": memory.QUESTION,
    "operators": operators.QUESTION,
    "distributed": distributed.QUESTION,
    "ranks": ranks.QUESTION,
}
HEADER = """\
# Speed

Made by `make speed`; `python -m benchmarks.studies.speed --sections NAME` measures a section again.
One process has one thread, and the contestants of a table take turns. Times are those of the
processor, which other work on the machine does not lengthen: minimum over the rounds, and median in
brackets. Every timing is in [speed.json](speed.json).
"""


def section(name: str, answer: dict[str, Any]) -> str:
    """Return the part of the page that answers one question."""
    question = QUESTIONS[name]
    made = ", ".join(f"{key} {value}" for key, value in answer["made"].items())
    text = question.text(answer["rows"])
    return f"\n## {question.title}\n\n{text}\n`{name}`: {made}.\n"


def main(argv: Sequence[str] | None = None) -> None:
    """Ask the questions and write the page, with the earlier answers to the others."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sections", nargs="+", default=[*QUESTIONS], choices=QUESTIONS)
    parser.add_argument("--repeats", type=int, default=7, help="rounds")
    parser.add_argument("--budget", type=float, default=120.0, help="seconds, a competitor's fit")
    parser.add_argument("--rows", type=int, default=10_000_000, help="of the largest Parquet files")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see the studies run")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder")
    effort = parser.parse_args(argv, namespace=Effort())
    effort.output.mkdir(parents=True, exist_ok=True)
    file = effort.output / "speed.json"
    answers = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for name in effort.sections:
        with limited_threads(1):
            rows = QUESTIONS[name].measure(effort)
        made = machine() | {"rounds": effort.repeats} | ({"quick": True} if effort.quick else {})
        answers[name] = {"made": made, "rows": rows}
        # after each question: a run that is cut short loses nothing
        file.write_text(json.dumps(answers, indent=1) + "\n", encoding="utf-8")
        if QUESTIONS[name].draw is not None:
            QUESTIONS[name].draw(rows, effort.output)
        print(section(name, answers[name]))
    sections = (section(name, answers[name]) for name in QUESTIONS if name in answers)
    page = effort.output / "speed.md"
    page.write_text(HEADER + "".join(sections), encoding="utf-8")


if __name__ == "__main__":
    main()
