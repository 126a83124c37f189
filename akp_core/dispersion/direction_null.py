r"""The null of the own-way index: what displacements share by chance.

If nothing is shared, unhappy models lie about the same place as happy ones, and the contrast between the
families is one direction of the space of models like any other. So it is turned, and everything else with it.
Two groups of turns are offered, both blind to how many directions models vary in and how unevenly:

- *permutation* keeps models whole: they trade families or, paired, displacements trade sign. Exact for
  models of any one law (paired: for displacements as likely as their opposites).
- *rotation* mixes models, by every rotation that leaves their common mean in place. Exact for Gaussian
  models, also where there are too few for permutations.

What is compared is the squared distance of the centroids in units of its expectation,
:math:`V_u / n_u + V_h / n_h`, taken from the turned families, so that families of unequal spread do not
look like shifted ones.
"""

from __future__ import annotations

from itertools import combinations, product
from math import comb
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from akp_core.dispersion.displacements import NOT_A_SPHERE, STILL, index_of
from akp_core.errors import unknown_name

Turn = Literal["permutation", "rotation"]

TURNS = ("permutation", "rotation")
_TIE = 1e-9
_BATCH_ENTRIES = 4_000_000


class Null(NamedTuple):
    """P value of what is shared, the index after every turn, and the least p that is possible."""

    p_value: float
    indices: Float64[np.ndarray, " R"]
    smallest_p: float


class _Turned(NamedTuple):
    """Squared length of the mean displacement, V_u, and what chance alone gives that length."""

    mean: NDArray[np.float64]
    unhappy: NDArray[np.float64]
    chance: NDArray[np.float64]


def _signs(n: int, draws: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], bool]:
    """Signs of n displacements, and whether these are all there are."""
    if n < 63 and 2**n <= draws:
        return np.array(list(product((1.0, -1.0), repeat=n))), True
    return rng.choice(np.array([-1.0, 1.0]), size=(draws, n)), False


def _choices(n: int, of: int, draws: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], bool]:
    """Indicators of n of so many models, and whether these are all there are."""
    if comb(of, n) <= draws:
        chosen = np.array(list(combinations(range(of), n)))
        indicator = np.zeros((len(chosen), of))
        np.put_along_axis(indicator, chosen, 1.0, axis=1)
        return indicator, True
    first = np.arange(of) < n
    return rng.permuted(np.tile(first, (draws, 1)), axis=1).astype(np.float64), False


def _paired(gram: NDArray[np.float64], weights: NDArray[np.float64]) -> _Turned:
    """Means of displacements under weights of which the squares sum to n."""
    n, trace = len(gram), float(np.trace(gram))
    mean = np.einsum("rn,rn->r", weights @ gram, weights) / n**2
    own = (trace - n * mean) / (n - 1)
    return _Turned(mean, own, own / n)


def _common(
    q: NDArray[np.float64], n_h: int, variances: tuple[float, float], *, sphere: bool
) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """Inner products of all models about the best estimate of a common centroid, and the pull on V_h and V_u.

    Each family's mean counts by its precision: alike families are treated alike, and a tight one is not
    judged from where a wide one happens to lie. On a sphere all is tangent there, and the error of the
    centroid adds to a family's mean in proportion to the *other* family's part along it: the pull.
    """
    n_u = len(q) - n_h
    doubt = np.maximum(variances, STILL) / np.array([n_h, n_u])
    share = doubt[::-1] / doubt.sum()
    weights = np.repeat(share / np.array([n_h, n_u]), [n_h, n_u])
    spread = float(weights @ q @ weights) / 2
    to_centre = q @ weights - spread
    gram, pull = (to_centre[:, None] + to_centre[None, :] - q) / 2, (1.0, 1.0)
    if sphere and 1 - spread > NOT_A_SPHERE:
        along = (spread - to_centre) / 2
        gram = gram - np.outer(along, along) / (1 - spread)
        part = 1 + along / (1 - spread)
        pull = float(part[n_h:].mean()), float(part[:n_h].mean())
    return np.asarray(gram / (float(q.mean()) or 1.0)), pull


def _between_twins(q: NDArray[np.float64], n: int, *, sphere: bool) -> NDArray[np.float64]:
    """Inner products of displacements from twin to twin, about a centroid that both families have a say in.

    On a sphere the happy mean has no part across the happy centroid, but every displacement has its twin's.
    About that centroid the mean displacement is therefore not what turned ones are compared with: too short
    for twins that share little, far too long for a wide happy family. Here each twin counts in proportion
    to the *other* family's part along the centroid, so that displacements vary as their mean does.
    """
    of_family = n * (n - 1) * (float(q.mean()) or 1.0) * 2
    gram, (of_unhappy, of_happy) = _common(
        q, n, (float(q[:n, :n].sum()) / of_family, float(q[n:, n:].sum()) / of_family), sphere=sphere
    )
    hh, uu, uh = gram[:n, :n], gram[n:, n:], gram[n:, :n]
    return of_happy**2 * uu + of_unhappy**2 * hh - of_happy * of_unhappy * (uh + uh.T)


