"""What the tables of *The principle* say, in words that are chosen by their numbers.

Every sentence of a page that depends on a result is made here, so that another run of the page says what
that run found. Verdicts are the fields of a card: verdict, tone, effect and its numbers.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from akp_core.dispersion import LocationTest, ThreeCauses
from akp_core.evidence.controls import HELD
from akp_core.evidence.separate import NOT_COMPARABLE
from akp_core.evidence.witnesses import opposed
from akp_core.trend import Trend

Fields = dict[str, object]
SHORT = {"cka": "CKA", "procrustes": "Procrustes", "mutual_neighbours": "mutual neighbours"}
SHORT |= {"pwcca": "PWCCA", "svcca": "SVCCA", "rsa": "RSA"}
TONES = {"AKP": "yes", "anti-AKP": "no"}
HARDLY_SEPARABLE = 5.0
"""Variance inflation from which a regression is said to tell its causes apart badly."""


def exactness(table: pd.DataFrame) -> Fields:
    """C3: every network of the exact controls is its twin (`akp_core.evidence.controls.compared`)."""
    same = int(table[["predictions", "fingerprints", "state"]].min(axis=1).sum())
    total = int(table["networks"].sum())
    held = bool((table["verdict"] == HELD).all())
    return {
        "verdict": "exact" if held else "broken",
        "tone": "yes" if held else "no",
        "effect": f"networks equal to their twin, bit by bit, of {total}",
        "value": same,
        "members": total,
        "null": "a swap that changes no function",
    }


def location(cells: pd.DataFrame, found: LocationTest | str, *, level: float = 0.05) -> Fields:
    """C1: families sit in different places, all together and one by one (q-values, one tap's cells)."""
    q = location_q(cells)
    moved = int((q < level).sum())
    if isinstance(found, str):
        effect = f"{moved} of {int(q.notna().sum())} families moved (q below {level:g}); all at once: {found}"
        return {"verdict": "not testable", "tone": "open", "effect": effect}
    return {
        "verdict": "moves" if found.p_value < level else "none",
        "tone": "yes" if found.p_value < level else "open",
        "effect": f"{moved} of {int(q.notna().sum())} families moved (q below {level:g}); "
        "share of the squared distances that lies between families, bias removed",
        "value": found.omega_squared,
        "p_value": found.p_value,
        "members": found.members,
        "null": "networks of one member permuted among families",
    }


def location_q(cells: pd.DataFrame) -> pd.Series:
    """The p-values of location of one tap's cells, corrected for their number (Benjamini and Hochberg)."""
    q, known = cells["location_p"].copy(), cells["location_p"].notna()
    q[known] = stats.false_discovery_control(q[known]) if known.any() else q[known]
    return q


def dispersion(pooled: pd.DataFrame, members: int) -> Fields:
    """C2: the row ``all`` of `akp_core.evidence.together.pooled`."""
    row = pooled[pooled["stress"] == "all"].to_dict("records")[0]
    fields: Fields = {
        "verdict": row["verdict"],
        "tone": TONES.get(str(row["verdict"]), "open"),
        "effect": f"dispersion of unhappy over happy networks, mean of {row['families']} families",
        "members": members,
        "null": "no difference on average; members left out one by one",
    }
    return fields | _numbers(row["ratio"], row["low"], row["high"], row["p_value"])


def ordering(found: Trend) -> Fields:
    """C2 over stresses: whether those that raise the error more spread networks more."""
    fields: Fields = {
        "verdict": found.verdict,
        "tone": TONES.get(found.verdict, "open"),
        "effect": "rank correlation of a stress's error with its dispersion",
        "members": f"{found.stresses} stresses, the control among them",
        "null": "stresses permuted",
    }
    return fields | _numbers(found.rho, *found.interval, found.p_value)


def likeness(trained: pd.Series, chance: pd.Series, members: int) -> Fields:
    """C6: one tap's row of `trained_and_untrained`, beside the row of `chance` (`.witnesses`)."""
    beyond = float(trained["low"]) > float(chance["null_high"])
    below = float(trained["high"]) < float(chance["null_high"])
    more, less = float(trained["difference_low"]) > 0, float(trained["difference_high"]) < 0
    verdict = "similar, and learnt to be" if more else "similar, yet less than untrained"
    if not (more or less):
        verdict = "similar, but no more than untrained"
    return {
        "verdict": verdict if beyond else "not beyond chance",
        "tone": "yes" if beyond and more else "no" if less or below else "open",
        "effect": f"mean CKA of two control networks; untrained {trained['untrained']:.2f}",
        "value": trained["trained"],
        "low": trained["low"],
        "high": trained["high"],
        "members": members,
        "null": f"images shuffled, at most {chance['null_high']:.2f}; the same networks untrained",
    }


def at_equal_error(found: ThreeCauses | str) -> Fields:
    """C2 at equal error: whether stress itself spreads networks, error and training held fixed."""
    effect = "standardised effect of being stressed on the log contribution to dispersion"
    if isinstance(found, str):
        return {"verdict": "not testable", "tone": "open", "effect": f"{effect}: {found}"}
    cause = found.stressed
    told = cause.p_value < found.level
    return {
        "verdict": ("spreads" if cause.coefficient > 0 else "gathers") if told else "none",
        "tone": ("yes" if cause.coefficient > 0 else "no") if told else "open",
        "effect": effect,
        **_numbers(cause.standardised, *cause.interval, cause.p_value),
        "members": f"{found.models} networks of {found.clusters} members",
        "null": "signs of whole members flipped",
    }


def _numbers(value: float, low: float, high: float, p: float) -> Fields:
    """Numbers of a card; none where one is not finite, as a card shows no NaN."""
    if not np.isfinite([value, low, high, p]).all():
        return {}
    return {"value": value, "low": low, "high": high, "p_value": p}


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
    left = int((stats.false_discovery_control(could["p_value"]) < level).sum())
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
    return "Mean penalty of stitching one network of a family to another. " + "; ".join(parts) + "."
