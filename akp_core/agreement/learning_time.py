"""When each network has learnt each image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64

from akp_core.agreement.cube import as_cube, as_parts, as_steps
from akp_core.agreement.ranks import Orders
from akp_core.errors import AkpError, unknown_name, whole_number
from akp_core.similarity.arrays import Array

HOW = ("settled", "first", "wrong")


@dataclass(frozen=True, eq=False)
class LearningTimes:
    """When each network has learnt each image.

    Attributes
    ----------
    time : (m, n) float array
        In the unit of the steps given; for ``wrong`` a share of training in [0, 1]. Never learnt: inf, which
        ranks after all others and ties with its like.
    never : (m, n) bool array
        Wrong at the last look (``settled``), at every look (``first``, ``wrong``).
    end : float
        Time of the last look: the learning time of what was never learnt is known only to be later.
    how : str
    """

    time: Float64[np.ndarray, "m n"]
    never: Bool[np.ndarray, "m n"]
    end: float
    how: str

    @property
    def mean(self) -> Float64[np.ndarray, " n"]:
        """Mean over networks, at least: what a network never learnt counts as learnt at the end."""
        return np.where(np.isinf(self.time), self.end, self.time).mean(axis=0)


def learning_times(correct: Array, steps: Sequence[float] | Array, *, how: str = "settled") -> LearningTimes:
    r"""Say when each network has learnt each image.

    .. math:: \tau_k(x) = \min \{ s_i : c_k(x, s_j) = 1 \text{ for all } j \ge i \}

    Parameters
    ----------
    correct : (m, t, n) bool array
        The correctness cube.
    steps : (t,) numbers
        Times of the looks, rising.
    how : {"settled", "first", "wrong"}
        ``settled``: the first look from which the image stays right to the end. ``first``: the first at
        which it is right. ``wrong``: the share of training during which it is wrong, each look standing
        for the stretch before it; nothing is censored then.

    Returns
    -------
    LearningTimes

    Raises
    ------
    AkpError
        For a cube that is none, times that do not fit, one look only, or an unknown way.

    Notes
    -----
    Times fall on looks, so many images tie; use rank methods that say what they do with ties. An image right
    at the first look may have been learnt before it. Invariances: order of networks and images. Cost: m t n.

    References
    ----------
    Hacohen et al. 2020 rank images by how many looks have them right, averaged over networks; ``wrong`` is
    the same for one network and evenly spaced looks.
    """
    if how not in HOW:
        raise unknown_name("learning time", how, HOW)
    cube = as_cube(correct)
    times = as_steps(steps, cube.shape[1])
    if len(times) < 2:
        raise AkpError(
            "expected at least two looks to tell when an image is learnt, got one; look more often"
        )
    right = np.logical_and.accumulate(cube[:, ::-1], axis=1)[:, ::-1] if how == "settled" else cube
    never = np.asarray(~right.any(axis=1))
    if how == "wrong":
        stretch = np.diff(times) / (times[-1] - times[0])
        time = np.einsum("mtn,t->mn", ~cube[:, 1:], stretch)
    else:
        time = np.where(never, np.inf, times[right.argmax(axis=1)])
    return LearningTimes(time, never, 1.0 if how == "wrong" else float(times[-1]), how)


def examples(times: LearningTimes, count: int, *, classes: Array | None = None) -> pd.DataFrame:
    """Images that networks learn earliest, latest, and never.

    Parameters
    ----------
    times : LearningTimes
    count : int
        Of each, at most; no image twice.
    classes : (n,) int array or None
        Early and late are by the rank within the class, so that no row is filled with one class only
        because that is learnt first.

    Returns
    -------
    DataFrame
        ``image`` (its number), ``row`` (``earliest``, ``latest``: of those that every network learnt;
        ``never``: of those that some network did not, those that fewest did), ``place``, ``time`` (mean, at
        least), ``never`` (networks that did not).

    Raises
    ------
    AkpError
        For a count below 1.
    """
    whole_number("count", count, 1)
    missed, mean = times.never.sum(axis=0), times.mean
    learnt = np.flatnonzero(missed == 0)
    early = Orders(mean[None], as_parts(classes, len(mean), "classes")).ranks()[0]
    learnt = learnt[np.argsort(early[learnt], kind="stable")]
    rest = np.flatnonzero(missed > 0)
    rest = rest[np.argsort(-missed[rest], kind="stable")][:count]
    latest = learnt[count:][::-1][:count]
    rows = [("earliest", learnt[:count]), ("latest", latest), ("never", rest)]
    return pd.DataFrame(
        [
            {"image": int(k), "row": row, "place": place, "time": float(mean[k]), "never": int(missed[k])}
            for row, some in rows
            for place, k in enumerate(some)
        ],
        columns=["image", "row", "place", "time", "never"],
    )
