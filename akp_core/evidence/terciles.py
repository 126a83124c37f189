r"""Happy and unhappy by terciles of what a network has learnt, whatever its stress was.

The families of a study are made by stress. This asks the principle's own question of the same networks: are
the third that generalises worst more different from one another than the third that generalises best?
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64, Int64

from akp_core.dispersion.anna_karenina import LEAST_MEMBERS
from akp_core.dispersion.geometry import represented
from akp_core.dispersion.inference import check_level
from akp_core.errors import expected, unknown_name
from akp_core.evidence.leave_out import log_ratio
from akp_core.outcome import Population

COLUMNS = {"error": "test_error", "gap": "gap", "loss": "test_loss"}
"""Columns of `Population.members` by which a network can be happy."""
ONE_FAMILY, ANY_FAMILY = "of one family", "of any family"


def terciles(
    networks: pd.DataFrame,
    distances: Float64[np.ndarray, "M M"],
    *,
    by: str = "test_error",
    level: float = 0.05,
) -> pd.DataFrame:
    r"""Compare the dispersion of the worst third of all networks with that of the best third.

    .. math:: V = \frac{1}{2 |P|} \sum_{(i,j) \in P} d_{ij}^2

    over the pairs P of networks of one third that are of different members and, in the first row, of one
    family. So the first row is free of location: families may lie apart. The second lets it in, as the
    principle's words do ("each in its own way"). Whole members are left out for interval and test, with
    the thirds drawn anew each time.

    Parameters
    ----------
    networks : DataFrame
        One row a network, such as `Population.members`: ``family``, ``member`` and the column `by`.
    distances : (M, M) float64
        Chordal distances of the same networks; NaN for one without representation, which is left out.
    by : str
        What happiness has little of.
    level : float

    Returns
    -------
    DataFrame
        Two rows, ``pairs`` *of one family* and *of any family*: ``best`` and ``worst`` (networks in each
        third; ties at its edge come along), ``best_up_to`` and ``worst_from`` (values of `by`), ``ratio`` of
        the dispersions, worst over best, with ``low`` and ``high``, ``p_value`` and ``verdict`` (AKP, none,
        anti-AKP, or not testable where the thirds overlap or have no two networks to compare).

    Raises
    ------
    AkpError
        For an unknown column, a table of another length, or fewer than four members.

    Notes
    -----
    Invariances: the order of networks, units of distance.

    Cost: members x networks squared.
    """
    level = check_level(level)
    if by not in networks.columns:
        raise unknown_name("column", by, list(networks.columns))
    if distances.shape != (len(networks), len(networks)):
        raise expected(f"distances between the {len(networks)} networks", f"shape {distances.shape}")
    names, member = np.unique(networks["member"].to_numpy(), return_inverse=True)
    if len(names) < LEAST_MEMBERS:
        raise expected(f"at least {LEAST_MEMBERS} members", str(len(names)))
    _, family = np.unique(networks["family"].to_numpy(dtype=str), return_inverse=True)
    bad = networks[by].to_numpy(dtype=float)
    has = represented(distances)
    apart = member[:, None] != member
    comparable = {ONE_FAMILY: apart & (family[:, None] == family), ANY_FAMILY: apart}

    best, worst = _thirds(bad, has)
    counted: dict[str, float] = {"best": int(best.sum()), "worst": int(worst.sum())}
    edges = (bad[best].max(), bad[worst].min()) if best.any() else (np.nan, np.nan)
    counted |= {"best_up_to": float(edges[0]), "worst_from": float(edges[1])}
    rows = []
    for pairs, allowed in comparable.items():

        def effect(kept: Int64[np.ndarray, " m"], allowed: Bool[np.ndarray, "M M"] = allowed) -> float:
            thirds = _thirds(bad, has & np.isin(member, kept))
            happy, unhappy = (_variance(distances, third, allowed) for third in thirds)
            return float(np.log(unhappy / happy) / 2) if happy > 0 and unhappy > 0 else float("nan")

        rows.append({"pairs": pairs} | counted | log_ratio(effect, len(names), level))
    return pd.DataFrame(rows)


def over_studies(
    populations: Mapping[tuple[str, str], Population], tap: str, by: Sequence[str], *, level: float = 0.05
) -> pd.DataFrame:
    """`terciles` of several studies, by several definitions of happy.

    Parameters
    ----------
    populations : mapping of (str, str) to Population
        Named by images and network.
    tap : str
    by : sequence of {"error", "gap", "loss"}
    level : float

    Returns
    -------
    DataFrame
        The rows of `terciles` with ``dataset``, ``network`` and ``definition`` before them.
    """
    parts = []
    for (dataset, network), population in populations.items():
        distances = population.distances(tap).numpy()
        for definition in by:
            if definition not in COLUMNS:
                raise unknown_name("definition of happy", definition, COLUMNS)
            found = terciles(population.members, distances, by=COLUMNS[definition], level=level)
            named = {"dataset": dataset, "network": network, "definition": definition}
            parts.append(pd.DataFrame([named] * len(found)).join(found))
    return pd.concat(parts, ignore_index=True)


def _thirds(
    bad: Float64[np.ndarray, " M"], among: Bool[np.ndarray, " M"]
) -> tuple[Bool[np.ndarray, " M"], Bool[np.ndarray, " M"]]:
    """The best and the worst third; neither where the two would overlap."""
    ranked, nobody = np.sort(bad[among]), np.zeros_like(among)
    third = len(ranked) // 3
    if third == 0:
        return nobody, nobody
    low, high = ranked[third - 1], ranked[-third]
    return (among & (bad <= low), among & (bad >= high)) if low < high else (nobody, nobody)


def _variance(
    distances: Float64[np.ndarray, "M M"], third: Bool[np.ndarray, " M"], allowed: Bool[np.ndarray, "M M"]
) -> float:
    inner = np.square(distances[np.ix_(third, third)])[allowed[np.ix_(third, third)]]
    return float(inner.mean() / 2) if len(inner) else float("nan")
