"""A sweep of widths: trained networks with and without weight decay, looked at early and at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from akp_core.clones.critical import EXCESS, TELLS
from akp_core.datasets import Dataset
from akp_core.errors import AkpError, expected, whole_number
from akp_core.lenses.clones import chunk_table, counted, last_layer
from akp_core.lenses.clones_networks import LAYERS, of_width
from akp_core.outcome import TRAINED, Population
from akp_core.population import run
from akp_core.recipe import Recipe
from akp_core.study import CONTROL, Study

CELL = ("layer", "decay", "epoch")
"""What tells the cells of a sweep apart, besides the width."""


@dataclass(frozen=True)
class Sweep:
    """What was found of every network of a sweep.

    Attributes
    ----------
    curves : DataFrame
        One row a network and size of chunk: ``layer``, ``decay``, ``epoch``, ``width``, ``member`` and what
        `akp_core.lenses.clones.chunk_table` gives.
    networks : DataFrame
        One row a network: the same keys, what `akp_core.lenses.clones.counted` gives, and
        ``whole_train_error``, ``whole_test_error``.
    ensembles : DataFrame
        One row a cell, width and network left out (-1: none): ``error`` of the mean logits of the rest.
    """

    curves: pd.DataFrame
    networks: pd.DataFrame
    ensembles: pd.DataFrame

    def cells(self) -> Iterator[tuple[tuple[str, float, int], pd.DataFrame]]:
        """Each cell with its networks."""
        keys = self.networks[list(CELL)].drop_duplicates()
        for layer, decay, epoch in zip(*(keys[name].tolist() for name in CELL), strict=True):
            same = (self.networks[list(CELL)] == [layer, decay, epoch]).all(axis=1)
            yield (layer, decay, epoch), self.networks[same]


def train(
    data: Dataset,
    width: int,
    *,
    decay: float,
    layer: str = "linear",
    members: int = 5,
    recipe: Recipe,
    kind: str = "mlp",
    body: int = 0,
    depth: int = 0,
    store: str | Path,
    seed: int = 0,
    progress: bool = False,
) -> Population:
    """Train networks of one width; what the store holds is read.

    Parameters
    ----------
    data : Dataset
    width : int
        Units of the last hidden layer.
    decay : float
        Weight decay, in place of the recipe's.
    layer, kind, body, depth
        As for `of_width`.
    members : int
    recipe : Recipe
    store : path
    seed : int
    progress : bool

    Returns
    -------
    Population
        Of the control family alone: nothing is swapped.
    """
    network = of_width(data, width, kind=kind, layer=layer, body=body, depth=depth)
    how = replace(recipe, weight_decay=float(decay))
    study = Study(data, members=members, network=network, recipe=how, taps=("features",), seed=seed)
    return run(study, store=store, progress=progress)


def width_sweep(
    data: Dataset,
    widths: Sequence[int],
    *,
    decays: Sequence[float],
    layers: Sequence[str] = LAYERS,
    early: int = 2,
    members: int = 5,
    recipe: Recipe,
    kind: str = "mlp",
    body: int = 0,
    depth: int = 0,
    tells: float = TELLS,
    excess: float = EXCESS,
    chunks: int = 4,
    error_chunks: int = 50,
    store: str | Path,
    seed: int = 0,
    progress: bool = False,
) -> Sweep:
    """Train networks of every width, decay and kind of last layer, and measure their chunks at two times.

    Parameters
    ----------
    data : Dataset
    widths : sequence of int
        Units of the last hidden layer.
    decays : sequence of float
        Weight decays.
    layers : sequence of {"linear", "rectified"}
        Of ``mlp``; other networks have one kind only, and take the first.
    early : int
        An epoch before the networks fit all training images: a power of two below the recipe's epochs.
    members, recipe, kind, body, depth, store, seed, progress
        As for `train`.
    tells, excess
        As for `akp_core.clones.critical_width`.
    chunks, error_chunks
        As for `chunk_table`.

    Returns
    -------
    Sweep

    Raises
    ------
    AkpError
        For an empty list, or an epoch at which no weights are kept.
    """
    for name, values in (("widths", widths), ("decays", decays), ("layers", layers)):
        if isinstance(values, str) or not len(values) or len(set(values)) < len(values):
            raise expected(f"{name} as a list, each once", repr(values))
    kept = [2**k for k in range(recipe.epochs.bit_length()) if 2**k < recipe.epochs]
    if whole_number("early", early, 1) not in kept:
        raise AkpError(
            f"expected early as an epoch at which weights are kept, got {early}; choose one of "
            f"{', '.join(map(str, kept)) or 'none: train for longer'}"
        )
    curves, ensembles = [], []
    for layer in layers if kind == "mlp" else layers[:1]:
        for decay in decays:
            for width in widths:
                population = train(
                    data,
                    width,
                    decay=decay,
                    layer=layer,
                    members=members,
                    recipe=recipe,
                    kind=kind,
                    body=body,
                    depth=depth,
                    store=store,
                    seed=seed,
                    progress=progress,
                )
                once = recipe.steps_per_epoch(len(data.train))
                for epoch in (early, recipe.epochs):
                    step = None if epoch == recipe.epochs else epoch * once
                    key: dict[str, Any] = {
                        "layer": layer,
                        "decay": float(decay),
                        "epoch": epoch,
                        "layer_width": width,
                    }
                    table = chunk_table(
                        population,
                        step=step,
                        sizes=half_octaves(width),
                        chunks=chunks,
                        error_chunks=error_chunks,
                        seed=seed,
                    )
                    curves.append(table.drop(columns="family").assign(**key))
                    ensembles.append(ensemble_errors(population, step=step).assign(**key))
    table = pd.concat(curves, ignore_index=True)
    networks = counted(table, tells=tells, excess=excess)
    networks["width"] = networks["layer_width"]
    return Sweep(table, networks, pd.concat(ensembles, ignore_index=True))


def half_octaves(width: int) -> list[int]:
    """Sizes of chunks: powers of the root of two, rounded, up to the width."""
    steps = range(int(2 * np.log2(width)) + 1)
    return sorted({*(min(round(2 ** (k / 2)), width) for k in steps), width})


def ensemble_errors(population: Population, *, step: int | None = None) -> pd.DataFrame:
    """Test error of the mean logits of a family, and of all its networks but one.

    Parameters
    ----------
    population : Population
    step : int or None
        As for `Population.network`.

    Returns
    -------
    DataFrame
        ``without`` (a member, or -1 for none) and ``error``. Networks that are lost are in no ensemble.
    """
    kept = usable(population)
    logits, labels = logits_on_test(population, kept, step=step)
    total = logits.sum(axis=0)
    rows = [{"without": -1, "error": float(np.mean(total.argmax(axis=1) != labels))}]
    if len(kept) > 1:
        rows += [
            {"without": m, "error": float(np.mean((total - own).argmax(axis=1) != labels))}
            for m, own in zip(kept, logits, strict=True)
        ]
    return pd.DataFrame(rows)


def usable(population: Population) -> list[int]:
    """Members of the control family that are neither collapsed nor diverged."""
    table = population.members
    good = table[(table["family"] == CONTROL) & (table["status"] == TRAINED)]["member"].tolist()
    if not good:
        raise AkpError(
            "expected at least one network that trained, got none; lower the learning rate or decay"
        )
    return [int(m) for m in good]


def logits_on_test(
    population: Population, members: Sequence[int], *, step: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Logits (m, n, k) of members of the control family on the test images, and the labels (n,)."""
    seen = [last_layer(population, CONTROL, m, step=step) for m in members]
    return np.stack([one.logits for one in seen]), seen[0].labels
