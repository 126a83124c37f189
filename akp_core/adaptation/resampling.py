"""One draw of networks and patients for all looks and families: intervals of an error over both.

The two-way bootstrap of `akp_core.happiness.compare` (Owen 2007), with the same draws used again, so that a
curve of intervals costs little more than one.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from akp_core.dispersion.expanded import expanded_ends
from akp_core.happiness import RESAMPLES


class NetworksAndPatients:
    """Draws of networks and of groups of images (patients), both with replacement.

    Parameters
    ----------
    members : int
        Networks in each family; a stressed one is drawn together with its twin.
    images : (g,) float array
        Test images of each group.
    level : float
        Intervals hold with confidence ``1 - level``.
    rng : numpy.random.Generator
    """

    def __init__(
        self, members: int, images: Float64[np.ndarray, " g"], level: float, rng: np.random.Generator
    ) -> None:
        groups = len(images)
        self._networks = rng.multinomial(members, np.full(members, 1 / members), size=RESAMPLES).astype(float)
        self._patients = rng.multinomial(groups, np.full(groups, 1 / groups), size=RESAMPLES).astype(float)
        self._images = members * (self._patients @ images)
        self._all, self._members, self._level = members * images.sum(), members, level

    def mean(self, wrong: Float64[np.ndarray, "m g"]) -> tuple[float, float, float]:
        """Share of wrong images, and the ends of its interval.

        Parameters
        ----------
        wrong : (m, g) float array
            Wrong images, or a difference of them, of each network in each group.

        Returns
        -------
        tuple of three floats
            In [-1, 1] for counts and their differences.
        """
        drawn = ((self._networks @ wrong) * self._patients).sum(axis=1) / self._images
        low, high = expanded_ends(drawn, self._members, self._level)
        return float(wrong.sum() / self._all), float(low), float(high)
