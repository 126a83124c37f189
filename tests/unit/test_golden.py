"""Every measure beside public implementations of it: figures stored in tests/golden, none of their code."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist, squareform
from torch import Tensor, nn

from akp_core import dispersion, similarity
from akp_core.stitching import stitch

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
TOLERANCE = 1e-6
FIGURES: list[dict[str, Any]] = json.loads((GOLDEN / "figures.json").read_text("utf-8"))
SAME_HANDS = {"mklabunde/resi": "google/svcca"}
"""For canonical correlations resi's code is a copy of google/svcca's, so the two count once."""


@cache
def arrays() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "arrays.npz") as stored:
        return {name: stored[name] for name in stored.files}


def pair(name: str) -> tuple[np.ndarray, np.ndarray]:
    return arrays()[f"{name}_x"], arrays()[f"{name}_y"]


def minibatch(x: np.ndarray, y: np.ndarray, *, batch: int) -> float:
    sums = similarity.MinibatchCKA()
    for start in range(0, len(x), batch):
        sums.add([x[start : start + batch], y[start : start + batch]])
    return float(sums.result()[0, 1])


def pwcca(x: np.ndarray, y: np.ndarray, *, order: str) -> float:
    return similarity.pwcca(x, y) if order == "xy" else similarity.pwcca(y, x)


def disagreement(name: str, *, rows: list[int]) -> float:
    return float(similarity.prediction_disagreement(arrays()[name])[tuple(rows)])


def family_distances(name: str, metric: str) -> tuple[np.ndarray, np.ndarray]:
    return squareform(pdist(arrays()[f"{name}_points"], metric)), arrays()[f"{name}_labels"]


def permdisp(name: str, *, metric: str, centre: str, axes: int | None) -> float:
    distances, labels = family_distances(name, metric)
    rng = np.random.default_rng(0)
    return dispersion.permdisp(distances, labels, centre=centre, axes=axes, permutations=1, rng=rng).f


def permanova(name: str, *, metric: str) -> float:
    return dispersion.location_test(
        *family_distances(name, metric), permutations=1, rng=np.random.default_rng(0)
    ).pseudo_f


class Columns(nn.Module):
    """Some features of its input, and nothing learnt."""

    def __init__(self, start: int, stop: int) -> None:
        super().__init__()
        self.columns = slice(start, stop)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, self.columns]


def stitched(name: str, *, value: str) -> float:
    """A sender that holds x and a receiver that holds y, whose first three features are its logits."""
    x, y = (torch.from_numpy(a) for a in pair(name))
    p, q, cut = x.shape[1], y.shape[1], len(x) * 2 // 3
    images, labels = torch.cat([x, y], dim=1)[:, :, None, None], y[:, :3].argmax(dim=1)
    sender, receiver = (nn.Sequential() for _ in range(2))
    for network, ends in ((sender, (0, p)), (receiver, (p, p + q))):
        network.add_module("tap", Columns(*ends))
        network.add_module("logits", Columns(0, 3))
    got = stitch(
        sender,
        receiver,
        "tap",
        fit=(images[:cut], labels[:cut]),
        evaluation=(images[cut:], labels[cut:]),
        rng=np.random.default_rng(0),
    )
    if value == "error":
        return got.error
    later = y[cut:]
    return float((later - got.map(x[cut:])).square().sum() / (later - later.mean(dim=0)).square().sum())


OF_PAIRS: dict[str, Callable[..., float]] = {
    "cka": similarity.cka,
    "minibatch_cka": minibatch,
    "procrustes": similarity.procrustes,
    "svcca": similarity.svcca,
    "pwcca": pwcca,
    "mutual_neighbours": similarity.mutual_neighbours,
    "rsa": similarity.rsa,
}
OF_OTHERS: dict[str, Callable[..., float]] = {
    "prediction_disagreement": disagreement,
    "permdisp": permdisp,
    "permanova": permanova,
    "stitch": stitched,
}


def cases() -> Iterator[Any]:
    for figure in FIGURES:
        for name, value in figure["values"].items():
            tool = figure["tool"].rsplit(" ", 1)[0].rsplit("/", 1)[-1]
            options = "-".join(map(str, figure["options"].values()))
            yield pytest.param(
                figure["measure"],
                name,
                figure["options"],
                value,
                id=f"{figure['measure']}-{options}-{name}-{tool}",
            )


@cache
def ours(measure: str, name: str, options: str) -> float:
    chosen = json.loads(options)
    if measure in OF_OTHERS:
        return OF_OTHERS[measure](name, **chosen)
    x, y = pair(name)
    value = OF_PAIRS[measure](x, y, **chosen)
    of_torch = OF_PAIRS[measure](torch.from_numpy(x), torch.from_numpy(y), **chosen)
    assert abs(of_torch - value) < 1e-12
    return value


# Arrays wider than a quarter of the examples: chance is high there, and the arithmetic is what is compared.
@pytest.mark.filterwarnings("ignore::akp_core.similarity.subspaces.CanonicalWarning")
@pytest.mark.parametrize(("measure", "name", "options", "value"), list(cases()))
def test_agrees_with_a_public_implementation(
    measure: str, name: str, options: dict[str, Any], value: float
) -> None:
    assert abs(ours(measure, name, json.dumps(options)) - value) <= TOLERANCE


def test_every_measure_agrees_with_two_independent_ones() -> None:
    tools = defaultdict(set)
    for figure in FIGURES:
        tool = figure["tool"].rsplit(" ", 1)[0]
        tool = SAME_HANDS.get(tool, tool) if "cca" in figure["measure"] else tool
        options = figure["options"]
        which = (figure["measure"], options.get("estimator"), options.get("kernel"), options.get("centre"))
        tools[which].add(tool)
    assert {which[0] for which in tools} == OF_PAIRS.keys() | OF_OTHERS.keys()
    assert not {which for which, names in tools.items() if len(names) < 2}
    assert OF_PAIRS.keys() >= set(similarity.MEASURES)


def test_the_arrays_tell_the_measures_apart() -> None:
    """No two choices come near each other on these arrays, so that agreement is not for nothing."""
    values: dict[str, dict[tuple[str, str], float]] = defaultdict(dict)
    for figure in FIGURES:
        for name, value in figure["values"].items():
            if figure["measure"] in OF_PAIRS:
                values[name][figure["measure"], json.dumps(figure["options"])] = value
    for name, of in values.items():
        apart = np.diff(sorted(of.values()))
        assert apart.min(initial=1) > 10 * TOLERANCE, name
