"""Questions about speed, their answers in speed.json, and the page speed.md made of them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from timing import Effort, machine, one_thread

CONTENTS = ("training_step", "scoring", "detectors", "scaling", "memory", "operators")

RESULTS = Path(__file__).parents[1] / "results"
HEADER = """\
# Speed

Made by `python benchmarks/speed/run.py`; each section also by its own script. One process, one
thread; the contestants of a table take turns. Times are those of the processor, which other work on
the machine does not lengthen: minimum over the rounds, and median in brackets. Every timing is in
[speed.json](speed.json).
"""

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Question:
    """One section of the page; a script of `CONTENTS` has one as QUESTION.

    Attributes
    ----------
    title : str
    measure : callable
        Effort -> rows that JSON can hold.
    text : callable
        Rows -> markdown.
    draw : callable, optional
        (rows, folder) -> None: writes a figure.
    """

    title: str
    measure: Callable[[Effort], Rows]
    text: Callable[[Rows], str]
    draw: Callable[[Rows, Path], None] | None = None


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a markdown table, all columns but the first to the right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return (
        "\n".join("| " + " | ".join(map(str, row)) + " |" for row in [header, rule, *rows]) + "\n"
    )


def section(name: str, answer: dict[str, Any]) -> str:
    """Return the part of the page that one script has answered."""
    question: Question = import_module(name).QUESTION
    made = ", ".join(f"{key} {value}" for key, value in answer["made"].items())
    text = question.text(answer["rows"])
    return f"\n## {question.title}\n\n{text}\n`{name}.py`: {made}.\n"


def main(names: Sequence[str]) -> None:
    """Ask some of the questions and write the page, with the earlier answers to the others."""
    parser = argparse.ArgumentParser(description="Measure speed.")
    parser.add_argument("--repeats", type=int, default=7, help="rounds")
    parser.add_argument("--budget", type=float, default=120.0, help="seconds, a competitor's fit")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see the scripts run")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder")
    effort = parser.parse_args(namespace=Effort())
    effort.output.mkdir(parents=True, exist_ok=True)
    file = effort.output / "speed.json"
    answers = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for name in names:
        question: Question = import_module(name).QUESTION
        with one_thread():
            rows = question.measure(effort)
        made = machine() | {"rounds": effort.repeats} | ({"quick": True} if effort.quick else {})
        answers[name] = {"made": made, "rows": rows}
        # after each question: a run that is cut short loses nothing
        file.write_text(json.dumps(answers, indent=1) + "\n", encoding="utf-8")
        if question.draw is not None:
            question.draw(rows, effort.output)
        print(section(name, answers[name]))
    sections = (section(name, answers[name]) for name in CONTENTS if name in answers)
    page = effort.output / "speed.md"
    page.write_text(HEADER + "".join(sections), encoding="utf-8")
