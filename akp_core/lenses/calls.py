r"""Which families does each lens call unhappy, and do lenses agree on them?

Each lens measures something of which an unhappy network is said to have more (or less). A stressed family is
called unhappier by a lens if its networks have more of it than their own unstressed twins, beyond luck.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd
from jaxtyping import Float64
from scipy import stats

from akp_core.dispersion.anna_karenina import LEAST_MEMBERS
from akp_core.dispersion.false_discoveries import q_values
from akp_core.dispersion.inference import check_level
from akp_core.errors import expected, unknown_name, whole_number
from akp_core.study import CONTROL

UNHAPPIER, HAPPIER, SAME, NOT_TESTABLE = "unhappier", "happier", "not told apart", "not testable"


def calls(
    networks: pd.DataFrame,
    unhappy: Mapping[str, int],
    *,
    permutations: int = 1999,
    level: float = 0.05,
    seed: int = 0,
) -> pd.DataFrame:
    r"""Compare every stressed family with its twins, lens by lens.

    .. math:: \delta_f = \frac{s}{n} \sum_i (x_{f,i} - x_{0,i}),
              \qquad d_f = \delta_f \Big/ \operatorname{sd}_i(x_{0,i})

    where s is +1 if an unhappy network has more of what the lens sees, and -1 if it has less. The test flips
    the signs of twins' differences, all 2^n ways where that many are allowed.

    Parameters
    ----------
    networks : DataFrame
        As for `akp_core.lenses.relations.relations`, the family *control* among them.
    unhappy : mapping of str to {1, -1}
        The lenses, and which way is unhappy by each.
    permutations : int
    level : float
        A corrected p-value below it decides; intervals hold with confidence ``1 - level``.
    seed : int

    Returns
    -------
    DataFrame
        One row a family and lens: ``family``, ``stress``, ``lens``, ``difference`` (signed so that above 0
        is unhappier, in the lens's own unit) with ``low`` and ``high`` (Student's t over twins), ``effect``
        (in standard deviations of the control; NaN where these are 0), ``twins`` counted, ``p_value``,
        ``q_value`` (over the families of a lens) and ``call``: unhappier, happier, not told apart, or not
        testable, with fewer than four pairs or too few for any p-value below the level (then NaN).

    Raises
    ------
    AkpError
        For no lens, one that is not a column, a direction that is neither 1 nor -1, a network named twice,
        no control, or nothing but the control.

    Notes
    -----
    Cost: families x lenses x permutations x members.
    """
    level = check_level(level)
    whole_number("permutations", permutations, 1)
    if CONTROL not in set(networks["family"]):
        raise expected("a control family", ", ".join(map(str, dict.fromkeys(networks["family"]))) or "none")
    if not unhappy:
        raise expected("at least one lens", "none")
    if networks.duplicated(["family", "member"]).any():
        raise expected("one row a network", "a family and member named twice")
    rng, rows = np.random.default_rng(seed), []
    stressed = dict(zip(networks["family"], networks["stress"], strict=True))
    if set(stressed) == {CONTROL}:
        raise expected("at least one stressed family beside the control", "none")
    for lens, sign in unhappy.items():
        if lens not in networks.columns:
            raise unknown_name("lens", lens, list(networks.columns))
        if sign not in (1, -1):
            raise expected(f"1 or -1 as the unhappy way of {lens}", repr(sign))
        wide = networks.pivot_table(index="member", columns="family", values=lens, dropna=False, sort=False)
        control = wide[CONTROL].to_numpy(dtype=float)
        spread = float(np.nanstd(control, ddof=1)) if (~np.isnan(control)).sum() > 1 else float("nan")
        for family, stress in stressed.items():
            if family == CONTROL:
                continue
            there = wide[family].to_numpy(dtype=float) if family in wide else np.full_like(control, np.nan)
            apart = sign * (there - control)
            found = _compared(apart[~np.isnan(apart)], permutations, level, rng)
            effect = found["difference"] / spread if spread > 0 else float("nan")
            rows.append({"family": family, "stress": stress, "lens": lens, **found, "effect": effect})
    table = pd.DataFrame(rows)
    table["q_value"] = q_values(table["p_value"], table["lens"])
    told = np.where(table["difference"] > 0, UNHAPPIER, HAPPIER)
    table["call"] = np.where(table["q_value"] < level, told, SAME)
    table.loc[table["p_value"].isna(), "call"] = NOT_TESTABLE
    return table


def agreements(called: pd.DataFrame) -> pd.DataFrame:
    r"""For every two lenses, on how many families their calls agree, beyond what chance would give.

    .. math:: \kappa = \frac{p_o - p_e}{1 - p_e}

    (Cohen 1960), over the families that both can test; the calls are unhappier, happier, not told apart.

    Parameters
    ----------
    called : DataFrame
        From `calls`.

    Returns
    -------
    DataFrame
        One row a pair: ``first``, ``second``, ``families``, ``agree`` (families), ``contradict`` (one says
        unhappier and the other happier), ``kappa`` in [-1, 1] (NaN where each lens makes one and the same
        call of all).
    """
    wide = called.pivot_table(index="family", columns="lens", values="call", aggfunc="first", sort=False)
    rows = []
    for first, second in combinations(dict.fromkeys(called["lens"]), 2):
        pair = wide[[first, second]]
        pair = pair[(pair != NOT_TESTABLE).all(axis=1)]
        a, b = (pair[lens].to_numpy(dtype=str) for lens in (first, second))
        observed = float((a == b).mean()) if len(pair) else float("nan")
        chance = (
            sum(float((a == word).mean() * (b == word).mean()) for word in set(a) | set(b))
            if len(pair)
            else 1.0
        )
        opposite = ((a == UNHAPPIER) & (b == HAPPIER)) | ((a == HAPPIER) & (b == UNHAPPIER))
        kappa = (observed - chance) / (1 - chance) if chance < 1 else float("nan")
        counts = {"families": len(pair), "agree": int((a == b).sum()), "contradict": int(opposite.sum())}
        rows.append({"first": first, "second": second, **counts, "kappa": kappa})
    return pd.DataFrame(rows)


def _compared(
    apart: Float64[np.ndarray, " n"], permutations: int, level: float, rng: np.random.Generator
) -> dict[str, float]:
    n, nothing = len(apart), float("nan")
    if n < LEAST_MEMBERS:
        return {"difference": nothing, "low": nothing, "high": nothing, "twins": n, "p_value": nothing}
    mean, error = float(apart.mean()), float(apart.std(ddof=1) / np.sqrt(n))
    half = float(stats.t.ppf(1 - level / 2, n - 1)) * error
    found = {"difference": mean, "low": mean - half, "high": mean + half, "twins": n}
    # all differences flipped are as extreme: no smaller p-value is possible
    if 2 / min(2**n, permutations + 1) >= level:
        return found | {"p_value": nothing}
    test = stats.permutation_test(
        (apart,),
        lambda x, axis: x.mean(axis=axis),
        permutation_type="samples",
        n_resamples=permutations,
        vectorized=True,
        rng=rng,
    )
    return found | {"p_value": float(test.pvalue)}
