from __future__ import annotations

import re
import runpy
import tarfile
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from pyod_lipocc import __version__

ROOT = Path(__file__).parents[1]
CHECK = runpy.run_path(str(ROOT / ".github" / "check_dist.py"))
OF_DEVELOPERS = {"benchmarks", "dev", "docs", "lint", "recipes", "test"}


def config() -> ConfigParser:
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def lower_bounds(text: str) -> dict[str, Version]:
    requirements = map(Requirement, text.split())
    return {
        requirement.name: Version(specifier.version)
        for requirement in requirements
        for specifier in requirement.specifier
        if specifier.operator == ">="
    }


def pins() -> dict[str, Version]:
    lines = (ROOT / ".github" / "oldest-supported.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if not line.startswith("#"))
    return {name: Version(version) for name, version in pairs}


def test_lower_bounds_of_users_are_those_that_were_tried():
    options, extras = config()["options"], config()["options.extras_require"]
    texts = [text for extra, text in extras.items() if extra not in OF_DEVELOPERS]
    bounds = lower_bounds(" ".join([options["install_requires"], *texts]))
    assert bounds.items() <= pins().items()


def test_every_version_that_was_tried_is_a_lower_bound():
    options, extras = config()["options"], config()["options.extras_require"]
    bounds = lower_bounds(" ".join([options["install_requires"], *extras.values()]))
    assert pins().items() <= bounds.items()


def test_extras_that_messages_and_examples_name_exist():
    files = [*(ROOT / "pyod_lipocc").rglob("*.py"), *(ROOT / "examples").glob("*.py")]
    text = "".join(path.read_text(encoding="utf-8") for path in files)
    named = set(re.findall(r'pyod_lipocc\[(\w+)\]|extra="(\w+)"', text))
    assert {"".join(pair) for pair in named} <= {*config()["options.extras_require"]}


def test_version_and_address_are_the_same_everywhere():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {__version__}\n" in citation
    metadata = config()["metadata"]
    named = [
        *re.findall(r"= (\S+)", metadata["project_urls"]),
        *re.findall(r"repository-code: (\S+)", citation),
        *re.findall(r"https://\S+/advisories/new", (ROOT / "SECURITY.md").read_text()),
        *re.findall(r"https://\S+/new", (ROOT / ".github/ISSUE_TEMPLATE/config.yml").read_text()),
    ]
    assert len(named) == 6
    assert all(address.startswith(metadata["url"]) for address in named)


class TestWorkflows:
    @pytest.fixture
    def workflows(self):
        yaml = pytest.importorskip("yaml")
        paths = [*(ROOT / ".github").rglob("*.yml"), ROOT / ".pre-commit-config.yaml"]
        return {path.name: yaml.safe_load(path.read_text(encoding="utf-8")) for path in paths}

    def test_every_supported_python_is_tested(self, workflows):
        tested = workflows["ci.yml"]["jobs"]["test"]["strategy"]["matrix"]["python"]
        classifiers = config()["metadata"]["classifiers"]
        assert tested == re.findall(r"Python :: (3\.\d+)", classifiers)
        assert config()["options"]["python_requires"] == f">={tested[0]}"

    @pytest.mark.parametrize("name", ["ci.yml", "release.yml"])
    def test_jobs_may_only_read_and_end(self, workflows, name):
        assert workflows[name]["permissions"] == {"contents": "read"}
        for title, job in workflows[name]["jobs"].items():
            allowed = {"id-token": "write"} if title == "publish" else None
            assert job.get("permissions") == allowed
            assert "uses" in job or job["timeout-minutes"] <= 60

    def test_tests_and_examples_that_are_named_exist(self, workflows):
        text = str(workflows["ci.yml"])
        tests = re.findall(r"(tests/[\w/]+\.py)::(?:\w+::)?(\w+)", text)
        assert tests
        for path, test in tests:
            assert f"def {test}(" in (ROOT / path).read_text(encoding="utf-8")
        scripts = re.findall(r"examples/\w+\.py", text)
        assert scripts
        assert all((ROOT / script).exists() for script in scripts)


def write_wheel(folder: Path, names: set[str]) -> Path:
    path = folder / "pyod_lipocc-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in [*names, "pyod_lipocc-1.dist-info/METADATA"]:
            archive.writestr(name, "")
    return path


def write_sdist(folder: Path, names: set[str]) -> Path:
    path = folder / "pyod_lipocc-1.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(f"pyod_lipocc-1/{name}"))
    return path


def test_a_wheel_holds_the_package_and_nothing_else(tmp_path):
    whole = CHECK["modules"](ROOT)
    CHECK["check_wheel"](write_wheel(tmp_path, whole))
    for wrong in (whole | {"tests/conftest.py"}, whole - {"pyod_lipocc/py.typed"}):
        with pytest.raises(SystemExit, match="must hold the package"):
            CHECK["check_wheel"](write_wheel(tmp_path, wrong))


def test_an_sdist_holds_what_is_needed_and_no_results(tmp_path):
    whole = CHECK["modules"](ROOT) | CHECK["IN_SDIST"]
    CHECK["check_sdist"](write_sdist(tmp_path, whole))
    for name in ("LICENSE", "pyod_lipocc/py.typed"):
        with pytest.raises(SystemExit, match=re.escape(f"lacks {[name]}")):
            CHECK["check_sdist"](write_sdist(tmp_path, whole - {name}))
    for name in ("benchmarks/results/speed.md", "benchmarks/outputs/a.parquet", "demo.png"):
        with pytest.raises(SystemExit, match=re.escape(f"must not hold {[name]}")):
            CHECK["check_sdist"](write_sdist(tmp_path, whole | {name}))
