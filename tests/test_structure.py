"""Imports run one way: see the tree in CONTRIBUTING."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "pyod_lipocc"
FILES = {
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in ROOT.rglob("*.py")
}
OF_PYOD = {"pyod_lipocc._pyod", "pyod_lipocc.adengine"}


def modules_of(node):
    """Return the modules that an import statement names."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    inner = (f"{node.module}.{alias.name}" for alias in node.names)
    return [name if name in FILES else node.module for name in inner]


def imports(name):
    tree = ast.parse(FILES[name].read_text(encoding="utf-8"))
    statements = (n for n in ast.walk(tree) if isinstance(n, (ast.Import, ast.ImportFrom)))
    return {module for statement in statements for module in modules_of(statement)}


def test_no_imports_go_in_circles():
    # A package is imported before its modules, which its face then imports.
    graph = {name: imports(name) & FILES.keys() - {name} for name in FILES}
    order = [*TopologicalSorter(graph).static_order()]
    last = ("pyod_lipocc", "pyod_lipocc.adengine", "pyod_lipocc.dask", "pyod_lipocc.plotting")
    assert order[-1] in last


@pytest.mark.parametrize("name", FILES)
def test_no_import_hides_in_a_function(name):
    tree = ast.parse(FILES[name].read_text(encoding="utf-8"))
    functions = [n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.Lambda))]
    hidden = [
        n for f in functions for n in ast.walk(f) if isinstance(n, (ast.Import, ast.ImportFrom))
    ]
    assert not hidden


def test_the_detector_alone_knows_pyod():
    found = {name for name in FILES if any(module.startswith("pyod.") for module in imports(name))}
    assert found == OF_PYOD
    users = {name for name in FILES if "pyod_lipocc._pyod" in imports(name)}
    assert users == {"pyod_lipocc.detector"}


@pytest.mark.parametrize("package", ["lipschitz", "stiefel"])
def test_layers_know_nothing_of_detection(package):
    """They may use each other, and the modules of the house that every package shares."""
    inside = [name for name in FILES if name.startswith(f"pyod_lipocc.{package}")]
    shared = ("lipschitz", "stiefel", "_isolation", "_checks", "_random")
    allowed = tuple(f"pyod_lipocc.{name}" for name in shared)
    for name in inside:
        own = [module for module in imports(name) if module.startswith("pyod_lipocc")]
        assert all(module.startswith(allowed) for module in own), name


@pytest.mark.parametrize("name", FILES)
def test_private_modules_stay_in_their_package(name):
    package = name if FILES[name].name == "__init__.py" else name.rpartition(".")[0]
    for module in imports(name) & FILES.keys():
        home, _, last = module.rpartition(".")
        assert not last.startswith("_") or package.startswith(home), module
