"""What was tried: the signatures of R_f again, under other deformations, noise and averages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from akp_core.errors import expected
from akp_core.lenses.stability import stability
from akp_core.lenses.stability_contrast import weigh
from akp_core.outcome import Population
from akp_core.study import CONTROL

OTHERS: Mapping[str, Mapping[str, Any]] = {
    "half the displacement": {"displacement": 0.5},
    "twice the displacement": {"displacement": 2.0},
    "twice the cutoff": {"cutoff": 2},
    "the other average": {"how": "other"},
    "the other match of noise": {"match": "other"},
}
"""Settings by name; numbers multiply the given ones, the cutoff up to what the image holds."""
_OTHER = {"mean": "median", "median": "mean", "each": "mean"}


def under_other_settings(
    population: Population,
    *,
    tap: str,
    cutoff: int = 3,
    displacement: float = 1.0,
    how: str = "mean",
    level: float = 0.05,
    seed: int = 0,
    **more: Any,
) -> pd.DataFrame:
    """R_f before training, and what training does to it, under the given settings and under five others.

    Parameters
    ----------
    population : Population
        Its control is measured, untrained and trained.
    tap : str
    cutoff, displacement, how, level, seed
        As for `akp_core.lenses.stability.stability`.
    **more
        Its other arguments, but for ``match``.

    Returns
    -------
    DataFrame
        One row a setting: ``setting``; ``before``, ``before_low``, ``before_high``, the geometric mean of R_f
        over untrained networks; ``change``, ``change_low``, ``change_high``, the factor that training brings;
        ``p_value`` of the change; ``about_one`` and ``falls``, the verdicts.

    Raises
    ------
    AkpError
        As `stability`; for a displacement that is none.

    Notes
    -----
    Nothing is chosen by these rows: verdicts are those of the given settings.
    """
    if displacement is None or displacement <= 0:
        raise expected("a displacement above 0 pixels", repr(displacement))
    given: dict[str, Any] = {"cutoff": cutoff, "displacement": displacement, "how": how, "match": "each"}
    rows = []
    for name, change in {"as on this page": {}, **OTHERS}.items():
        settings = given | {
            key: _OTHER[given[key]] if value == "other" else given[key] * value
            for key, value in change.items()
        }
        settings["cutoff"] = min(settings["cutoff"], min(population.study.data.shape[1:]) - 2)
        table = stability(
            population,
            taps=[tap],
            families=[CONTROL],
            steps=(0, population.study.steps),
            resamples=0,
            seed=seed,
            **settings,
            **more,
        )
        wide = table.pivot(index="member", columns="step", values="R").astype(float).apply(np.log)
        first, last = wide[0], wide[population.study.steps]
        tests = [("", "about 1", "", first), ("", "falls", "below", last - first)]
        found = weigh(tests, level=level, seed=seed)
        before, after = found.iloc[0], found.iloc[1]
        row: dict[str, Any] = {"setting": name}
        for label, one in (("before", before), ("change", after)):
            row |= {label: one["factor"], f"{label}_low": one["low"], f"{label}_high": one["high"]}
        verdicts = {"about_one": before["verdict"], "falls": after["verdict"]}
        rows.append(row | {"p_value": after["p_value"]} | verdicts)
    return pd.DataFrame(rows)
