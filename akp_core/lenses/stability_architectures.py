"""Small trained populations of several architectures on one data set, each network with its error and R_f."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from akp_core.datasets import Dataset
from akp_core.errors import expected
from akp_core.lenses.stability import stability
from akp_core.networks import Network
from akp_core.outcome import Population
from akp_core.population import Study, run
from akp_core.recipe import Recipe


def architecture(text: str) -> Network:
    """Read an architecture such as ``cnn 8x3``: kind, width and depth.

    Parameters
    ----------
    text : str

    Returns
    -------
    Network

    Raises
    ------
    AkpError
        For another form, or as `Network`.
    """
    found = re.fullmatch(r"\s*(\w+)\s+(\d+)\s*x\s*(\d+)\s*", str(text))
    if not found:
        raise expected("an architecture as KIND WIDTHxDEPTH", repr(text), "for instance 'cnn 8x3'")
    return Network(found[1], width=int(found[2]), depth=int(found[3]))


def titled(network: Network) -> str:
    """The name of an architecture as `architecture` reads it."""
    return f"{network.kind} {network.width}x{network.depth}"


def with_errors(population: Population, table: pd.DataFrame) -> pd.DataFrame:
    """Rows of `stability` at the end of training, with the test error and status of each network.

    Parameters
    ----------
    population : Population
    table : DataFrame
        From `akp_core.lenses.stability.stability`.

    Returns
    -------
    DataFrame
        As ``table``, with ``test_error``, ``one_answer`` and ``status``.
    """
    errors = population.members[["family", "member", "test_error", "one_answer", "status"]]
    return table[table["step"] == population.study.steps].merge(
        errors, on=["family", "member"], validate="m:1"
    )


def across_architectures(
    data: Dataset,
    architectures: Sequence[Network],
    *,
    members: int,
    recipe: Recipe,
    store: str | Path,
    tap: str = "logits",
    seed: int = 0,
    progress: bool = True,
    **how: Any,
) -> pd.DataFrame:
    """Train what the store lacks of some architectures, and measure R_f of each network at its output.

    Parameters
    ----------
    data : Dataset
    architectures : sequence of Network
        Each once.
    members : int
        Networks of each.
    recipe : Recipe
        The same for all.
    store : path
    tap : str
        A tap that all of them have.
    seed : int
        Of training, and of images, fields and noise, which are the same for all.
    progress : bool
    **how
        The other arguments of `akp_core.lenses.stability.stability`.

    Returns
    -------
    DataFrame
        As `with_errors`, with ``architecture`` in front; one row a network.

    Raises
    ------
    AkpError
        As `Study` and `stability`; for no architecture, or one given twice.
    """
    names = [titled(network) for network in architectures]
    if not names or len(set(names)) < len(names):
        raise expected("at least one architecture, each once", ", ".join(names) or "none")
    parts = []
    for name, network in zip(names, architectures, strict=True):
        study = Study(data, members=members, network=network, recipe=recipe, seed=seed)
        population = run(study, store=store, progress=progress)
        rows = with_errors(population, stability(population, taps=[tap], seed=seed, **how))
        rows.insert(0, "architecture", name)
        parts.append(rows)
    return pd.concat(parts, ignore_index=True)
