"""The distances between the control and each stressed family at one tap and look.

A distance made of a similarity, sqrt(2 - 2 s), cannot be told from zero below about 1e-7. So the distance of
a network to its own twin is taken from their fingerprints directly: 0 means the same bits, and nothing else.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from akp_core import similarity
from akp_core.adaptation.courses import Course
from akp_core.outcome import Population


class Seen:
    """Fingerprints of a population at one tap and look, from which families are taken.

    Parameters
    ----------
    population : Population
    tap : str
    step : int or None
        One of `akp_core.adaptation.courses.looks`; None means the end of training.

    Raises
    ------
    AkpError
        For an unknown tap, or a step at which some network was not looked at.
    """

    def __init__(self, population: Population, tap: str, step: int | None = None) -> None:
        self._members = population.study.members
        self._prints = torch.nn.functional.normalize(population.fingerprints(tap, step=step), dim=1)

    def pairs(self, course: Course) -> Float64[np.ndarray, "M M"]:
        """Chordal distances between the control, first, and one family; NaN where there is no representation.

        Notes
        -----
        Cost: :math:`4m^2k` operations for m members and fingerprints of length k.
        """
        m = self._members
        return paired_distances(self._prints[:m], self._prints[course.row * m : (course.row + 1) * m])


def paired_distances(
    happy: Float64[Tensor, "m k"], stressed: Float64[Tensor, "m k"]
) -> Float64[np.ndarray, "M M"]:
    """Chordal distances between unit fingerprints of unstressed networks, first, and of their stressed twins.

    Parameters
    ----------
    happy, stressed : (m, k) float64
        Of length 1; NaN throughout for a network without a representation.

    Returns
    -------
    (2m, 2m) float64
        In [0, 2]; twins of the same bits are at exactly 0.
    """
    m, both = len(happy), torch.cat([happy, stressed])
    distances = similarity.chordal_distance(similarity.similarity_of_fingerprints(both)).numpy().copy()
    twin = np.arange(m)
    own = torch.linalg.vector_norm(happy - stressed, dim=1).numpy()
    distances[twin, twin + m] = distances[twin + m, twin] = own
    return np.asarray(distances)
