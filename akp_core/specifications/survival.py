"""Does an answer survive the choices that led to it: the curve cut by choice, and a rule fixed beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from akp_core.errors import expected, unknown_name
from akp_core.specifications.curve import FACTORS, VERDICTS, Curve
from akp_core.specifications.inference import Answer, Joint, joint, share_as_large

WAYS = ("measure", "tap", "network", "dataset", "definition")
"""What an analyst chooses; the rest, stress and onset, is what networks are put through."""


def by_level(
    curve: Curve, factors: Sequence[str] = FACTORS, *, permutations: int = 1999, seed: int = 0
) -> pd.DataFrame:
    """Test the curve again for each choice held fixed: all specifications with that measure, that tap, ...

    Returns
    -------
    DataFrame
        One row a factor and level: ``factor``, ``level``, ``specifications``, ``median``, ``low``,
        ``high``, ``p_value``, ``answer``, and the share of all its specifications in each of `VERDICTS`.
    """
    rows = []
    for factor in factors:
        _known(factor)
        for value, part in curve.table.groupby(factor, sort=False):
            found = joint(curve, part, permutations=permutations, seed=seed)
            row = {"factor": factor, "level": value, "specifications": len(part), "median": found.median}
            row |= {"low": found.interval[0], "high": found.interval[1], "p_value": found.p_value}
            row |= {"answer": found.verdict}
            shares = part["verdict"].value_counts(normalize=True).reindex(VERDICTS, fill_value=0)
            rows.append(row | shares.to_dict())
    return pd.DataFrame(rows)


def ways(curve: Curve) -> pd.DataFrame:
    """Ask the question once for each way to analyse: over all stresses and onsets, all other choices fixed.

    Returns
    -------
    DataFrame
        One row a combination of `WAYS`: these; ``predicted``, how many of its stresses and onsets the
        principle speaks of; ``median`` effect; ``p_value``, two-sided, over the exchanges of its study's
        seeds; ``answer``.
    """
    rows = []
    for key, part in curve.table.groupby(list(WAYS), sort=False):
        told = part[part["verdict"].isin(VERDICTS[:3])]
        row = dict(zip(WAYS, key, strict=True)) | {"predicted": len(told)}
        if told.empty:
            rows.append(row | {"median": np.nan, "p_value": np.nan, "answer": "not testable"})
            continue
        study = curve.outcomes[int(told["study"].iloc[0])]
        turned = study.contrast[:, told["column"]] * told["orientation"].to_numpy(np.float32)
        p, median = share_as_large(np.abs(np.median(turned, axis=1))), float(np.median(told["effect"]))
        answer = "none" if p >= curve.level or median == 0 else "AKP" if median > 0 else "anti-AKP"
        rows.append(row | {"median": median, "p_value": p, "answer": answer})
    return pd.DataFrame(rows)


def variance_shares(curve: Curve, factors: Sequence[str] = FACTORS) -> pd.DataFrame:
    r"""How much of the variance of the effects each choice goes with.

    .. math:: \eta^2 = \frac{\sum_l n_l (\bar e_l - \bar e)^2}{\sum_i (e_i - \bar e)^2}

    Returns
    -------
    DataFrame
        ``choice`` and ``share`` in [0, 1]: each factor alone, largest first; then *all, added*, the share
        that all together explain without interactions (least squares), and *rest*: that the effect of one
        choice hangs on another. Factors overlap where the principle is silent in some combinations, so
        shares need not add up. Infinite effects are left out; no row where effects do not vary.
    """
    for factor in factors:
        _known(factor)
    told = curve.predicted
    told = told[np.isfinite(told["effect"])]
    effect = told["effect"].to_numpy()
    total = float(((effect - effect.mean()) ** 2).sum()) if len(effect) else 0.0
    if total <= 0:
        return pd.DataFrame({"choice": pd.Series(dtype=str), "share": pd.Series(dtype=float)})
    varied = [factor for factor in factors if told[factor].nunique() > 1]
    alone = {
        factor: float(((told.groupby(factor)["effect"].transform("mean") - effect.mean()) ** 2).sum()) / total
        for factor in varied
    }
    ranked = sorted(alone.items(), key=lambda item: -item[1])
    indicators = [pd.get_dummies(told[factor].astype(str), dtype=float).to_numpy() for factor in varied]
    design = np.column_stack([np.ones(len(told)), *indicators])
    fit = design @ np.linalg.lstsq(design, effect, rcond=None)[0]
    together = min(1.0, max(0.0, 1 - float(((effect - fit) ** 2).sum()) / total))
    rows = [*ranked, ("all, added", together), ("rest", 1 - together)]
    return pd.DataFrame(rows, columns=["choice", "share"])


@dataclass(frozen=True)
class Survival:
    """Whether the answer of the whole curve is that of its parts.

    Attributes
    ----------
    answer : {"AKP", "none", "anti-AKP", "not testable"}
        Of the whole curve (`Joint.verdict`).
    reference : str
        Of the way to be checked, the first one listed unless another is named.
    survives : bool or None
        True if the answer is AKP or anti-AKP, the reference and at least half of the ways that can be
        tested say the same, and none says the opposite. None where the curve decides nothing.
    same, silent, opposite, ways : int
        Ways that say the same as the curve, that decide nothing, that say the opposite, and all that can
        be tested.
    turned : tuple of str
        Choices which, held fixed, give the opposite answer of the curve.
    sentence : str
    """

    answer: Answer
    reference: str
    survives: bool | None
    same: int
    silent: int
    opposite: int
    ways: int
    turned: tuple[str, ...]
    sentence: str


def survival(
    whole: Joint, every: pd.DataFrame, levels: pd.DataFrame, reference: dict[str, str] | None = None
) -> Survival:
    """Judge, by a rule fixed beforehand, whether an answer survives the choices that led to it.

    Parameters
    ----------
    whole : Joint
        Of the whole curve.
    every : DataFrame
        From `ways`.
    levels : DataFrame
        From `by_level`.
    reference : dict of factor to level, optional
        The way to be checked; the first row of `every` by default.
    """
    tested = every[every["answer"] != "not testable"]
    chosen = (
        every.iloc[:1]
        if reference is None
        else every[np.logical_and.reduce([every[k] == v for k, v in reference.items()])]
    )
    if chosen.empty:
        raise expected("a reference among the ways of the curve", repr(reference))
    first = str(chosen["answer"].iloc[0])
    decided = whole.verdict in ("AKP", "anti-AKP")
    counter = {"AKP": "anti-AKP", "anti-AKP": "AKP"}.get(whole.verdict, "")
    counts = tested["answer"].value_counts()
    same, opposite = (int(counts.get(v, 0)) if decided else 0 for v in (whole.verdict, counter))
    silent = int(counts.get("none", 0))
    back = levels[(levels["answer"] == counter) & levels["factor"].isin(FACTORS)] if decided else levels[:0]
    turned = tuple(f"{f}: {_plain(v)}" for f, v in back[["factor", "level"]].itertuples(index=False))
    survives = first == whole.verdict and opposite == 0 and 2 * same >= len(tested) if decided else None
    return Survival(
        whole.verdict,
        first,
        survives,
        same,
        silent,
        opposite,
        len(tested),
        turned,
        _sentence(whole, first, survives, (same, silent, opposite, len(tested)), turned, counts),
    )


def _sentence(
    whole: Joint,
    first: str,
    survives: bool | None,
    counted: tuple[int, int, int, int],
    turned: tuple[str, ...],
    counts: pd.Series,
) -> str:
    same, silent, opposite, tested = counted
    if whole.verdict == "not testable":
        return "The principle predicts nothing here that can be tested: no answer, and so none to survive."
    if survives is None:
        told = ", ".join(f"{v} in {int(counts.get(v, 0))}" for v in ("AKP", "none", "anti-AKP"))
        return (
            "Over all specifications the median effect cannot be told from none, so there is no answer that "
            f"could survive. Of {tested} ways to analyse, the answer is {told}; the first "
            f"way listed gives {first}."
        )
    kept = "survives" if survives else "does not survive"
    page = "agrees" if first == whole.verdict else f"says {first}"
    return (
        f"Over all specifications the answer is {whole.verdict}. It {kept}: "
        f"of {tested} ways to analyse {same} say the same, {silent} decide nothing and {opposite} say the "
        f"opposite, and the first way listed {page}."
        + (f" It turns round with {'; '.join(turned)} held fixed." if turned else "")
    )


def _plain(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _known(factor: str) -> None:
    if factor not in FACTORS:
        raise unknown_name("choice", factor, FACTORS)
