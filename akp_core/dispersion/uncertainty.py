r"""How sure the effect is when both the models and the images are samples.

``anna_karenina_test`` gives an interval over models: other seeds, the same images. ``two_way_interval`` adds
that the images were drawn too. Images cannot be bootstrapped: drawn with replacement, an image meets its own
copy (`akp_core.similarity.subset`). They can be left out exactly, so their part comes from random halves,
which also keeps whole groups, such as patients, together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from akp_core.dispersion.bootstrap import BootstrapEffect, bootstrap_effect
from akp_core.dispersion.centroid import Centroid
from akp_core.dispersion.contributions import (
    log_pseudo_values,
    pseudo_values_about,
    squared_error,
)
from akp_core.dispersion.geometry import Array, as_numpy, check_resampling
from akp_core.dispersion.inference import PerFamily, check_level, families_of, log_ratio
from akp_core.errors import expected, whole_number
from akp_core.similarity.gram import Estimator, check_estimator
from akp_core.similarity.subset import check_fingerprints, examples_of, restrict

__all__ = ["BootstrapEffect", "TwoWay", "bootstrap_effect", "two_way_interval"]

_LEAST_GROUPS = 4
_LEAST_IMAGES = {"biased": 2, "unbiased": 4}


@dataclass(frozen=True)
class TwoWay:
    """An effect with the uncertainty of models and images together.

    Attributes
    ----------
    effect : float
        Log ratio of the dispersions, unhappy over happy, as in `AnnaKarenina`.
    interval : (float, float)
        At the level's confidence; (-inf, inf) where a family's spread cannot be told (see `AnnaKarenina`),
        on all images or on one of the halves.
    models_error : float
        Standard error from drawing other models, as these images show them; infinite where it cannot be
        told.
    images_error : float
        What drawing other images adds: the standard error of the part of the effect that moves with the
        images whatever the models. Infinite where it cannot be told.
    freedom : float
        Degrees of freedom of Student's t, by Welch and Satterthwaite from both sources.
    level : float
        The interval has confidence 1 - level.
    members, excluded, unmatched : PerFamily
        As in `AnnaKarenina`.
    groups : int
        How many independent groups of images (images, if none were given).
    draws : int
        How many times the groups were split in halves.
    """

    effect: float
    interval: tuple[float, float]
    models_error: float
    images_error: float
    freedom: float
    level: float
    members: PerFamily[int]
    excluded: PerFamily[int]
    unmatched: PerFamily[int]
    groups: int
    draws: int

    @property
    def images_share(self) -> float | None:
        """Share of the variance that comes from the images, in [0, 1]; None where it cannot be told."""
        total = self.models_error**2 + self.images_error**2
        return self.images_error**2 / total if 0 < total < np.inf else None

    @property
    def models_share(self) -> float | None:
        """Share of the variance that comes from the models, in [0, 1]; None where it cannot be told."""
        images = self.images_share
        return None if images is None else 1 - images


def _group_codes(groups: Shaped[Array, " n"] | None, images: int, least: int) -> NDArray[np.int64]:
    """The group of each image, with every half of the groups large enough."""
    if groups is None:
        codes = np.arange(images)
    else:
        labels = as_numpy(groups)
        if labels.shape != (images,):
            raise expected(f"one group label for each of the {images} images", f"shape {labels.shape}")
        _, codes = np.unique(labels, return_inverse=True)
    sizes = np.sort(np.bincount(codes))
    if len(sizes) < _LEAST_GROUPS:
        raise expected(f"at least {_LEAST_GROUPS} groups of images", str(len(sizes)), "show more images")
    if (smallest := int(sizes[: len(sizes) // 2].sum())) < least:
        raise expected(
            f"at least {least} images in every half of the groups", str(smallest), "show more images"
        )
    return codes.astype(np.int64)


def _family(fingerprints: Float[Tensor, "n k"]) -> Centroid:
    family = Centroid()
    family.add(fingerprints)
    return family


def two_way_interval(
    fingerprints: Float[Array, "M k"],
    unhappy: Bool[Array, " M"],
    *,
    paired: Int[Array, " M"] | None = None,
    groups: Shaped[Array, " n"] | None = None,
    estimator: Estimator = "unbiased",
    level: float = 0.05,
    draws: int = 100,
    rng: np.random.Generator,
) -> TwoWay:
    r"""Interval of the effect when both models and images are samples.

    .. math:: s^2 = s^2_{models} + s^2_{images}, \qquad s^2_{images} = \frac{g (G-g)}{G^2}\,
              \overline{(\theta_S - \theta_{S^c})^2 - v(\theta_S - \theta_{S^c})}

    with :math:`\theta` the effect, v the jackknife variance over models, :math:`s^2_{models} = v(\theta)` on
    all images, and S a random half, :math:`g = \lfloor G/2 \rfloor`, of the G groups of images with
    :math:`S^c` the other half. A negative :math:`s^2_{images}` counts as 0.

    Parameters
    ----------
    fingerprints : (M, k) array, NumPy or torch, float32 or float64
        One `akp_core.similarity.fingerprint` per row; NaN for a model without one.
    unhappy : (M,) boolean array
    paired : (M,) integer array, optional
        As for `anna_karenina_test`.
    groups : (n,) array, optional
        A label for each image: those of one patient, slide or scene are drawn together.
    estimator : {"unbiased", "biased"}
        That of the fingerprints.
    level : float
        The interval has confidence 1 - level.
    draws : int
        Random splits of the groups, at least 10.
    rng : numpy.random.Generator
        Draws the splits.

    Returns
    -------
    TwoWay
        Effect, interval, and the share of the variance from models and from images; never NaN.

    Raises
    ------
    AkpError
        As `anna_karenina_test`; for fingerprints of no possible length or of less precision, fewer than 4
        groups or too few images in a half of them, or a model whose representation of a half is constant.

    Notes
    -----
    Two halves share no image, so half their difference varies as the effect of all images does, and the
    bias of few images, which both have, cancels. What models and images do jointly is in that
    difference too, and in the error over models already; its variance over models is therefore taken off.

    Measured coverage at a nominal 95 %, in per cent (300 simulations each with known truth, 15 to 25 splits;
    the unhappy models scatter in all directions of the images, or in one only, so that which images are
    shown matters to their spread):

    ==========================================  =======  ===========  ============
    models, images                              this     models only  images_share
    ==========================================  =======  ===========  ============
    10 + 10, 24, all directions                 95.0     94.7         0.07
    10 + 10, 32, one direction                  97.3     94.3         0.29
    30 + 30, 32, one direction                  94.7     80.7         0.57
    30 + 30, 24 patients of 4, one direction    92.3     80.7         0.48
    ==========================================  =======  ===========  ============

    (Models only: the error over models with Student's t.) Few groups leave it a little short.

    Cost: about :math:`20Mk` operations per split.

    References
    ----------
    Politis and Romano 1994 (subsampling); Shao and Wu 1989 (deleting many at once); Owen 2007 (two crossed
    samples: resampling both is cautious); Welch 1947.
    """
    check_resampling(1, rng)
    level = check_level(level)
    check_estimator(estimator)
    draws = whole_number("draws", draws, 10)
    check_fingerprints(fingerprints)
    codes = _group_codes(groups, examples_of(fingerprints.shape[1], estimator), _LEAST_IMAGES[estimator])
    stored = fingerprints if isinstance(fingerprints, Tensor) else torch.from_numpy(np.array(fingerprints))
    _family(stored)  # refuses rows that are no fingerprints, so one entry tells whether it is one
    usable = np.isfinite(as_numpy(stored[:, 0]))
    found = families_of(usable, unhappy, paired)
    rows = (stored[found.happy], stored[found.unhappy])
    h, u = (_contributions(family) for family in rows)
    effect = log_ratio(max(float(u.mean()), 0.0), max(float(h.mean()), 0.0))
    count = int(codes.max()) + 1
    models, freedom = _jackknife(log_pseudo_values(u), log_pseudo_values(h), paired=paired is not None)
    images, half = 0.0, count // 2
    for _ in range(draws):
        first = np.isin(codes, rng.permutation(count)[:half])
        apart, joint = _between_halves(rows, first, estimator, paired=paired is not None)
        images += (apart - joint) / draws
        if not np.isfinite(images):
            break
    images = max(images * half * (count - half) / count**2, 0.0) if np.isfinite(images) else np.inf
    interval = (-np.inf, np.inf)
    if np.isfinite(models) and np.isfinite(images):
        total = models + images
        shares = models**2 / freedom + images**2 / (count - 1)
        freedom = total**2 / shares if shares > 0 else freedom
        wide = float(stats.t.ppf(1 - level / 2, freedom) * np.sqrt(total))
        interval = (effect - wide, effect + wide)
    return TwoWay(
        effect=effect,
        interval=interval,
        models_error=float(np.sqrt(models)),
        images_error=float(np.sqrt(images)),
        freedom=float(freedom),
        level=level,
        members=PerFamily(len(h), len(u)),
        excluded=found.excluded,
        unmatched=found.unmatched,
        groups=count,
        draws=draws,
    )


def _contributions(fingerprints: Float[Tensor, "n k"]) -> NDArray[np.float64]:
    n = len(fingerprints)
    return pseudo_values_about(as_numpy(_family(fingerprints).distances(fingerprints)) ** 2 * (n - 1) / n)


def _jackknife(
    unhappy: NDArray[np.float64] | None, happy: NDArray[np.float64] | None, *, paired: bool
) -> tuple[float, float]:
    """Variance over models of half a difference of mean log pseudo-values, and its degrees of freedom."""
    if unhappy is None or happy is None:
        return np.inf, 1.0
    variance, freedom = squared_error(unhappy, happy, paired=paired)
    return variance / 4, freedom


def _between_halves(
    families: tuple[Float[Tensor, "h k"], Float[Tensor, "u k"]],
    first: NDArray[np.bool_],
    estimator: Estimator,
    *,
    paired: bool,
) -> tuple[float, float]:
    """Squared difference of the effect on two halves of the images, and its variance over models."""
    effects, logs = [], []
    for side in (first, ~first):
        values = []
        for fingerprints in families:
            seen = restrict(fingerprints, np.flatnonzero(side), estimator=estimator)
            if lost := _family(seen).excluded:
                raise expected(
                    "models that have a representation of every half of the images",
                    f"{lost} constant on one",
                    "leave them out (a row of NaN) or show more images",
                )
            values.append(_contributions(seen))
        h, u = (log_pseudo_values(contributions) for contributions in values)
        if h is None or u is None:
            return np.inf, 0.0
        logs.append((u, h))
        effects.append(log_ratio(float(values[1].mean()), float(values[0].mean())))
    joint, _ = _jackknife(logs[0][0] - logs[1][0], logs[0][1] - logs[1][1], paired=paired)
    return (effects[0] - effects[1]) ** 2, joint
