"""What a sweep says of the claims: clones and the law of their errors (M1), conditions (M2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from akp_core.clones.critical import LEAST_CLONES
from akp_core.clones.law import PowerLaw
from akp_core.dispersion.expanded import expanded_ends
from akp_core.errors import AkpError, expected
from akp_core.lenses.clones_laws import law_of
from akp_core.lenses.clones_sweep import CELL, Sweep

Answer = Literal["yes", "no", "open"]
Verdict = Literal["reproduced", "not reproduced", "undecided"]
FITTED = 0.01
"""Training error up to which a cell is said to interpolate."""
SHOWN = "shown"
"""The answer of a part that decides nothing: residuals are little correlated with and without clones."""
COUNTS = {"both": "clones", "r_squared": "clones_r_squared", "error": "clones_error"}
DRAWS = 4999


def overall(answers: Sequence[Answer]) -> Verdict:
    """Reproduced if every part is, not reproduced if one is contradicted, else undecided."""
    if "no" in answers:
        return "not reproduced"
    return "reproduced" if answers and set(answers) == {"yes"} else "undecided"


def with_counts(networks: pd.DataFrame) -> pd.DataFrame:
    """The table with the clones counted by what chunks tell, and by how they err, each alone."""
    return networks.assign(
        clones_r_squared=networks["width"] / networks["by_r_squared"],
        clones_error=networks["width"] / networks["by_error"],
    )


def mean_interval(values: pd.Series | np.ndarray, level: float = 0.05) -> tuple[float, float, float]:
    """Mean over networks with Student's interval; NaN ends of one network alone, NaN of none."""
    v = np.asarray(values, float)
    v = v[~np.isnan(v)]
    if not len(v):
        return np.nan, np.nan, np.nan
    if len(v) == 1:
        return float(v[0]), np.nan, np.nan
    reach = float(stats.t.ppf(1 - level / 2, len(v) - 1) * v.std(ddof=1) / np.sqrt(len(v)))
    return float(v.mean()), float(v.mean()) - reach, float(v.mean()) + reach


def geometric(values: pd.Series, level: float = 0.05) -> tuple[float, float, float]:
    """Geometric mean of positive values over networks, with its interval."""
    return tuple(float(v) for v in np.exp(mean_interval(np.log(values.astype(float)), level)))  # type: ignore[return-value]


def numbers(sweep: Sweep, *, by: str = "both", level: float = 0.05) -> pd.DataFrame:
    """Clones against width in every cell.

    Parameters
    ----------
    sweep : Sweep
    by : {"both", "r_squared", "error"}
        By which thresholds the critical width is read.
    level : float
        Intervals over networks have confidence 1 - level.

    Returns
    -------
    DataFrame
        One row a cell and width: ``layer``, ``decay``, ``epoch``, ``width``, ``networks``, ``lost``, ``fits``
        (whether its networks fit all but 1 % of the training images), ``train_error``, ``test_error``,
        ``critical`` (w*), ``clones`` (W / w*), each with ``low`` and ``high`` of clones.
    """
    if by not in COUNTS:
        raise expected(f"by as one of {', '.join(COUNTS)}", repr(by))
    rows = []
    for key, group in with_counts(sweep.networks).groupby([*CELL, "width"], sort=False):
        layer, decay, epoch, width = key
        kept = group[group["why"] == ""]
        count, low, high = geometric(kept[COUNTS[by]], level) if len(kept) else (np.nan,) * 3
        rows.append(
            {
                "layer": layer,
                "decay": decay,
                "epoch": epoch,
                "width": width,
                "networks": len(kept),
                "lost": len(group) - len(kept),
                "fits": bool(kept["train_error"].mean() <= FITTED),
                "train_error": kept["train_error"].mean(),
                "test_error": kept["test_error"].mean(),
                "critical": float(group["width"].iloc[0]) / count,
                "clones": count,
                "low": low,
                "high": high,
            }
        )
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Growth:
    """How the number of clones grows with width in one cell.

    Attributes
    ----------
    exponent, low, high : float
        Of clones against width, above the critical width; 1 is linear, 0 no growth. NaN where fewer than
        three widths are above.
    widths : tuple of int
        That were fitted.
    answer : {"yes", "no", "open"}
        Whether it is linear: 1 in the interval and 0 not; 1 outside; else open.
    """

    exponent: float
    low: float
    high: float
    widths: tuple[int, ...]
    answer: Answer


