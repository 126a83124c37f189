"""How each public implementation is called: one function per tool and task, nothing of theirs imported here.

Runs in the peers' environment. A loader imports its tool and returns a function of arrays, which calls it as
a user would who has them in memory, in the dtype that comes. Where a package has a call for networks only,
its own arithmetic for one pair of layers is called.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

Arrays = Sequence[np.ndarray]
Call = Callable[[Arrays], Any]
Loader = Callable[[Path], Call]


@dataclass(frozen=True)
class Tool:
    """A public implementation of one task.

    Attributes
    ----------
    load : callable
        Given the folder of checkouts, imports the tool and returns its call.
    measures : str
        What the call computes: ``biased`` or ``unbiased`` CKA, or ``permdisp``.
    checkout : str
        The folder of the checkout that it needs; empty for an installed package.
    """

    load: Loader
    measures: str
    checkout: str = ""


def _checkout(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _tensors(arrays: Arrays) -> list[Any]:
    from_numpy = import_module("torch").from_numpy
    return [from_numpy(array) for array in arrays]


def _bare(of: Any) -> Any:
    """An instance made without its constructor, which wants networks; the arithmetic needs the device."""
    made = object.__new__(of)
    made.device = "cpu"
    return made


def _demo(source: Path) -> dict[str, Any]:
    """The names that google-research's notebook defines in its first code cell."""
    cells = json.loads((source / "google" / "Demo.ipynb").read_text("utf-8"))["cells"]
    code = next("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    names: dict[str, Any] = {}
    exec(code, names)
    return names


def _google_feature(source: Path) -> Call:
    compute = _demo(source)["feature_space_linear_cka"]
    return lambda xs: compute(xs[0], xs[1])


def _google_feature_unbiased(source: Path) -> Call:
    compute = _demo(source)["feature_space_linear_cka"]
    return lambda xs: compute(xs[0], xs[1], debiased=True)


def _google_gram(source: Path) -> Call:
    names = _demo(source)
    gram, compute = names["gram_linear"], names["cka"]
    return lambda xs: compute(gram(xs[0]), gram(xs[1]))


def _google_gram_unbiased(source: Path) -> Call:
    names = _demo(source)
    gram, compute = names["gram_linear"], names["cka"]
    return lambda xs: compute(gram(xs[0]), gram(xs[1]), debiased=True)


def _anatome(source: Path) -> Call:
    _checkout(source / "anatome")
    distance = import_module("anatome.distance").linear_cka_distance
    return lambda xs: 1 - distance(*_tensors(xs), False)


def _netrep(source: Path) -> Call:
    _checkout(source / "netrep")
    metric = import_module("netrep.metrics.cka").LinearCKA()
    return lambda xs: np.cos(metric.score(xs[0], xs[1]))


def _resi(source: Path) -> Call:
    # Its package is named as another on the index is, and its __init__ imports what every measure needs.
    for name, folder in (("repsim", "repsim"), ("repsim.measures", "repsim/measures")):
        package = ModuleType(name)
        package.__path__ = [str(source / "resi" / folder)]
        sys.modules[name] = package
    compute = import_module("repsim.measures.cka").centered_kernel_alignment
    return lambda xs: compute(*_tensors(xs), "nd")


def _repsim(_: Path) -> Call:
    compute = import_module("repsim").cka
    return lambda xs: compute(list(xs), "linear", "gretton")


def _repsim_pair(source: Path) -> Call:
    matrix = _repsim(source)
    return lambda xs: matrix(xs)[0, 1]


def _ckatorch(_: Path) -> Call:
    compute = import_module("ckatorch.core").cka_base
    return lambda xs: compute(*_tensors(xs))


def _torch_cka(_: Path) -> Call:
    hsic = _bare(import_module("torch_cka").CKA)._HSIC

    def compute(xs: Arrays) -> Any:
        grams = [x @ x.t() for x in _tensors(xs)]
        for gram in grams:
            gram.fill_diagonal_(0)
        k, l = grams  # noqa: E741
        return hsic(k, l) / (hsic(k, k) ** 0.5 * hsic(l, l) ** 0.5)

    return compute


def _cka_pytorch(_: Path) -> Call:
    hsic = import_module("cka_pytorch.hsic").hsic1

    def compute(xs: Arrays) -> Any:
        k, l = ((x @ x.t())[None] for x in _tensors(xs))  # noqa: E741
        return hsic(k, l) / (hsic(k, k) * hsic(l, l)).sqrt()

    return compute


def _pytorch_cka(_: Path) -> Call:
    compute = import_module("cka.cka").cka_from_features

    def matrix(xs: Arrays) -> Any:
        members = _tensors(xs)
        return compute(members, members).numpy()

    return matrix


def _pytorch_cka_pair(_: Path) -> Call:
    compute = import_module("cka.cka").cka_from_features
    return lambda xs: compute(*_tensors(xs))[0, 0]


def _simtorch(_: Path) -> Call:
    compute = _bare(import_module("simtorch.similarity.cka").CKA).linear_CKA

    def pair(xs: Arrays) -> Any:
        x, y = _tensors(xs)
        return compute(x @ x.T, y @ y.T)

    return pair


def _rsatoolbox(_: Path) -> Call:
    """The whitened cosine of squared Euclidean dissimilarities, which is biased linear CKA."""
    toolbox = import_module("rsatoolbox")

    def matrix(xs: Arrays) -> Any:
        sets = [toolbox.data.Dataset(x.astype(np.float64)) for x in xs]
        rdms = toolbox.rdm.concat([toolbox.rdm.calc_rdm(one, method="euclidean") for one in sets])
        return toolbox.rdm.compare(rdms, rdms, method="cosine_cov")

    return matrix


def _rsatoolbox_pair(_: Path) -> Call:
    toolbox = import_module("rsatoolbox")

    def pair(xs: Arrays) -> Any:
        sets = [toolbox.data.Dataset(x.astype(np.float64)) for x in xs]
        one, other = (toolbox.rdm.calc_rdm(each, method="euclidean") for each in sets)
        return toolbox.rdm.compare(one, other, method="cosine_cov")[0, 0]

    return pair


def scikit_bio(permutations: int, axes: int | None, centre: str = "centroid") -> Loader:
    """PERMDISP of (M, M) distances and (M,) labels, with so many permutations; all axes unless told."""

    def load(_: Path) -> Call:
        distance = import_module("skbio.stats.distance")

        def compute(xs: Arrays) -> Any:
            matrix, labels = xs
            found = distance.permdisp(
                distance.DistanceMatrix(matrix),
                [str(label) for label in labels],
                test=centre,
                permutations=permutations,
                dimensions=len(matrix) - 1 if axes is None else axes,
            )
            return found["test statistic"]

        return compute

    return load


PAIR: dict[str, Tool] = {
    "google-feature": Tool(_google_feature, "biased", "google"),
    "google-gram": Tool(_google_gram, "biased", "google"),
    "google-feature-unbiased": Tool(_google_feature_unbiased, "unbiased", "google"),
    "google-gram-unbiased": Tool(_google_gram_unbiased, "unbiased", "google"),
    "anatome": Tool(_anatome, "biased", "anatome"),
    "netrep": Tool(_netrep, "biased", "netrep"),
    "resi": Tool(_resi, "biased", "resi"),
    "repsim": Tool(_repsim_pair, "biased"),
    "ckatorch": Tool(_ckatorch, "biased"),
    "torch-cka": Tool(_torch_cka, "unbiased"),
    "cka-pytorch": Tool(_cka_pytorch, "unbiased"),
    "pytorch-cka": Tool(_pytorch_cka_pair, "unbiased"),
    "simtorch": Tool(_simtorch, "biased"),
    "rsatoolbox": Tool(_rsatoolbox_pair, "biased"),
}
"""CKA of two representations: inputs x and y."""

MATRIX: dict[str, Tool] = {
    "pytorch-cka": Tool(_pytorch_cka, "unbiased"),
    "rsatoolbox": Tool(_rsatoolbox, "biased"),
    "repsim": Tool(_repsim, "biased"),
}
"""CKA of all pairs in one call: inputs the M representations. Others in `PAIR` are asked pair by pair."""

PERMDISP: dict[str, Tool] = {"scikit-bio": Tool(scikit_bio(999, None), "permdisp")}
"""PERMDISP about centroids, all axes, 999 permutations: inputs the distances and the labels."""

TOOLS: dict[str, dict[str, Tool]] = {"pair": PAIR, "matrix": MATRIX, "permdisp": PERMDISP}
