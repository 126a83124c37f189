"""The cards of *The principle*: fields of a verdict, computed from the tables of the page."""

from __future__ import annotations

import numpy as np
import pandas as pd

from akp_core.dispersion import LocationTest, ThreeCauses
from akp_core.dispersion.false_discoveries import q_values
from akp_core.evidence.controls import HELD
from akp_core.evidence.terciles import ANY_FAMILY
from akp_core.trend import Trend

Fields = dict[str, object]
TONES = {"AKP": "yes", "anti-AKP": "no"}


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
    q = q_values(cells["location_p"])
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


def thirds(found: pd.DataFrame) -> Fields:
    """C2 by terciles: pairs of any family in `akp_core.evidence.terciles.terciles`."""
    row = found.set_index("pairs").loc[ANY_FAMILY].to_dict()
    fields: Fields = {
        "verdict": row["verdict"],
        "tone": TONES.get(str(row["verdict"]), "open"),
        "effect": "dispersion of the worst third of all networks over the best third's",
        "members": f"{row['worst']} and {row['best']} networks",
        "null": "no difference; members left out one by one, the stresses as they are",
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
