"""The lens of agreement on trained populations: what each network had right, when, and in what order.

::

    courses = learning_order.courses(population)
    learning_order.learning_order(population)     # one row a network
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from akp_core.agreement import learning_times
from akp_core.agreement.course import Course
from akp_core.agreement.cube import as_parts
from akp_core.agreement.ranks import Orders, across
from akp_core.datasets import Dataset, Split
from akp_core.errors import expected, whole_number
from akp_core.outcome import TRAINED, Population
from akp_core.probes import evaluated
from akp_core.seeds import generator
from akp_core.stress import step_of
from akp_core.study import CONTROL


def few_images(data: Dataset, images: int) -> Dataset:
    """Keep so many training and test images, and 64 of the rest, each part evenly spaced through its own.

    So a study can look often: a look at every image costs a third of a step on it.

    Parameters
    ----------
    data : Dataset
    images : int
        From 16 to what there is; a part that has fewer keeps all.

    Raises
    ------
    AkpError
        For fewer than 16 images, or more than there are to train on.
    """
    whole_number("images to keep", images, 16, len(data.train))
    rest = min(images, 64)
    return replace(
        data,
        train=_spaced(data.train, images),
        test=_spaced(data.test, images),
        validation=_spaced(data.validation, rest),
        probe=_spaced(data.probe, rest),
    )


def random_labels(data: Dataset, share: float, *, seed: int = 0) -> Dataset:
    """Give a share of the training images labels drawn at random, the same for every network.

    Parameters
    ----------
    data : Dataset
    share : float
        Of the training images, in (0, 1]; the label of each is drawn anew from all classes, so that some
        keep theirs.
    seed : int

    Returns
    -------
    Dataset
        Validation, test and probe keep their labels.

    Raises
    ------
    AkpError
        For a share out of range.

    References
    ----------
    Pliushch et al. 2022 corrupt shares 0, 0.25, 0.5, 0.75 and 1 with one fixed seed.
    """
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        raise expected("a share of labels above 0 and at most 1", repr(share))
    stream, train = generator(seed, "random labels"), data.train
    chosen = torch.rand(len(train), generator=stream, dtype=torch.float64) < share
    drawn = torch.randint(data.classes, (len(train),), generator=stream)
    if share == 1:
        chosen[:] = True
    labels = torch.where(chosen, drawn, train.labels)
    return replace(data, train=Split(train.images, labels, train.groups))


def courses(
    population: Population, *, split: str = "train", kind: str = "reference", name: str | None = None
) -> dict[str, Course]:
    """What the networks of every family had right, look by look.

    Parameters
    ----------
    population : Population
        Of a study with many looks.
    split : {"train", "validation", "test"}
        Which images; of the training images those that networks were evaluated on.
    kind : str
        What sets the control apart from the reference of a comparison; stressed families are of kind
        ``stress``.
    name : str, optional
        What to call the control, and to put before the name of a stressed family; None leaves names alone.

    Returns
    -------
    dict of str to Course
        Networks that diverged or collapsed are left out and counted, if need be all of a family. Times are
        steps.

    Raises
    ------
    AkpError
        For an unknown split.
    """
    right, steps = population.correct(split)
    part = evaluated(population.study.data, split)
    status = (population.members["status"] == TRAINED).to_numpy()
    families = population.members["family"].to_numpy()
    found = {}
    for family in population.study.families:
        own = families == family.name
        called = family.name
        if name is not None:
            called = name if family.stress is None else f"{name}, {family.name}"
        found[called] = Course(
            right[torch.from_numpy(own & status)].numpy(),
            np.asarray(steps, np.float64),
            as_parts(part.labels, len(part), "classes"),
            as_parts(part.groups, len(part), "groups"),
            kind if family.stress is None else "stress",
            kind != "reference" or family.stress is not None,
            np.flatnonzero(status[own]),
            int((own & ~status).sum()),
            0.0 if family.stress is None else float(step_of(family.stress.onset, population.study.steps)),
        )
    return found


def learning_order(
    population: Population, *, split: str = "train", how: str = "settled", seed: int = 0
) -> pd.DataFrame:
    """How far each network's order of learning is from that of the control family: one row a network.

    Parameters
    ----------
    population : Population
    split : {"train", "validation", "test"}
    how : str
        As for `akp_core.agreement.learning_times`.
    seed : int
        Not used, as nothing is drawn; every lens takes one.

    Returns
    -------
    DataFrame
        ``family``, ``member``; ``order``: mean Spearman correlation, within classes, of its learning times
        with those of the control networks of other members; ``deviation``: mean absolute difference, over
        images, of its learning time from the mean of these networks' as a share of training, never counting
        as the end; ``never``: share of the images it never learnt; ``disagreement``: mean share of the
        test images that it and such a network answer differently; ``why`` a row is NaN. Networks of the
        member's own number are left out, since a twin shares its start.

    Raises
    ------
    AkpError
        For an unknown split or way, or fewer than two members.
    """
    if population.study.members < 2:
        raise expected("at least two members, to compare with others than the own twin", "one")
    del seed
    right, steps = population.correct(split)
    part = evaluated(population.study.data, split)
    parts = as_parts(part.labels, len(part), "classes")
    times = learning_times(right, np.asarray(steps), how=how)
    finite = np.where(np.isinf(times.time), times.end, times.time) / times.end
    ranks = Orders(times.time, parts).ranks()
    answers = population.predictions("test").numpy()
    table = population.members[["family", "member", "status"]]
    status, member = (table[c].to_numpy() for c in ("status", "member"))
    is_control = (table["family"] == CONTROL).to_numpy() & (status == TRAINED)
    alike = across(ranks, ranks)
    rows = []
    for row, (family, own) in enumerate(population.rows):
        others = np.flatnonzero(is_control & (member != own))
        ordered = [k for k in others if not np.isnan(alike[row, k])]
        why = "" if status[row] == TRAINED else str(status[row])
        why = why or ("no control network to compare with" if not len(others) else "")
        known = not why
        rows.append(
            {
                "family": family,
                "member": own,
                "order": float(alike[row, ordered].mean()) if known and ordered else np.nan,
                "deviation": float(np.abs(finite[row] - finite[others].mean(axis=0)).mean())
                if known
                else np.nan,
                "never": float(times.never[row].mean()) if status[row] == TRAINED else np.nan,
                "disagreement": float((answers[row] != answers[others]).mean()) if known else np.nan,
                "why": why if why or ordered else "learnt all images at one look, or none: no order",
            }
        )
    return pd.DataFrame(rows)


def _spaced(part: Split, count: int) -> Split:
    if count >= len(part):
        return part
    at = torch.linspace(0, len(part) - 1, count).round().long()
    return Split(part.images[at], part.labels[at], part.groups[at])
