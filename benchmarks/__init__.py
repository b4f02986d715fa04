"""The benchmark that benchopt runs, the report on it, and the studies beside it."""

from pathlib import Path

OUTPUTS = Path(__file__).parent / "outputs"
RESULTS = Path(__file__).parent / "results"
