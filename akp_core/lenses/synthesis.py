"""What the page with all lenses says, in words and cards that are chosen by its tables."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from akp_core.lenses.calls import HAPPIER, NOT_TESTABLE, UNHAPPIER, agreements
from akp_core.lenses.members import Lens
from akp_core.lenses.relations import BETWEEN, WITHIN
from akp_core.outcome import TRAINED

REFERENCE = "error"
"""The lens by which the others are judged: held-out error."""


def telling(networks: pd.DataFrame, lenses: Mapping[str, Lens]) -> list[str]:
    """The lenses that tell any two networks of the table apart."""
    return [name for name in lenses if networks[name].nunique() > 1]


def of_gaps(networks: pd.DataFrame, lenses: Mapping[str, Lens]) -> str:
    """Say which networks were lost, and which lenses have nothing to say."""
    lost = networks[networks["status"] != TRAINED]
    said = [
        f"{len(lost)} of {len(networks)} networks diverged or collapsed; they keep their row and their error."
        if len(lost)
        else f"None of the {len(networks)} networks diverged or collapsed."
    ]
    gaps = networks[(networks["why"] != "") & (networks["status"] == TRAINED)]
    if len(gaps):
        said.append(f"{len(gaps)} more have gaps: {'; '.join(dict.fromkeys(gaps['why']))}.")
    blind = [lens.label for name, lens in lenses.items() if name not in telling(networks, lenses)]
    if blind:
        said.append(f"The same for all of them, so left out below: {', '.join(blind)}.")
    return " ".join(said)


def of_calls(called: pd.DataFrame, labels: Mapping[str, str]) -> str:
    """Say how many families each lens calls what, and on how many of them all agree."""
    wide = called.pivot_table(index="family", columns="lens", values="call", aggfunc="first", sort=False)
    testable = wide[(wide != NOT_TESTABLE).all(axis=1)]
    if testable.empty:
        return f"No family can be tested by all of {wide.shape[1]} lenses: too few pairs of twins are left."
    alike = testable.nunique(axis=1) == 1
    split = ((testable == UNHAPPIER).any(axis=1)) & ((testable == HAPPIER).any(axis=1))
    most = called[called["call"] == UNHAPPIER]["lens"].value_counts()
    said = (
        f"**All {wide.shape[1]} lenses agree on {int(alike.sum())} of {len(testable)} families; on "
        f"{int(split.sum())} one lens says unhappier and another happier.** "
    )
    if most.empty:
        return said + "No lens calls any family unhappier than its twins."
    first = most[most == most.max()].index
    names = " and ".join(f"*{labels[name]}*" for name in first)
    verb = "calls" if len(first) == 1 else "call"
    return said + f"{names} {verb} the most unhappier: {int(most.max())} of {len(wide)}."


def of_relations(found: pd.DataFrame, labels: Mapping[str, str]) -> str:
    """Say how many pairs of lenses are related, and which of them are related to the error."""
    said = []
    for question in (BETWEEN, WITHIN):
        asked = found[(found["question"] == question) & found["p_value"].notna()]
        shown = asked[asked["verdict"].isin(["together", "opposed"])]
        with_error = shown[(shown["first"] == REFERENCE) | (shown["second"] == REFERENCE)]
        others = [
            f"{labels[b if a == REFERENCE else a]} ({rho:+.2f})"
            for a, b, rho in zip(with_error["first"], with_error["second"], with_error["rho"], strict=True)
        ]
        tail = f"with the error: {', '.join(others)}" if others else "none with the error"
        said.append(f"**{question.capitalize()}**, {len(shown)} of {len(asked)} pairs are related; {tail}.")
    return " ".join(said)


def cards(
    called: pd.DataFrame, found: pd.DataFrame, labels: Mapping[str, str], *, members: int
) -> list[dict[str, object]]:
    """Fields of the verdicts: do lenses call the families unhappy that err more, and do they go together?"""
    pairs = agreements(called)
    with_error = pairs[(pairs["first"] == REFERENCE) | (pairs["second"] == REFERENCE)]
    families, lenses = called["family"].nunique(), called["lens"].nunique()
    if with_error.empty or with_error["families"].max() == 0:
        return [
            {
                "statement": "Every lens calls the same families unhappy",
                "verdict": "not testable",
                "tone": "open",
                "effect": "families that both the error and another lens can test: none",
            }
        ]
    wide = called.pivot_table(index="family", columns="lens", values="call", aggfunc="first", sort=False)
    alike = int((wide.nunique(axis=1) == 1).sum())
    least = with_error.sort_values("kappa").iloc[0]
    other = labels[least["second"] if least["first"] == REFERENCE else least["first"]]
    kappa = f"; least with the error agrees {other}" + (
        f" (kappa {least['kappa']:.2f})" if np.isfinite(least["kappa"]) else ""
    )
    same: dict[str, object] = {
        "statement": "Every lens calls the same families unhappy",
        "verdict": "yes" if alike == families else "partly" if alike > families / 2 else "no",
        "tone": "yes" if alike == families else "no" if alike <= families / 2 else "open",
        "effect": f"families on which all {lenses} lenses agree, of {families}{kappa}",
        "value": alike,
        "members": members,
        "null": "signs of twins' differences flipped",
    }
    return [same, *(_related(found, question, labels) for question in (BETWEEN, WITHIN))]


def _related(found: pd.DataFrame, question: str, labels: Mapping[str, str]) -> dict[str, object]:
    asked = found[
        (found["question"] == question) & ((found["first"] == REFERENCE) | (found["second"] == REFERENCE))
    ]
    known = asked[asked["p_value"].notna()]
    statement = f"What lenses see goes with the error, {question}"
    if known.empty:
        effect = "rank correlation of a lens with the error: too few replicates"
        return {"statement": statement, "verdict": "not testable", "tone": "open", "effect": effect}
    shown = known[known["verdict"].isin(["together", "opposed"])]
    best = known.sort_values("p_value", kind="stable").iloc[0]
    other = labels[best["second"] if best["first"] == REFERENCE else best["first"]]
    word = f"{len(shown)} of {len(known)} lenses"
    return {
        "statement": statement,
        "verdict": word if len(shown) else "not shown",
        "tone": "yes" if len(shown) == len(known) else "open",
        "effect": f"rank correlation with the error, the clearest: {other}",
        "value": float(best["rho"]),
        "low": float(best["low"]),
        "high": float(best["high"]),
        "p_value": float(best["p_value"]),
        "members": f"{int(best['replicates'])} {'stresses' if question == BETWEEN else 'members'}",
        "null": "stresses permuted" if question == BETWEEN else "members of one lens renamed",
    }
