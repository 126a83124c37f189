"""Statement 1: how much agreement errors alone force, and how little that says of the insides."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np
from jaxtyping import Float, Float64

from akp_core.errors import AkpError, expected, whole_number
from akp_core.similarity.arrays import Array, as_float64
from akp_core.theory.probabilities import not_negative


def family_disagreement_bound(error: float, members: int, classes: int) -> float:
    r"""The most that the members of a family disagree, averaged over pairs, given their mean error alone.

    .. math:: \bar d \le g(M\bar e), \qquad
              g(w) = 1 - \binom{M}{2}^{-1}\Bigl[\binom{M - w}{2} + \sum_{j=1}^{K-1}\binom{w_j}{2}\Bigr]

    for whole w, where :math:`w_1, \dots, w_{K-1}` divide w as evenly as can be; straight lines in between.

    Parameters
    ----------
    error : float
        Mean error :math:`\bar e` of the members, in [0, 1].
    members : int
        M, at least 2.
    classes : int
        K, at least 2.

    Returns
    -------
    float
        In [0, 1]; attained by some family. Of two models :math:`\min(2\bar e, 1)`, or with two classes
        :math:`\min(2\bar e, 2 - 2\bar e)`. Of many models and two classes near :math:`2\bar e(1 - \bar e)`.

    Raises
    ------
    AkpError
        For an error outside [0, 1], or fewer than two members or classes.

    Notes
    -----
    Invariances: the labels may be anything, the bound does not know them. Cost: M.
    """
    members, classes = whole_number("members", members, 2), whole_number("classes", classes, 2)
    mean = not_negative(error, "error")
    if mean.size != 1 or mean.max() > 1:
        raise expected("error as one share from 0 to 1", repr(error), "divide percentages by 100")

    def agreeing(wrong: int) -> int:
        each, more = divmod(wrong, classes - 1)
        return comb(members - wrong, 2) + more * comb(each + 1, 2) + (classes - 1 - more) * comb(each, 2)

    wrong = np.arange(members + 1)
    most = [1 - agreeing(int(w)) / comb(members, 2) for w in wrong]
    return float(np.interp(members * float(mean), wrong, most))


@dataclass(frozen=True, eq=False)
class OneHidden:
    r"""A network with one hidden layer, :math:`q(x) = V\,\mathrm{relu}(Wx + b) + c`.

    Attributes
    ----------
    weight : (p, d) float
    bias : (p,) float
    readout : (K, p) float
    offset : (K,) float
    """

    weight: Float[np.ndarray, "p d"]
    bias: Float[np.ndarray, " p"]
    readout: Float[np.ndarray, "K p"]
    offset: Float[np.ndarray, " K"]

    def __post_init__(self) -> None:
        arrays = (self.weight, self.bias, self.readout, self.offset)
        shapes = [np.shape(one) for one in arrays]
        p, k = len(self.bias), len(self.offset)
        if [len(s) for s in shapes] != [2, 1, 2, 1] or shapes[0][0] != p or shapes[2] != (k, p):
            raise expected("weight (p, d), bias (p,), readout (K, p) and offset (K,)", str(shapes))

    def inside(self, x: Float[np.ndarray, "n d"]) -> Float64[np.ndarray, "n p"]:
        """The hidden layer at each item, after the ReLU."""
        return np.maximum(np.asarray(x, np.float64) @ self.weight.T + self.bias, 0)

    def output(self, x: Float[np.ndarray, "n d"]) -> Float64[np.ndarray, "n K"]:
        """The logits at each item."""
        return self.inside(x) @ self.readout.T + self.offset

    def with_unit(self, weight: Float[np.ndarray, " d"], bias: float) -> OneHidden:
        """The same function by a network of one hidden unit more, which the read-out does not read."""
        return OneHidden(
            np.vstack([self.weight, weight]),
            np.append(self.bias, bias),
            np.hstack([self.readout, np.zeros((len(self.offset), 1))]),
            self.offset,
        )


def other_insides(
    network: OneHidden, probe: Float[Array, "n d"], similarity: float
) -> tuple[OneHidden, OneHidden]:
    r"""Two networks that compute the same function and whose hidden layers are as unlike as wanted.

    Each is the given network and one hidden unit that the read-out ignores. On the probe the unit never
    switches off and follows the first principal component :math:`g_1` of the inputs in one network and the
    second, :math:`g_2`, in the other, so :math:`g_1^\top g_2 = 0`. With activations :math:`c\,g_i`,
    :math:`\lVert g_i\rVert = 1`, and :math:`\kappa = \lVert HKH\rVert_F` of the layer that was there,

    .. math:: \mathrm{CKA}_{\text{biased}} \le \frac{\kappa^2}{c^4} + \frac{2\kappa}{c^2} \le \delta
              \quad\text{for } c^2 = 3\kappa/\delta.

    Parameters
    ----------
    network : OneHidden
    probe : (n, d) float array, NumPy or torch
        Items to be compared on, not all on one line.
    similarity : float
        :math:`\delta` in (0, 1]: what biased linear CKA of the two hidden layers may be at most.

    Returns
    -------
    tuple of two OneHidden
        Of width p + 1, with outputs equal for every input, on the probe or off it.

    Raises
    ------
    AkpError
        If the probe is not (n, d) finite numbers that fit, lies on a line, or the similarity is out of range.

    Notes
    -----
    Cost: one singular value decomposition of the probe.
    """
    x = as_float64(probe, "the probe")[0].cpu().numpy()
    if x.ndim != 2 or x.shape[1:] != network.weight.shape[1:] or not np.isfinite(x).all():
        raise expected(f"a finite probe of shape (n, {network.weight.shape[1]})", f"shape {x.shape}")
    if not isinstance(similarity, int | float) or not 0 < similarity <= 1:
        raise expected("similarity above 0 and at most 1", repr(similarity))
    spread, directions = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)[1:]
    if len(spread) < 2 or spread[1] <= 1e-9 * spread[0]:
        raise AkpError("expected a probe that is not on one line; add items or features")
    layer = network.inside(x) - network.inside(x).mean(axis=0)
    size = np.sqrt(3 * float(np.linalg.norm(layer.T @ layer)) / similarity) or 1.0
    units = []
    for strength, direction in zip(spread[:2], directions, strict=False):
        lowest = float((x @ direction).min())
        units.append(network.with_unit(size / strength * direction, size / strength * (strength - lowest)))
    return units[0], units[1]
