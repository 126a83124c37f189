"""Is there a critical period, or had the late ones only less time to recover?

A pulse that struck late is followed by little training, so its effect at the end of training mixes when it
struck with how long ago that was. So effects are compared twice: at the end of training, and *at equal time*
after the pulse ended (after a press set in). The two answers make one verdict:

=========================  ==========================  =======================
differs at the end         differs at equal time       verdict
=========================  ==========================  =======================
yes                        yes                         critical period
yes                        no                          time to recover
no                         yes                         sensitive, but heals
no                         no                          none shown
=========================  ==========================  =======================

A third column guards against another reading. Steps spent under a pulse may merely be lost. So the error is
also compared with the twin's of a pulse earlier: what is left is harm *beyond lost time*.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float64

from akp_core.adaptation.courses import epochs, images_by_group, wrong_over_time
from akp_core.adaptation.equal_time import by_onset, equal_time
from akp_core.adaptation.onset_dependence import Dependence, dependence, lever
from akp_core.adaptation.resampling import NetworksAndPatients
from akp_core.adaptation.seen import Seen
from akp_core.adaptation.twins import apart
from akp_core.dispersion.false_discoveries import q_values
from akp_core.dispersion.inference import check_level
from akp_core.outcome import Population
from akp_core.study import CONTROL

CRITICAL, TIME, HEALS, NONE, NOT_TESTABLE = (
    "critical period",
    "time to recover",
    "sensitive, but heals",
    "none shown",
    "not testable",
)
ERROR = "test error"


def critical_periods(
    population: Population,
    *,
    tap: str,
    level: float = 0.05,
    permutations: int = 9999,
    seed: int = 0,
) -> pd.DataFrame:
    """Judge of every stress, dose and kind whether its effect depends on its onset, and in which way.

    Parameters
    ----------
    population : Population
    tap : str
        Where the distance to the twin is taken.
    level, permutations, seed

    Returns
    -------
    DataFrame
        One row a stress, dose, kind and ``quantity`` (test error, or the tap): ``onsets`` and ``networks``
        (how many), ``lag`` (equal time, in epochs) with ``lag_spread`` (rounding), for *at the end* and *at
        equal time* ``slope_end``, ``slope``, ``low``, ``high`` (change from the first moment of training to
        the last, by a straight line over the onsets; the interval at equal time is over networks and, for
        the error, over patients), ``p_end``, ``p_equal`` (values exchanged among the onsets of each
        network), ``p_trend``, ``q_end``, ``q_equal`` (Benjamini-Hochberg over stresses, by quantity and
        kind), ``smallest_p``, ``verdict`` and ``worst`` (the onset of the largest effect at equal time).

    Raises
    ------
    AkpError
        For an unknown tap or a study without a stress.
    """
    rng, steps = np.random.default_rng(seed), population.looks()
    seen: dict[int, Seen] = {}
    wrong, images = wrong_over_time(population, steps), images_by_group(population)
    draws = NetworksAndPatients(population.study.members, images, check_level(level), rng)
    rows = []
    for (stress, dose, kind), group in by_onset(population).items():
        equal, at = equal_time(population, group), np.array([course.share for course in group])
        last = (population.study.steps,) * len(group)
        lags = [epochs(population, lag) for lag in equal.lags]
        base = {"stress": stress, "dose": dose, "kind": kind, "onsets": len(group)}
        base |= {"lag": float(np.mean(lags)), "lag_spread": float(np.ptp(lags))}
        for quantity in (ERROR, tap):
            values, counts = {}, {}
            for when, looked in (("end", last), ("equal", equal.steps)):
                pairs = list(zip(group, looked, strict=True))
                if quantity == ERROR:
                    more = [
                        wrong[c.family][steps.index(s)] - wrong[CONTROL][steps.index(s)] for c, s in pairs
                    ]
                    counts[when] = np.array(more)
                    values[when] = counts[when].sum(axis=2).T / images.sum()
                else:
                    for step in {s for _, s in pairs} - set(seen):
                        seen[step] = Seen(population, tap, step)
                    values[when] = np.array([apart(seen[s].pairs(c)) for c, s in pairs]).T
            end, same = (
                dependence(values[when], at, permutations=permutations, level=level, rng=rng)
                for when in ("end", "equal")
            )
            interval: Sequence[float] = (same.low, same.high)
            if quantity == ERROR and same.testable:
                _, *interval = draws.mean(np.einsum("k,kmg->mg", lever(at), counts["equal"]))
            rows.append(base | {"quantity": quantity} | _found(end, same, interval, values["equal"], at))
    table = pd.DataFrame(rows)
    table["group"] = table["quantity"] + table["kind"]
    for when in ("end", "equal"):
        table[f"q_{when}"] = q_values(table[f"p_{when}"], table["group"])
    table["verdict"] = [
        verdict(end, equal, level) for end, equal in zip(table["q_end"], table["q_equal"], strict=True)
    ]
    return table.drop(columns="group")


def verdict(q_end: float, q_equal: float, level: float) -> str:
    """The table of this module's head."""
    if np.isnan(q_equal) or np.isnan(q_end):
        return NOT_TESTABLE
    if q_end < level:
        return CRITICAL if q_equal < level else TIME
    return HEALS if q_equal < level else NONE


def _found(
    end: Dependence,
    same: Dependence,
    interval: Sequence[float],
    values: Float64[np.ndarray, "m k"],
    at: Float64[np.ndarray, " k"],
) -> dict[str, float]:
    whole = values[~np.isnan(values).any(axis=1)]
    return {
        "networks": same.networks,
        "slope_end": end.slope,
        "slope": same.slope,
        "low": interval[0],
        "high": interval[1],
        "p_end": end.p_value,
        "p_equal": same.p_value,
        "p_trend": same.p_trend,
        "smallest_p": same.smallest_p,
        "worst": float(at[whole.mean(axis=0).argmax()]) if len(whole) else np.nan,
    }
