"""Linear CKA of many representations from one pass, and the rescue of the few that float32 cannot hold."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float64
from torch import Tensor

from akp_core.similarity.arrays import Array, Features, admit, read, same_examples
from akp_core.similarity.gram import check_enough_examples, constant_error, unit_gram
from akp_core.similarity.products import inner_products

_CANCELLED = {torch.float32: 1e-3, torch.float64: 1e-7}
"""Share of a squared norm left after U-centring below which too many digits went with the rest."""


def admitted(members: Sequence[Array], names: Sequence[str], estimators: Sequence[str]) -> list[Features]:
    """Pass representations of the same examples through the door, in one common precision."""
    features = [admit(x, name) for x, name in zip(members, names, strict=True)]
    for one in features:
        same_examples(features[0], one)
        for estimator in estimators:
            check_enough_examples(one, estimator)
        if one.constant:
            raise constant_error(one)
    if len({one.centred.dtype for one in features}) > 1:
        return [read(x, name) for x, name in zip(members, names, strict=True)]
    return features


def cosines(
    members: Sequence[Array], names: Sequence[str], estimators: Sequence[str]
) -> list[Float64[Tensor, "M M"]]:
    """Linear CKA of every pair, one matrix for each estimator, from one pass over the Gram matrices.

    A representation whose U-centred Gram is a small rest of large terms (one far outlier; many more
    features than squared examples) is compared again from an explicit float64 Gram matrix.

    Parameters
    ----------
    members : sequence of (n, p_i) arrays
    names : sequence of str
        What to call each in a message.
    estimators : sequence of {"biased", "unbiased"}

    Returns
    -------
    list of (M, M) float64 tensors
        Exactly symmetric, exactly 1 on the diagonal, in [-1, 1].
    """
    features = admitted(members, names, estimators)
    products = inner_products([one.centred for one in features])
    found = []
    for estimator in estimators:
        inner, left = products.of(estimator)
        spoilt = torch.nonzero(left < _CANCELLED[features[0].centred.dtype]).flatten().tolist()
        norms = inner.diagonal().clamp(min=torch.finfo(torch.float64).tiny).sqrt()
        cosine = inner / torch.outer(norms, norms)
        if spoilt:
            again = _exactly(members, names, spoilt, estimator)
            cosine[spoilt] = again
            cosine[:, spoilt] = again.T
        cosine = (cosine.clamp_(-1, 1) + cosine.T) / 2
        found.append(cosine.fill_diagonal_(1))
    return found


def _exactly(
    members: Sequence[Array], names: Sequence[str], rows: Sequence[int], estimator: str
) -> Float64[Tensor, "r M"]:
    """CKA of some members with all, from explicit float64 Gram matrices, one member at a time."""
    grams = [unit_gram(read(members[row], names[row]), estimator).flatten() for row in rows]
    stacked = torch.stack(grams)
    columns = [
        stacked @ unit_gram(read(x, name), estimator).flatten()
        for x, name in zip(members, names, strict=True)
    ]
    return torch.stack(columns, dim=1)
