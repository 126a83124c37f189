"""Networks that learn by heart beside networks that may generalise, after Morcos et al. (2018).

The one contrast of families whose outcome is known from elsewhere: a test of dispersion that cannot find it
is not worth asking anything else.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from akp_core.datasets import Dataset, Split
from akp_core.errors import AkpError, expected, whole_number
from akp_core.evidence.witnesses import by_measure, dissimilarities, seen
from akp_core.outcome import Population
from akp_core.specifications.measures import ruler
from akp_core.stress import Stress
from akp_core.study import CONTROL, Study


def memorising(study: Study, *, images: int = 128, epochs: int = 100, learning_rate: float = 3e-3) -> Study:
    """Networks that must learn by heart beside networks that may generalise, on the same few images.

    After Morcos et al. (2018): both families see the same images, one of them with labels that have nothing
    to do with the image, the same ones for all its networks. Of C classes a share of :math:`1 - 1/C` is
    replaced, which leaves each class as likely for every image. To replace more would make a rule again: of
    two classes it is always the other one.

    Parameters
    ----------
    study : Study
        Gives data, network, recipe (but for what follows), taps and seed.
    images : int
        Training images kept, evenly spaced through them; few, so that they can be learnt by heart.
    epochs : int
        Passes over them.
    learning_rate : float

    Returns
    -------
    Study
        The control and ``label noise D @ 0%``.

    Raises
    ------
    AkpError
        For more images than there are, or fewer than a batch.
    """
    recipe = replace(study.recipe, epochs=epochs, learning_rate=learning_rate)
    return replace(
        study,
        data=few(study.data, images),
        stresses=(Stress("label_noise", dose=1 - 1 / study.data.classes),),
        onsets=(0.0,),
        recipe=recipe,
        looks=0,
    )


def few(data: Dataset, images: int) -> Dataset:
    """The data set with so many of its training images only, evenly spaced through them."""
    whole_number("images to learn by heart", images, 2, len(data.train))
    kept = torch.linspace(0, len(data.train) - 1, images).round().long()
    part = data.train
    return replace(data, train=Split(part.images[kept], part.labels[kept], part.groups[kept]))


def fitted(population: Population) -> pd.Series:
    """Share of training images that each family answers as it was taught to, over the last epoch.

    Returns
    -------
    Series
        By family, means over networks, in [0, 1]. For a family of random labels this is how far it has
        learnt them by heart.
    """
    curves = population.curves
    if curves.empty:
        raise AkpError("expected networks with at least one epoch of training, got none")
    last = curves[curves["step"] == curves.groupby(["family", "member"])["step"].transform("max")]
    means: pd.Series = last.groupby("family", sort=False)["accuracy"].mean()
    return means


def memorisers(
    population: Population, *, permutations: int = 1999, level: float = 0.05, seed: int = 0
) -> pd.DataFrame:
    """Ask of a `memorising` study what Morcos et al. (2018) asked, at every tap.

    They found networks trained on random labels less alike in later layers than networks trained on true
    ones, by projection-weighted CCA of spatial means, and no more alike to each other than to the latter.

    Returns
    -------
    DataFrame
        One row a tap and measure (CKA, PWCCA, SVCCA of spatial means): ``tap``, ``measure``; the mean
        similarity of two networks of different seeds with labels ``true``, ``random``, and one of each
        (``across``); ``ratio`` of the dispersions, random over true, with ``low`` and ``high``; ``p_value``;
        ``verdict``: as Morcos et al., opposite, no difference, or not testable.
    """
    s = population.study
    if len(s.families) != 2:
        raise expected("the two families of a memorising study", str(len(s.families)))
    random = s.families[1].name
    words = {"AKP": "as Morcos et al.", "anti-AKP": "opposite", "none": "no difference"}
    how = {"permutations": permutations, "level": level, "seed": seed}
    rows: list[dict[str, object]] = []
    for tap in s.taps or ():
        reps = seen(population, [CONTROL, random], tap, spatial_mean=True)
        tests = by_measure(reps, {random: "control"}, ("cka", "pwcca", "svcca"), **how)  # type: ignore[arg-type]
        is_random = np.array([family == random for family, _ in reps])
        member = np.array([m for _, m in reps])
        other = member[:, None] < member[None, :]
        for test in tests.to_dict("records"):
            far = dissimilarities(list(reps.values()), str(test["measure"]))
            alike = 1 - far**2 / 2 if ruler(str(test["measure"])).chordal else 1 - far
            kinds = {"true": ~is_random, "random": is_random}
            pairs = {k: other & own[:, None] & own[None, :] for k, own in kinds.items()}
            pairs["across"] = other & (is_random[:, None] != is_random[None, :])
            means = {k: float(alike[at].mean()) if at.any() else np.nan for k, at in pairs.items()}
            tested = {k: test[k] for k in ("ratio", "low", "high", "p_value")}
            verdict = words.get(test["verdict"], test["verdict"])
            rows.append({"tap": tap, "measure": test["measure"]} | means | tested | {"verdict": verdict})
    return pd.DataFrame(rows)
