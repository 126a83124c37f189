"""What the page with all lenses says, in words and cards that are chosen by its tables."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from akp_core.lenses.calls import HAPPIER, NOT_TESTABLE, SAME, UNHAPPIER, agreements
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
    for words, count in (("The same for all of them", 1), ("Known of none of them", 0)):
        blind = [lens.label for name, lens in lenses.items() if networks[name].nunique() == count]
        if blind:
            said.append(f"{words}, so left out below: {', '.join(blind)}.")
    return " ".join(said)


def _by_family(called: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Calls of the families that all lenses can test, a column a lens; and of those that any tells apart."""
    wide = called.pivot_table(index="family", columns="lens", values="call", aggfunc="first", sort=False)
    testable = wide[(wide != NOT_TESTABLE).all(axis=1)]
    return testable, testable[(testable != SAME).any(axis=1)]


def _both_ways(calls: pd.DataFrame) -> int:
    """Families that one lens calls unhappier and another happier."""
    return int(((calls == UNHAPPIER).any(axis=1) & (calls == HAPPIER).any(axis=1)).sum())


def of_calls(called: pd.DataFrame, labels: Mapping[str, str]) -> str:
    """Say how many families each lens calls what, and on how many of them all agree.

    That no lens tells a family from its twins may be for want of networks, so it is not counted as agreement.
    """
    testable, told = _by_family(called)
    lenses, families = called["lens"].nunique(), called["family"].nunique()
    if testable.empty:
        return f"No family can be tested by all of {lenses} lenses: too few pairs of twins are left."
    if told.empty:
        return f"No lens tells any of {len(testable)} families from their twins."
    alike = int((told.nunique(axis=1) == 1).sum())
    said = (
        f"**All {lenses} lenses make the same call of {alike} of the {len(told)} families that any of them "
        f"tells apart; on {_both_ways(told)} of them one lens says unhappier and another happier.** "
    )
    most = called[called["call"] == UNHAPPIER]["lens"].value_counts()
    if most.empty:
        return said + "No lens calls any family unhappier than its twins."
    first = most[most == most.max()].index
    names = " and ".join(f"*{labels[name]}*" for name in first)
    verb = "calls" if len(first) == 1 else "call"
    return said + f"{names} {verb} the most unhappier: {int(most.max())} of {families}."


def of_relations(found: pd.DataFrame, lenses: Mapping[str, Lens]) -> str:
    """Say how many pairs of lenses are related, and which of them are related to the error."""
    said = []
    for question in (BETWEEN, WITHIN):
        asked = found[(found["question"] == question) & found["p_value"].notna()]
        if asked.empty:
            said.append(f"**{question.capitalize()}**, no pair can be tested: too few replicates.")
            continue
        shown = asked[asked["verdict"].isin(["together", "opposed"])]
        with_error = _beside_error(shown)
        others = [
            f"{lenses[name].label} ({rho:+.2f}{', by its making' if lenses[name].of_error else ''})"
            for name, rho in zip(with_error["other"], with_error["rho"], strict=True)
        ]
        tail = f"with the error: {', '.join(others)}" if others else "none with the error"
        said.append(f"**{question.capitalize()}**, {len(shown)} of {len(asked)} pairs are related; {tail}.")
    return " ".join(said)


def _beside_error(found: pd.DataFrame) -> pd.DataFrame:
    """Rows that relate a lens to the error, with its name in the column ``other``."""
    first, second = found["first"], found["second"]
    other = second.where(first == REFERENCE, first)
    return found.assign(other=other)[(first == REFERENCE) | (second == REFERENCE)]


def cards(
    called: pd.DataFrame, found: pd.DataFrame, lenses: Mapping[str, Lens], *, members: int
) -> list[dict[str, object]]:
    """Fields of the verdicts: do lenses call the same families unhappy, and do they go with the error?"""
    first = _same_families(called, lenses, members)
    return [first, *(_related(found, question, lenses) for question in (BETWEEN, WITHIN))]


def _same_families(called: pd.DataFrame, lenses: Mapping[str, Lens], members: int) -> dict[str, object]:
    """Yes if all make one call of each family that any tells apart, no if two make opposite ones of one."""
    testable, told = _by_family(called)
    count = called["lens"].nunique()
    fields: dict[str, object] = {"statement": "Every lens calls the same families unhappy", "tone": "open"}
    if testable.empty or count < 2:
        effect = f"families that {count} lenses can test, all of them: {len(testable)}"
        return fields | {"verdict": "not testable", "effect": effect}
    if told.empty:
        effect = f"families that any lens tells from their twins, of {len(testable)}: none"
        return fields | {"verdict": "undecided", "effect": effect, "members": members}
    alike, opposite = int((told.nunique(axis=1) == 1).sum()), _both_ways(told)
    word = "yes" if alike == len(told) else "no" if opposite else "undecided"
    least = _beside_error(agreements(called)).dropna(subset="kappa").sort_values("kappa", kind="stable")
    kappa = ""
    if len(least):
        row = least.iloc[0]
        kappa = f"; least with the error agrees {lenses[row['other']].label} (kappa {row['kappa']:.2f})"
    return fields | {
        "verdict": word,
        "tone": "open" if word == "undecided" else word,
        "effect": f"{opposite} are called both ways{kappa}; families of which all {count} lenses make one "
        f"call, of {len(told)} that any tells apart",
        "value": alike,
        "members": members,
        "null": "signs of twins' differences flipped",
    }


def _related(found: pd.DataFrame, question: str, lenses: Mapping[str, Lens]) -> dict[str, object]:
    """Count the lenses by which networks that err more are unhappier, but for those made of the error."""
    asked = _beside_error(found[found["question"] == question])
    apart = asked["other"].isin([name for name, lens in lenses.items() if not lens.of_error])
    known = asked[apart & asked["p_value"].notna()]
    statement = f"What lenses see goes with the error, {question}"
    if known.empty:
        effect = "rank correlation of a lens with the error: too few replicates"
        return {"statement": statement, "verdict": "not testable", "tone": "open", "effect": effect}
    ways = known["rho"] * [lenses[name].unhappy for name in known["other"]]
    shown = known["verdict"].isin(["together", "opposed"])
    along, against = int((shown & (ways > 0)).sum()), int((shown & (ways < 0)).sum())
    word = f"{along} of {len(known)} lenses" + (f", {against} the other way" if against else "")
    best = known.sort_values("p_value", kind="stable").iloc[0]
    units = "stresses with the control" if question == BETWEEN else "members"
    return {
        "statement": statement,
        "verdict": word if along or against else "not shown",
        "tone": "yes" if along == len(known) else "no" if against and not along else "open",
        "effect": f"decided by p corrected for all pairs of lenses; {lenses[best['other']].label}, "
        f"clearest of those not made of the error (corrected p = {best['q_value']:.2g}), has a rank "
        "correlation with it",
        "value": float(best["rho"]),
        "low": float(best["low"]),
        "high": float(best["high"]),
        "p_value": float(best["p_value"]),
        "members": f"{int(best['replicates'])} {units}",
        "null": "stresses permuted" if question == BETWEEN else "members of one lens renamed",
    }