def growth(
    networks: pd.DataFrame, *, by: str = "both", level: float = 0.05, rng: np.random.Generator
) -> Growth:
    """Fit clones against width on logarithms, networks of each width drawn again.

    Widths enter where there are clones, two on average: below, there is only the layer itself, and clones
    cannot grow.

    Parameters
    ----------
    networks : DataFrame
        One cell of `Sweep.networks`.
    by : {"both", "r_squared", "error"}
    level : float
    rng : numpy.random.Generator
    """
    kept = with_counts(networks[networks["why"] == ""]).dropna(subset=[COUNTS[by]])
    if kept.empty:
        return Growth(np.nan, np.nan, np.nan, (), "open")
    logs = {w: np.log(kept.loc[kept["width"] == w, COUNTS[by]].to_numpy(float)) for w in widths_of(kept)}
    counted = {w: each for w, each in logs.items() if np.exp(each.mean()) >= LEAST_CLONES}
    groups = list(counted.items())
    if len(groups) < 3 or min(len(g) for _, g in groups) < 2:
        return Growth(np.nan, np.nan, np.nan, tuple(counted), "open")
    x = np.log([w for w, _ in groups])
    slope = (x - x.mean()) / np.square(x - x.mean()).sum()
    drawn = np.stack([rng.choice(g, (DRAWS, len(g))).mean(axis=1) for _, g in groups], axis=1) @ slope
    low, high = (float(end) for end in expanded_ends(drawn, min(len(g) for _, g in groups), level))
    answer: Answer = "no" if not low <= 1 <= high else "yes" if low > 0 else "open"
    fitted = float(np.array([g.mean() for _, g in groups]) @ slope)
    return Growth(fitted, low, high, tuple(counted), answer)


def widths_of(table: pd.DataFrame) -> list[int]:
    """Widths in a table, ascending."""
    return sorted({int(w) for w in table["width"]})


def conditions(
    sweep: Sweep, layer: str, *, by: str = "both", level: float = 0.05, seed: int = 0
) -> tuple[pd.DataFrame, Verdict]:
    """M2: do clones grow linearly where networks interpolate under weight decay, and nowhere else?

    Parameters
    ----------
    sweep : Sweep
    layer : str
    by : {"both", "r_squared", "error"}
        How clones are counted.
    level : float
    seed : int

    Returns
    -------
    DataFrame
        One row a cell: ``decay``, ``epoch``, ``fits``, ``regularised``, ``clones`` of the widest networks
        with ``low`` and ``high``, ``exponent`` with ``exponent_low`` and ``exponent_high``, ``answer``:
        whether the cell is as claimed.
    verdict
        *Not reproduced* if a cell contradicts the claim: no linear growth where both conditions hold, or
        linear growth of clones where one does not. Undecided also where no cell meets both, or all do.
    """
    table = numbers(sweep, by=by, level=level)
    rows, rng = [], np.random.default_rng(seed)
    for (name, decay, epoch), networks in sweep.cells():
        if name != layer:
            continue
        cell = table[(table["layer"] == name) & (table["decay"] == decay) & (table["epoch"] == epoch)]
        widest = cell.sort_values("width").iloc[-1]
        found = growth(networks, by=by, level=level, rng=rng)
        there = count_answer(widest["low"], widest["high"])
        claimed = bool(widest["fits"]) and decay > 0
        answer = _as_claimed(there, found) if claimed else _as_claimed_elsewhere(there, found)
        rows.append(
            {
                "decay": decay,
                "epoch": epoch,
                "fits": bool(widest["fits"]),
                "regularised": decay > 0,
                "train_error": widest["train_error"],
                "clones": widest["clones"],
                "low": widest["low"],
                "high": widest["high"],
                "exponent": found.exponent,
                "exponent_low": found.low,
                "exponent_high": found.high,
                "answer": answer,
            }
        )
    cells = pd.DataFrame(rows)
    if cells.empty:
        raise AkpError(f"expected a sweep with {layer} last layers, got none")
    met = cells["fits"] & cells["regularised"]
    answers: list[Answer] = cells["answer"].tolist()
    if not met.any():
        answers.append("open")
    if met.all():
        answers.append("open")
    return cells, overall(answers)


