"""Does a displacement field fold the image, so that it is no diffeomorphism any more?"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from akp_core.deformation.reading import said
from akp_core.errors import AkpError, expected


def folds(fields: Float[Tensor, "n 2 h w"]) -> Bool[Tensor, " n"]:
    r"""Tell which fields fold: the Jacobian of the map is 0 or less somewhere.

    .. math:: \det \nabla (p - \delta) = (1 - \partial_y \delta_y)(1 - \partial_x \delta_x)
              - \partial_x \delta_y \, \partial_y \delta_x \le 0

    The map runs bilinearly between four neighbouring pixels. There its Jacobian is a linear function, so that
    the four corners decide for every point between them, not for the pixels alone. As the frame stays where
    it is, a map without a fold is one to one.

    Parameters
    ----------
    fields : (n, 2, h, w) tensor
        Pixels, vertical component first.

    Returns
    -------
    (n,) bool tensor

    Raises
    ------
    AkpError
        If it is no batch of finite fields.
    """
    _check(fields)
    return torch.stack([(det <= 0).flatten(1).any(dim=1) for det in _corners(fields, 1.0)]).any(dim=0)


def fold_scale(fields: Float[Tensor, "n 2 h w"]) -> Float[Tensor, " n"]:
    r"""By how much each field may be multiplied until it folds.

    .. math:: s^* = \min \{ s > 0 : \det(1 - s \nabla \delta) = 0 \text{ somewhere} \}

    A field drawn at temperature T folds from the temperature :math:`T s^{*2}` on, so that one draw answers
    for all temperatures.

    Parameters
    ----------
    fields : (n, 2, h, w) tensor
        Pixels, vertical component first.

    Returns
    -------
    (n,) tensor
        More than 0; infinite for a field that never folds, such as one of zeros.
    """
    return fold_scales(fields).flatten(1).amin(dim=1)


def fold_scales(fields: Float[Tensor, "n 2 h w"]) -> Float[Tensor, "n h-1 w-1"]:
    """As `fold_scale`, for every square of four neighbouring pixels."""
    _check(fields)
    least: Tensor | None = None
    for trace, determinant in _invariants(fields):
        found = _first_root(trace, determinant)
        least = found if least is None else torch.minimum(least, found)
    assert least is not None
    return least


def _first_root(trace: Tensor, determinant: Tensor) -> Tensor:
    """Smallest positive root of 1 - trace s + determinant s^2, infinite without one.

    Its inverses are the eigenvalues of the gradient, the largest of which is the root of the smallest.
    """
    inside = trace.square() - 4 * determinant
    largest = (trace + inside.clamp(min=0).sqrt()) / 2
    return torch.where((inside >= 0) & (largest > 0), 1 / largest, torch.inf)


def _differences(fields: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    y, x = fields[:, 0], fields[:, 1]
    return y.diff(dim=1), x.diff(dim=2), y.diff(dim=2), x.diff(dim=1)


def _invariants(fields: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    yy, xx, yx, xy = _differences(fields)
    for row in (slice(None, -1), slice(1, None)):
        for column in (slice(None, -1), slice(1, None)):
            a, b, c, d = yy[:, :, column], xx[:, row], yx[:, row], xy[:, :, column]
            yield a + b, a * b - c * d


def _corners(fields: Tensor, scale: float) -> Iterator[Tensor]:
    for trace, determinant in _invariants(fields):
        yield 1 - scale * trace + scale**2 * determinant


def _check(fields: Tensor) -> None:
    if (
        not isinstance(fields, Tensor)
        or fields.ndim != 4
        or fields.shape[1] != 2
        or min(fields.shape[2:]) < 2
    ):
        raise expected("fields as a tensor (n, 2, height, width)", said(fields))
    if not bool(torch.isfinite(fields).all()):
        raise AkpError("expected finite displacements, got fields with NaN or infinity")
