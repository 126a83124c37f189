r"""The centred Gram matrix of a representation, scaled to unit norm: the object every CKA is about.

With features centred, :math:`K = XX^\top` is the doubly centred Gram matrix of biased CKA. Unbiased CKA
uses its U-centring (Szekely and Rizzo 2014): the diagonal is set to zero and

.. math:: U_{ij} = K_{ij} - \frac{r_i + r_j}{n-2} + \frac{t}{(n-1)(n-2)} \quad (i \ne j),\qquad U_{ii} = 0

with :math:`r` the row sums and :math:`t` the total of the zero-diagonal Gram. Then
:math:`\mathrm{HSIC}_1(K, L) = \langle U(K), U(L)\rangle / (n(n-3))` (Song et al. 2012, eq. 5), so both
kinds of CKA are the cosine of the angle between two such matrices.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from akp_core.errors import AkpError, expected, unknown_name
from akp_core.similarity.arrays import Features
from akp_core.similarity.kernels import Rbf

Estimator = Literal["biased", "unbiased"]

_LEAST_EXAMPLES = {"biased": 2, "unbiased": 4}
_ZERO = 1e-9
"""A U-centred Gram below this share of the Gram has too few digits left of float64."""


def check_estimator(estimator: str) -> None:
    """Refuse an estimator that does not exist."""
    if not isinstance(estimator, str) or estimator not in get_args(Estimator):
        raise unknown_name("estimator", estimator, get_args(Estimator))


def check_enough_examples(x: Features, estimator: str) -> None:
    """Refuse fewer examples than the estimator is defined for."""
    least, n = _LEAST_EXAMPLES[estimator], x.centred.shape[0]
    if n < least:
        raise expected(
            f"at least {least} examples for {estimator} CKA", f"{n} in {x.name}", "use more probe examples"
        )


def constant_error(x: Features) -> AkpError:
    """The error for a representation that does not vary."""
    return AkpError(
        f"{x.name} is the same for every example: a constant representation has no CKA; "
        "leave this collapsed model out and count it"
    )


def check_left(x: Features, left: float, size: float) -> None:
    """Refuse a U-centred Gram whose norm is round-off of the Gram, or of the features as they came."""
    if left <= max(_ZERO * size, x.noise):
        raise AkpError(
            f"{x.name} has a U-centred Gram matrix of zero, up to round-off: all examples but one coincide "
            "or are dwarfed, or all are equally far apart; like a constant representation it has no unbiased "
            "CKA; leave it out and count it"
        )


def u_centre_(gram: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """U-centre a Gram matrix in place (formula above); exactly zero on the diagonal."""
    n = gram.shape[0]
    gram.fill_diagonal_(0)
    rows = gram.sum(dim=1)
    shift = rows / (n - 2) - rows.sum() / (2 * (n - 1) * (n - 2))
    gram -= shift[:, None]
    gram -= shift[None, :]
    return gram.fill_diagonal_(0)


def unit_gram(x: Features, estimator: str, rbf: Rbf | None = None) -> Float[Tensor, "n n"]:
    r"""The centred Gram (biased) or its U-centring (unbiased), divided by its Frobenius norm.

    Parameters
    ----------
    x : Features
    estimator : {"biased", "unbiased"}
    rbf : Rbf, optional
        The Gaussian kernel; the linear one without.

    Returns
    -------
    Float[Tensor, "n n"]
        Float64. The sum of the elementwise product of two of these is their CKA.

    Raises
    ------
    AkpError
        For too few examples, or a matrix that is zero up to round-off.

    Notes
    -----
    Cost: :math:`2n^2p` operations, :math:`n^2` numbers.
    """
    check_enough_examples(x, estimator)
    if x.constant:
        raise constant_error(x)
    gram = x.centred @ x.centred.T if rbf is None else rbf.gram(x)
    size = torch.linalg.matrix_norm(gram)
    if estimator == "biased":
        if rbf is not None:
            gram -= gram.mean(dim=0)
            gram -= gram.mean(dim=1, keepdim=True)
        norm = torch.linalg.matrix_norm(gram)
        if norm <= _ZERO * size:
            raise constant_error(x)
        return gram.div_(norm)
    norm = torch.linalg.matrix_norm(u_centre_(gram))
    check_left(x if rbf is None else replace(x, noise=0.0), float(norm), float(size))
    return gram.div_(norm)
