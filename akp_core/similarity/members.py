"""The door for measures of several representations: one reading, one set of refusals, one rounding error."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float64, Real
from torch import Tensor

from akp_core.errors import AkpError, expected
from akp_core.similarity.arrays import A, Array, Features, as_float64, read, same_examples

_CONSTANT = 4
"""A column that moves by this many units in its last place does not move (as in `arrays.read`)."""
_ROOM = 2.0**900
"""Magnitude beyond which, or below whose inverse, numbers are brought nearer to 1."""
_MARGIN = 2.0**200
_NEAR = 0.05
"""Squared distances below this share of the terms they are the difference of are found by subtraction."""
_UNDERFLOW = 2.0**-800
"""Terms, as a share of the largest, below which squares may have underflowed."""


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


def as_stored(x: Real[Array, "n p"], name: str) -> tuple[Float64[Tensor, "n p"], float]:
    """The numbers as they came, in float64, with their precision; a power of two keeps sums from overflow."""
    values, eps = as_float64(x, name)
    top = float(values.abs().max())
    if top > _ROOM:
        values *= 1 / _MARGIN
    elif 0 < top < 1 / _ROOM:
        values *= _MARGIN
    return values, eps


def _moving(values: Float64[Tensor, "n p"], eps: float) -> Bool[Tensor, " p"]:
    """Which features vary beyond the last digits of what was stored."""
    half_range = values.amax(dim=0) / 2 - values.amin(dim=0) / 2
    return half_range > _CONSTANT * eps * values.abs().amax(dim=0)


def rounding_errors(values: Float64[Tensor, "n p"], eps: float) -> Float64[Tensor, "n p"]:
    r"""How far rounding to a precision may have moved each number, :math:`\epsilon |x_{ij}|`.

    About 3.5 standard deviations of the error of rounding to nearest. 0 for a feature that is constant, as
    its error is too and leaves with the mean.
    """
    return (eps * values.abs()).mul_(_moving(values, eps))


def example_errors(values: Float64[Tensor, "n p"], eps: float) -> Float64[Tensor, " n"]:
    r"""How far rounding may have moved each example in any one direction: its largest `rounding_errors`.

    The distance of examples i and j is uncertain by :math:`\sqrt{e_i^2 + e_j^2}`.
    """
    return rounding_errors(values, eps).amax(dim=1)


def round_off(features: int) -> float:
    """Relative round-off allowed in a distance over so many features, above what is left by computing it."""
    return 32 * torch.finfo(torch.float64).eps * (1 + features**0.5)


def symmetric(upper: Float64[Tensor, "M M"], low: float, high: float = 1.0) -> Float64[Tensor, "M M"]:
    """Mirror the part above the diagonal, keep it within bounds and put 1 on the diagonal."""
    above = upper.clamp(low, high).triu(1)
    return (above + above.T).fill_diagonal_(1)


def distances_between_examples(x: Float64[Tensor, "n p"]) -> Float64[Tensor, "n n"]:
    r"""Euclidean distances between rows, each right to `round_off` of itself, however far other rows are.

    From the Gram matrix, :math:`d_{ij}^2 = k_{ii} + k_{jj} - 2 k_{ij}`, at the speed of a matrix product,
    about the row that is nearest to the mean; the pairs whose squared distance is below a twentieth of its
    terms, where digits cancel, or which underflows, are subtracted row by row.
    """
    centre = int((x - x.mean(dim=0)).abs().amax(dim=1).argmin())
    about = x - x[centre]
    unit = float(torch.exp2(about.abs().max().clamp(min=torch.finfo(torch.float64).tiny).log2().ceil()))
    about /= unit
    squared = about @ about.T
    size = squared.diagonal().clone()
    terms = size[:, None] + size[None, :]
    torch.sub(terms, squared, alpha=2, out=squared)
    distances = squared.clamp(min=0).sqrt_().mul_(unit)
    near = (squared <= terms.clamp_(min=_UNDERFLOW).mul_(_NEAR)).triu_(1)
    first, second = torch.nonzero(near, as_tuple=True)
    step = max(1, 4_000_000 // x.shape[1])
    for start in range(0, len(first), step):
        i, j = first[start : start + step], second[start : start + step]
        difference = x[i] - x[j]
        largest = difference.abs().amax(dim=1).clamp_(min=torch.finfo(torch.float64).tiny)
        distances[i, j] = largest * torch.linalg.vector_norm(difference / largest[:, None], dim=1)
    upper = distances.triu_(1)
    return upper + upper.T
