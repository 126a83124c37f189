r"""Kinds of stress in the Ornstein-Uhlenbeck model, each with one strength, and what each does over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf

import numpy as np
import pandas as pd
from jaxtyping import Float64
from scipy import stats

from akp_core.errors import unknown_name
from akp_core.theory.ornstein_uhlenbeck import Regime, Scenario, number
from akp_core.theory.stress_verdicts import verdict

CONTROL = Regime(1.0, 0.0, 2**0.5)
"""Time in units of 1/theta and space in units of the control's spread: a stationary variance of 1."""
MECHANISMS: Mapping[str, str] = {
    "weaker return": "weakens the return",
    "shift": "moves the centre",
    "more noise": "adds noise",
    "stronger return": "strengthens the return",
}


def stressed(mechanism: str, strength: float) -> Regime:
    r"""What a stress of one kind makes of `CONTROL`.

    Parameters
    ----------
    mechanism : str
        A name in `MECHANISMS`: the centre moves by strength - 1 spreads of the family; theta is divided,
        sigma^2 or theta multiplied by the strength.
    strength : float
        At least 1, which is no stress, and at most 1000.

    Returns
    -------
    Regime

    Raises
    ------
    AkpError
        For a mechanism that does not exist or a strength out of its range.
    """
    strength = number("strength", strength, 1.0, 1000.0)
    made = {
        "shift": Regime(1.0, strength - 1, CONTROL.sigma),
        "weaker return": Regime(1 / strength, 0.0, CONTROL.sigma),
        "more noise": Regime(1.0, 0.0, (2 * strength) ** 0.5),
        "stronger return": Regime(strength, 0.0, CONTROL.sigma),
    }
    if mechanism not in made:
        raise unknown_name("mechanism", mechanism, made)
    return made[mechanism]


def bands(strengths: Sequence[float], length: float, times: Float64[np.ndarray, " T"]) -> pd.DataFrame:
    """Where 95 % of a stressed family is, and its dispersion over the control's, for every kind of stress.

    Parameters
    ----------
    strengths : sequence of float
        Each at least 1.
    length : float
        Of the pulses.
    times : (T,) array

    Returns
    -------
    DataFrame
        Columns ``mechanism``, ``strength``, ``kind`` (press, pulse), ``time``, ``mean``, ``low``,
        ``high``, ``ratio``, ``verdict``: the verdict that the constants fix, with where it moves.

    Raises
    ------
    AkpError
        As `stressed` and `Scenario`.
    """
    parts = []
    for mechanism in MECHANISMS:
        for strength in strengths:
            regime = stressed(mechanism, strength)
            due = verdict(CONTROL, regime)
            for kind, end in (("press", inf), ("pulse", length)):
                law = Scenario(CONTROL, regime, end=end).law(times)
                reach = stats.norm.ppf(0.975) * np.sqrt(law.stressed_variance)
                part = pd.DataFrame({"time": law.times, "mean": law.stressed})
                part["low"], part["high"] = law.stressed - reach, law.stressed + reach
                part["ratio"] = np.exp(law.effect)
                part["verdict"] = due.verdict + (", and the family moves" if due.moves else "")
                parts.append(part.assign(mechanism=mechanism, strength=strength, kind=kind))
    return pd.concat(parts, ignore_index=True)
