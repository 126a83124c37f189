"""What the tables of *The principle* say, in words that are chosen by their numbers.

Every sentence of a page that depends on a result is made here, so that another run of the page says what
that run found. The cards are in `akp_core.evidence.cards`.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from akp_core.dispersion import ThreeCauses
from akp_core.dispersion.false_discoveries import q_values
from akp_core.evidence.separate import NOT_COMPARABLE
from akp_core.evidence.terciles import ANY_FAMILY, ONE_FAMILY
from akp_core.evidence.witnesses import opposed

SHORT = {"cka": "CKA", "procrustes": "Procrustes", "mutual_neighbours": "mutual neighbours"}
SHORT |= {"pwcca": "PWCCA", "svcca": "SVCCA", "rsa": "RSA"}
HARDLY_SEPARABLE = 5.0
"""Variance inflation from which a regression is said to tell its causes apart badly."""


def of_terciles(table: pd.DataFrame) -> str:
    """Say what the thirds show, and whether families that lie apart make the difference."""
    within, anywhere = (table.set_index("pairs").loc[name] for name in (ONE_FAMILY, ANY_FAMILY))
    words = {
        "AKP": "more dispersed",
        "anti-AKP": "less dispersed",
        "none": "not shown to differ in dispersion",
    }
    there, here = str(anywhere["verdict"]), str(within["verdict"])
    if there not in words or here not in words:
        return "Too many networks err alike for thirds to be told apart, or too few have a representation."
    said = (
        f"Beside the {anywhere['best']} best networks the {anywhere['worst']} worst are **{words[there]}**; "
        f"counting only pairs of one family, {words[here]}. "
    )
    if there == here:
        return said
    if there == "AKP":
        return said + (
            "So what sets the worst apart from one another is which stress they met: unhappy families lie in "
            "different places. That a stress loosens its own family is not what this shows."
        )
    return said + "So where families lie, and how tight each is, speak differently."


def of_thirds(table: pd.DataFrame) -> str:
    """Count the verdicts of `akp_core.evidence.terciles.over_studies`, by kind of pairs."""
    said = []
    for pairs, rows in table.groupby("pairs", sort=False):
        counts = rows["verdict"].value_counts()
        said.append(f"**pairs {pairs}: " + ", ".join(f"{n} × {word}" for word, n in counts.items()) + "**")
    return f"Of {len(table) // 2} ways to rank, {'; '.join(said)}."


def of_matching(table: pd.DataFrame, *, level: float = 0.05) -> str:
    """Say what is left of the spread among networks that err alike, also corrected for their number."""
    could = table[table["verdict"] != NOT_COMPARABLE]
    if could.empty:
        return f"None of {len(table)} families could be matched in error: nothing is said of them here."
    spread, gathered, none = (
        int((could["verdict"] == word).sum()) for word in ("stress spreads", "stress gathers", "none")
    )
    said = (
        f"{len(could)} of {len(table)} families could be matched. Among networks that err alike, "
        f"the stressed are more dispersed in {spread}, less in {gathered}, and not told apart in {none}. "
    )
    left = int((q_values(could["p_value"]) < level).sum())
    if spread == gathered == 0:
        return said + "So where errors are equal, no effect of stress on dispersion is found."
    if left == 0:
        return said + "Corrected for the number of families none is left: chance may have done it."
    return said + (
        f"Corrected for the number of families {left} {'is' if left == 1 else 'are'} left: there stress "
        "changes dispersion beyond the error that it brings."
    )


def cause_rows(found: ThreeCauses | str) -> pd.DataFrame:
    """The three causes, one a row; no rows where they cannot be told apart."""
    columns = ["label", "value", "low", "high", "p_value", "alone", "last", "inflation"]
    causes = () if isinstance(found, str) else (found.stressed, found.less_accurate, found.less_trained)
    rows = [(c.name, c.standardised, *c.interval, c.p_value, c.alone, c.last, c.inflation) for c in causes]
    return pd.DataFrame(rows, columns=columns)


def of_causes(found: ThreeCauses | str) -> str:
    """Say which causes go with dispersion when the other two are held fixed."""
    if isinstance(found, str):
        return f"The causes cannot be told apart in this run: {found}."
    told = []
    for cause in (found.stressed, found.less_accurate, found.less_trained):
        if cause.p_value < found.level:
            way = "more" if cause.coefficient > 0 else "less"
            told.append(f"being {cause.name} goes with {way} dispersion (p = {cause.p_value:.2g})")
    said = "; ".join(told) if told else "no cause can be told from zero"
    worst = max(c.inflation for c in (found.stressed, found.less_accurate, found.less_trained))
    apart = "hardly told apart" if worst > HARDLY_SEPARABLE else "told apart well enough"
    return (
        f"With the other two held fixed: {said}. The three explain {found.r_squared:.0%} of the variance, "
        f"{found.common:z.0%} in common; by this design they are {apart} "
        f"(variance inflation up to {worst:.1f})."
    )


def of_ways(table: pd.DataFrame, mixed: pd.DataFrame) -> str:
    """Say whether networks went one way under one stress, and under different stresses."""
    counts = table["verdict"].value_counts()
    said = ", ".join(f"{n} {verdict}" for verdict, n in counts.items())
    said = f"Under one and the same stress: {said}, of {len(table)} families. "
    if mixed.empty:
        return said + "Fewer than two families are unhappy, so that there are no mixed ones."
    if mixed["index"].isna().all():
        return said + "Too few networks have a representation to mix families."
    least, most = mixed["index"].min(), mixed["index"].max()
    counts = mixed["verdict"].value_counts()
    common = counts.index[0] if counts.iloc[0] > len(mixed) / 2 else "undecided"
    return said + (
        f"When every network meets another stress, the index lies between {least:.2f} and {most:.2f}: "
        f"{common}, in {counts.iloc[0]} of {len(mixed)} mixtures."
    )


def of_measures(table: pd.DataFrame) -> str:
    """Say what each measure finds, and where two contradict each other."""
    parts = []
    for measure, part in table.groupby("measure", sort=False):
        counts = part["found"].value_counts()
        parts.append(
            f"{SHORT.get(str(measure), measure)} finds {counts.get('spread', 0)} spread and "
            f"{counts.get('gathered', 0)} gathered"
        )
    against = opposed(table)
    said = f"Of {table['family'].nunique()} families, " + "; ".join(parts) + ". "
    if against:
        return said + f"**They contradict one another** on {', '.join(against)}: that is the result there."
    apart = table.groupby("family")["found"].nunique()
    if (apart > 1).any():
        return said + (
            f"None contradicts another, but in {int((apart > 1).sum())} families one finds an effect where "
            "another finds none."
        )
    if set(table["found"]) <= {"none", "not testable"}:
        return said + "None of them finds an effect on any family."
    return said + "They agree on every family."


def of_memorising(table: pd.DataFrame, learnt: float, tap: str) -> str:
    """Say whether the random-label control came out as Morcos et al. (2018) found; `learnt` is a share."""
    here = table[table["tap"] == tap].set_index("measure")
    told = ", ".join(
        f"{SHORT.get(measure, measure)}: {verdict}"
        for measure, verdict in zip(here.index.astype(str), here["verdict"], strict=True)
    )
    heart = (
        f"The networks with random labels learnt {learnt:.0%} of them by heart"
        if learnt >= 0.9
        else f"The networks with random labels learnt only {learnt:.0%} of them, so this is no full "
        "test of memorising"
    )
    agree = (here["verdict"] == "as Morcos et al.").all()
    some = (here["verdict"] == "as Morcos et al.").any() and not (here["verdict"] == "opposite").any()
    so = "found again" if agree else "found again by some measures" if some else "not found again here"
    return f"{heart}. At the tap *{tap}*, {told}. The known difference is **{so}**."


def of_jolt(cells: pd.DataFrame, jolted: pd.DataFrame) -> str:
    """Say how many stresses have a larger R², or change dispersion more, than a mere jolt (one tap)."""
    jolt = jolted.iloc[0]
    known = cells[cells["location_r2"].notna()]
    if pd.isna(jolt["location_r2"]) or known.empty:
        return "The jolt, or every stress, left too few networks to compare."
    more = int((known["location_r2"] > jolt["location_r2"]).sum())
    amount = np.abs(np.log(known["ratio"])) > abs(np.log(jolt["ratio"]))
    return (
        f"A jolt of the learning rate gives a location R² of {jolt['location_r2']:.2f} and a ratio of "
        f"{jolt['ratio']:.2f}. {more} of {len(known)} families have a larger R², "
        f"and {int(amount.sum())} changed their dispersion by more, up or down."
    )


def of_stitching(table: pd.DataFrame) -> str:
    """Say what stitching inside each family cost, beside what shuffled pairs give."""
    parts = []
    for family, part in table.groupby("family", sort=False):
        known = part[part["penalty"].notna()]
        if known.empty:
            parts.append(f"{family}: could not be stitched")
            continue
        cost = known["penalty"].mean() * 100
        chance = (known["null_error"] - known["receiver_error"]).mean() * 100
        ends = f"{known['penalty'].min() * 100:+.1f} to {known['penalty'].max() * 100:+.1f}"
        parts.append(
            f"{family}: {cost:+.1f} points ({len(known)} pairs, {ends}), where shuffled pairs "
            f"cost {chance:+.1f}"
        )
    return "Mean penalty of stitching one network of a family to another: " + "; ".join(parts) + "."
