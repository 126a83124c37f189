"""Whether a stress that was set in by hand trains to the same numbers once more, by the ordinary way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from akp_core.live.session import Session
from akp_core.population import run
from akp_core.study import CONTROL


@dataclass(frozen=True)
class Retrained:
    """A stressed family and its unstressed twins, trained once more.

    Attributes
    ----------
    same : bool
        Whether every weight, buffer and moment of every network is the same number.
    numbers : int
        How many were compared.
    """

    same: bool
    numbers: int


def retrained(session: Session, place: str, store: str | Path) -> Retrained:
    """Train the study of a stress (`akp_core.population.run`), and compare with what was watched.

    Parameters
    ----------
    session : Session
        At the end of training.
    place : {"A", "B"}
    store : path
        As for `akp_core.population.run`; segments that are there are read.
    """
    population = run(session.study_of(place), store=store, device="cpu", progress=False)
    same, numbers = True, 0
    for watched, family in ((CONTROL, CONTROL), (place, population.study.families[1].name)):
        for member, cell in enumerate(session.tracks[watched].cells):
            again = population.store.state(population.tree.leaves[family, member]).tensors
            for name, mine in cell.block.dump().items():
                theirs = again[name]
                # the same weight may not be a number in both, where a network diverged
                same = same and torch.equal(torch.nan_to_num(mine[0]), torch.nan_to_num(theirs[0]))
                numbers += mine[0].numel()
    return Retrained(same, numbers)
