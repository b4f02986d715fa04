"""Check the sdist and the wheel in a folder, then run an example from the installed wheel.

    python .github/check_dist.py dist

The example runs in a new environment and outside the checkout, which could hide what the wheel
lacks.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[1]
EXAMPLE = "examples/novelty_detection.py"
IN_SDIST = {
    *("CHANGELOG.md", "CITATION.cff", "LICENSE", "Makefile", "README.md", "constraints.txt"),
    *(".github/oldest-supported.txt", "tests/conftest.py", EXAMPLE),
}
PRINT_ORIGIN = "import pyod_lipocc; print(pyod_lipocc.__file__)"


def only(folder: Path, pattern: str) -> Path:
    """Return the one file of a folder that fits a pattern."""
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise SystemExit(f"{folder} must hold one {pattern}, got {[path.name for path in found]}")
    return found[0]


def modules(root: Path) -> set[str]:
    """Return what a package must hold: modules, the template of reports, the mark of type hints."""
    package = root / "pyod_lipocc"
    template = (package / "report" / name for name in ("page.html", "style.css"))
    files = [*package.rglob("*.py"), *template, package / "py.typed"]
    return {path.relative_to(root).as_posix() for path in files}


def check_wheel(wheel: Path) -> None:
    """Refuse a wheel that holds anything but the package, or not all of it."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    held = {name for name in names if ".dist-info/" not in name}
    if different := sorted(held ^ modules(ROOT)):
        raise SystemExit(f"{wheel.name} must hold the package alone, differs in {different}")


def check_sdist(sdist: Path) -> None:
    """Refuse an sdist that lacks a file or holds results."""
    with tarfile.open(sdist) as archive:
        paths = [PurePosixPath(member.name) for member in archive if member.isfile()]
    held = {PurePosixPath(*path.parts[1:]).as_posix() for path in paths}
    missing = sorted((IN_SDIST | modules(ROOT)) - held)
    surplus = [
        name
        for name in held
        if name.startswith(("benchmarks/results/", "benchmarks/outputs/"))
        or PurePosixPath(name).suffix in (".png", ".pyc")
    ]
    if missing or surplus:
        raise SystemExit(f"{sdist.name} lacks {missing}, must not hold {surplus}")


def run_example(sdist: Path, wheel: Path) -> None:
    """Install the wheel in a new environment and run an example of the sdist there."""
    variables = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        environment = folder / "environment"
        venv.create(environment, with_pip=True)
        python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

        def run(*arguments: str | Path) -> str:
            command = [python, *arguments]
            done = subprocess.run(
                command, cwd=folder, env=variables, check=True, text=True, stdout=subprocess.PIPE
            )
            return done.stdout

        with tarfile.open(sdist) as archive:
            archive.extractall(folder, filter="data")
        source = only(folder, "pyod_lipocc-*")
        shutil.copy(source / EXAMPLE, folder)
        run("-m", "pip", "install", "--quiet", "-c", source / "constraints.txt", wheel)
        run("-m", "pip", "check")
        origin = Path(run("-c", PRINT_ORIGIN).strip())
        if not origin.is_relative_to(environment):
            raise SystemExit(f"pyod_lipocc must come from {environment}, got {origin}")
        print(run(Path(EXAMPLE).name), end="")


def main() -> None:
    """Check both files, then run."""
    folder = Path(sys.argv[1]).resolve()
    sdist, wheel = only(folder, "*.tar.gz"), only(folder, "*.whl")
    check_sdist(sdist)
    check_wheel(wheel)
    run_example(sdist, wheel)
    print(f"checked: {sdist.name}, {wheel.name}")


if __name__ == "__main__":
    main()
