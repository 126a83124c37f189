r"""Do lenses tell the same story of the same networks? Between stresses, and within families.

Two questions that must not be mixed. *Between stresses*: does a stress that makes networks worse by one lens
make them worse by another? The replicate is the stress. *Within families*: of networks that met the same
stress, is the one that is worse by one lens worse by the other? The replicate is the member, with all its
networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import factorial

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int64
from scipy import stats

from akp_core.dispersion.anna_karenina import LEAST_MEMBERS
from akp_core.dispersion.false_discoveries import q_values
from akp_core.dispersion.inference import check_level
from akp_core.errors import expected, unknown_name, whole_number
from akp_core.trend import LEAST_STRESSES, fisher_interval, spearman

BETWEEN, WITHIN = "between stresses", "within families"


def relations(
    networks: pd.DataFrame,
    lenses: Sequence[str],
    *,
    permutations: int = 1999,
    level: float = 0.05,
    seed: int = 0,
) -> pd.DataFrame:
    r"""Relate every two lenses, between stresses and within families.

    *Between*: Spearman's rank correlation of the means of each stress (its onsets averaged, families with
    four networks or more; the control is one); Fisher's interval; stresses permuted. *Within*: the mean over
    families of Spearman's correlation over their members,

    .. math:: \bar\rho = \frac1F \sum_f \rho_f ;

    its interval leaves out whole members (the jackknife, Student's t) and its null gives the members of
    one lens new names, the same in every family.

    Parameters
    ----------
    networks : DataFrame
        One row a network: ``family``, ``stress``, ``member`` and a column for each lens; NaN where a lens has
        nothing to say of a network, which is then left out of that pair.
    lenses : sequence of str
        Columns to relate, two at least.
    permutations : int
    level : float
        A corrected p-value below it decides a verdict; intervals hold with confidence ``1 - level``.
    seed : int

    Returns
    -------
    DataFrame
        One row a pair and question: ``first``, ``second``, ``question`` (`BETWEEN` or `WITHIN`), ``rho`` in
        [-1, 1] with ``low`` and ``high``, ``p_value``, ``q_value`` (Benjamini and Hochberg over the pairs of
        that question), ``replicates`` (stresses or members), ``families`` and ``verdict``:
        together, opposed, not shown, or not testable with fewer than four replicates, or too few stresses
        for any p-value below the level (then NaN).

    Raises
    ------
    AkpError
        For fewer than two lenses, an unknown one, or a network named twice.

    Notes
    -----
    Invariances: any increasing change of a lens, for *within*; the order of rows.

    Cost: pairs x permutations x networks.

    References
    ----------
    Bonett & Wright 2000; Miller 1974; Benjamini & Hochberg 1995.
    """
    level = check_level(level)
    whole_number("permutations", permutations, 1)
    if len(set(lenses)) < 2:
        raise expected("at least two lenses to relate", ", ".join(lenses) or "none")
    for lens in lenses:
        if lens not in networks.columns:
            raise unknown_name("lens", lens, list(networks.columns))
    if networks.duplicated(["family", "member"]).any():
        raise expected("one row a network", "a family and member named twice")
    rng, rows = np.random.default_rng(seed), []
    for first, second in combinations(dict.fromkeys(lenses), 2):
        both = networks.dropna(subset=[first, second])
        names = {"first": first, "second": second}
        rows.append(names | {"question": BETWEEN} | _between(both, first, second, permutations, level, rng))
        rows.append(names | {"question": WITHIN} | _within(both, first, second, permutations, level, rng))
    table = pd.DataFrame(rows)
    table["q_value"] = q_values(table["p_value"], table["question"])
    signs = np.where(table["rho"] > 0, "together", "opposed")
    shown = np.where(table["q_value"] < level, signs, "not shown")
    table["verdict"] = np.where(table["p_value"].isna(), "not testable", shown)
    return table


def _nothing(replicates: int, families: int = 0) -> dict[str, object]:
    blank = dict.fromkeys(("rho", "low", "high", "p_value"), float("nan"))
    return {**blank, "replicates": replicates, "families": families}


def _between(
    both: pd.DataFrame, first: str, second: str, permutations: int, level: float, rng: np.random.Generator
) -> dict[str, object]:
    grouped = both.groupby(["stress", "family"], sort=False)[[first, second]]
    families = grouped.mean()[grouped.size() >= LEAST_MEMBERS]
    means = families.groupby("stress").mean()
    count = len(means)
    if count < LEAST_STRESSES or 2 / min(factorial(count), permutations + 1) >= level:
        return _nothing(count, len(families))
    fixed = means[second].to_numpy()
    test = stats.permutation_test(
        (means[first].to_numpy(),),
        lambda x, axis: spearman(x, fixed, axis),
        permutation_type="pairings",
        n_resamples=permutations,
        vectorized=True,
        rng=rng,
    )
    rho = float(test.statistic)
    low, high = fisher_interval(rho, count, level)
    found = {"rho": rho, "low": low, "high": high, "p_value": float(test.pvalue)}
    return {**found, "replicates": count, "families": len(families)}


def _within(
    both: pd.DataFrame, first: str, second: str, permutations: int, level: float, rng: np.random.Generator
) -> dict[str, object]:
    x, y = (
        both.pivot_table(index="family", columns="member", values=lens, sort=False)
        for lens in (first, second)
    )
    a, b = x.to_numpy(dtype=float), y.to_numpy(dtype=float)
    enough = (~np.isnan(a)).sum(axis=1) >= LEAST_MEMBERS
    a, b, members = a[enough], b[enough], a.shape[1]
    if len(a) == 0 or members < LEAST_MEMBERS:
        return _nothing(members, len(a))
    rho = _mean_correlation(a, b)
    without = [np.delete(np.arange(members), i) for i in range(members)]
    left = np.array([_mean_correlation(a[:, kept], b[:, kept]) for kept in without])
    error = float(np.sqrt((members - 1) / members * np.square(left - left.mean()).sum()))
    half = float(stats.t.ppf(1 - level / 2, members - 1)) * error
    dealt = rng.permuted(np.tile(np.arange(members), (permutations, 1)), axis=1)
    drawn = np.abs(_dealt_out(a, b, dealt))
    p = (1 + int((drawn >= abs(rho) - 1e-12).sum())) / (1 + permutations)
    ends = {"low": max(-1.0, rho - half), "high": min(1.0, rho + half)}
    return {"rho": rho, **ends, "p_value": p, "replicates": members, "families": len(a)}


def _dealt_out(
    a: Float64[np.ndarray, "f m"], b: Float64[np.ndarray, "f m"], dealt: Int64[np.ndarray, "p m"]
) -> Float64[np.ndarray, " p"]:
    """The mean correlation after the members of the second lens were given new names."""
    if np.isnan(a).any() or np.isnan(b).any():
        return np.array([_mean_correlation(a, b[:, order]) for order in dealt])
    x, y = (_unit(stats.rankdata(values, axis=1)) for values in (a, b))
    products = x.T @ y / len(a)
    return np.asarray(products[np.arange(a.shape[1]), dealt].sum(axis=1))


def _unit(ranks: Float64[np.ndarray, "f m"]) -> Float64[np.ndarray, "f m"]:
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    size = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.divide(centred, size, out=np.zeros_like(centred), where=size > 0)


def _mean_correlation(a: Float64[np.ndarray, "f m"], b: Float64[np.ndarray, "f m"]) -> float:
    """Mean over families of the rank correlation over the members that both lenses know."""
    known = ~(np.isnan(a) | np.isnan(b))
    if known.all():
        return float(spearman(a, b).mean())
    counted = [spearman(p[k], q[k]) for p, q, k in zip(a, b, known, strict=True) if k.sum() > 1]
    return float(np.mean(counted)) if counted else 0.0
