"""Factors tested over networks, and what is said of them: reproduced, not reproduced, undecided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float64
from scipy import stats

from akp_core.dispersion.false_discoveries import q_values
from akp_core.errors import expected, unknown_name, whole_number

PERMUTATIONS = 9999
ABOUT_ONE = 2.0
"""What "R_f is about 1" means here: within this factor of 1. Fixed before anything was measured."""
YES, NO, OPEN = "reproduced", "not reproduced", "undecided"
TONES = {YES: "yes", NO: "no", OPEN: "open"}
CONTROL_ROW = "control"
"""Source of a row that should show nothing: its verdict says whether it does."""
READERS = {"source": "source", "statement": "statement", "verdict": "verdict", "factor": "factor"}
READERS |= {"low": "from", "high": "to", "q_value": "q", "networks": "networks"}


@dataclass(frozen=True)
class Contrast:
    """The mean over networks of a logarithm, brought back to a factor.

    Attributes
    ----------
    factor, low, high : float
        Geometric mean over networks and the ends of its interval (Student's t on the logarithms).
    p_value : float
        Two-sided, by exchanging signs: exact up to 13 networks.
    networks : int
    smallest_p : float
        No fewer exchanges than these networks have could give less.
    """

    factor: float
    low: float
    high: float
    p_value: float
    networks: int
    smallest_p: float


def contrast(logs: Sequence[float] | Float64[np.ndarray, " m"], *, level: float, seed: int) -> Contrast:
    r"""Test whether a factor, paired within networks, differs from 1 on average over networks.

    .. math:: \exp\Bigl(\tfrac1m \sum_i \ell_i\Bigr), \qquad p = P\Bigl(\bigl|\sum_i \epsilon_i \ell_i\bigr|
              \ge \bigl|\sum_i \ell_i\bigr|\Bigr), \quad \epsilon_i = \pm 1 \text{ by fair coins}

    Parameters
    ----------
    logs : (m,) float
        Natural logarithm of the factor of each network; at least 2.
    level : float
        The interval has confidence 1 - level.
    seed : int
        Draws signs where there are more than 9,999 ways to set them.

    Returns
    -------
    Contrast

    Raises
    ------
    AkpError
        For fewer than 2 networks, values that are not finite, or a level outside (0, 1).

    Notes
    -----
    Null: each network's factor is as likely to be its inverse. Cost: 2^m means, or 9,999.
    """
    values = np.asarray(logs, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        got = f"{np.isfinite(values).sum()} finite of {values.size}"
        raise expected("finite factors of at least 2 networks", got, "leave out those that are lost")
    if not 0 < level < 1:
        raise expected("level between 0 and 1", repr(level))
    m, mean, error = len(values), values.mean(), stats.sem(values)
    reach = float(stats.t.ppf(1 - level / 2, m - 1) * error)
    test = stats.permutation_test(
        (values,),
        lambda x, axis: x.mean(axis=axis),
        permutation_type="samples",
        n_resamples=PERMUTATIONS,
        vectorized=True,
        rng=np.random.default_rng(seed),
    )
    smallest = 2 / min(2**m, PERMUTATIONS + 1)
    low, mid, high = np.exp([mean - reach, mean, mean + reach])
    return Contrast(float(mid), float(low), float(high), float(test.pvalue), m, smallest)


def judged(found: Contrast, expects: str, q_value: float, level: float) -> str:
    """The verdict on a factor that should be ``above`` or ``below`` 1, by a corrected p-value."""
    if expects not in ("above", "below"):
        raise unknown_name("direction", expects, ("above", "below"))
    if q_value >= level or found.factor == 1:
        return OPEN
    return YES if (found.factor > 1) == (expects == "above") else NO


def about_one(found: Contrast) -> str:
    """The verdict on a factor that should be about 1, by where its interval lies."""
    if found.low >= 1 / ABOUT_ONE and found.high <= ABOUT_ONE:
        return YES
    return NO if found.low > ABOUT_ONE or found.high < 1 / ABOUT_ONE else OPEN


def weigh(
    tests: Sequence[tuple[str, str, str, pd.Series]], *, level: float = 0.05, seed: int = 0
) -> pd.DataFrame:
    """Judge statements about factors over networks; p-values are corrected for their number.

    Parameters
    ----------
    tests : sequence of (source, statement, expects, logs)
        ``expects`` is ``above`` or ``below`` 1, or empty for about 1; ``logs`` is the logarithm of the
        factor of each network, NaN for those that are lost.
    level, seed
        As for `contrast`.

    Returns
    -------
    DataFrame
        As `signatures`.
    """
    whole_number("seed", seed, 0)
    rows, found = [], []
    for source, statement, _, logs in tests:
        values = np.asarray(logs, dtype=np.float64)
        values = values[np.isfinite(values)]
        found.append(contrast(values, level=level, seed=seed) if len(values) >= 2 else None)
        blank = {**dict.fromkeys(Contrast.__annotations__, np.nan), "networks": len(values)}
        rows.append({"source": source, "statement": statement} | (asdict(found[-1]) if found[-1] else blank))
    table = pd.DataFrame(rows)
    ranked = np.array([bool(expects) for _, _, expects, _ in tests])
    table["q_value"] = q_values(table["p_value"].astype(float).where(ranked))
    verdicts = []
    for (_, _, expects, _), one, q in zip(tests, found, table["q_value"], strict=True):
        verdicts.append(
            OPEN if one is None else judged(one, expects, q, level) if expects else about_one(one)
        )
    return table.assign(verdict=verdicts)


def readable(found: pd.DataFrame) -> pd.DataFrame:
    """A table of verdicts with its columns in words, and a dash where there is no number."""
    shown = found[list(READERS)].astype(object)
    return shown.where(found[list(READERS)].notna(), "–").rename(columns=READERS)


def said(found: pd.DataFrame, *, level: float = 0.05) -> str:
    """Sum up a table of verdicts in a sentence or two, in Markdown.

    Parameters
    ----------
    found : DataFrame
        From `signatures` or `weigh`; rows whose source is ``control`` are told apart.
    level : float
        That given to them.
    """
    control = found["source"] == CONTROL_ROW
    counts = found.loc[~control, "verdict"].value_counts()
    parts = [f"{counts[word]} {word}" for word in (YES, NO, OPEN) if counts.get(word, 0)]
    text = f"**Of {int((~control).sum())} statements: {', '.join(parts)}.**"
    words = {YES: "does", NO: "does not do", OPEN: "cannot be told to do"}
    for verdict in found.loc[control, "verdict"]:
        text += f" The control {words[verdict]} as it should."
    tests = found.loc[~control & found["q_value"].notna()]
    if len(tests) and (tests["smallest_p"] >= level).all():
        text += f" So few networks cannot give a p-value below {level:g}: take more."
    return text


def card(row: pd.Series) -> dict[str, Any]:
    """What a verdict card of the book says of one row of `signatures` or `weigh`, but claim and statement.

    Parameters
    ----------
    row : Series

    Returns
    -------
    dict
        ``verdict``, ``tone``, ``effect``, ``value``, ``low``, ``high``, ``p_value``, ``members``, ``null``.
    """
    number = {
        name: float(row[name]) if np.isfinite(row[name]) else None for name in ("factor", "low", "high")
    }
    tested = np.isfinite(row["q_value"])
    return {
        "verdict": row["verdict"],
        "tone": TONES[row["verdict"]],
        "effect": "factor, geometric mean over networks",
        "value": number["factor"],
        "low": number["low"],
        "high": number["high"],
        "p_value": float(row["q_value"]) if tested else None,
        "members": int(row["networks"]),
        "null": "signs of logarithms exchanged; p corrected" if tested else "within a factor of 2 of 1",
    }
