"""The published signatures of stability, before and after training, each tested over networks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from akp_core.errors import expected, unknown_name
from akp_core.lenses.stability_contrast import weigh


def depth_slopes(table: pd.DataFrame, quantity: str) -> pd.Series:
    r"""Slope of the log of a quantity along the taps, for each network and step.

    .. math:: \beta = \frac{\sum_k (k - \bar k) \log Q_k}{\sum_k (k - \bar k)^2}

    Parameters
    ----------
    table : DataFrame
        From `akp_core.lenses.stability.stability`; other columns that tell rows apart may be there.
    quantity : str
        ``D``, ``G`` or ``R``.

    Returns
    -------
    Series
        Indexed by family, member and step; NaN for a network that lacks one of the taps. A tap at which
        all networks have exactly what they had at the tap before it (an identity) counts once.

    Raises
    ------
    AkpError
        For fewer than two taps that differ.
    """
    taps = list(dict.fromkeys(table["tap"]))
    wide = table.pivot(index=["family", "member", "step"], columns="tap", values=quantity)[taps]
    kept = [tap for before, tap in zip([None, *taps], taps, strict=False) if not _same(wide, before, tap)]
    if len(kept) < 2:
        raise expected("at least two taps that differ", ", ".join(kept), "give more taps")
    k = np.arange(len(kept)) - (len(kept) - 1) / 2
    logs = np.log(wide[kept].to_numpy(dtype=np.float64))
    return pd.Series(logs @ (k / (k @ k)), index=wide.index)


def _same(wide: pd.DataFrame, before: str | None, tap: str) -> bool:
    return before is not None and bool(wide[before].equals(wide[tap].rename(before)))


def signatures(
    table: pd.DataFrame, *, output: str | None = None, level: float = 0.05, seed: int = 0
) -> pd.DataFrame:
    """Test what was published about R_f, D_f and G_f before and after training, over networks.

    Parameters
    ----------
    table : DataFrame
        From `akp_core.lenses.stability.stability`, of one family, at step 0 and at later ones; the first
        and the last are compared.
    output : str or None
        The tap that is the network's output; None means the last.
    level : float
        Of intervals, and of the p-values corrected for the number of tests (Benjamini and Hochberg).
    seed : int

    Returns
    -------
    DataFrame
        One row a signature: ``source``, ``statement``, ``factor`` (geometric mean over networks), ``low``,
        ``high``, ``p_value``, ``q_value``, ``networks``, ``smallest_p``, ``verdict``. The first, that R_f is
        about 1, is judged by its interval and has no q-value. A row whose networks are too few has NaN
        and is undecided.

    Raises
    ------
    AkpError
        For a table of several families, without an untrained row, or with one step.

    References
    ----------
    Petrini et al. 2021, arXiv:2105.02468; Tomasini et al. 2022, arXiv:2210.01506.
    """
    first, last = _ends(table)
    out = table["tap"].iloc[-1] if output is None else output
    if out not in set(table["tap"]):
        raise unknown_name("tap", out, set(table["tap"]))
    at_output = table[table["tap"] == out].set_index(["member", "step"])
    log = at_output[["D", "G", "R"]].astype(float).apply(np.log).unstack("step")
    slopes = {q: depth_slopes(table, q).droplevel("family").unstack("step") for q in ("D", "G")}
    petrini, tomasini = "Petrini 2021", "Tomasini 2022"
    tests = [
        (petrini, f"before training R is about 1 at {out}", "", log["R"][first]),
        (petrini, f"R at {out} falls in training", "below", log["R"][last] - log["R"][first]),
        (tomasini, "after training D falls with depth, a tap", "below", slopes["D"][last]),
        (tomasini, "training tilts D down with depth", "below", slopes["D"][last] - slopes["D"][first]),
        (tomasini, "after training G rises with depth, a tap", "above", slopes["G"][last]),
        (tomasini, f"G at {out} rises in training", "above", log["G"][last] - log["G"][first]),
    ]
    return weigh(tests, level=level, seed=seed)


def averaged(
    table: pd.DataFrame,
    *,
    by: Sequence[str],
    level: float = 0.05,
    quantities: Sequence[str] = ("D", "G", "R"),
) -> pd.DataFrame:
    """Geometric means over networks, with Student's intervals of the logarithms.

    Parameters
    ----------
    table : DataFrame
        One row a network and whatever ``by`` tells apart; NaN where a network is lost.
    by : sequence of str
        Columns that stay, such as ``family``, ``step`` and ``tap``.
    level : float
        Intervals have confidence 1 - level.
    quantities : sequence of str
        Columns of positive numbers.

    Returns
    -------
    DataFrame
        One row a group and quantity: ``by``, ``quantity``, ``value``, ``low``, ``high``, ``networks``,
        ``lost``. Ends are NaN for fewer than two networks.
    """
    missing = {*by, *quantities} - set(table.columns)
    if missing:
        raise expected(f"a table with the columns {', '.join((*by, *quantities))}", f"no {sorted(missing)}")
    if not 0 < level < 1:
        raise expected("level between 0 and 1", repr(level))
    long = table.melt(id_vars=list(by), value_vars=list(quantities), var_name="quantity")
    long["value"] = np.log(long["value"].where(long["value"] > 0).astype(float))
    groups = long.groupby([*by, "quantity"], sort=False)["value"]
    found = groups.agg(mean="mean", sem="sem", networks="count", rows="size").reset_index()
    reach = stats.t.ppf(1 - level / 2, found["networks"].clip(lower=2) - 1) * found["sem"]
    shown = found[[*by, "quantity"]].copy()
    ends = {"value": found["mean"], "low": found["mean"] - reach, "high": found["mean"] + reach}
    for name, logarithm in ends.items():
        shown[name] = np.exp(logarithm)
    return shown.assign(networks=found["networks"], lost=found["rows"] - found["networks"])


def _ends(table: pd.DataFrame) -> tuple[int, int]:
    if table["family"].nunique() != 1:
        raise expected("a table of one family", ", ".join(map(str, table["family"].unique())))
    first, last = int(table["step"].min()), int(table["step"].max())
    if first != 0 or last == 0:
        raise expected(
            "the untrained networks and a later step", f"steps {first} to {last}", "steps=(0, ...)"
        )
    return first, last
