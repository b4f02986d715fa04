"""The front door: the README shows what is true, and the site has every public module."""

from __future__ import annotations

import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest

import pyod_lipocc
from pyod_lipocc.datasets import load_toy

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
REPOSITORY = r"https://(?:github|raw\.githubusercontent)\.com/pyod-lipocc/pyod_lipocc"
TABLE = [line.strip("|").split("|") for line in TEXT.splitlines() if line.startswith("|")]


def test_code_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"X_train": load_toy("two-moons", 200, random_state=0), "X_test": np.eye(2)}
    for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        exec(block, names)


def test_links_into_the_repository_lead_somewhere():
    paths = re.findall(rf"{REPOSITORY}/(?:(?:blob|tree)/)?main/([^)\s]+)", TEXT)
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_links_are_absolute():
    links = re.findall(r"\]\(([^)]+)\)", TEXT)
    assert [link for link in links if not link.startswith("https://")] == []


@pytest.mark.parametrize("row", TABLE[2:], ids=lambda row: row[0])
def test_numbers_are_those_of_the_pages_in_the_headings(row):
    name = row[0].strip(" *").replace(", k = 5", "[k=5]")
    pages = [re.search(r"main/([^)]+)", heading)[1] for heading in TABLE[0][1:4]]
    found = []
    for page in pages:
        lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
        means = [line.split("|")[1:] for line in lines if line.startswith(f"| {name} |")]
        found.append(means[0] if means else [])
    measured = [cells[1].split("±")[0].strip() if cells else "-" for cells in found]
    measured += [cell.strip() for cell in found[1][5:7]]
    assert [cell.strip() for cell in row[1:]] == measured


def test_every_public_module_is_on_the_site():
    page = (ROOT / "docs" / "api.rst").read_text(encoding="utf-8").split()
    modules = {module.name for module in pkgutil.iter_modules(pyod_lipocc.__path__)}
    assert {name for name in modules if not name.startswith("_")} <= {*page}
