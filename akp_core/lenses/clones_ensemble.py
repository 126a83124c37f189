"""M3: a wide network of clones against an ensemble of networks as wide as one clone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Int64

from akp_core.dispersion.expanded import expanded_ends
from akp_core.errors import AkpError, expected, whole_number
from akp_core.lenses.clones_networks import parameters
from akp_core.lenses.clones_sweep import logits_on_test, usable
from akp_core.lenses.clones_verdicts import Answer, Verdict, overall
from akp_core.outcome import Population

DRAWS = 4999
Winner = Literal["wide network", "ensemble", "neither"]


@dataclass(frozen=True)
class Against:
    """A wide network against ensembles of narrow ones.

    Attributes
    ----------
    matched : {"parameters", "width"}
        What is equal: all trained weights, or the units of the last layer.
    size : int
        Narrow networks in an ensemble.
    wide_error, ensemble_error, narrow_error : float
        Mean test errors, in [0, 1]; of the narrow networks each alone.
    difference, low, high : float
        Ensemble minus wide, with its interval over networks and images.
    wide, ensembles : int
        Networks, and ensembles without a network in common.
    parameters : (int, int)
        Weights of the wide network, and of one ensemble.
    better : {"wide network", "ensemble", "neither"}
        By the interval.
    """

    matched: str
    size: int
    wide_error: float
    ensemble_error: float
    narrow_error: float
    difference: float
    low: float
    high: float
    wide: int
    ensembles: int
    parameters: tuple[int, int]
    better: Winner


def verdict(found: Sequence[Against]) -> Verdict:
    """M3: yes where the wide network wins however matched, not where an ensemble does, or undecided."""
    answers: dict[Winner, Answer] = {"wide network": "yes", "ensemble": "no", "neither": "open"}
    missing: list[Answer] = ["open"] * (2 - len(found))
    return overall([*(answers[one.better] for one in found), *missing])


def clone_width(widths: Sequence[int], critical: float) -> int:
    """The trained width nearest to a critical width on logarithms, of those below the widest."""
    narrower = sorted(set(widths))[:-1]
    if not narrower:
        raise expected("at least two widths, one for the clones", repr(list(widths)))
    return min(narrower, key=lambda width: abs(float(np.log(width / critical))))


def ensemble_size(wide: Population, narrow: Population, matched: str) -> int:
    """How many narrow networks match a wide one, at least 1, rounded."""
    if matched == "parameters":
        pair = [parameters(p.study.network, p.study.data) for p in (wide, narrow)]
    elif matched == "width":
        pair = [_units(p) for p in (wide, narrow)]
    else:
        raise expected("matched as 'parameters' or 'width'", repr(matched))
    return max(1, round(pair[0] / pair[1]))


def _units(population: Population) -> int:
    model = population.study.network.build(
        population.study.data.shape, population.study.data.classes, torch.Generator().manual_seed(0)
    )
    return int(dict(model.named_modules())["logits"].in_features)


def wide_against_ensemble(
    wide: Population,
    narrow: Population,
    *,
    matched: str,
    level: float = 0.05,
    rng: np.random.Generator,
) -> Against:
    """Compare wide networks with ensembles of clone-sized ones.

    An ensemble answers by the mean of its logits. The narrow networks are dealt to as many ensembles as they
    suffice for, none to two. Networks, ensembles and groups of images are all drawn again.

    Parameters
    ----------
    wide, narrow : Population
        Without stresses, of the same data.
    matched : {"parameters", "width"}
    level : float
    rng : numpy.random.Generator
        Deals, then draws.

    Returns
    -------
    Against

    Raises
    ------
    AkpError
        For other data, or fewer than two networks or ensembles: those have no spread.
    """
    if wide.study.data.fingerprint != narrow.study.data.fingerprint:
        raise expected("wide and narrow networks of the same data", "two data sets")
    size = whole_number("networks in an ensemble", ensemble_size(wide, narrow, matched), 1)
    many, few = usable(wide), usable(narrow)
    count = len(few) // size
    if len(many) < 2 or count < 2:
        raise AkpError(
            f"expected at least two wide networks and two ensembles of {size} narrow ones, got {len(many)} "
            f"and {count}; train {2 * size} narrow networks or more"
        )
    one, labels = logits_on_test(wide, many)
    other, _ = logits_on_test(narrow, few)
    dealt = rng.permutation(len(few))[: count * size].reshape(count, size)
    wrong = one.argmax(axis=2) != labels
    together = other[dealt].mean(axis=1).argmax(axis=2) != labels
    low, high = _interval(wrong, together, wide.study.data.test.groups.numpy(), level, rng)
    better: Winner = "wide network" if low > 0 else "ensemble" if high < 0 else "neither"
    weights = parameters(wide.study.network, wide.study.data)
    each = parameters(narrow.study.network, narrow.study.data)
    return Against(
        matched,
        size,
        float(wrong.mean()),
        float(together.mean()),
        float((other.argmax(axis=2) != labels).mean()),
        float(together.mean() - wrong.mean()),
        low,
        high,
        len(many),
        count,
        (weights, size * each),
        better,
    )


def _interval(
    wide: Bool[np.ndarray, "m n"],
    ensembles: Bool[np.ndarray, "e n"],
    groups: Int64[np.ndarray, " n"],
    level: float,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Ends of the two-way bootstrap of the difference of mean errors (Owen 2007), widened where few."""
    _, where, images = np.unique(groups, return_inverse=True, return_counts=True)
    onto = np.eye(len(images))[where]
    drawn = [
        rng.multinomial(len(w), np.full(len(w), 1 / len(w)), size=DRAWS) @ (w @ onto) / len(w)
        for w in (ensembles, wide)
    ]
    weight = rng.multinomial(len(images), np.full(len(images), 1 / len(images)), size=DRAWS)
    found = ((drawn[0] - drawn[1]) * weight).sum(axis=1) / (weight @ images)
    low, high = expanded_ends(found, min(len(wide), len(ensembles)), level)
    return float(low), float(high)
