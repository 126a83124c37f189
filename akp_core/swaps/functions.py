r"""What the functions are that a swap puts in: how far from the old ones, and what they aim at.

A swap of the activation changes the function that the network computes, at the same weights. A swap of the
loss changes nothing at first, but what training is after. If the new loss is not proper, that is no longer
the class probabilities, and a network may move with no fault of its own.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float64
from numpy.polynomial import hermite_e
from scipy import optimize

from akp_core import palette
from akp_core.errors import expected

_NODES = 200
"""Points of the quadrature over standard normal inputs."""
_ROUND_OFF = 1e-6


def properties_of_activations(names: list[str], *, old: str = "relu") -> pd.DataFrame:
    r"""Tabulate what matters of activations when they are swapped in, and how far each is from the old one.

    .. math:: \delta = \sqrt{\mathbb{E}\,(f(x) - f_{old}(x))^2}, \qquad
              \rho = \mathrm{corr}(f(x), f_{old}(x)), \qquad x \sim N(0, 1)

    Parameters
    ----------
    names : list of str
        Names in `akp_core.palette.ACTIVATIONS`.
    old : str
        The activation that they replace.

    Returns
    -------
    DataFrame
        One row a name: ``to``; ``bounded`` and ``monotone`` as declared; ``parity`` (odd, even or neither),
        ``at zero`` and ``slope`` there, measured; ``distance`` and ``correlation`` to the old function, the
        latter NaN where a function is constant.

    Raises
    ------
    AkpError
        For an unknown name.

    Notes
    -----
    By Gauss-Hermite quadrature with 200 nodes.
    """
    nodes, weights = hermite_e.hermegauss(_NODES)
    weights = weights / weights.sum()
    before = _values(old, nodes)
    rows = []
    for name in names:
        entry, after = palette.activation(name), _values(name, nodes)
        mirrored = after[::-1]
        size = _ROUND_OFF * max(1.0, float(np.abs(after).max()))
        odd, even = np.abs(after + mirrored).max() <= size, np.abs(after - mirrored).max() <= size
        zero = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        value = entry.function(zero)
        (slope,) = torch.autograd.grad(value.sum(), zero)
        centred = [v - weights @ v for v in (after, before)]
        lengths = [float(np.sqrt(weights @ v**2)) for v in centred]
        flat = min(lengths) <= size
        rows.append(
            {
                "to": name,
                "bounded": entry.bounded,
                "monotone": entry.monotone,
                "parity": "odd" if odd else "even" if even else "neither",
                "at zero": float(value.detach()),
                "slope": float(slope),
                "distance": float(np.sqrt(weights @ (after - before) ** 2)),
                "correlation": np.nan
                if flat
                else float(weights @ (centred[0] * centred[1]) / np.prod(lengths)),
            }
        )
    return pd.DataFrame(rows)


def _values(name: str, at: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    return palette.activation(name).function(torch.from_numpy(at.copy())).numpy()


def targets_of_losses(names: list[str], *, probability: float = 0.7) -> pd.DataFrame:
    r"""Find what each loss makes a network say of an image that is of class 1 with a known probability.

    .. math:: z^* = \operatorname*{argmin}_z\; p\, \ell(z, 1) + (1 - p)\, \ell(z, 2)

    Parameters
    ----------
    names : list of str
        Names in `akp_core.palette.LOSSES`.
    probability : float
        p, above 0.5 and below 1.

    Returns
    -------
    DataFrame
        One row a loss: ``to``; ``proper`` as declared; ``softmax`` and ``output``, the softmax and the first
        entry of z*; ``right class``, whether the larger entry of z* is class 1's; ``moves``, whether neither
        softmax nor output is p.

    Raises
    ------
    AkpError
        For an unknown name or a probability out of range.

    Notes
    -----
    Where z* is not unique (adding a constant to the logits changes nothing), the one nearest to 0. Minimised
    numerically from several starts; good to four digits.
    """
    if isinstance(probability, bool) or not 0.5 < probability < 1:
        raise expected("probability above 0.5 and below 1", repr(probability))
    rows = []
    for name in names:
        entry = palette.loss(name)
        best = _minimiser(entry.function, probability)
        softmax = float(1 / (1 + np.exp(best[1] - best[0])))
        said = np.abs(np.array([softmax, best[0]]) - probability)
        rows.append(
            {
                "to": name,
                "proper": entry.proper,
                "softmax": softmax,
                "output": float(best[0]),
                "right class": bool(best[0] > best[1]),
                "moves": bool(said.min() > 1e-3),
            }
        )
    return pd.DataFrame(rows)


def _minimiser(loss: palette.PerExample, probability: float) -> Float64[np.ndarray, " 2"]:
    labels, chances = torch.tensor([0, 1]), torch.tensor([probability, 1 - probability], dtype=torch.float64)

    def risk(z: Float64[np.ndarray, " 2"]) -> float:
        logits = torch.from_numpy(np.asarray(z, dtype=np.float64)).repeat(2, 1)
        return float(loss(logits, labels) @ chances) + 1e-9 * float(z @ z)

    starts = ([0.0, 0.0], [1.0, -1.0], [0.5, 0.2])
    options = {"xatol": 1e-9, "fatol": 1e-15, "maxiter": 4000}
    found = [optimize.minimize(risk, s, method="Nelder-Mead", options=options) for s in starts]
    return np.asarray(min(found, key=lambda f: float(f.fun)).x, dtype=np.float64)
