"""Verdicts on the claims of Pliushch et al. (2022), from the tables: as fields of a verdict card.

Every function gives ``verdict`` (reproduced, not reproduced or undecided), ``tone``, ``effect``, and where
they apply ``value``, ``low``, ``high``, ``p_value``, ``members`` and ``null``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from akp_core.agreement.image_order import Follows
from akp_core.agreement.orders import OrderAgreement

TONES = {"reproduced": "yes", "not reproduced": "no", "undecided": "open"}
EXCHANGED = "images exchanged within each network and class"


def agree(row: pd.Series, order: OrderAgreement | None, *, level: float, margin: float) -> dict[str, Any]:
    """A1: do networks that differ by their seed agree on what is learnt first, beyond their accuracy?

    Parameters
    ----------
    row : Series
        Of the reference in `akp_core.agreement.conditions.at_equal_accuracy`.
    order : OrderAgreement or None
        Of its learning times; None where it has none.
    level : float
        Both p-values must lie below it.
    margin : float
        Agreement beyond chance that would be too little to matter.

    Returns
    -------
    dict
        *reproduced*: agreement at equal accuracy and order of learning are both above chance, intervals and
        permutations agreeing. *not reproduced*: the whole interval of the agreement is below the margin.
    """
    if not np.isfinite(row["corrected"]) or order is None:
        why = row["why"] if isinstance(row["why"], str) else "no order of learning"
        return _card("undecided", f"nothing to compare: {why}")
    above = row["low"] > 0 and row["p_value"] < level and order.low > 0 and order.p_value < level
    word = "reproduced" if above else "not reproduced" if row["high"] < margin else "undecided"
    effect = (
        f"order of learning of two networks: rank correlation {order.value:.2f} ({order.low:.2f} to "
        f"{order.high:.2f}), p = {order.p_value:.2g}; agreement beyond chance at accuracy {row['accuracy']:g}"
    )
    return _card(word, effect) | {
        "value": row["corrected"],
        "low": row["low"],
        "high": row["high"],
        "p_value": row["p_value"],
        "members": int(row["networks"]),
        "null": EXCHANGED,
    }


def independent(table: pd.DataFrame, kinds: Sequence[str], *, margin: float) -> dict[str, Any]:
    """A2: is agreement at equal accuracy the same, whatever sets populations of these kinds apart?

    Parameters
    ----------
    table : DataFrame
        From `akp_core.agreement.conditions.at_equal_accuracy`.
    kinds : sequence of str
    margin : float
        The largest difference in agreement beyond chance that counts as none.

    Returns
    -------
    dict
        *reproduced*: all intervals of the difference lie within the margin. *not reproduced*: one lies
        outside as a whole. A population that did not get there, or none at all, leaves it *undecided*.
    """
    rows = table[table["kind"].isin(list(kinds))]
    known = rows[rows["difference"].notna()]
    if known.empty:
        why = _whys(rows)
        return _card("undecided", "no population of this kind is comparable" + (f" ({why})" if why else ""))
    inside = (known["difference_low"] >= -margin) & (known["difference_high"] <= margin)
    outside = (known["difference_low"] > margin) | (known["difference_high"] < -margin)
    whole = len(known) == len(rows)
    word = "not reproduced" if outside.any() else "reproduced" if inside.all() and whole else "undecided"
    worst = known.iloc[int(known["difference"].abs().to_numpy().argmax())]
    effect = (
        f"of {len(rows)}, {int(inside.sum())} as the reference within {margin:g}, {int(outside.sum())} not, "
        f"{len(rows) - int(inside.sum()) - int(outside.sum())} cannot be told; farthest from it, in "
        f"agreement beyond chance, is {worst['condition']}"
    )
    return _card(word, effect) | {
        "value": worst["difference"],
        "low": worst["difference_low"],
        "high": worst["difference_high"],
        "members": int(known["networks"].sum()),
        "null": "no difference at equal accuracy",
    }


def same_order(table: pd.DataFrame, kinds: Sequence[str], *, same: float) -> dict[str, Any]:
    """A2, ours: do populations of these kinds learn the same images in the same order as the reference?

    Parameters
    ----------
    table : DataFrame
        From `akp_core.agreement.conditions.orders_beside`.
    kinds : sequence of str
    same : float
        Disattenuated rank correlation from which two orders count as one.

    Returns
    -------
    dict
        *reproduced*: every interval lies above `same`. *not reproduced*: one lies below it as a whole.
    """
    rows = table[table["kind"].isin(list(kinds))]
    known = rows[rows["value"].notna()]
    if known.empty:
        why = _whys(rows)
        return _card("undecided", "no population of this kind has an order" + (f" ({why})" if why else ""))
    above, below = known["low"] >= same, known["high"] < same
    whole = len(known) == len(rows)
    word = "not reproduced" if below.any() else "reproduced" if above.all() and whole else "undecided"
    worst = known.iloc[int(known["value"].to_numpy().argmin())]
    effect = (
        f"of {len(rows)}, {int(above.sum())} in one order with the reference (at least {same:g}), "
        f"{int(below.sum())} not, {len(rows) - int(above.sum()) - int(below.sum())} cannot be told; least, "
        f"rank correlation freed of the networks' own noise, is {worst['condition']}"
    )
    ends = {"low": worst["low"], "high": worst["high"]} if np.isfinite(worst["low"]) else {}
    return (
        _card(word, effect)
        | ends
        | {
            "value": worst["value"],
            "p_value": worst["p_value"],
            "members": int(known["networks"].sum()),
            "null": EXCHANGED,
        }
    )


def follow_images(found: Sequence[Follows], networks: int, *, level: float, margin: float) -> dict[str, Any]:
    """A3: does the order of learning follow statistics of the images?

    Parameters
    ----------
    found : sequence of Follows
        From `akp_core.agreement.follows`.
    networks : int
    level : float
        Of the p-values corrected for the number of statistics.
    margin : float
        Rank correlation that would be too small to matter.

    Returns
    -------
    dict
        *reproduced*: one statistic at least is followed, by the corrected p-value and its interval. *not
        reproduced*: every interval lies within the margin.
    """
    known = [f for f in found if np.isfinite(f.value)]
    same = [f.statistic for f in found if not np.isfinite(f.value)]
    if not found:
        return _card("undecided", "no network orders the images, so nothing can be followed")
    if not known:
        return _card("undecided", "every statistic is the same for all images of a class")
    followed = [f for f in known if f.corrected < level and (f.low > 0 or f.high < 0)]
    small = all(-margin <= f.low and f.high <= margin for f in known)
    word = "reproduced" if followed else "not reproduced" if small else "undecided"
    best = max(known, key=lambda f: abs(f.value))
    effect = (
        f"{len(followed)} of {len(found)} statistics are followed within classes"
        f"{f' ({len(same)} the same for all images)' if same else ''}; most, rank correlation with the "
        f"learning time of a network, is {best.statistic}"
    )
    return _card(word, effect) | {
        "value": best.value,
        "low": best.low,
        "high": best.high,
        "p_value": best.corrected,
        "members": networks,
        "null": "images exchanged within classes, largest of all statistics",
    }


def _card(word: str, effect: str) -> dict[str, Any]:
    return {"verdict": word, "tone": TONES[word], "effect": effect}


def _whys(rows: pd.DataFrame) -> str:
    named = zip(rows["condition"], rows["why"], strict=True)
    return "; ".join(f"{name}: {why}" for name, why in named if isinstance(why, str))
