"""Controls: stresses that must change nothing, and stresses whose effect is known beforehand.

A verdict on a stress is worth what its controls are worth. *Exact* controls go through the machinery of a
stress and must leave every network its twin, bit by bit: the no-op, the swap of a function to itself, that
swap and back, and a swap undone at once. *Calibrating* controls say what an effect is worth: a jolt of the
learning rate (any disturbance moves a network) and a swap before the first step (another network from the
start). Random labels are in `akp_core.evidence.memorising`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from torch import Tensor

from akp_core import palette
from akp_core.errors import expected
from akp_core.outcome import Population
from akp_core.probes import SPLITS
from akp_core.stress import Stress
from akp_core.study import CONTROL, Study

HELD, BROKEN = "held", "broken"


def exact(study: Study, onset: float, *, length: float = 0.125) -> Study:
    """The study with stresses that must change nothing, from one onset on.

    Parameters
    ----------
    study : Study
        Its own stresses are left out; the control family is the same.
    onset : float
        A share of training in [0, 1).
    length : float
        Share of training after which the swap to itself is swapped back; at most half of what is left.

    Returns
    -------
    Study
        Families: ``no-op``, the swap of an activation and of the loss to itself, the former undone after
        `length`, and another activation undone at once.

    Raises
    ------
    AkpError
        As `Study` does.
    """
    held = dict.fromkeys(name for _, name in study.network.held)
    stresses = [Stress("none")]
    if held:
        name = next(iter(held))
        slots = tuple(slot for slot, own in study.network.held if own == name)
        itself = Stress("activation", name, slots=slots if len(held) > 1 else None)
        other = next(a for a in palette.ACTIVATIONS if a not in held)
        stresses += [itself, replace(itself, end=min(length, (1 - onset) / 2))]
        stresses += [Stress("activation", other, end=0.0)]
    stresses += [Stress("loss", study.recipe.loss)]
    return replace(study, stresses=tuple(stresses), onsets=(onset,))


def compared(population: Population) -> pd.DataFrame:
    """Compare every network of an `exact` study with its unstressed twin, bit by bit.

    Returns
    -------
    DataFrame
        One row a family: ``control`` (what was done, in words), ``family``, ``networks``; how many of them
        equal their twin in all ``predictions``, in the ``fingerprints`` of every tap, and in the ``state``
        (weights and optimiser) that training left; ``verdict``, held where all do in everything, else
        broken.

    Notes
    -----
    Bytes are compared, so that networks that diverged alike are alike. Cost: reads every network once.
    """
    s = population.study
    rows = []
    outputs = [population.predictions(split) for split in SPLITS]
    prints = [population.fingerprints(tap) for tap in s.taps or ()]
    for k, family in enumerate(s.families):
        if family.stress is None:
            continue
        same = np.zeros(3, dtype=int)
        for member in range(s.members):
            own = k * s.members + member
            same += [
                all(_alike(t[own], t[member]) for t in outputs),
                all(_alike(t[own], t[member]) for t in prints),
                _states_alike(population, family.name, member),
            ]
        verdict = HELD if (same == s.members).all() else BROKEN
        rows.append((_said(family.stress), family.name, s.members, *same.tolist(), verdict))
    names = ["control", "family", "networks", "predictions", "fingerprints", "state", "verdict"]
    return pd.DataFrame(rows, columns=names)


def require(table: pd.DataFrame) -> None:
    """Raise `AkpError`, in one line, if a row of `compared` says that a control is broken."""
    broken = table[table["verdict"] == BROKEN]
    if len(broken):
        row = broken.iloc[0]
        same = int(min(row[c] for c in ("predictions", "fingerprints", "state")))
        raise expected(
            "exact controls to leave every network its twin, bit by bit",
            f"{row['networks'] - same} of {row['networks']} networks of {row['family']!r} that differ",
            "training is not reproducible here: believe no result of this run",
        )


def _said(stress: Stress) -> str:
    if stress.kind == "none":
        return "no-op"
    if stress.end == stress.onset:
        return f"{stress.to} for no time"
    back = " and back" if stress.end < 1 else ""
    return f"{stress.kind} to itself{back}"


def _alike(a: Tensor, b: Tensor) -> bool:
    """Equal bits; plain equality would find no NaN equal."""
    same = a.dtype == b.dtype and a.shape == b.shape
    return same and a.contiguous().numpy().tobytes() == b.contiguous().numpy().tobytes()


def _states_alike(population: Population, family: str, member: int) -> bool:
    tree, store = population.tree, population.store
    ends = (store.state(tree.leaves[name, member]).tensors for name in (family, CONTROL))
    own, twin = ends
    return own.keys() == twin.keys() and all(_alike(own[name], twin[name]) for name in own)


def calibrating(study: Study, *, jolt: float = 10.0, length: float = 0.125) -> tuple[Study, Study]:
    """Two studies to read the stresses of a study beside.

    Parameters
    ----------
    study : Study
        With at least one stress.
    jolt : float
        Factor of the learning rate.
    length : float
        How long the jolt lasts, as a share of training; at most half of what is left.

    Returns
    -------
    jolted : Study
        A jolt of the learning rate at the first onset of the study.
    from_start : Study
        The study's first stress, present from the first step on.

    Raises
    ------
    AkpError
        If the study has no stress, or the factor is out of range.
    """
    if not study.stresses or not study.onsets:
        raise expected("a study with at least one stress and one onset to calibrate", "none")
    first = min(study.onsets)
    shaken = Stress("learning_rate", dose=jolt, end=min(length, (1 - first) / 2))
    return (
        replace(study, stresses=(shaken,), onsets=(first,)),
        replace(study, stresses=(study.stresses[0],), onsets=(0.0,)),
    )
