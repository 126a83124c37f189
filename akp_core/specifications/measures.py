r"""The measures of similarity that a specification may choose, each with the distance that belongs to it.

Where :math:`\sqrt{2 - 2s}` is a distance (`akp_core.similarity.MEASURES` says where), it is the one used;
where it is not, the dissimilarity is :math:`1 - s`. The test of dispersion asks for no more.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from akp_core.errors import AkpError, unknown_name
from akp_core.identity import identity_of, plain_text, sha256
from akp_core.similarity import MEASURES, pairwise

_VERSION = 1
"""Raise it when the same representations give other distances."""


@dataclass(frozen=True)
class Ruler:
    """A measure of similarity with its options.

    Attributes
    ----------
    name : str
    title : str
        How a reader calls it.
    measure : str
        A name in `akp_core.similarity.MEASURES`.
    options : tuple of (name, value) pairs
        What `akp_core.similarity.pairwise` is given besides.
    """

    name: str
    title: str
    measure: str
    options: tuple[tuple[str, str], ...] = ()

    @property
    def turns(self) -> bool:
        """Whether a rotation of the features leaves the value as it is."""
        return {"orthogonal", "translation"} <= MEASURES[self.measure].ignores

    @property
    def chordal(self) -> bool:
        """Whether the distance is the chord, and not one minus the similarity."""
        return MEASURES[self.measure].distance != "neither"

    @cached_property
    def identity(self) -> str:
        """Hash of what is computed, so that a kept distance does not outlive a changed measure."""
        entry = MEASURES[self.measure]
        code = identity_of(entry.matrix or entry.function)
        return sha256(plain_text([_VERSION, code, dict(self.options), self.chordal]))[:16]


RULERS: MappingProxyType[str, Ruler] = MappingProxyType(
    {
        ruler.name: ruler
        for ruler in (
            Ruler("cka", "CKA, unbiased", "cka"),
            Ruler("cka_biased", "CKA, biased", "cka", (("estimator", "biased"),)),
            Ruler("cka_rbf", "CKA, Gaussian kernel", "cka", (("kernel", "rbf"),)),
            Ruler("procrustes", "Procrustes", "procrustes"),
            Ruler("mutual_neighbours", "mutual neighbours", "mutual_neighbours"),
            Ruler("rsa", "RSA", "rsa"),
            Ruler("svcca", "SVCCA", "svcca"),
            Ruler("pwcca", "PWCCA", "pwcca"),
        )
    }
)
"""Every measure of a specification by name; read only."""


def ruler(name: str) -> Ruler:
    """Look up a measure of a specification; an unknown name raises `AkpError` with the valid ones.

    A measure of the user's (`akp_core.similarity.register_measure`) goes by its own name, without options.
    """
    if name in RULERS:
        return RULERS[name]
    if name in MEASURES:
        return Ruler(name, MEASURES[name].title, name)
    raise unknown_name("measure of a specification", name, {*RULERS, *MEASURES})


def turned(x: Float[Tensor, "n p"]) -> Float32[Tensor, "n w"]:
    r"""A representation rotated into the span of its examples: at most n features instead of p.

    .. math:: \bar X^\top = QR, \qquad \bar X Q = R^\top

    so every measure that ignores translation and rotation gives the same value, at the price of the
    examples instead of the features.

    Parameters
    ----------
    x : (n, p) float

    Returns
    -------
    (n, min(n, p)) float32
        As stored, if it is no wider than n.

    Notes
    -----
    Cost: :math:`2n^2p` operations where p exceeds n, nothing elsewhere.
    """
    if x.shape[1] <= x.shape[0]:
        return x.float()
    centred = x.double() - x.double().mean(dim=0)
    return torch.linalg.qr(centred.T, mode="r").R.T.float()


def dissimilarities(members: list[Float[Tensor, "n p"]], ruler: Ruler) -> Float64[np.ndarray, "m m"]:
    r"""The distance of every pair of representations that belongs to a measure.

    .. math:: d_{ij} = \sqrt{2 - 2 s_{ij}} \quad\text{or}\quad d_{ij} = 1 - s_{ij}

    Parameters
    ----------
    members : list of (n, p) float
    ruler : Ruler

    Returns
    -------
    (m, m) float64
        0 or more, symmetric, 0 on the diagonal; NaN off it for a representation that the measure does not
        take, such as one wider than the examples for PWCCA.
    """
    here = list(range(len(members)))
    try:
        similarity = _similarity(members, ruler)
    except AkpError:
        here = [i for i, x in enumerate(members) if _takes(x, ruler)]
        similarity = _similarity([members[i] for i in here], ruler) if here else np.empty((0, 0))
    found = np.full((len(members), len(members)), np.nan)
    found[np.ix_(here, here)] = from_similarity(similarity, ruler)
    np.fill_diagonal(found, 0)
    return found


def _similarity(members: list[Float[Tensor, "n p"]], ruler: Ruler) -> Float64[np.ndarray, "m m"]:
    options: dict[str, Any] = dict(ruler.options)
    return pairwise(members, measure=ruler.measure, **options).numpy()


def _takes(x: Float[Tensor, "n p"], ruler: Ruler) -> bool:
    try:
        _similarity([x, x], ruler)
    except AkpError:
        return False
    return True


def from_similarity(similarity: Float64[np.ndarray, "m m"], ruler: Ruler) -> Float64[np.ndarray, "m m"]:
    """The distance of a measure from its similarities; NaN stays NaN."""
    gap = np.maximum(1 - similarity, 0)
    return np.sqrt(2 * gap) if ruler.chordal else gap
