"""The Gram matrices of one network's layers, batch by batch, each in the order in which it comes."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from akp_core.errors import AkpError, expected

LEAST = 4
"""Images in a batch below which the unbiased HSIC does not exist."""
_SQUARES = (1e-20, 1e20)
"""Squares between these keep their digits in float32; features beyond are rescaled first."""
_ROUND_OFF = 4
"""A deviation of this many units in the last place of the mean counts as none."""


class Grams:
    """The centred Gram matrices of one batch, in the order in which they come, and what is known of each."""

    def __init__(self, places: int, device: torch.device) -> None:
        self.places, self.device, self.dtype = places, device, torch.float32
        self.names: list[tuple[str, str]] = []
        self.plan: list[tuple[str, str]] | None = None
        self.scales: dict[int, tuple[float, float]] = {}
        self.matrices = torch.empty(0, 0, 0)
        self.scratch: dict[torch.device, Tensor] = {}
        self.precisions: list[float] = []

    def open(self, n: int) -> None:
        """Begin a batch of n images."""
        self.names = []
        if self.matrices.shape[1] != n:
            self.matrices = torch.empty(self.places, n, n, dtype=self.dtype, device=self.device)
        self.sizes: list[Tensor] = []

    def again(self, name: tuple[str, str], index: int) -> None:
        """Enter a layer whose output is the very tensor of an earlier one."""
        k = self._place(name)
        self.matrices[k] = self.matrices[index]
        if index in self.scales:
            self.scales[k] = self.scales[index]
        self.sizes.append(self.sizes[index])
        self._know(self.precisions[index])

    def add(self, name: tuple[str, str], x: Float[Tensor, "n p"]) -> int:
        """Enter a layer; returns its index."""
        k = self._place(name)
        self._know(torch.finfo(x.dtype).eps)
        x = x.to(self.dtype)
        mean = x.mean(dim=0)
        self.sizes.append(torch.linalg.vector_norm(mean, dtype=torch.float64).to(self.device))
        centred = torch.sub(x, mean, out=self._scratch(x))
        if k in self.scales:
            scale, factor = self.scales[k]
            _gram(centred if scale == 1 else centred.mul_(scale), self.matrices[k])
            self.matrices[k] *= factor
        else:
            self._first(k, centred)
        return k

    def close(self) -> Float[Tensor, "L n n"]:
        """End the batch; gives its matrices."""
        if self.plan is None:
            self.plan = self.names
            self.spreads = torch.zeros(len(self.names), dtype=torch.float64, device=self.device)
            self.sums = torch.zeros_like(self.spreads)
        if self.names != self.plan:
            odd = sorted(set(self.names) ^ set(self.plan)) or self.names
            raise expected(
                "networks that call the same parts in the same order for every batch",
                f"another pass at {titled(odd[0])}",
                "name layers that every pass calls",
            )
        matrices = self.matrices[: len(self.names)]
        n = matrices.shape[1]
        spreads = matrices.diagonal(dim1=1, dim2=2).sum(dim=1, dtype=torch.float64)
        finite = torch.isfinite(spreads)
        if not bool(finite.all()):
            name = self.names[int(torch.nonzero(~finite)[0])]
            raise AkpError(
                f"expected finite outputs, got NaN, infinity or more than {self.dtype} can square in "
                f"{titled(name)}; a diverged layer has no CKA, leave it out of layers"
            )
        units = [self.scales.get(k, (1.0, 1.0)) for k in range(len(self.names))]
        spreads /= torch.tensor([f * s * s for s, f in units], dtype=torch.float64, device=self.device)
        sums = n * torch.stack(self.sizes).square()
        # What does not vary in this batch may vary in the next; its matrix is nothing but rounding.
        matrices[spreads <= self._rounding() * sums] = 0
        self.spreads += spreads
        self.sums += sums
        return matrices

    def checked_names(self) -> list[tuple[str, str]]:
        """Side and name of every entry, after refusing those that never varied."""
        if self.plan is None:
            raise expected(f"at least {LEAST} images", "none", "give batches that can be read again")
        still = torch.nonzero(self.spreads <= self._rounding() * self.sums).flatten()
        if len(still):
            raise AkpError(
                f"{titled(self.plan[int(still[0])])} gives the same for every image"
                + (f", and so do {len(still) - 1} more" if len(still) > 1 else "")
                + "; a constant representation has no CKA: leave it out of layers and count it"
            )
        return self.plan

    def _rounding(self) -> Float[Tensor, " L"]:
        """Variance that rounding can give to features of mean square 1, for every layer."""
        eps = torch.tensor(
            [max(p, torch.finfo(self.dtype).eps) for p in self.precisions], dtype=torch.float64
        )
        return (_ROUND_OFF * eps).square().to(self.device)

    def _place(self, name: tuple[str, str]) -> int:
        self.names.append(name)
        if len(self.names) > len(self.matrices):  # parts that are called again
            self.matrices = torch.cat([self.matrices, torch.empty_like(self.matrices)])
            self.places = len(self.matrices)
        return len(self.names) - 1

    def _know(self, precision: float) -> None:
        if len(self.precisions) < len(self.names):
            self.precisions.append(precision)

    def _scratch(self, x: Tensor) -> Tensor:
        """A place of the size of x that every layer writes to anew: fresh pages would cost as much."""
        held = self.scratch.get(x.device)
        if held is None or held.numel() < x.numel():
            held = self.scratch[x.device] = torch.empty(x.numel(), dtype=x.dtype, device=x.device)
        return held[: x.numel()].view(x.shape)

    def _first(self, k: int, centred: Tensor) -> None:
        """Choose the scale of a layer at the first batch in which it varies: a mean square of one."""
        scale, matrix = 1.0, self.matrices[k]
        _gram(centred, matrix)
        trace = float(matrix.diagonal().sum())
        if not _SQUARES[0] < trace < _SQUARES[1]:
            largest = float(centred.abs().max())
            if not 0 < largest < float("inf"):
                return
            scale = 1 / largest
            _gram(centred.mul_(scale), matrix)
            trace = float(matrix.diagonal().sum())
        factor = len(matrix) / trace
        matrix *= factor
        self.scales[k] = scale, factor


def _gram(centred: Float[Tensor, "n p"], out: Float[Tensor, "n n"]) -> None:
    """Multiply features by their transpose, into place."""
    if centred.device.type == "cpu" == out.device.type:
        a = centred.numpy()
        with np.errstate(all="ignore"):  # what is not finite is refused by its name when the batch ends
            np.matmul(a, a.T, out=out.numpy())  # NumPy sees that half of it is enough, torch does not
        return
    with torch.autocast(centred.device.type, enabled=False):
        out.copy_(centred @ centred.T)


def titled(name: tuple[str, str]) -> str:
    """How a message names a layer, given the title of its network and its own name."""
    return f"layer {name[1]!r} of the {name[0]} network"
