"""Statement 5: what a loss makes a network aim at, where the probability of each class is known.

The *target* of a loss at an item is the vector of logits of least expected loss there. A swap of the loss
during training moves every network of a family towards another target: it can move the family's location.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from scipy.optimize import linprog
from scipy.sparse import eye_array, kron
from torch import Tensor

from akp_core.errors import AkpError, expected
from akp_core.palette import loss as loss_of
from akp_core.similarity.arrays import Array
from akp_core.theory.probabilities import not_negative, read_numbers, read_probabilities, same_shape

LEAST = 1e-6
"""Smallest probability of a class: a target of cross-entropy at 0 lies at infinity."""
_STILL = 1e-7
"""Largest derivative of the mean expected loss, times the number of items, at what counts as a minimum."""


def expected_loss(
    loss: str, law: Float[Array, "n K"], logits: Float[Array, "n K"]
) -> Float64[np.ndarray, " n"]:
    r"""Expected loss of logits at items whose class probabilities are known.

    .. math:: L(z; p) = \sum_y p_y\,\ell(z, y)

    Parameters
    ----------
    loss : str
        A name of `akp_core.palette.LOSSES`.
    law, logits : (n, K) float array, NumPy or torch

    Returns
    -------
    (n,) float64

    Raises
    ------
    AkpError
        For an unknown loss, rows that are no law, or shapes that differ.

    Notes
    -----
    Cost: K calls of the loss on n items.
    """
    p, z = read_probabilities(law, "the law"), read_numbers(logits, "logits", "items classes")
    same_shape(p, z, "the law and logits")
    return np.asarray(_expected(loss, torch.from_numpy(p), torch.from_numpy(z)).numpy())


def _expected(loss: str, p: Float[Tensor, "n K"], z: Float[Tensor, "n K"]) -> Float[Tensor, " n"]:
    function = loss_of(loss).function
    labels = [torch.full((len(p),), y, dtype=torch.int64) for y in range(p.shape[1])]
    return torch.stack([p[:, y] * function(z, labels[y]) for y in range(p.shape[1])]).sum(dim=0)


def population_minimiser(loss: str, law: Float[Array, "n K"]) -> Float64[np.ndarray, "n K"]:
    r"""The logits of least expected loss at each item, found numerically from the palette's own function.

    .. math:: z^\star(p) \in \arg\min_z \sum_y p_y\,\ell(z, y)

    Parameters
    ----------
    loss : str
        A name of `akp_core.palette.LOSSES`.
    law : (n, K) float array, NumPy or torch
        Probability of each class at each item, each at least 1e-6.

    Returns
    -------
    (n, K) float64
        Summing to 0 over classes for a loss that only reads differences of logits. For the hinge a vertex
        of the set of minimisers, which are many where the law has ties.

    Raises
    ------
    AkpError
        For an unknown loss, a law with a probability below 1e-6, or a loss whose minimum is not found: a
        minimiser at infinity, or a loss with corners.

    Notes
    -----
    Smooth losses by L-BFGS in float64 from logits 0, until the gradient vanishes; the hinge by a linear
    programme. Cost: some hundred evaluations, or a programme of nK(K - 1) rows.
    """
    p = read_probabilities(law, "the law")
    loss_of(loss)
    if p.min() < LEAST:
        raise expected(f"probabilities of at least {LEAST:g} in the law", f"{p.min():.3g}", "smooth the law")
    if loss == "hinge":
        return _hinge_vertices(p)
    fixed = torch.from_numpy(p)
    z = torch.zeros_like(fixed, requires_grad=True)
    steps = torch.optim.LBFGS(
        [z],
        max_iter=3000,
        tolerance_grad=_STILL / 100,
        tolerance_change=0,
        history_size=50,
        line_search_fn="strong_wolfe",
    )

    def total() -> Tensor:
        steps.zero_grad()
        value = _expected(loss, fixed, z).sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    steps.step(total)  # type: ignore[no-untyped-call]
    total()
    slope = float(z.grad.abs().max()) if z.grad is not None else np.inf
    if not slope <= _STILL:
        raise AkpError(
            f"expected the loss {loss!r} to have a smooth minimum, got a slope of {slope:.2g} after "
            "3000 steps; it has corners, or is least at infinity"
        )
    found = z.detach().numpy()
    shifted = torch.from_numpy(found + 1.0)
    change = float((_expected(loss, fixed, shifted) - _expected(loss, fixed, z.detach())).abs().max())
    return found - found.mean(axis=1, keepdims=True) if change < 1e-9 else found


def _hinge_vertices(p: Float64[np.ndarray, "n K"]) -> Float64[np.ndarray, "n K"]:
    """Minimisers of the hinge: a slack for each ordered pair of classes, at least 0 and the margin's lack."""
    items, classes = p.shape
    pairs = [(y, c) for y in range(classes) for c in range(classes) if y != c]
    lack = np.zeros((len(pairs), classes + len(pairs)))
    for row, (y, c) in enumerate(pairs):
        lack[row, [y, c, classes + row]] = -1, 1, -1
    price = np.hstack([np.zeros((items, classes)), p[:, [y for y, _ in pairs]]])
    bounds = [(0, 0)] + [(None, None)] * (classes - 1) + [(0, None)] * len(pairs)
    solved = linprog(
        price.ravel(),
        A_ub=kron(eye_array(items), lack, format="csr"),
        b_ub=-np.ones(items * len(pairs)),
        bounds=bounds * items,
        method="highs",
    )
    if solved.status != 0:
        raise AkpError(f"expected a minimiser of the hinge for {items} laws, got: {solved.message}")
    z = np.round(solved.x.reshape(items, -1)[:, :classes], 9)
    return np.asarray(z - z.mean(axis=1, keepdims=True))


def answers(logits: Float[Array, "n K"], slack: float = 1e-6) -> Bool[np.ndarray, "n K"]:
    """Which classes a row of logits answers with: those within `slack` of the largest, several at a tie.

    Parameters
    ----------
    logits : (n, K) float array, NumPy or torch
    slack : float
        At least 0.

    Returns
    -------
    (n, K) bool
        At least one True a row.
    """
    z = read_numbers(logits, "logits", "items classes")
    return np.asarray(z >= z.max(axis=1, keepdims=True) - float(not_negative(slack, "slack")))


def read_out(loss: str, logits: Float[Array, "... K"]) -> Float64[np.ndarray, "... K"]:
    r"""Logits as the loss reads them: themselves for squared error, their softmax for every other loss.

    Parameters
    ----------
    loss : str
        A name of `akp_core.palette.LOSSES`.
    logits : (..., K) float array, NumPy or torch

    Returns
    -------
    (..., K) float64
        Estimates of class probabilities for a proper loss. The hinge estimates none: its softmax is only a
        way to draw it.
    """
    loss_of(loss)
    axes = " ".join(f"axis_{k}" for k in range(np.ndim(logits) - 1)) + " classes"
    z = read_numbers(logits, "logits", axes.strip())
    if loss == "squared_error":
        return z
    powers = np.exp(z - z.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
