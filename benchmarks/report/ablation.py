"""Table and figure of the variants of LipOCC: each ingredient off, each parameter changed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from benchmarks.report.section import Section
from benchmarks.report.tables import markdown, percent

ABLATION = "LipOCC-ablation"
DEFAULT = "default"
DEFAULT_VALUES = {"T": "1", "lambda": "100", "steps": "5"}  # of tables


def ablation_columns(runs: pd.DataFrame) -> dict[str, Callable[[str], pd.Series]]:
    """Return the columns that the ablation compares, each a function of a solver's name.

    They are the mean ROC AUC of the tables, and the ROC AUC of each image set, certified or not.
    """
    sections = {name: Section(part) for name, part in runs.groupby("dataset")}
    columns: dict[str, Callable[[str], pd.Series]] = {}
    for name, section in sections.items():
        if name != "mnist-one-class":
            heading = f"{name} mean of {len(section.common)}"
            columns[heading] = partial(section.values, column="roc_auc")
    images = sections.get("mnist-one-class")
    for digit in images.sets if images else []:
        columns[f"digit {digit}"] = partial(images.values, column="roc_auc", name=digit)
        for radius in (36, 72):
            columns[f"{digit}, certified {radius}/255"] = partial(
                images.values, column=f"certified_roc_auc_{radius}", name=digit
            )
    return columns


def ablation_table(runs: pd.DataFrame) -> str:
    """Return ROC AUC by variant, the default first."""
    columns = ablation_columns(runs)
    rows = [["variant", *columns]]
    for variant in sorted(set(runs["solver"]), key=lambda name: (DEFAULT not in name, name)):
        name = variant.removeprefix(f"{ABLATION}[variant=").removesuffix("]")
        rows.append([name, *(percent(values(variant)) for values in columns.values())])
    return markdown(rows)


def prior_table(runs: pd.DataFrame) -> str:
    """Return ROC AUC on each clean table by the initial negatives, for both kinds of network."""
    tables = Section(runs[runs["dataset"] == "odds-one-class"])
    chosen = tables.runs["solver"].str.extract(r"variant=(?P<name>.*-negatives|default)\]")["name"]
    names = sorted(chosen.dropna().unique(), key=lambda name: (name != DEFAULT, name))
    rows = [["set", *(name.removesuffix("-negatives") for name in names)]]
    for name in tables.common:
        variants = (f"{ABLATION}[variant={variant}]" for variant in names)
        cells = (percent(tables.values(variant, "roc_auc", name)) for variant in variants)
        rows.append([name, *cells])
    return markdown(rows)


def ablation_figure(runs: pd.DataFrame) -> Figure:
    """Draw how the ROC AUC changes with each parameter that has several values."""
    points = runs["solver"].str.extract(r"variant=(?P<parameter>\w+)-(?P<value>[\d.]+)\]")
    tried = points.dropna().drop_duplicates().groupby("parameter")["value"].apply(list)
    figure = Figure(figsize=(2.6 * max(len(tried), 1), 4.0), layout="constrained")
    columns = ablation_columns(runs)
    panels = figure.subplots(ncols=max(len(tried), 1), sharey=True, squeeze=False)[0]
    for axes, (parameter, others) in zip(panels, tried.items(), strict=False):
        default = DEFAULT_VALUES.get(str(parameter))
        values = sorted({*others, *([default] if default else [])}, key=float)
        names = [
            f"{ABLATION}[variant={DEFAULT if value == default else f'{parameter}-{value}'}]"
            for value in values
        ]
        for place, (heading, column) in enumerate(columns.items()):
            usual = column(f"{ABLATION}[variant={DEFAULT}]").mean()
            change = [100 * (column(name).mean() - usual) for name in names]
            axes.plot(values, change, marker="o", markersize=4, color=f"C{place}", label=heading)
        axes.axhline(0.0, color="0.6", linewidth=0.8)
        axes.set_xlabel(parameter)
    panels[0].set_ylabel("ROC AUC, points over the default's")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure
