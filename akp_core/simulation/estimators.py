"""What estimators of similarity make of representations whose similarity is known.

Every estimator of a setting sees the same draws, so that their differences are far less noisy than the
estimators themselves.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from types import MappingProxyType

import numpy as np
from jaxtyping import Float64

from akp_core.errors import AkpError, expected, unknown_name, whole_number
from akp_core.similarity import MEASURES, CanonicalWarning, MinibatchCKA, both_estimators
from akp_core.similarity.calibration import check_rng
from akp_core.simulation.gaussian import GaussianPair
from akp_core.threads import one_thread

OF_CKA: MappingProxyType[str, str] = MappingProxyType(
    {
        "unbiased": "unbiased",
        "biased": "biased",
        "minibatch": "minibatch: ratio of sums",
        "mean_of_ratios": "mean of unbiased ratios",
        "mean_of_biased_ratios": "mean of biased ratios",
        "last_batch": "last batch alone",
    }
)
"""Estimators of linear CKA by name, with their titles. The last three are mistakes that tools have made."""
ESTIMATORS: MappingProxyType[str, str] = MappingProxyType(
    {**OF_CKA, **{name: m.title for name, m in MEASURES.items() if name != "cka"}}
)
"""All that `estimates` can compute: those of CKA, and the other measures by their names."""
LEAST = 4
"""Examples in a batch below which the unbiased HSIC does not exist."""


def estimates(
    pair: GaussianPair,
    names: Iterable[str],
    *,
    examples: int,
    batch: int,
    repeats: int,
    rng: np.random.Generator,
) -> dict[str, Float64[np.ndarray, " repeats"]]:
    """Draw a pair of representations again and again, and estimate their similarity each time.

    Parameters
    ----------
    pair : GaussianPair
        What is true.
    names : iterable of str
        Names in `ESTIMATORS`.
    examples : int
        In each draw, at least 4.
    batch : int
        Examples a batch, at least 4, for the estimators from batches. More than there are means one batch; a
        last batch of fewer than 4 is left out.
    repeats : int
        Draws, at least 2.
    rng : numpy.random.Generator

    Returns
    -------
    dict of str to (repeats,) float64 array
        In the order of the names; entry i of each is of draw i.

    Raises
    ------
    AkpError
        For an unknown or missing name, a number too small, an rng that is not a generator; or as the
        measure, such as PWCCA of more features than examples.

    Notes
    -----
    Cost: `repeats` calls of each estimator, on one thread.
    """
    wanted = check_setting(names, examples, batch, repeats)
    check_rng(rng)
    found = estimates_or_refusals(pair, wanted, examples, batch, repeats, rng)
    for values in found.values():
        if isinstance(values, AkpError):
            raise values
    return {name: values for name, values in found.items() if not isinstance(values, AkpError)}


def check_setting(names: Iterable[str], examples: int, batch: int, repeats: int) -> list[str]:
    """Refuse an unknown estimator or a number too small; the estimators, each once."""
    wanted = [names] if isinstance(names, str) else list(dict.fromkeys(names))
    for name in wanted:
        if name not in ESTIMATORS:
            raise unknown_name("estimator", name, ESTIMATORS)
    if not wanted:
        raise expected("at least one estimator", "none")
    whole_number("examples", examples, LEAST)
    whole_number("batch", batch, LEAST)
    whole_number("repeats", repeats, 2)
    return wanted


def estimates_or_refusals(
    pair: GaussianPair,
    names: Sequence[str],
    examples: int,
    batch: int,
    repeats: int,
    rng: np.random.Generator,
) -> dict[str, Float64[np.ndarray, " repeats"] | AkpError]:
    """As `estimates`; in place of a measure's values its refusal, if it has none in this setting."""
    needed = set(names)
    found: dict[str, Float64[np.ndarray, " repeats"] | AkpError] = {n: np.empty(repeats) for n in names}
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore", CanonicalWarning)
        for draw in range(repeats):
            x, y = pair.draw(examples, rng)
            seen = {}
            if needed & {"biased", "unbiased"}:
                biased, unbiased = both_estimators([x, y])
                seen = {"biased": float(biased[0, 1]), "unbiased": float(unbiased[0, 1])}
            if needed & (OF_CKA.keys() - {"biased", "unbiased"}):
                seen |= _by_batches(x, y, batch)
            for name, values in found.items():
                if isinstance(values, AkpError):
                    continue
                try:
                    values[draw] = seen[name] if name in OF_CKA else MEASURES[name].function(x, y)
                except AkpError as refusal:
                    found[name] = refusal
    return found


def _by_batches(x: Float64[np.ndarray, "n p"], y: Float64[np.ndarray, "n q"], batch: int) -> dict[str, float]:
    """What the estimators from batches say; sums of a single batch give that batch's unbiased CKA."""
    sums, ratios, flawed = MinibatchCKA(), [], []
    for start in range(0, len(x) - LEAST + 1, batch):
        part = [z[start : start + batch] for z in (x, y)]
        one = MinibatchCKA()
        one.add(part)
        sums.merge(one)
        ratios.append(float(one.result()[0, 1]))
        flawed.append(float(both_estimators(part)[0][0, 1]))
    return {
        "minibatch": float(sums.result()[0, 1]),
        "mean_of_ratios": float(np.mean(ratios)),
        "mean_of_biased_ratios": float(np.mean(flawed)),
        "last_batch": ratios[-1],
    }
