"""The page about a detector: sound, self-contained, readable by all, true to the detector."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import NotFittedError
from small import cloud, small

from pyod_lipocc import LipOCC
from pyod_lipocc.report import render
from pyod_lipocc.report._figures import number

VOID = {"meta", "link", "img", "br", "hr", "input"}
SHAPES = {"path", "rect"}  # of SVG, which close themselves
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class Page(HTMLParser):
    """Elements of a page, in order, and its text; tags must nest."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        names = [name for name, _ in attributes]
        assert len(names) == len({*names}), f"{tag} has an attribute twice"
        self.elements.append((tag, dict(attributes), [*self.open]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        assert tag in SHAPES
        self.elements.append((tag, dict(attributes), [*self.open]))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.texts.append(data.strip())

    @property
    def text(self):
        return " ".join(filter(None, self.texts))

    def all(self, tag):
        return [attributes for name, attributes, _ in self.elements if name == tag]


def assert_sound(text):
    page = Page(text)
    ids = [attributes["id"] for _, attributes, _ in page.elements if "id" in attributes]
    assert len(ids) == len({*ids})
    named = [a.get("aria-labelledby", "").split() for _, a, _ in page.elements]
    links = [a["href"][1:] for a in page.all("a")]
    assert {name for names in named for name in names} | {*links} <= {*ids}
    levels = [int(tag[1]) for tag, _, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))
    assert all(image["alt"] for image in page.all("img"))
    assert all(
        drawing.get("aria-hidden") == "true"
        or (drawing["role"] == "img" and drawing["aria-labelledby"])
        for drawing in page.all("svg")
    )
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(cell["scope"] in ("row", "col") for cell in page.all("th"))
    assert page.all("html")[0]["lang"] == "en"
    assert "nan" not in page.text.lower().split()
    return page


def assert_self_contained(text):
    page = Page(text)
    addresses = [a[name] for _, a, _ in page.elements for name in ("src", "href") if name in a]
    assert all(address.startswith(("#", "data:")) for address in addresses)
    assert not page.all("script")
    assert not any(name.startswith("on") for _, a, _ in page.elements for name in a)
    assert not re.search(r"url\(|@import|https?:", text)


def frame(n_rows=60, names=("a", "b", "c")):
    pandas = pytest.importorskip("pandas")
    index = [f"patient {i}" for i in range(n_rows)]
    return pandas.DataFrame(cloud(n_rows, len(names)), columns=[*names], index=index)


class Sine(torch.nn.Module):
    """A network of which nothing is proven."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 1)

    def forward(self, x):
        return torch.sin(self.linear(x))


def loaded(folder):
    small(learning_rate=lambda progress: 1e-3).fit(cloud()).save(folder / "detector")
    return LipOCC.load(folder / "detector")


CASES = {
    "no rows": lambda _: (small().fit(cloud()),),
    "training rows": lambda _: (small().fit(cloud()), cloud()),
    "a new row": lambda _: (small().fit(cloud()), 3 + cloud(1)),
    "one feature": lambda _: (small().fit(cloud(30, 1)), cloud(9, 1, seed=1)),
    "300 features": lambda _: (small(standardize=False).fit(cloud(50, 300)), cloud(9, 300)),
    "starts from rows": lambda _: (LipOCC(random_state=0).fit(cloud()), cloud()),
    "gray images": lambda _: (small(image_shape=(5, 4)).fit(cloud(50, 20)), cloud(9, 20)),
    "colours": lambda _: (small(image_shape=(3, 5, 4)).fit(cloud(50, 60)), cloud(9, 60)),
    "channels": lambda _: (small(image_shape=(2, 5, 4)).fit(cloud(50, 40)), cloud(9, 40)),
    "a frame": lambda _: (small().fit(frame()), frame()),
    "loaded": lambda folder: (loaded(folder), cloud()),
    "partial_fit": lambda _: (small().fit(cloud()).partial_fit(cloud(40)), cloud()),
    "boundary": lambda _: (small(threshold="boundary").fit(cloud()), cloud()),
    "conformal": lambda _: (small(threshold="conformal", attack_radius=0.1).fit(cloud()), cloud()),
    "a number": lambda _: (small().fit(cloud()).set_threshold(100.0), cloud()),
    "nothing proven": lambda _: (small(network=Sine()).fit(cloud()), cloud()),
    "equal rows": lambda _: (small().fit(np.ones((20, 3))), np.ones((4, 3))),
    "one training row": lambda _: (LipOCC(random_state=0).fit([[1.0]]), [[1.0]]),
}


@pytest.mark.parametrize("case", CASES)
def test_pages_are_sound_and_self_contained(case, tmp_path):
    detector, *rows = CASES[case](tmp_path)
    page = render(detector, *rows)
    assert_sound(page)
    assert_self_contained(page)


@settings(max_examples=5)
@given(st.text(min_size=1), st.text(min_size=1))
def test_no_name_is_read_as_html(name, label):
    hostile = f'{name}</code><script src="//x">alert(1)</script><img src=x onerror=y>\'"'
    table = frame(30, (hostile, "b"))
    table.index = [label + hostile] * len(table)
    page = render(small(max_iter=1).fit(table), table, n_rows=1)
    assert_self_contained(page)
    assert_sound(page)


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(1, 6))
def test_bounds_are_rounded_to_the_safe_side(value, digits):
    low, high, near = (
        Decimal(number(value, digits, *way).replace(",", "").replace("\N{MINUS SIGN}", "-"))
        for way in ([ROUND_FLOOR], [ROUND_CEILING], [])
    )
    exact = Decimal(value)
    assert low <= exact <= high
    assert near in (low, high)
    assert abs(high - low) <= abs(exact) * Decimal(10) ** (1 - digits)


def test_names_of_columns_and_rows_are_shown():
    table = frame(names=("dose & <b>", "b", "c"))
    table.iloc[7, 0] = 50.0
    page = assert_sound(render(small().fit(table), table, n_rows=1))
    assert "dose & <b>" in page.texts
    assert "Row patient 7" in page.text


def test_the_rows_shown_are_the_most_abnormal_of_those_given():
    detector, rows = small().fit(cloud()), cloud(50, seed=1)
    scores = detector.decision_function(rows)
    page = assert_sound(render(detector, rows, n_rows=3))
    found = re.findall(r"Row (\d+): score (\S+), label (\d)", page.text)
    expected = np.argsort(-scores)[:3]
    labels = detector.predict(rows)
    assert found == [(str(i), number(scores[i]), str(labels[i])) for i in expected]


def test_each_nearest_normal_row_is_one_of_those_given():
    detector, normal = LipOCC(random_state=0).fit(cloud()), cloud(40, seed=1)
    outlier = normal[[3]] + [9.0, 0.0, 0.0]
    page = assert_sound(render(detector, outlier, normal_rows=normal))
    scaled = [detector.scaling_.to_scores(rows) for rows in (outlier, normal)]
    distances = np.linalg.norm(scaled[0] - scaled[1], axis=1)
    distances[detector.predict(normal) == 1] = np.inf
    assert f"row {distances.argmin()}, is {number(distances.min())} away" in page.text
    assert "no normal row to compare" in render(detector, outlier)


def test_certified_radii_are_those_of_the_detector():
    detector, rows = small(standardize=False).fit(cloud()), cloud(50, seed=1)
    median = np.percentile(detector.certified_radius(rows), 50, method="inverted_cdf")
    radius = number(median, 3, ROUND_FLOOR)
    assert f"Half of the labels hold against all attacks smaller than {radius}." in render(
        detector, rows
    )


@pytest.mark.parametrize(
    "parameters",
    [
        {"network": "nearest-subspace"},
        {"network": "clusters"},
        {"network": "clusters", "novelty": True},
        {"threshold": "conformal"},
        {},
    ],
)
def test_training_rows_are_told_from_others(parameters):
    detector, known = small(**parameters).fit(cloud()), "The given rows are the training rows"
    assert known in render(detector, cloud(), n_rows=0)
    for others in (cloud()[::-1], cloud() + 0.01, np.zeros_like(cloud()), cloud(seed=1)):
        assert known not in render(detector, others, n_rows=0)


def test_drift_is_found_where_the_rows_have_moved():
    detector = small().fit(cloud(300))

    alike = cloud(200, seed=1)
    assert "the p-value is less than 0.0001" in render(detector, 3 + alike, n_rows=0)
    assert "the p-value is less than 0.0001" not in render(detector, alike, n_rows=0)


def test_many_rows_are_sampled_and_the_page_says_so():
    detector = small(max_iter=1).fit(cloud(300, 2))
    text = assert_sound(render(detector, cloud(70_000, 2), n_rows=1)).text
    assert "70,000 rows were given; 65,536 of them, drawn at random" in text


@pytest.mark.parametrize(
    ("parameters", "claim"),
    [
        ({}, "the 10 % of the training rows with the highest scores"),
        ({"contamination": 0.25}, "the 25 % of the training rows"),
        ({"threshold": "boundary"}, "where the signed distance is 0"),
        ({"threshold": "conformal", "alpha": 0.1}, "bounds the rate of false alarms by 0.1"),
    ],
)
def test_the_rule_of_the_threshold_is_said(parameters, claim):
    detector = small(**parameters).fit(cloud())
    assert claim in render(detector)
    assert ("with probability at most" in render(detector)) == ("alpha" in parameters)
    assert "no rule of the parameters gives it" in render(detector.set_threshold(0.123))


def test_what_files_do_not_hold_is_said(tmp_path):
    page = render(loaded(tmp_path))
    assert "not in the file" in page
    assert "not saved: function" in page
    assert "A detector does not keep its rows" in page


def test_auto_is_resolved():
    text = assert_sound(render(LipOCC(random_state=0, max_iter=20).fit(cloud()))).text
    for resolved in ("NearestBox", "newton_raphson(level=-1.5)", "Ball(radius="):
        assert resolved in text


def test_the_file_is_the_page(tmp_path):
    small().fit(cloud()).report(tmp_path / "report.html", cloud())
    assert_sound((tmp_path / "report.html").read_text(encoding="utf-8"))


def test_wrong_arguments_leave_no_file(tmp_path):
    path, detector = tmp_path / "report.html", small().fit(cloud())
    with pytest.raises(NotFittedError):
        small().report(path)
    with pytest.raises(ValueError, match="n_rows must be an int >= 0, got -1"):
        detector.report(path, n_rows=-1)
    for wrong in ({"X": cloud(5, 2)}, {"normal_rows": cloud(5, 2)}):
        with pytest.raises(ValueError, match="2 features"):
            detector.report(path, **wrong)
    assert not path.exists()


@pytest.fixture(scope="module")
def browse(tmp_path_factory):
    """Return a function that opens a page in a frame of a width: its content's width, errors.

    No window of Chromium is narrower than 500 pixels; a frame may be.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip("needs Chromium")
    folder = tmp_path_factory.mktemp("browser")
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    options += [
        f"--user-data-dir={folder}",
        "--allow-file-access-from-files",
        "--dump-dom",
        "--hide-scrollbars",
    ]

    def open_page(text, width):
        (folder / "page.html").write_text(text, encoding="utf-8")
        measure = "document.title = this.contentDocument.documentElement.scrollWidth"
        (folder / "frame.html").write_text(
            f'<iframe src="page.html" style="width:{width}px;border:0" onload="{measure}">'
        )
        command = [browser, *options, (folder / "frame.html").as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        return int(re.search(r"<title>(\d+)", done.stdout).group(1)), console

    return open_page


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("case", ["a frame", "300 features", "gray images"])
def test_a_browser_shows_all_of_the_page_without_errors(case, width, browse, tmp_path):
    detector, *rows = CASES[case](tmp_path)
    assert browse(render(detector, *rows), width) == (width, [])


def test_a_browser_reports_errors_and_overflow(browse):
    page = "<style>body { width: 777px; margin: 0 }</style><script>undefined()</script>"
    width, console = browse(page, 400)
    assert width == 777
    assert console
