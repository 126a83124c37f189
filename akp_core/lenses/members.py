r"""One row a network: what every lens sees of it, so that lenses can be set beside one another.

Where a network is compared with others, networks of its own member number are left out: a twin shares its
start with it, and would make every stressed network look at home.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from akp_core.errors import unknown_name
from akp_core.evidence.together import rows_of
from akp_core.lenses.clones import clones
from akp_core.lenses.learning_order import learning_order
from akp_core.lenses.places import from_centroid, own_way_angle
from akp_core.lenses.stability import stability
from akp_core.outcome import Population
from akp_core.study import CONTROL


@dataclass(frozen=True)
class Lens:
    """What one column of the table means.

    Attributes
    ----------
    label : str
        In plain words, with its unit.
    unhappy : {1, -1}
        Whether an unhappy network is said to have more of it, or less.
    of_control : bool
        Whether unstressed networks have it too.
    of_error : bool
        Whether it is computed from the test error or from the same answers, and goes with it by its making.
    """

    label: str
    unhappy: int = 1
    of_control: bool = True
    of_error: bool = False


LENSES: dict[str, Lens] = {
    "error": Lens("test error"),
    "gap": Lens("generalisation gap", of_error=True),
    "from_happy": Lens("distance to the happy centroid"),
    "from_own": Lens("distance to the own family's centroid"),
    "own_way": Lens("angle to the family's way, degrees", of_control=False),
    "relative_stability": Lens("relative stability R_f"),
    "clones": Lens("clones in the last layer", unhappy=-1),
    "order_deviation": Lens("deviation of learning times"),
    "disagreement": Lens("disagreement with happy networks", of_error=True),
}
"""The columns of `member_table` that are lenses."""


def member_table(
    population: Population, *, tap: str = "features", split: str = "train", images: int = 128, seed: int = 0
) -> pd.DataFrame:
    r"""Look at every network of a population through every lens.

    Parameters
    ----------
    population : Population
        Of a study with ``looks``, so that learning times can be told.
    tap : str
        Where distances and the relative stability are taken.
    split : {"train", "validation", "test"}
        Whose learning times.
    images : int
        Test images that are deformed, for the relative stability.
    seed : int

    Returns
    -------
    DataFrame
        One row a network, in the order of ``population.rows``: ``family``, ``stress``, ``onset``,
        ``member``, ``status``; ``error`` and ``gap``; ``from_happy`` and ``from_own``, chordal distances at
        the tap to the centroid of the other members' networks, of the control and of its own family;
        ``own_way``, the angle in degrees between its displacement from its twin and the mean one of the rest
        of its family (0: with them, 90: its own way; NaN for the control); ``relative_stability`` R_f at the
        tap; ``clones`` in the last hidden layer; ``order_deviation``, mean absolute difference of its
        learning times from the control's, as a share of training; ``disagreement`` with control networks
        over test images; and ``from_happy@TAP`` for every tap. ``why`` says why a row has gaps; it is empty
        otherwise. A lost network keeps its row and its error.

    Raises
    ------
    AkpError
        For an unknown tap or split, and as the lenses do.

    Notes
    -----
    Cost: the lenses'; R_f is the dearest, three passes of the images through every network.
    """
    taps = population.study.taps or ()
    if tap not in taps:
        raise unknown_name("tap", tap, taps)
    kept = population.members[["family", "stress", "onset", "member", "status", "gap"]]
    table = kept.assign(error=population.members["test_error"])
    where = rows_of(population.members)
    for name in taps:
        squared = population.distances(name).numpy() ** 2
        happy = from_centroid(squared, where, CONTROL)
        table[f"from_happy@{name}"] = happy
        if name == tap:
            table["from_happy"], table["from_own"] = happy, from_centroid(squared, where, None)
            table["own_way"] = own_way_angle(squared, where)
    stable = stability(population, taps=[tap], images=images, resamples=0, seed=seed)
    redundant = clones(population, seed=seed)
    learnt = learning_order(population, split=split, seed=seed)
    columns = (
        stable[["family", "member", "R", "why"]].rename(columns={"R": "relative_stability"}),
        redundant[["family", "member", "clones", "why"]],
        learnt[["family", "member", "deviation", "disagreement", "why"]].rename(
            columns={"deviation": "order_deviation"}
        ),
    )
    reasons = []
    for part in columns:
        joined = table[["family", "member"]].merge(part, on=["family", "member"], validate="one_to_one")
        reasons.append(joined.pop("why").fillna("").astype(str))
        for name in joined.columns.drop(["family", "member"]):
            table[name] = joined[name].to_numpy()
    told = zip(*reasons, strict=True)
    table["why"] = ["; ".join(dict.fromkeys(filter(None, each))) for each in told]
    first = ["family", "stress", "onset", "member", "status", *LENSES]
    return table[[*first, *(f"from_happy@{name}" for name in taps), "why"]]
