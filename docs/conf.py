"""Configuration of the site. `make docs` builds it, without network and with warnings as errors."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.writers.html5 import HTML5Translator
from sphinx_gallery.sorting import ExplicitOrder

from pyod_lipocc import __version__

project = "pyod_lipocc"
author = "The pyod_lipocc developers"
copyright = author
version = release = __version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_gallery.gen_gallery",
]
if tags.has("online"):  # noqa: F821
    extensions.append("sphinx.ext.intersphinx")
intersphinx_mapping = {
    "matplotlib": ("https://matplotlib.org/stable", None),
    "numpy": ("https://numpy.org/doc/stable", None),
    "pyod": ("https://pyod.readthedocs.io/en/latest", None),
    "python": ("https://docs.python.org/3", None),
    "sklearn": ("https://scikit-learn.org/stable", None),
    "torch": ("https://docs.pytorch.org/docs/stable", None),
}

exclude_patterns = ["_build", "benchmarks/[!r]*", "benchmarks/README.md"]
templates_path = ["_templates"]
default_role = "obj"
highlight_language = "text"
html_math_renderer = "mathml"

toc_object_entries_show_parents = "hide"
autosummary_ignore_module_all = False
autosummary_imported_members = True
autodoc_typehints = "none"
numpydoc_show_class_members = False

GALLERY = [
    "plot_two_moons.py",
    "plot_detectors.py",
    "plot_contamination.py",
    "plot_thresholds.py",
    "plot_table_with_text.py",
    "plot_explanation.py",
    "plot_counterfactual_images.py",
    "plot_certified_roc_auc.py",
    "plot_networks.py",
    "plot_own_network.py",
    "plot_training.py",
    "plot_negatives.py",
    "plot_samples.py",
    "*",
]
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"^(?!plot_)",
    "within_subsection_order": ExplicitOrder(GALLERY),
    "backreferences_dir": "gallery/backreferences",
    "doc_module": ("pyod_lipocc",),
    "inspect_global_variables": False,
    "download_all_examples": False,
    "show_signature": False,
    "write_computation_times": False,
    "abort_on_example_error": True,
}

html_theme = "pydata_sphinx_theme"
html_title = f"pyod_lipocc {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_sidebars = {page: [] for page in ("get_started", "faq", "changelog", "contributing")}
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "github_url": "https://github.com/pyod-lipocc/pyod_lipocc",
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_prev_next": True,
}


def write_inline(self: HTML5Translator, node: nodes.math) -> None:
    """Write a formula as MathML, which browsers set without a script."""
    self.body.append(convert(node.astext()))
    raise nodes.SkipNode


def write_display(self: HTML5Translator, node: nodes.math_block) -> None:
    """Write a formula on a line of its own."""
    self.body.append(f'<div class="formula">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


def within_the_package(
    app: Sphinx, env: BuildEnvironment, node: Any, text: nodes.Node
) -> nodes.Node | None:
    """Resolve names as the docstrings write them, from the package on: `domains.Ball`."""
    if node.get("refdomain") != "py" or node["reftarget"].startswith("pyod_lipocc."):
        return None
    target = f"pyod_lipocc.{node['reftarget']}"
    python = env.domains["py"]
    return python.resolve_xref(env, node["refdoc"], app.builder, "obj", target, node, text)


def link_pages_of_results(app: Sphinx, docname: str, source: list[str]) -> None:
    """Turn links from page to page into those of Sphinx: MyST does not look behind a symlink."""
    if docname.startswith("benchmarks/"):
        source[0] = re.sub(
            r"\[([^\]]*)\]\(([\w/.-]+)\.md\)",
            lambda link: f"{{doc}}`{link[1].replace('`', '')} <{link[2]}>`",
            source[0],
        )


def skip_metadata_requests(
    app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any
) -> bool | None:
    """Leave out the methods that scikit-learn adds to every estimator for its own use."""
    return True if re.fullmatch(r"set_\w+_request", name) else None


def setup(app: Sphinx) -> None:
    """Register the formulas, the names and what is left out."""
    app.add_html_math_renderer("mathml", (write_inline, None), (write_display, None))
    app.connect("autodoc-skip-member", skip_metadata_requests)
    app.connect("source-read", link_pages_of_results)
    app.connect("missing-reference", within_the_package)
