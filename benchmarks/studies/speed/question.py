"""A section of the page about speed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.studies.speed.timing import Effort

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Question:
    """One section of the page.

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
