r"""What a similarity would be for no reason, and what is left of it beyond that.

Shuffling which example of one representation belongs to which of the other keeps both geometries and breaks
all that they share. The values that this gives are the measure's own null: about 0 for unbiased CKA, near 1
for biased CKA of wide features, about k/(n - 1) for mutual k-NN. They serve as a test, and as the zero of a
*calibrated* similarity on which measures of different bias can be read side by side:

.. math:: s_{\mathrm{cal}} = \frac{\max(0,\, s - \tau)}{1 - \tau}, \qquad
          \tau = s_{(\lceil (1 - \alpha)(B + 1) \rceil)}

with :math:`\tau` taken among the B shuffled values and s itself, so that without any relation the calibrated
value is above 0 with a probability of at most :math:`\alpha`, exactly, whatever the measure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from jaxtyping import Float64, Real
from torch import Tensor

from akp_core.errors import expected, unknown_name, whole_number
from akp_core.similarity.arrays import A, Array, like, read, same_examples
from akp_core.similarity.gram import Estimator, check_estimator, unit_gram
from akp_core.similarity.measures import MEASURES


@dataclass(frozen=True)
class Calibrated:
    """A similarity beside its null.

    Attributes
    ----------
    raw : float
        The similarity itself.
    null_mean : float
        Mean of the shuffled values: what the measure reports for no relation.
    threshold : float
        The shuffled values' quantile at 1 - level.
    value : float
        The calibrated similarity, in [0, 1]: 0 not above the threshold, 1 identical.
    p_value : float
        One-sided, by permutation of examples: the share of shuffles at least as similar.
    permutations : int
    level : float
    """

    raw: float
    null_mean: float
    threshold: float
    value: float
    p_value: float
    permutations: int
    level: float


def shuffled_null(
    x: Real[A, "n p"],
    y: Real[A, "n q"],
    *,
    measure: str | Callable[[A, A], float] = "cka",
    permutations: int,
    rng: np.random.Generator,
    estimator: Estimator = "unbiased",
) -> Float64[A, " permutations"]:
    """Similarity after shuffling which example of y belongs to which example of x: what chance alone gives.

    Parameters
    ----------
    x, y : (n, p) and (n, q) arrays
        As for `cka`.
    measure : str or callable
        A name in `MEASURES`, or a function of two representations.
    permutations : int
        How many shuffles, at least 1.
    rng : numpy.random.Generator
        Draws the shuffles.
    estimator : {"unbiased", "biased"}
        Of CKA.

    Returns
    -------
    (permutations,) float64 array
        One value per shuffle, of the kind (NumPy or torch) of x. Unbiased CKA scatters about 0; biased
        measures about their bias, which is how to read them.

    Raises
    ------
    AkpError
        As the measure; for a number of permutations below 1, or an rng that is not a generator.

    Notes
    -----
    Cost: for CKA the two Gram matrices once, then :math:`n^2` operations per shuffle; for another measure
    one call per shuffle.
    """
    whole_number("permutations", permutations, 1)
    check_rng(rng)
    check_estimator(estimator)
    if measure == "cka":
        first, second = read(x, "x"), read(y, "y")
        same_examples(first, second)
        a, b = unit_gram(first, estimator), unit_gram(second, estimator)
        null = torch.empty(permutations, dtype=torch.float64)
        for draw in range(permutations):
            order = torch.from_numpy(rng.permutation(a.shape[0])).to(b.device)
            null[draw] = (a * b[order[:, None], order]).sum()
        return like(null.clamp_(-1, 1), x)
    compare = measure_called(measure)
    values = [compare(x, y[_order(y, rng)]) for _ in range(permutations)]
    return like(torch.tensor(values, dtype=torch.float64), x)


def calibrated(
    x: Real[A, "n p"],
    y: Real[A, "n q"],
    *,
    measure: str | Callable[[A, A], float] = "cka",
    permutations: int = 199,
    level: float = 0.05,
    rng: np.random.Generator,
) -> Calibrated:
    r"""A similarity, its shuffled null, and how far it rises above that null (formula above).

    Parameters
    ----------
    x, y : (n, p) and (n, q) arrays
        As for `cka`.
    measure : str or callable
        A name in `MEASURES`, or a function of two representations; unbiased CKA by default.
    permutations : int
        How many shuffles; at least 1/level - 1, or nothing could ever be above the threshold.
    level : float
        Probability, in (0, 1), with which a similarity without any relation may come out above 0.
    rng : numpy.random.Generator
        Draws the shuffles.

    Returns
    -------
    Calibrated

    Raises
    ------
    AkpError
        As `shuffled_null`; for a level out of range, or too few permutations for it.

    Notes
    -----
    The null says that the *examples* are exchangeable between the two representations. Examples that come in
    groups (fields of one patient) are not, and then the null is too narrow: shuffle one example a group.

    Cost: that of `shuffled_null`.

    References
    ----------
    Permutation nulls as the zero of representational similarity: arXiv 2602.14486 (2026), whose abstract
    is all that we could read: the formula here is ours.
    """
    if isinstance(level, bool) or not isinstance(level, int | float) or not 0 < level < 1:
        raise expected("level as a probability between 0 and 1", repr(level))
    whole_number("permutations", permutations, ceil(1 / level - 1 - 1e-9))
    raw = measure_called(measure)(x, y)
    null = np.asarray(
        torch.as_tensor(shuffled_null(x, y, measure=measure, permutations=permutations, rng=rng)).cpu()
    )
    ranked = np.sort(np.append(null, raw))
    threshold = float(ranked[ceil((1 - level) * (permutations + 1) - 1e-9) - 1])
    above = raw - threshold
    return Calibrated(
        raw=raw,
        null_mean=float(null.mean()),
        threshold=threshold,
        value=max(0.0, above) / (1 - threshold) if threshold < 1 else 0.0,
        p_value=float((1 + (null >= raw - 1e-12).sum()) / (1 + permutations)),
        permutations=permutations,
        level=float(level),
    )


def measure_called(measure: str | Callable[[A, A], float]) -> Callable[[A, A], float]:
    """A measure by its name, or the function itself."""
    if callable(measure):
        return measure
    if measure not in MEASURES:
        raise unknown_name("measure", measure, MEASURES)
    return MEASURES[measure].function


def check_rng(rng: np.random.Generator) -> None:
    """Refuse anything but an explicit generator."""
    if not isinstance(rng, np.random.Generator):
        raise expected(
            "rng as a numpy.random.Generator", type(rng).__name__, "use numpy.random.default_rng(seed)"
        )


def _order(y: Array, rng: np.random.Generator) -> Array:
    order = rng.permutation(y.shape[0])
    return torch.from_numpy(order).to(y.device) if isinstance(y, Tensor) else order
