"""How far filters have learnt to average over space: the share of each in the even pattern."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Float64
from scipy.fft import dctn
from torch import Tensor, nn

from akp_core.errors import expected
from akp_core.lenses.stability import chosen, networks
from akp_core.outcome import Population
from akp_core.study import CONTROL


def mode_shares(weight: Float[Tensor, "o c f g"]) -> Float64[np.ndarray, "m f g"]:
    r"""Share of each filter's squared norm in each eigenvector of the Laplacian of its grid.

    .. math:: s_{ij} = \frac{\langle \psi_{ij}, w \rangle^2}{\lVert w \rVert^2}, \qquad
              \psi_{ij}(a, b) \propto \cos\frac{\pi i (2a + 1)}{2F} \cos\frac{\pi j (2b + 1)}{2F}

    Parameters
    ----------
    weight : (o, c, f, g) float
        Of a two-dimensional convolution: one f x g filter for each pair of output and input channel.

    Returns
    -------
    (m, f, g) float64
        For each filter that is not zero; in [0, 1], with sum 1. Entry [0, 0] is the even pattern, the
        lowest mode, in which the filter only averages.

    Raises
    ------
    AkpError
        For weights of another shape, that are not finite, or all zero.

    Notes
    -----
    With an open boundary the eigenvectors are those of the discrete cosine transform (type II), with
    eigenvalues :math:`4 \sin^2(\pi i / 2f) + 4 \sin^2(\pi j / 2g)`. Null: a filter of independent entries
    of one symmetric law and mean 0 has 1 / (f g) in each mode on average, if normal; the uniform direction.

    References
    ----------
    Tomasini et al. 2022, arXiv:2210.01506, and the code of its authors.
    """
    if weight.ndim != 4:
        raise expected("the weights of a two-dimensional convolution, (o, c, f, g)", tuple(weight.shape))
    filters = weight.detach().cpu().double().flatten(0, 1).numpy()
    if not np.isfinite(filters).all():
        raise expected("finite weights", "NaN or infinite ones", "leave out the networks that diverged")
    squared: np.ndarray = dctn(filters, axes=(1, 2), norm="ortho") ** 2
    total = squared.sum(axis=(1, 2))
    if not total.any():
        raise expected("filters that are not all zero", "zeros")
    kept: np.ndarray = squared[total > 0] / total[total > 0, None, None]
    return kept


def spatial_pooling(model: nn.Module) -> pd.DataFrame:
    """How even the filters of each convolution are.

    Parameters
    ----------
    model : nn.Module

    Returns
    -------
    DataFrame
        One row a convolution with filters of more than one pixel, first to last: ``layer``, its name;
        ``even``, the share of squared norm in the even pattern, averaged over filters, in [0, 1];
        ``null``, what filters of random direction have, 1 / (f g); ``filters``, ``why``.

    Raises
    ------
    AkpError
        For a network without such a convolution.
    """
    rows = []
    for name, part in model.named_modules():
        if not isinstance(part, nn.Conv2d) or part.weight[0, 0].numel() == 1:
            continue
        finite = bool(part.weight.isfinite().all())
        usable = finite and bool(part.weight.any())
        shares = mode_shares(part.weight)[:, 0, 0] if usable else np.array([np.nan])
        rows.append(
            {
                "layer": name,
                "even": float(shares.mean()),
                "null": 1 / part.weight[0, 0].numel(),
                "filters": len(shares) if usable else 0,
                "why": "" if usable else "collapsed" if finite else "diverged",
            }
        )
    if not rows:
        raise expected("a network with convolutions of more than one pixel", "none", "mlp has none")
    return pd.DataFrame(rows)


def learnt_spatial_pooling(
    population: Population, *, families: Sequence[str] = (CONTROL,), steps: Iterable[int] | None = None
) -> pd.DataFrame:
    """How even the filters of every network are, untrained and trained.

    Parameters
    ----------
    population : Population
    families : sequence of str
    steps : iterable of int or None
        None means before and after training.

    Returns
    -------
    DataFrame
        As `spatial_pooling`, with ``family``, ``member``, ``step`` in front.

    Raises
    ------
    AkpError
        As `spatial_pooling`; for an unknown family, or a step at which weights were not kept.
    """
    _, wanted = chosen(population, None, families)
    at = (0, population.study.steps) if steps is None else tuple(steps)
    found = []
    for family, member, step, model in networks(population, wanted, at):
        found.append(spatial_pooling(model).assign(family=family, member=member, step=step))
    table = pd.concat(found, ignore_index=True)
    return table[["family", "member", "step", "layer", "even", "null", "filters", "why"]]
