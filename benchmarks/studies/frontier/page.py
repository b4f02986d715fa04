"""The page of the frontier: tables and lessons, from the files of its runs alone."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from benchmarks.report.tables import markdown
from benchmarks.studies.frontier.figures import draw
from benchmarks.studies.frontier.functions import LEAST_DEVIATION, LEAST_EIGENVALUE
from benchmarks.studies.frontier.records import EXPLORE, MOST_TEST, MOST_TRAIN, PROTOCOLS, SPLITS
from benchmarks.studies.frontier.sums import LEAST_SPREAD, SUMMED, Results

COLUMNS = ("explore", "report", "ODDS", "ADBench", "all")
TITLES = {
    "contaminated": "Contaminated training part",
    "one-class": "Clean training part",
}
TARGETED = {"contaminated": "ODDS", "one-class": "all"}  # the sets that the target is about
THREE_NEIGHBOURS = ["nearest 1", "nearest 5", "5th nearest"]
CONTAMINATED_TARGET = 85.0
ABOVE_NEIGHBOURS = 1.0
CLEAR = 2.0  # points by which a function wins or loses on a set

HEADER = f"""\
# The frontier of accuracy

Made by `make frontier`. Two targets are not reached: a mean ROC AUC of 85 on the 17
contaminated ODDS sets, and one point over the best of three kinds of nearest neighbours (mean of 1,
mean of 5, the 5th) on clean training parts. This page shows what certified functions, and sums of
them, can do.

The splits are those of the benchmark, {len(SPLITS)} of each set; ADBench's sets have outliers in
the training part here too, of 50,000 rows at most. At most {MOST_TRAIN:,} rows train every function
(LipOCC starts from as many), at most {MOST_TEST:,} test: figures of large sets differ from those of
the other pages. ROC AUC in percent.

*explore*: the {len(EXPLORE)} sets whose test labels were looked at when the defaults were chosen
({", ".join(EXPLORE)});
*report*: the others.

Every function but IForest and INNE is Lipschitz in l2 with a known constant, L in the tables, in
standardised units. The constant of a sum is the sum of the constants, each times its weight and
over its spread.

- **nearest k**: mean distance to the k nearest training rows; **k-th nearest**: the distance to the
  last of them; **trimmed**: mean distance to the nearest 2 c n rows, of which the nearest c n do
  not count (c is the contamination, n the number of rows).
- **isolation beta, k**: as nearest k, where the distance to a row is longer by beta times the mean
  distance of that row to its nearest tenth of the rows (`starts.prototypes`).
- **whitened p**: nearest 5 after the power p of the whitening matrix (eigenvalues of at least
  {LEAST_EIGENVALUE:g} of the largest); **asinh**: after asinh of each feature; **cleaned**: without
  the 2 c n rows that LipOCC ranks highest.
- **principal v**: residual of the principal subspace of the share v of the variance; **mean**:
  distance to the mean; **l1**: mean over the features of the distance to the median in mean
  deviations (of at least {LEAST_DEVIATION:g}). These and the whitening come from the rows that
  `trimming.inliers` keeps, where they are contaminated.
- **dense r**: LipOCC with the dense network (3 x 128, 300 steps), regularization r; **LipOCC**: its
  default; both standardise the rows that were drawn once more, hence constants above 1.

Sums divide each function by the spread of its scores on the training part, which is the ninth
decile minus the median, at least {LEAST_SPREAD:g}. All sums of up to four of ten functions are
shown, and pairs with weights from 1 : 10 to 10 : 1.

![Mean ROC AUC against each parameter, and of all sums](frontier.png)

Solid lines and circles: explore; dashed lines and crosses: report; grey: LipOCC's default.
"""


def write_page(runs: Path, output: Path) -> Path:
    """Write frontier.md and frontier.png from the files of the runs."""
    results = [found for found in (Results(runs, name) for name in PROTOCOLS) if found.sets]
    output.mkdir(parents=True, exist_ok=True)
    draw(results).savefig(output / "frontier.png", dpi=100, metadata={"Software": None})
    page = output / "frontier.md"
    page.write_text("\n".join([HEADER, *map(section, results)]), encoding="utf-8")
    return page


def section(results: Results) -> str:
    """Return the part of the page about one protocol."""
    return "\n".join(
        [
            f"## {TITLES[results.protocol]}\n",
            f"Code (functions-LipOCC): {results.version}. {len(results.sums)} sums of "
            f"{'; '.join(SUMMED[results.protocol])}.\n",
            "### How far each way of choosing gets\n",
            markdown(choices(results)),
            *lessons(results),
            "\n### Functions\n",
            markdown(functions(results)),
            "### Sums: the ten best on explore\n",
            markdown(best_sums(results)),
            "### By set\n",
            markdown(by_set(results)),
        ]
    )


def header(results: Results) -> list[str]:
    return [f"{name} {len(results.group(name))}" for name in COLUMNS]


def functions(results: Results) -> list[list[str]]:
    rows = [["function", "L", *header(results)]]
    for name, means in group_means(results, results.singles).iterrows():
        rows.append([name, constant(results, name), *(f"{mean:.1f}" for mean in means)])
    return rows


def constant(results: Results, name: str) -> str:
    """Return a function's Lipschitz constant, or its range over the runs."""
    if name not in results.certified.index:
        return "-"
    low, high = (f"{value:.2g}" for value in results.constants.loc[name])
    return low if low == high else f"{low} to {high}"


