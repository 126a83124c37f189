"""Families trained by each loss where the law is known: do they go where the loss points?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from scipy.stats import t as student

from akp_core.dispersion.location import location_test
from akp_core.errors import expected, whole_number
from akp_core.palette import loss as loss_of
from akp_core.similarity import chordal_distance, cka, pairwise
from akp_core.simulation.known_law import mixture, train
from akp_core.theory.closed_targets import hinge_ties
from akp_core.theory.targets import answers, population_minimiser, read_out

START = "cross_entropy"
OTHERS = "cross_entropy, other seeds"


def _apart(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Mean total variation, over the items."""
    return np.asarray(np.abs(first - second).sum(axis=-1).mean(axis=-1) / 2)


def _centred(logits: np.ndarray) -> np.ndarray:
    """Logits without the shift over classes that a softmax does not read."""
    return np.asarray(logits - logits.mean(axis=-1, keepdims=True), dtype=np.float64)


def _reading(loss: str, goal: np.ndarray, logits: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """How far a loss's target, and networks trained by it, are from the law, as the loss reads logits."""
    target, read = read_out(loss, goal), read_out(loss, logits)
    ties, best = answers(goal), truth.argmax(axis=1)
    alone = (ties.sum(axis=1) == 1) & ties[np.arange(len(ties)), best]
    found = {"target": float(_apart(target, truth)), "answered": float(alone.mean())}
    away = {"family": _apart(read, truth), "own": _apart(read, target)}
    away["nearer"] = away["family"] - away["own"]
    for name, of_each in away.items():
        margin = student.ppf(0.975, len(of_each) - 1) * of_each.std(ddof=1) / np.sqrt(len(of_each))
        found |= {name: float(of_each.mean()), f"{name}_margin": float(margin)}
    return found


def _location(
    base: np.ndarray, logits: np.ndarray, *, paired: bool, permutations: int, rng: np.random.Generator
) -> dict[str, float]:
    """Similarity and test of location between the logits of two families; NaN of a family beside itself."""
    if logits is base:
        within = pairwise([_centred(z) for z in base])
        return {"cka": float(within[np.triu_indices(len(base), 1)].mean()), "r2": np.nan, "p": np.nan}
    members = len(base)
    similar = pairwise([_centred(z) for z in (*base, *logits)])
    across = similar[:members, members:]
    number = np.arange(members)
    found = location_test(
        chordal_distance(similar),
        np.repeat(["base", "other"], members),
        paired=np.tile(number, 2) if paired else None,
        permutations=permutations,
        rng=rng,
    )
    strangers = float((across.sum() - np.trace(across)) / (members * (members - 1)))
    return {"cka": strangers, "r2": found.r_squared, "p": found.p_value}


def compare(
    losses: Sequence[str],
    *,
    classes: int,
    members: int,
    steps: int,
    examples: int,
    noise: float,
    seed: int,
    permutations: int = 199,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Train a family by each loss, and one that is swapped to it half-way from cross-entropy.

    All families share data, first weights and batches, so their members are twins; one more family of
    cross-entropy has other seeds, for comparison.

    Parameters
    ----------
    losses : sequence of str
        Names of the palette.
    classes, members, steps, examples : int
        Of the law, the family, the training, and the items trained on.
    noise : float
        Share of labels without a cause, above 0: the targets of certain labels lie at infinity.
    seed, permutations : int

    Returns
    -------
    ends : DataFrame
        A row a loss and one for `OTHERS`. ``proper``; ``target`` the mean total variation of its target's
        reading from the law; ``answered`` the share of items where the target answers with the best class
        alone; ``family`` and ``own`` those of the trained networks from the law and from their own target,
        ``nearer`` the first less the second: means over networks, with the half-widths of their intervals
        of 95 % in ``family_margin``, ``own_margin``, ``nearer_margin``; ``target_cka`` and ``cka`` the
        similarity of logits to those of cross-entropy, of the targets and between families (twins apart);
        ``r2`` and ``p`` of the location test of logits against cross-entropy, twins exchanged.
    path : DataFrame
        A row a loss, step and goal (``old target``, ``new target``): ``value``, ``low``, ``high`` of the mean
        total variation from it while the loss is swapped half-way, over networks; ``beyond`` with
        ``beyond_low`` and ``beyond_high``: the same less that of the twins that keep cross-entropy.
    """
    if not 0 < noise <= 1:
        raise expected("noise above 0 and at most 1", repr(noise))
    rng = np.random.default_rng([seed, classes])
    law = mixture(classes, rng, noise=noise)
    x, y = law.draw(examples, rng)
    look, _ = law.draw(256, rng)
    truth, start = law.posterior(look), seed * 1000 + classes

    def family(schedule: Sequence[tuple[str, int]], shift: int = 0) -> tuple[tuple[int, ...], np.ndarray]:
        generator = torch.Generator().manual_seed(start + shift)
        trained = train(x, y, look, generator=generator, members=members, schedule=schedule)
        return trained.steps, trained.logits

    half = steps // 2
    kept = family([(START, half), (START, steps - half)])[1]
    base = kept[-1]
    aim = population_minimiser(START, truth)
    ends, path = [], []
    for name in [*dict.fromkeys(losses), OTHERS]:
        loss = START if name == OTHERS else name
        goal = population_minimiser(loss, truth)
        logits = base if name == START else family([(loss, steps)], shift=500 * (name == OTHERS))[1][-1]
        ends.append(
            {
                "loss": name,
                "proper": loss_of(loss).proper,
                **_reading(loss, goal, logits, truth),
                "target_cka": cka(_centred(aim), _centred(goal)),
                **_location(base, logits, paired=name != OTHERS, permutations=permutations, rng=rng),
            }
        )
        if loss != START:
            marks, moving = family([(START, half), (loss, steps - half)])
            for step, at, control in zip(marks, moving, kept, strict=True):
                for towards, target in (("old target", truth), ("new target", read_out(START, goal))):
                    away = _apart(read_out(START, at), target)
                    beyond = away - _apart(read_out(START, control), target)
                    reach = student.ppf(0.975, members - 1) / np.sqrt(members)
                    margin, wide = reach * away.std(ddof=1), reach * beyond.std(ddof=1)
                    path.append(
                        {
                            "loss": loss,
                            "step": step,
                            "goal": towards,
                            "value": away.mean(),
                            "low": away.mean() - margin,
                            "high": away.mean() + margin,
                            "beyond": beyond.mean(),
                            "beyond_low": beyond.mean() - wide,
                            "beyond_high": beyond.mean() + wide,
                        }
                    )
    return pd.DataFrame(ends), pd.DataFrame(path)


def map_of_targets(losses: Sequence[str], *, divisions: int = 20) -> pd.DataFrame:
    """Targets of losses at laws of three classes that lie evenly over the simplex, its border left out.

    Parameters
    ----------
    losses : sequence of str
        Names of the palette.
    divisions : int
        Parts of a side; at least 3.

    Returns
    -------
    DataFrame
        A row a loss and law: ``loss``, ``p1``, ``p2``, ``p3``; ``moved``, the total variation of the
        target's reading from the law; ``answer``, ``kept`` where the target answers with the best class
        alone, ``tied`` where with others beside it, ``lost`` where without it; ``ties`` whether the theorem
        on the hinge says that it ties there. Left out are laws whose best class is tied, and those with a
        probability of 1/2 or 1/3, where the hinge has many minimisers.
    """
    whole_number("divisions", divisions, 3)
    first, second = np.meshgrid(np.arange(1, divisions), np.arange(1, divisions))
    inside = np.column_stack([first.ravel(), second.ravel(), divisions - first.ravel() - second.ravel()])
    ordered = np.sort(inside, axis=1)
    border = (2 * inside == divisions) | (3 * inside == divisions)
    laws = inside[(ordered[:, 0] > 0) & (ordered[:, 2] > ordered[:, 1]) & ~border.any(axis=1)] / divisions
    best, tables = laws.argmax(axis=1), []
    for loss in losses:
        goal = population_minimiser(loss, laws)
        said = answers(goal)
        among, alone = said[np.arange(len(said)), best], said.sum(axis=1) == 1
        table = pd.DataFrame(laws, columns=["p1", "p2", "p3"])
        table.insert(0, "loss", loss)
        table["moved"] = np.abs(read_out(loss, goal) - laws).sum(axis=1) / 2
        table["answer"] = np.where(among & alone, "kept", np.where(among, "tied", "lost"))
        table["ties"] = hinge_ties(laws)
        tables.append(table)
    if not tables:
        raise expected("one loss or more", "none")
    return pd.concat(tables, ignore_index=True)
