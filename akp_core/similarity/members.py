"""The door for measures of several representations: one reading, one set of refusals, one rounding error."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Float64, Real
from torch import Tensor

from akp_core.errors import AkpError, expected
from akp_core.similarity.arrays import A, Array, Features, as_float64, read, same_examples

_CONSTANT = 4
"""A column that moves by this many units in its last place does not move (as in `arrays.read`)."""


def as_members(representations: Sequence[A] | Real[A, "M n p"]) -> list[A]:
    """Spread a sequence, or a (models, examples, features) array, into at least one representation."""
    listed = isinstance(representations, Sequence) and not isinstance(representations, str)
    if listed or getattr(representations, "ndim", 0) == 3:
        members = list(representations)
    else:
        raise expected(
            "a sequence of (examples, features) arrays or one (models, examples, features) array",
            f"{type(representations).__name__} of shape {tuple(getattr(representations, 'shape', ()))}",
        )
    if not members:
        raise expected("at least one representation", "none")
    return members


def read_members(
    members: Sequence[Array], measure: str, least: int, names: Sequence[str] | None = None
) -> list[Features]:
    """Check representations of the same examples and centre them.

    Parameters
    ----------
    members : sequence of (n, p_i) arrays
    measure : str
        What a constant representation does not have, for the message.
    least : int
        The fewest examples that the measure is defined for.
    names : sequence of str, optional
        What to call them; by default ``representation 0``, ``representation 1``, ...

    Raises
    ------
    AkpError
        As `arrays.read`; for unequal numbers of examples, too few of them, two devices, or a constant
        representation.
    """
    found: list[Features] = []
    for index, member in enumerate(members):
        features = read(member, names[index] if names else f"representation {index}")
        n = features.centred.shape[0]
        if found:
            same_examples(found[0], features)
            if features.centred.device != found[0].centred.device:
                raise expected(
                    f"{features.name} on the device of {found[0].name} ({found[0].centred.device})",
                    str(features.centred.device),
                    "move both to one device",
                )
        if n < least:
            raise expected(
                f"at least {least} examples for {measure}",
                f"{n} in {features.name}",
                "use more probe examples",
            )
        if features.constant:
            raise AkpError(
                f"{features.name} is the same for every example: a constant representation has no {measure}; "
                "leave this collapsed model out and count it"
            )
        found.append(features)
    return found


def rounding_errors(x: Real[Array, "n p"]) -> Float[Tensor, " p"]:
    r"""How far the storage of x rounded each feature, in the unit of `Features.centred`.

    .. math:: e_j = \epsilon \sqrt{\tfrac1n \textstyle\sum_i x_{ij}^2} \Big/ \max_{ij} |x_{ij} - \bar x_j|,

    about 3.5 standard deviations of the error of rounding to nearest; :math:`\epsilon` belongs to the dtype
    that came. 0 for a feature that is constant, as its error is too and leaves with the mean.
    """
    values, eps = as_float64(x, "x")
    values /= values.abs().max()
    centred = values - values.mean(dim=0)
    deviation, magnitude = centred.abs().amax(dim=0), values.abs().amax(dim=0)
    errors = eps * values.square().mean(dim=0).sqrt() / deviation.max()
    errors[deviation <= _CONSTANT * eps * magnitude] = 0
    return errors


def symmetric(upper: Float64[Tensor, "M M"], low: float, high: float = 1.0) -> Float64[Tensor, "M M"]:
    """Mirror the part above the diagonal, keep it within bounds and put 1 on the diagonal."""
    above = upper.clamp(low, high).triu(1)
    return (above + above.T).fill_diagonal_(1)


def distances_between_examples(x: Float64[Tensor, "n p"]) -> Float64[Tensor, "n n"]:
    r"""Euclidean distances between rows, right to about :math:`10^{-12}` of themselves.

    From the Gram matrix, :math:`d_{ij}^2 = k_{ii} + k_{jj} - 2 k_{ij}`, at the speed of a matrix product; the
    pairs whose squared distance is below a thousandth of its terms, where digits cancel, are subtracted
    row by row.
    """
    gram = x @ x.T
    size = gram.diagonal()
    terms = size[:, None] + size[None, :]
    squared = (terms - 2 * gram).clamp_(min=0)
    first, second = torch.nonzero((squared < 1e-3 * terms).triu(1), as_tuple=True)
    step = max(1, 4_000_000 // x.shape[1])
    for start in range(0, len(first), step):
        i, j = first[start : start + step], second[start : start + step]
        squared[i, j] = (x[i] - x[j]).square().sum(dim=1)
    upper = squared.triu_(1).sqrt_()
    return upper + upper.T