def _as_claimed(there: Answer, found: Growth) -> Answer:
    """Where both conditions hold: clones, and as many more as the layer is wider."""
    if "no" in (there, found.answer):
        return "no"
    return "yes" if there == found.answer == "yes" else "open"


def _as_claimed_elsewhere(there: Answer, found: Growth) -> Answer:
    """Where a condition is missing: no clones, or fewer more than the layer is wider."""
    if there == "no" or (found.answer == "no" and found.high < 1):
        return "yes"
    return "no" if there == found.answer == "yes" else "open"


def count_answer(low: float, high: float) -> Answer:
    """Whether there are clones, by the interval of their number: from 2 on yes, below 2 no."""
    if np.isnan(low) or np.isnan(high):
        return "open"
    return "yes" if low >= LEAST_CLONES else "no" if high < LEAST_CLONES else "open"


@dataclass(frozen=True)
class Signature:
    """M1 in one cell: what was asked of its widest networks, and what came.

    Attributes
    ----------
    parts : DataFrame
        One row a question: ``question``, ``value``, ``low``, ``high``, ``answer``.
    law : PowerLaw or None
        None where it could not be fitted.
    why : str
        Why not.
    verdict : str
    """

    parts: pd.DataFrame
    law: PowerLaw | None
    why: str
    verdict: Verdict


def signature(sweep: Sweep, layer: str, decay: float, epoch: int, *, level: float = 0.05) -> Signature:
    """M1: chunks tell the whole, fit as well, and err by the law; what is left of the residuals is shown.

    Parameters
    ----------
    sweep : Sweep
    layer, decay, epoch
        The cell; its widest networks are asked.
    level : float
    """

    def within(table: pd.DataFrame) -> pd.DataFrame:
        chosen = (table["layer"] == layer) & (table["decay"] == decay) & (table["epoch"] == epoch)
        return table[chosen]

    cell = within(sweep.networks)
    if cell.empty:
        raise expected("a cell of the sweep", f"{layer}, weight decay {decay:g}, epoch {epoch}")
    width = int(cell["width"].max())
    widest = with_counts(cell[(cell["width"] == width) & (cell["why"] == "")])
    told = geometric(widest["clones_r_squared"], level)
    fits = geometric(widest["clones_error"], level)
    rest = mean_interval(widest["half_others"], level)
    law, why = None, ""
    try:
        law = law_of(sweep, layer, decay, epoch, level=level)
    except AkpError as fault:
        why = str(fault)
    holds: Answer = "open"
    if law is not None:
        holds = {"reproduced": "yes", "not reproduced": "no"}.get(law.verdict, "open")  # type: ignore[assignment]
    ends = (law.exponent, law.low, law.high) if law else (np.nan,) * 3
    rows = [
        ("clones by what chunks tell", *told, count_answer(*told[1:])),
        ("clones by how chunks fit", *fits, count_answer(*fits[1:])),
        ("residual correlation, other half", *rest, SHOWN),
        ("exponent of the law", *ends, holds),
    ]
    parts = pd.DataFrame(rows, columns=["question", "value", "low", "high", "answer"])
    counted = parts.loc[parts["answer"] != SHOWN, "answer"]
    return Signature(parts, law, why, overall(counted.tolist()))