def best_sums(results: Results) -> list[list[str]]:
    rows = [["sum", *header(results)]]
    for name, means in group_means(results, results.sums).nlargest(10, "explore").iterrows():
        rows.append([name, *(f"{mean:.1f}" for mean in means)])
    return rows


def group_means(results: Results, values: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({group: results.mean(values, group) for group in COLUMNS})


def choices(results: Results) -> list[list[str]]:
    """Return rows of ever more knowledge of the test labels, from none to each set's best."""
    targeted = TARGETED[results.protocol]
    singles, sums = results.by_set(results.singles), results.by_set(results.sums)
    alone = results.mean(results.certified, "explore").idxmax()
    honest = results.mean(results.sums, "explore").idxmax()
    by_labels = results.mean(results.sums, targeted).idxmax()
    chosen = {
        "LipOCC": singles.loc["LipOCC"],
        f"best function on explore: {alone}": singles.loc[alone],
        f"**best sum on explore: {honest}**": sums.loc[honest],
        f"best sum by the labels of {targeted}: {by_labels}": sums.loc[by_labels],
        "oracle: best function of each set": results.by_set(results.certified).max(),
        "the same, chosen on the other splits": oracle_of_other_splits(results),
    }
    if results.protocol == "one-class":
        best = results.mean(results.singles, "all")[THREE_NEIGHBOURS].idxmax()
        chosen = {f"best of three kinds of neighbours: {best}": singles.loc[best]} | chosen
    rows = [["", *header(results)]]
    for name, values in chosen.items():
        rows.append([name, *(f"{values[results.group(group)].mean():.2f}" for group in COLUMNS)])
    return rows


def oracle_of_other_splits(results: Results) -> pd.Series:
    """Return by set the ROC AUC of the certified function that is best on the other splits."""
    values = results.certified
    found = {}
    for name, split in values.columns:
        others = values[name].drop(columns=split)
        best = others.mean(axis=1).fillna(0.0).idxmax()
        found[name, split] = values.at[best, (name, split)] if others.size else float("nan")
    return pd.Series(found).groupby(level=0).mean()


def by_set(results: Results) -> list[list[str]]:
    values = results.by_set(results.singles)
    shown = list(dict.fromkeys([*SUMMED[results.protocol], "LipOCC", "IForest", "INNE"]))
    rows = [["set", *shown, "best certified"]]
    best = results.by_set(results.certified)
    for name in [*results.group("explore"), *results.group("report")]:
        mark = "" if name in EXPLORE else " (report)"
        found = f"{best[name].max():.1f} {best[name].idxmax()}"
        rows.append([name + mark, *(f"{value:.1f}" for value in values.loc[shown, name]), found])
    return rows


def target(results: Results) -> float:
    if results.protocol == "contaminated":
        return CONTAMINATED_TARGET
    return results.mean(results.singles, "all")[THREE_NEIGHBOURS].max() + ABOVE_NEIGHBOURS


def lessons(results: Results) -> list[str]:
    """Say in sentences what the tables show."""
    targeted, base = TARGETED[results.protocol], SUMMED[results.protocol][0]
    goal, sums = target(results), results.mean(results.sums, targeted)
    explore, report = (results.mean(results.sums, group) for group in ("explore", "report"))
    honest = explore.idxmax()
    usual = {group: results.mean(results.singles, group)["LipOCC"] for group in COLUMNS}
    by_split = results.singles.loc["LipOCC", results.group(targeted)].groupby(level=1).mean()
    oracle = results.by_set(results.certified)[results.group(targeted)].max().mean()
    elsewhere = oracle_of_other_splits(results)[results.group(targeted)].mean()
    tenth = sums.nlargest(max(len(sums) // 10, 1))
    moral = (
        "what is missing is to know which function to believe on which set"
        if elsewhere >= goal
        else "even to know which function to believe on which set is not enough"
    )
    return [
        f"- The target is {goal:.1f} on {targeted}; LipOCC has {usual[targeted]:.1f} (standard "
        f"deviation over the splits {by_split.std():.1f}). The best sum on explore, *{honest}*, "
        f"gets {explore[honest]:.1f} there (LipOCC {usual['explore']:.1f}), and "
        f"{report[honest]:.1f} on report (LipOCC {usual['report']:.1f}) and "
        f"{sums[honest]:.1f} on {targeted}. Over all sums the ranks on explore and on report "
        f"correlate at "
        f"{explore.corr(report, method='spearman'):+.2f}.",
        f"- Even chosen by the labels of {targeted} no sum passes {sums.max():.2f} "
        f"(LipOCC {usual[targeted]:.2f}): upper bound of this family. The best tenth "
        f"of the sums lie between {tenth.min():.1f} and {tenth.max():.1f}.",
        f"- The oracle that knows the best function of each set gets {oracle:.1f}, chosen on the "
        f"other splits (which share many rows) {elsewhere:.1f}: {moral}.",
        f"- {differences(results, 'dense 10', base)} {differences(results, 'principal 0.9', base)}",
    ]


def differences(results: Results, name: str, base: str) -> str:
    """Say on which sets a function clearly wins and loses against another."""
    values = results.by_set(results.singles)
    gain = (values.loc[name] - values.loc[base]).sort_values(ascending=False)
    wins = ", ".join(f"{found} {by:+.1f}" for found, by in gain[gain > CLEAR].items())
    losses = ", ".join(f"{found} {by:+.1f}" for found, by in gain[gain < -CLEAR][::-1].items())
    return (
        f"Against *{base}*, **{name}** wins by more than {CLEAR:g} points on "
        f"{wins or 'no set'}; it loses on {losses or 'no set'}."
    )
