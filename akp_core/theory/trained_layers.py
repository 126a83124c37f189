"""How alike trained networks of one width are, width by width, beside the same networks untrained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from akp_core.errors import expected
from akp_core.similarity import similarity_of_fingerprints
from akp_core.similarity.arrays import Array
from akp_core.theory.random_layers import family_gaps, mean_interval, slope

WHEN = ("untrained", "trained", "moved")


def by_width(
    families: Mapping[int, tuple[Float[Array, "M k"], Float[Array, "M k"]]],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Gaps between seeds before and after training, and how far training moved each network, by width.

    Parameters
    ----------
    families : mapping of int to (before, after)
        For each width the fingerprints of the same M networks, row by row; NaN where there is none. A network
        without one, before or after, is left out at that width and counted.

    Returns
    -------
    gaps : DataFrame
        One row a width and moment: ``when`` (untrained and trained: 1 - CKA of two seeds; moved: of a network
        and itself untrained), ``width``, ``gap``, ``low``, ``high`` (95 %, over networks), ``networks``.
    slopes : DataFrame
        One row a moment: ``when``, ``slope`` of log gap on log width, ``low``, ``high``. Networks that are
        left out at one width are left out of the slope at all.

    Raises
    ------
    AkpError
        For fewer than 2 widths, or 3 networks with a fingerprint at all of them.
    """
    if len(families) < 2:
        raise expected("at least 2 widths", str(len(families)))
    widths = sorted(families)
    usable = {
        w: np.isfinite(np.asarray(families[w][0])).all(1) & np.isfinite(np.asarray(families[w][1])).all(1)
        for w in widths
    }
    together = np.logical_and.reduce([usable[w] for w in widths])
    if together.sum() < 3:
        raise expected("at least 3 networks with a fingerprint at every width", str(int(together.sum())))
    rows: list[dict[str, object]] = []
    common: dict[str, list[Float[np.ndarray, " M"]]] = {when: [] for when in WHEN}
    for w in widths:
        values, kept = _values(families[w], usable[w]), _values(families[w], together)
        for when in WHEN:
            mean, low, high = mean_interval(values[when][:, None])[:, 0]
            rows.append(
                {
                    "when": when,
                    "width": w,
                    "gap": mean,
                    "low": low,
                    "high": high,
                    "networks": len(values[when]),
                }
            )
            common[when].append(kept[when])
    slopes = [(when, *slope(widths, np.column_stack(common[when]))) for when in WHEN]
    return pd.DataFrame(rows), pd.DataFrame(slopes, columns=["when", "slope", "low", "high"])


def _values(family: Sequence[Float[Array, "M k"]], keep: np.ndarray) -> dict[str, Float[np.ndarray, " M"]]:
    before, after = (np.asarray(prints, dtype=np.float64)[keep] for prints in family)
    moved = np.square(before - after).sum(axis=1) / 2
    found = [family_gaps(similarity_of_fingerprints(prints)) for prints in (before, after)]
    return dict(zip(WHEN, (*found, moved), strict=True))
