r"""Every measure of similarity with what it claims: what it ignores, its bounds, what distance it gives.

A measure is defined as much by what it does *not* see as by its formula. Each claim made here is tested both
ways: what is declared ignored must not change the value, and what is not declared must.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from akp_core.errors import AkpError
from akp_core.similarity.admission import admit
from akp_core.similarity.alignment import cka
from akp_core.similarity.canonical import pwcca, pwcca_matrix, svcca, svcca_matrix
from akp_core.similarity.dissimilarity import rsa, rsa_matrix
from akp_core.similarity.neighbours import mutual_neighbours, mutual_neighbours_matrix
from akp_core.similarity.procrustes import procrustes, procrustes_matrix

Invariance = Literal[
    "joint permutation of examples",
    "permutation of features",
    "translation",
    "isotropic scaling",
    "orthogonal",
    "per-feature scaling",
    "invertible linear",
]
"""What may be done to a representation: the examples of *both* reordered alike, or the features of either one
reordered, shifted by a vector, multiplied by a number, rotated or reflected, multiplied by a number each, or
mapped by any invertible matrix."""

DistanceKind = Literal["euclidean", "metric", "neither"]

_SHAPE: frozenset[Invariance] = frozenset(
    (
        "joint permutation of examples",
        "permutation of features",
        "translation",
        "isotropic scaling",
        "orthogonal",
    )
)


@dataclass(frozen=True)
class Measure:
    r"""A measure of similarity and what it declares, all for its default options.

    Attributes
    ----------
    name : str
        How code calls it.
    title : str
        How a reader calls it.
    function : callable
        ``function(x, y, **options) -> float``.
    matrix : callable or None
        ``matrix(representations, **options) -> (M, M)``, faster than all pairs one by one; None if it
        goes through `pairwise`.
    bounds : (float, float)
        The least and the greatest value; the greatest is that of a representation with itself.
    symmetric : bool
        Whether ``function(x, y)`` is ``function(y, x)``. `matrix` is symmetric always.
    ignores : frozenset of Invariance
        What changes the value in neither argument.
    distance : {"euclidean", "metric", "neither"}
        What :math:`\sqrt{2 - 2s}` is, of `matrix`: the distance of vectors, so that centroids exist; a
        metric on what the measure does not ignore; or not even that.
    least_examples : int
        The fewest that its default options accept.
    source : str
        The paper that defines it.
    caution : str
        What misleads most often.
    """

    name: str
    title: str
    function: Callable[..., float]
    matrix: Callable[..., Any] | None
    bounds: tuple[float, float]
    symmetric: bool
    ignores: frozenset[Invariance]
    distance: DistanceKind
    least_examples: int
    source: str
    caution: str


_ALL = (
    Measure(
        name="cka",
        title="Centred kernel alignment (linear, unbiased)",
        function=cka,
        matrix=None,
        bounds=(-1.0, 1.0),
        symmetric=True,
        ignores=_SHAPE,
        distance="euclidean",
        least_examples=4,
        source="Kornblith et al. 2019; Song et al. 2012",
        caution="A few directions of large variance, or a few outlying examples, decide the value.",
    ),
    Measure(
        name="procrustes",
        title="Orthogonal Procrustes similarity",
        function=procrustes,
        matrix=procrustes_matrix,
        bounds=(0.0, 1.0),
        symmetric=True,
        ignores=_SHAPE,
        distance="metric",
        least_examples=3,
        source="Schonemann 1966; Williams et al. 2021",
        caution="Chance is far above 0 and grows with the widths; its distance is not Euclidean, so there is "
        "no exact centroid.",
    ),
    Measure(
        name="svcca",
        title="Singular vector canonical correlation analysis",
        function=svcca,
        matrix=svcca_matrix,
        bounds=(0.0, 1.0),
        symmetric=True,
        ignores=_SHAPE,
        distance="neither",
        least_examples=3,
        source="Raghu et al. 2017",
        caution="Chance is about the root of directions over examples; every kept direction counts alike, "
        "however little variance it holds; a subspace scores 1 with any that contains it.",
    ),
    Measure(
        name="pwcca",
        title="Projection-weighted canonical correlation analysis",
        function=pwcca,
        matrix=pwcca_matrix,
        bounds=(0.0, 1.0),
        symmetric=False,
        ignores=_SHAPE - {"orthogonal"},
        distance="neither",
        least_examples=3,
        source="Morcos et al. 2018",
        caution="Weights come from the first argument and hang on its axes: a rotation of it changes them, "
        "whereas the second may undergo any invertible linear map. Chance is about the root of width over "
        "examples.",
    ),
    Measure(
        name="mutual_neighbours",
        title="Mutual k nearest neighbours",
        function=mutual_neighbours,
        matrix=mutual_neighbours_matrix,
        bounds=(0.0, 1.0),
        symmetric=True,
        ignores=_SHAPE,
        distance="euclidean",
        least_examples=12,
        source="Huh et al. 2024",
        caution="Chance is k/(n - 1); blind to everything beyond the k nearest examples.",
    ),
    Measure(
        name="rsa",
        title="Representational similarity analysis (Euclidean, Spearman)",
        function=rsa,
        matrix=rsa_matrix,
        bounds=(-1.0, 1.0),
        symmetric=True,
        ignores=_SHAPE,
        distance="euclidean",
        least_examples=3,
        source="Kriegeskorte et al. 2008",
        caution="Pairs of examples are not independent: permute examples, never pairs.",
    ),
)

_BY_NAME = {measure.name: measure for measure in _ALL}
MEASURES: MappingProxyType[str, Measure] = MappingProxyType(_BY_NAME)
"""Every measure by name; read only, but for `register_measure`."""
BUILT_IN_MEASURES = frozenset(MEASURES)


def register_measure(measure: Measure) -> Measure:
    """Add a measure of the user's under its name, once its claims have been tried.

    A later measure of the same name takes the place of an earlier one, as when a cell is run again.

    Raises
    ------
    AkpError
        For the name of one that this library has, or a claim that does not hold of two small representations.
    """
    if measure.name in BUILT_IN_MEASURES:
        raise AkpError(f"measure {measure.name!r} is already registered; choose another name")
    admit(measure)
    _BY_NAME[measure.name] = measure
    return measure
