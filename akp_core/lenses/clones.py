"""Clones in the networks of a population: chunk curves of every network, one row a network and size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float64, Int64
from torch import Tensor, nn

from akp_core.clones import ChunkCurves, chunk_curves, chunk_sizes, critical_width
from akp_core.clones.chunks import as_activations
from akp_core.clones.critical import EXCESS, TELLS
from akp_core.errors import AkpError, unknown_name
from akp_core.networks import representations
from akp_core.outcome import DIVERGED, Population
from akp_core.probes import evaluated, standardise
from akp_core.seeds import derive

TAP, READ_OUT = "features", "logits"
CURVES = ("size", "test_error", "train_error", "r_squared", "out_of_sample", "correlation", "others")
NUMBERS = ("critical", "by_r_squared", "by_error", "clones", "half_tells", "half_others")


@dataclass(frozen=True)
class LastLayer:
    """The last hidden layer of one network on the evaluated images of one split, and what reads it.

    Attributes
    ----------
    activations : (n, W) float64
    weight : (k, W) float64
    bias : (k,) float64
    labels : (n,) int64
    groups : (n,) int64
        What each image comes from.
    """

    activations: Float64[np.ndarray, "n w"]
    weight: Float64[np.ndarray, "k w"]
    bias: Float64[np.ndarray, " k"]
    labels: Int64[np.ndarray, " n"]
    groups: Int64[np.ndarray, " n"]

    @property
    def logits(self) -> Float64[np.ndarray, "n k"]:
        """What the whole layer answers."""
        return self.activations @ self.weight.T + self.bias


def last_layer(
    population: Population,
    family: str,
    member: int,
    *,
    split: str = "test",
    step: int | None = None,
    tap: str = TAP,
    read_out: str = READ_OUT,
) -> LastLayer:
    """Read the last hidden layer of one network.

    Parameters
    ----------
    population : Population
    family : str
    member : int
    split : {"train", "validation", "test"}
    step : int or None
        As for `Population.network`.
    tap, read_out : str
        The layer, and the linear module that it goes into.

    Returns
    -------
    LastLayer

    Raises
    ------
    AkpError
        For an unknown name, or a read-out that is not an `nn.Linear` with an input for each unit.
    """
    data = population.study.data
    if split not in ("train", "validation", "test"):
        raise unknown_name("split", split, ("train", "validation", "test"))
    images = evaluated(data, split)
    model = population.network(family, member, step=step)
    parts = dict(model.named_modules())
    if read_out not in parts:
        raise unknown_name("read-out", read_out, [name for name in parts if name])
    linear = parts[read_out]
    if not isinstance(linear, nn.Linear):
        raise AkpError(
            f"expected the read-out {read_out!r} to be an nn.Linear, got {type(linear).__name__}; chunks "
            "answer through a linear read-out only"
        )
    shown = standardise(data, images.images)
    seen = representations(model, shown, [tap])[tap]
    if seen.shape[1] != linear.in_features:
        raise AkpError(
            f"expected tap {tap!r} to be what {read_out!r} reads, {linear.in_features} units, got "
            f"{seen.shape[1]}; name the last hidden layer with tap="
        )
    bias = torch.zeros(linear.out_features) if linear.bias is None else linear.bias
    return LastLayer(
        _numbers(seen), _numbers(linear.weight), _numbers(bias), images.labels.numpy(), images.groups.numpy()
    )


def _numbers(values: Tensor) -> Float64[np.ndarray, ...]:
    numbers: Float64[np.ndarray, ...] = values.detach().double().cpu().numpy()
    return numbers


def chunk_table(
    population: Population,
    *,
    rows: Iterable[tuple[str, int]] | None = None,
    step: int | None = None,
    tap: str = TAP,
    read_out: str = READ_OUT,
    sizes: Sequence[int] | None = None,
    error_chunks: int = 100,
    chunks: int = 40,
    held_out: bool = True,
    seed: int = 0,
) -> pd.DataFrame:
    """Chunk curves of the networks of a population.

    Parameters
    ----------
    population : Population
    rows : iterable of (family, member), optional
        Which networks; None means all of them.
    step : int or None
        As for `Population.network`; None means the end of training.
    tap, read_out : str
        As for `last_layer`.
    sizes, error_chunks, chunks, held_out
        As for `akp_core.clones.chunk_curves`. Regressions see the test images, halved by their groups.
    seed : int
        Of the chunks; every network has its own.

    Returns
    -------
    DataFrame
        ``family``, ``member``, ``width``, ``dead``, the columns of `ChunkCurves.table`, ``why``. A network
        that is lost keeps one row: NaN, and why.

    Raises
    ------
    AkpError
        As `last_layer` and `akp_core.clones.chunk_curves` do.

    Notes
    -----
    Cost: each network is rebuilt twice and goes through the evaluated images of two splits once.
    """
    status = population.members.set_index(["family", "member"])["status"]
    found: list[pd.DataFrame] = []
    for family, member in population.rows if rows is None else rows:
        key: dict[str, Any] = {"family": family, "member": member}
        if step is None and status.get((family, member)) == DIVERGED:
            found.append(pd.DataFrame([key | {"why": DIVERGED}]))
            continue
        where = {"step": step, "tap": tap, "read_out": read_out}
        test = last_layer(population, family, member, split="test", **where)  # type: ignore[arg-type]
        try:
            as_activations(test.activations)
        except AkpError as fault:
            found.append(pd.DataFrame([key | {"why": str(fault)}]))
            continue
        train = last_layer(population, family, member, split="train", **where)  # type: ignore[arg-type]
        curves: ChunkCurves = chunk_curves(
            test.activations,
            test.weight,
            test.bias,
            test.labels,
            train=(train.activations, train.labels),
            groups=test.groups,
            sizes=sizes,
            error_chunks=error_chunks,
            chunks=chunks,
            held_out=held_out,
            generator=np.random.default_rng(derive(seed, "clones", family, member, step or 0)),
        )
        found.append(curves.table.assign(**key, width=curves.width, dead=curves.dead, why=""))
    columns = ["family", "member", "width", "dead", *CURVES, "why"]
    return pd.concat(found, ignore_index=True).reindex(columns=columns).fillna({"why": ""})


def clones(
    population: Population,
    *,
    step: int | None = None,
    tap: str = TAP,
    read_out: str = READ_OUT,
    tells: float = TELLS,
    excess: float = EXCESS,
    error_chunks: int = 20,
    chunks: int = 10,
    seed: int = 0,
) -> pd.DataFrame:
    """Count the clones in the last hidden layer of every network.

    Parameters
    ----------
    population : Population
    step, tap, read_out, error_chunks, chunks, seed
        As for `chunk_table`.
    tells, excess : float
        As for `akp_core.clones.critical_width`.

    Returns
    -------
    DataFrame
        One row a network: ``family``, ``member``, ``width``, ``dead``, ``critical`` (w*), ``by_r_squared``,
        ``by_error``, ``clones`` (W / w*, from 1), ``half_tells`` (R^2 out of sample of half of the units),
        ``half_others`` (residual correlation of the other half), ``why`` (empty unless it is lost).
    """
    table = chunk_table(
        population,
        step=step,
        tap=tap,
        read_out=read_out,
        error_chunks=error_chunks,
        chunks=chunks,
        seed=seed,
    )
    return counted(table, tells=tells, excess=excess).reindex(
        columns=["family", "member", "width", "dead", *NUMBERS, "why"]
    )


def counted(table: pd.DataFrame, *, tells: float = TELLS, excess: float = EXCESS) -> pd.DataFrame:
    """One row a network from a table of chunk curves, with what `clones` gives.

    Parameters
    ----------
    table : DataFrame
        From `chunk_table`; further columns that tell networks apart are kept.
    tells, excess : float
        As for `akp_core.clones.critical_width`.
    """
    names = [c for c in table.columns if c not in {*CURVES, "width", "dead", "why"}]
    rows = []
    for key, curve in table.groupby(names, sort=False, dropna=False):
        lost = str(curve["why"].iloc[0])
        row: dict[str, object] = {**dict(zip(names, key, strict=True)), "why": lost}
        if lost:
            rows.append(row | dict.fromkeys(("width", "dead", *NUMBERS), np.nan))
            continue
        at = critical_width(curve, tells=tells, excess=excess)
        width = int(curve["width"].iloc[0])
        half = curve.iloc[(curve["size"] - width / 2).abs().argmin()]
        whole = curve.sort_values("size").iloc[-1]
        rows.append(
            row
            | {
                "width": width,
                "dead": int(curve["dead"].iloc[0]),
                "critical": at.width,
                "by_r_squared": at.by_r_squared,
                "by_error": at.by_error,
                "clones": at.clones,
                "half_tells": half["out_of_sample"],
                "half_others": half["others"],
                "train_error": whole["train_error"],
                "test_error": whole["test_error"],
            }
        )
    return pd.DataFrame(rows)


def published() -> pd.DataFrame:
    """The chunk curve of a Wide-ResNet-28-8 on CIFAR-10 as published, W = 512.

    Read off a figure in the authors' repository by eye, so within some 10 %. Errors above that of the
    ensemble (about 0.03), training errors, R^2 in sample, residual correlation over the whole layer.

    References
    ----------
    Doimo, Glielmo, Goldt & Laio 2022; github.com/diegodoimo/redundant_representation.
    """
    return pd.DataFrame(
        {
            "size": chunk_sizes(512)[4:],
            "excess": [0.33, 0.10, 0.020, 0.010, 0.0075, 0.0053],
            "train_error": [0.31, 0.09, 0.0033, 0.0008, 0.0008, 0.0008],
            "r_squared": [0.54, 0.88, 0.99, 1.0, 1.0, 1.0],
            "correlation": [0.061, 0.052, 0.021, 0.011, 0.004, 0.0],
        }
    )
