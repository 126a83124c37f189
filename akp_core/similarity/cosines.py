"""Linear CKA of many representations from one pass, and the rescue of the few that float32 cannot hold."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float64
from torch import Tensor

from akp_core.errors import AkpError
from akp_core.similarity.arrays import Array, Features, admit, read, same_examples
from akp_core.similarity.gram import check_enough_examples, check_left, constant_error
from akp_core.similarity.products import SMALL, explicit_products, in_parallel, inner_products
from akp_core.similarity.wide import wide_products

_CANCELLED = {torch.float32: 0.05, torch.float64: 1e-7}
"""Share of a squared norm left after U-centring below which too many digits went with the rest."""


def admitted(members: Sequence[Array], names: Sequence[str], estimators: Sequence[str]) -> list[Features]:
    """Pass representations of the same examples through the door, in one common precision."""
    features = _read_all(members, names)
    for one in features:
        same_examples(features[0], one)
        for estimator in estimators:
            check_enough_examples(one, estimator)
        if one.constant:
            raise constant_error(one)
    if len({one.centred.dtype for one in features}) > 1:
        return [read(x, name) for x, name in zip(members, names, strict=True)]
    return features


def _read_all(members: Sequence[Array], names: Sequence[str]) -> list[Features]:
    """Each through the door; many on several threads, as the copies that centring makes cost page faults."""
    found: list[Features | AkpError]
    shapes: list[tuple[int, ...]] = [tuple(getattr(x, "shape", ())) for x in members]
    many = sum(shape[0] * shape[-1] for shape in shapes if len(shape)) > SMALL
    workers = min(torch.get_num_threads(), len(members)) if many else 1
    found = [AkpError("")] * len(members)

    def share(worker: int) -> None:
        for index in range(worker, len(members), workers):
            try:
                found[index] = admit(members[index], names[index])
            except AkpError as fault:
                found[index] = fault

    in_parallel(share, workers)
    for one in found:
        if isinstance(one, AkpError):
            raise one
    return [one for one in found if isinstance(one, Features)]


def cosines(
    members: Sequence[Array], names: Sequence[str], estimators: Sequence[str]
) -> list[Float64[Tensor, "M M"]]:
    """Linear CKA of every pair, one matrix for each estimator, from one pass over the Gram matrices.

    A representation whose U-centred Gram is a small rest of large terms (one far outlier; many more
    features than squared examples) is compared again in float64, from Gram matrices centred entry by entry.

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
    wide = wide_products(members)
    if wide is None:
        features = admitted(members, names, estimators)
        products, dtype = inner_products([one.centred for one in features]), features[0].centred.dtype
    else:
        products, dtype = wide
    found = []
    for estimator in estimators:
        inner, left = products.of(estimator)
        spoilt = torch.nonzero(left < _CANCELLED[dtype]).flatten().tolist()
        norms = inner.diagonal().clamp(min=torch.finfo(torch.float64).tiny).sqrt()
        cosine = inner / torch.outer(norms, norms)
        if spoilt:
            again = _exactly(members, names)
            cosine[spoilt], cosine[:, spoilt] = again[spoilt], again[:, spoilt]
        cosine = (cosine.clamp_(-1, 1) + cosine.T) / 2
        found.append(cosine.fill_diagonal_(1))
    return found


def _exactly(members: Sequence[Array], names: Sequence[str]) -> Float64[Tensor, "M M"]:
    """Unbiased CKA of every pair in float64, from Gram matrices that are U-centred entry by entry."""
    features = [read(x, name) for x, name in zip(members, names, strict=True)]
    inner, size = explicit_products([one.centred for one in features])
    for one, left, whole in zip(features, inner.diagonal().tolist(), size.tolist(), strict=True):
        check_left(one, left**0.5, whole**0.5)
    norms = inner.diagonal().sqrt()
    return inner / torch.outer(norms, norms)