def _chosen(
    gram: NDArray[np.float64], unhappy: NDArray[np.float64], pull: tuple[float, float] = (1.0, 1.0)
) -> _Turned:
    """Families as the indicators say."""
    happy, diagonal = 1 - unhappy, np.diag(gram)
    n_u, n_h = int(unhappy[0].sum()), int(happy[0].sum())
    to_u, to_h = unhappy @ gram / n_u, happy @ gram / n_h  # of every model with the mean of a family
    uu, hh = (to_u * unhappy).sum(axis=1) / n_u, (to_h * happy).sum(axis=1) / n_h
    mean = uu + hh - 2 * (to_u * happy).sum(axis=1) / n_h
    v_u, v_h = (unhappy @ diagonal - n_u * uu) / (n_u - 1), (happy @ diagonal - n_h * hh) / (n_h - 1)
    return _Turned(mean, v_u, pull[1] ** 2 * v_u / n_u + pull[0] ** 2 * v_h / n_h)


def _rotated(gram: NDArray[np.float64], n_u: int, draws: int, rng: np.random.Generator) -> _Turned:
    """Families after Haar rotations about the common mean: a random contrast, and what is within families.

    Only eigenvalues matter: the directions of contrast and families are uniform in any basis.
    """
    centred = gram - gram.mean(axis=0)
    variances = np.linalg.eigvalsh(centred - centred.mean(axis=1, keepdims=True))
    models, n_h = len(gram), len(gram) - n_u
    variances = np.maximum(np.delete(variances, np.abs(variances).argmin()), 0)
    contrast, within = np.empty(draws), np.empty(draws)
    batch = max(1, _BATCH_ENTRIES // (models * n_u))
    for start in range(0, draws, batch):
        stop = min(start + batch, draws)
        basis = np.linalg.qr(rng.standard_normal((stop - start, models - 1, n_u)))[0]
        along = np.einsum("k,rkn->rn", variances, np.square(basis))
        contrast[start:stop], within[start:stop] = along[:, 0], along[:, 1:].sum(axis=1)
    rest = np.maximum(variances.sum() - contrast - within, 0)
    v_u, v_h = within / (n_u - 1), rest / (n_h - 1)
    return _Turned(contrast * (1 / n_u + 1 / n_h), v_u, v_u / n_u + v_h / n_h)


def turned(
    q: NDArray[np.float64],
    n_h: int,
    variances: tuple[float, float],
    by: Turn,
    draws: int,
    rng: np.random.Generator,
    *,
    paired: bool,
    sphere: bool,
) -> Null:
    """Turn so often, or in all ways where there are no more permutations than this.

    `q` are the squared distances, the `n_h` happy models first; the variances are those of happy and of
    unhappy models about their means, and are not used if paired.
    """
    if by not in TURNS:
        raise unknown_name("turn", by, TURNS)
    n_u, exact, same = len(q) - n_h, False, 1
    if paired:
        gram = _between_twins(q, n_h, sphere=sphere)
        found = _paired(gram, np.ones((1, n_u)))
        if by == "permutation":
            weights, exact = _signs(n_u, draws, rng)
            same = 2
        else:
            weights = rng.standard_normal((draws, n_u))
            weights *= np.sqrt(n_u) / np.linalg.norm(weights, axis=1, keepdims=True)
        null = _paired(gram, weights)
    else:
        gram, pull = _common(q, n_h, variances, sphere=sphere)
        own = (np.arange(n_u + n_h) >= n_h).astype(np.float64)[None]
        found = _chosen(gram, own, pull)
        if by == "permutation":
            chosen, exact = _choices(n_u, n_u + n_h, draws, rng)
            same = 1 + (n_u == n_h)
            null = _chosen(gram, chosen)
        else:
            null = _rotated(gram, n_u, draws, rng)

    def statistic(x: _Turned) -> NDArray[np.float64]:
        return x.mean / np.maximum(x.chance, STILL)

    extreme = int((statistic(null) >= statistic(found)[0] * (1 - _TIE)).sum())
    count = len(null.mean)
    return Null(
        p_value=extreme / count if exact else (1 + extreme) / (1 + count),
        indices=index_of(null.mean - null.chance, np.maximum(null.unhappy, 0)),
        smallest_p=same / count if exact else 1 / (1 + count),
    )
