r"""All families together: where they are, how widely they spread, and whether each network went its own way.

`akp_core.judgement` asks one family at a time. The families share a control and members, so what is said of
them together permutes or leaves out whole members: a control network with all that were forked from it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int64

from akp_core.dispersion import LocationTest, location_test, own_way
from akp_core.dispersion.anna_karenina import LEAST_MEMBERS
from akp_core.dispersion.geometry import represented
from akp_core.dispersion.inference import check_level
from akp_core.errors import AkpError, expected, unknown_name
from akp_core.evidence.leave_out import log_ratio
from akp_core.study import CONTROL

_SETTLED = ("AKP", "none", "anti-AKP")


def rows_of(networks: pd.DataFrame) -> dict[str, Int64[np.ndarray, " m"]]:
    """Rows of each family in a table of networks, members ascending."""
    at = networks.reset_index(drop=True).sort_values("member", kind="stable")
    found = {name: part.index.to_numpy() for name, part in at.groupby("family", sort=False)}
    names = dict.fromkeys(networks["family"])
    members = {tuple(networks["member"].to_numpy()[found[name]]) for name in names}
    if CONTROL not in found or len(members) > 1:
        got = ", ".join(map(str, names)) or "none"
        raise expected("a control family, and the same members in every family", f"families {got}")
    return {str(name): found[name] for name in names}


def moved(
    networks: pd.DataFrame, distances: Float64[np.ndarray, "M M"], *, permutations: int = 9999, seed: int = 0
) -> LocationTest | str:
    """Test whether families, control included, sit in different places, all at once.

    One PERMANOVA with a member's networks permuted among themselves (`akp_core.dispersion.location_test`).
    Families with fewer than four networks that have a representation are left out.

    Parameters
    ----------
    networks : DataFrame
        One row a network, such as `Population.members`: ``family`` and ``member``.
    distances : (M, M) float64
        Chordal distances of the same networks; NaN for one without representation.
    permutations, seed : int

    Returns
    -------
    LocationTest or str
        The reason, in one line, where too few networks are left.
    """
    has = represented(distances)
    kept = [rows for rows in rows_of(networks).values() if has[rows].sum() >= LEAST_MEMBERS]
    if len(kept) < 2:
        return f"families with at least {LEAST_MEMBERS} networks that have a representation: {len(kept)}"
    rows = np.concatenate(kept)
    try:
        return location_test(
            distances[np.ix_(rows, rows)],
            networks["family"].to_numpy(dtype=str)[rows],
            paired=networks["member"].to_numpy()[rows],
            permutations=permutations,
            rng=np.random.default_rng(seed),
        )
    except AkpError as error:
        return str(error)


def pooled(
    networks: pd.DataFrame,
    distances: Float64[np.ndarray, "M M"],
    cells: pd.DataFrame,
    *,
    level: float = 0.05,
) -> pd.DataFrame:
    r"""Average the effect on dispersion over the families of a stress, and over all.

    .. math:: \bar\theta = \frac1F \sum_f \tfrac12 \log \frac{V_u(f)}{V_h(f)}

    where the happier of a family and its control was settled beforehand; families that err like their control
    predict nothing and are left out. The families share a control and members, so the interval and
    the test leave out one *member* at a time, in all of them at once (the jackknife, Student's t).

    Parameters
    ----------
    networks, distances
        As for `moved`.
    cells : DataFrame
        From `akp_core.judgement.judge`, of the tap of the distances.
    level : float

    Returns
    -------
    DataFrame
        One row a stress, then ``all``: ``stress``, ``families`` counted, ``ratio`` of the dispersions,
        unhappy over happy, with ``low`` and ``high``, ``p_value`` and ``verdict`` (AKP, none, anti-AKP; no
        prediction where no family errs more or less than the control; not testable where all that do were
        lost, or networks of a family are identical).

    Notes
    -----
    Rejections at a nominal 5 % where nothing differs, for three families that share 0.8 of their twins'
    positions, in 24 dimensions (500 simulations): 3.0 % with 6 members, 4.4 with 10, 3.2 with 20.

    Cost: members x families sums over (members, members).

    References
    ----------
    Miller 1974 (the jackknife).
    """
    level = check_level(level)
    squared, where = distances**2, rows_of(networks)
    chosen = cells[cells["verdict"].isin(_SETTLED)]
    signs = dict(zip(chosen["family"], np.where(chosen["happier"] == "control", 1.0, -1.0), strict=True))
    groups = {name: list(part["family"]) for name, part in chosen.groupby("stress", sort=False)}
    rows = []
    for name in [*dict.fromkeys(cells["stress"]), "all"]:
        families = list(signs) if name == "all" else groups.get(name, [])
        found = _jackknifed(squared, where, families, signs, level)
        asked = cells if name == "all" else cells[cells["stress"] == name]
        if not families and ((asked["verdict"] == "not testable") & (asked["happier"] != "neither")).any():
            found["verdict"] = "not testable"
        rows.append({"stress": name} | found)
    return pd.DataFrame(rows)


def _jackknifed(
    squared: Float64[np.ndarray, "M M"],
    where: dict[str, Int64[np.ndarray, " m"]],
    families: Sequence[str],
    signs: dict[str, float],
    level: float,
) -> dict[str, object]:
    def effect(kept: Int64[np.ndarray, " m"]) -> float:
        happy = _variance(squared, where[CONTROL][kept])
        with np.errstate(divide="ignore", invalid="ignore"):
            each = [signs[f] / 2 * np.log(_variance(squared, where[f][kept]) / happy) for f in families]
        return float(np.mean(each))

    if not families:
        nothing = dict.fromkeys(("ratio", "low", "high", "p_value"), np.nan)
        return {"families": 0} | nothing | {"verdict": "no prediction"}
    return {"families": len(families)} | log_ratio(effect, len(where[CONTROL]), level)


def _variance(squared: Float64[np.ndarray, "M M"], rows: Int64[np.ndarray, " m"]) -> float:
    """Half the mean squared distance of two networks with a representation."""
    inner = squared[np.ix_(rows, rows)]
    inner = inner[~np.eye(len(rows), dtype=bool)]
    known = inner[~np.isnan(inner)]
    return float(known.mean() / 2) if len(known) else float("nan")


def ways(
    networks: pd.DataFrame,
    distances: Float64[np.ndarray, "M M"],
    *,
    rotations: int = 999,
    level: float = 0.05,
    seed: int = 0,
) -> pd.DataFrame:
    """Ask of every stressed family whether its networks left their twins in one direction or each in its own.

    Returns
    -------
    DataFrame
        One row a family: ``family``, ``index`` (0: one way, 1: each its own) with ``low`` and ``high``, and
        its null ``null_low`` to ``null_high``; ``p_value`` of a shared direction; ``reach``, in units of
        how far control networks are from their centroid; ``verdict`` (one way, own way, undecided, or not
        testable below four pairs). `akp_core.dispersion.own_way`, paired.
    """
    where, rng = rows_of(networks), np.random.default_rng(seed)
    return pd.DataFrame(
        [
            {"family": family} | _way(distances, where[CONTROL], rows, rotations, level, rng)
            for family, rows in where.items()
            if family != CONTROL
        ]
    )


def mixed_ways(
    networks: pd.DataFrame,
    distances: Float64[np.ndarray, "M M"],
    families: Sequence[str],
    *,
    rotations: int = 999,
    level: float = 0.05,
    seed: int = 0,
) -> pd.DataFrame:
    """The same for mixed families, in which every member met another stress.

    Member i is taken from family i + r, round and round the given families: one row for each start r. So
    no two networks share a member, and a direction that they share is one that stresses share.

    Raises
    ------
    AkpError
        For fewer than two families.
    """
    if len(families) < 2:
        raise expected("at least two families to mix", str(len(families)))
    where, rng, rows = rows_of(networks), np.random.default_rng(seed), []
    members = len(where[CONTROL])
    for family in families:
        if family not in where:
            raise unknown_name("family", family, where)
    for turn in range(min(len(families), members)):
        chosen = [where[families[(i + turn) % len(families)]][i] for i in range(members)]
        way = _way(distances, where[CONTROL], np.array(chosen), rotations, level, rng)
        rows.append({"start": turn} | way)
    return pd.DataFrame(rows)


def _way(
    distances: Float64[np.ndarray, "M M"],
    control: Int64[np.ndarray, " m"],
    stressed: Int64[np.ndarray, " m"],
    rotations: int,
    level: float,
    rng: np.random.Generator,
) -> dict[str, object]:
    members = len(stressed)
    pick = np.r_[control, stressed]
    here = distances[np.ix_(pick, pick)]
    both = represented(here)
    if (both[:members] & both[members:]).sum() < LEAST_MEMBERS:
        names = ("index", "low", "high", "null_low", "null_high", "p_value", "reach")
        return dict.fromkeys(names, np.nan) | {"verdict": "not testable"}
    found = own_way(
        here,
        np.arange(2 * members) >= members,
        paired=np.tile(np.arange(members), 2),
        rotations=rotations,
        level=level,
        rng=rng,
    )
    out: dict[str, object] = {"index": found.index, "low": found.interval[0], "high": found.interval[1]}
    out |= {"null_low": found.null[0], "null_high": found.null[1], "p_value": found.p_value}
    return out | {"reach": found.reach, "verdict": found.verdict}
