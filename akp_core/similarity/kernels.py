r"""Gram matrices of a kernel: linear, or Gaussian with its bandwidth taken from the data.

.. math:: K^{\mathrm{rbf}}_{ij} = \exp\!\left(-\frac{\|x_i - x_j\|^2}{2 s^2}\right),
          \qquad s = f \cdot \operatorname*{median}_{i<j} \|x_i - x_j\|

The median is over pairs of *distinct* examples and exact. Some public tools take it over all entries of the
distance matrix, zeros of the diagonal included, which is smaller; give ``sigma`` to compare with them.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from akp_core.errors import AkpError, expected, unknown_name
from akp_core.similarity.arrays import Features
from akp_core.similarity.members import distances_between_examples

Kernel = Literal["linear", "rbf"]
_WIDE = 1e-5
"""Largest distance over bandwidth below which the kernel is a parabola, to ten digits."""


@dataclass(frozen=True)
class Rbf:
    """A Gaussian kernel whose bandwidth is a fraction of the median distance, or sigma outright."""

    fraction: float
    sigma: float | None

    def gram(self, x: Features) -> Float64[Tensor, "n n"]:
        """Gram matrix of features, not centred, up to a constant and a factor.

        Raises
        ------
        AkpError
            If half of the pairs of examples coincide, so that their median distance is 0.
        """
        distances = distances_between_examples(x.centred.double())
        if self.sigma is None:
            width = self.fraction * _median(distances)
            if width == 0:
                raise AkpError(
                    f"expected a median distance above 0 in {x.name}, got 0: half of the pairs of examples "
                    "coincide; give sigma, the bandwidth, outright"
                )
        else:
            width = self.sigma / x.scale
        # Powers of the distances alone matter for a kernel so wide that 1 - d^2/(2 s^2) is all of it; and
        # beside 1 its differences would be lost, while centring takes any constant out again.
        if float(distances.max()) < _WIDE * width:
            return -distances.square()
        exponents = -0.5 * (distances / max(width, sys.float_info.min)).square()
        return exponents.expm1_() if float(exponents.min()) > -1 else exponents.exp_()


def kernel_of(kernel: str, fraction: float, sigma: float | None) -> Rbf | None:
    """Check a kernel and its bandwidth; None stands for the linear kernel."""
    if not isinstance(kernel, str) or kernel not in get_args(Kernel):
        raise unknown_name("kernel", kernel, get_args(Kernel))
    for name, value in (("fraction", fraction), ("sigma", sigma)):
        if value is None:
            continue
        real = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        if not real or not 0 < value < float("inf"):
            raise expected(f"{name} as a number above 0", repr(value))
    if kernel == "rbf":
        if sigma is not None and fraction != 1:
            raise AkpError("expected either fraction (of the median distance) or sigma (outright), got both")
        return Rbf(float(fraction), None if sigma is None else float(sigma))
    if fraction != 1 or sigma is not None:
        raise AkpError("fraction and sigma set the bandwidth of the rbf kernel; the linear kernel has none")
    return None


def _median(distances: Float64[Tensor, "n n"]) -> float:
    above = torch.triu_indices(len(distances), len(distances), 1, device=distances.device)
    pairs = distances[above[0], above[1]]
    middle = [pairs.kthvalue(k).values for k in ((len(pairs) + 1) // 2, len(pairs) // 2 + 1)]
    return float(sum(middle)) / 2
