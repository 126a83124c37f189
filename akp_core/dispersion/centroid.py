r"""The centroid of a family and its dispersion, from one reading of the models' fingerprints.

The chordal distance is the Euclidean distance of unit fingerprints f, so a family's centroid is their mean
and its dispersion needs one sum over the models,

.. math:: V = \frac{1}{n-1}\Bigl(\sum_i |f_i|^2 - \tfrac1n \bigl|\sum_i f_i\bigr|^2\Bigr)
            = \frac{1}{n-1} \sum_i |f_i - \bar f|^2 .

The first form cancels for tight families (all 1s, less nearly 1). So deviations from the batches' own means
are summed, and joined by the update of Chan, Golub and LeVeque (1983); identical models give exactly 0.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from akp_core.dispersion.geometry import Array
from akp_core.errors import expected
from akp_core.similarity.arrays import A, as_float64, like

_BLOCK_ENTRIES = 1 << 22
_RESOLUTION = 1e-28
"""A V of unit vectors below this is round-off: their entries are known to 1e-16 of themselves."""


def check_batch(batch: Float[Array, "b k"], width: int | None) -> tuple[int, int]:
    """Models and entries of a batch, if it is one of fingerprints of the right length."""
    shape = tuple(getattr(batch, "shape", ()))
    if not isinstance(batch, np.ndarray | Tensor) or len(shape) != 2 or shape[1] == 0:
        came = f"shape {shape}" if isinstance(batch, np.ndarray | Tensor) else type(batch).__name__
        raise expected("a batch of fingerprints as (models, entries)", came, "stack one per row")
    if width is not None and shape[1] != width:
        raise expected(
            f"fingerprints of {width} entries like those before",
            str(shape[1]),
            "compare fingerprints of the same examples and the same estimator",
        )
    return shape[0], shape[1]


class Room:
    """Memory for the rows of one batch after another."""

    def __init__(self) -> None:
        self._held: Tensor | None = None

    def of(self, rows: int, entries: int, device: torch.device) -> Float64[Tensor, "rows entries"]:
        """Room for so many rows; what stood there before is overwritten."""
        held = self._held
        if held is None or held.numel() < rows * entries or held.device != device:
            self._held = held = torch.empty(rows * entries, dtype=torch.float64, device=device)
        return held[: rows * entries].view(rows, entries)


def unit_rows(
    batch: Float[Array, "b k"], width: int | None, room: Room | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """The rows of a batch, a few at a time: unit length in float64, and which have a fingerprint.

    They stand in one piece of memory that the next few overwrite and that the reader may change: fresh
    arrays of this size, between small ones that stay, would leave the process full of holes.
    """
    models, entries = check_batch(batch, width)
    as_float64(batch[:0], "fingerprints")  # refuses what are no real numbers
    size = max(1, min(models, _BLOCK_ENTRIES // entries))
    device = batch.device if isinstance(batch, Tensor) else torch.device("cpu")
    block = (room or Room()).of(size, entries, device)
    for start in range(0, models, size):
        came = batch[start : start + size]
        rows = block[: len(came)]
        if isinstance(came, Tensor):
            rows.copy_(came.detach())
        else:
            np.copyto(rows.numpy(), came)
        largest = torch.linalg.vector_norm(rows, torch.inf, dim=1, keepdim=True)
        usable = torch.isfinite(largest).flatten()
        for row in torch.nonzero(~usable).flatten().tolist():
            if not rows[row].isnan().all():
                raise expected(
                    "fingerprints that are finite, or NaN throughout for a model without one",
                    f"non-finite entries in row {start + row} of a batch",
                )
        empty = torch.nonzero(largest.flatten() == 0).flatten().tolist()
        if empty:
            raise expected("fingerprints of length 1", f"zeros in row {start + empty[0]} of a batch")
        rows /= largest
        yield rows.div_(torch.linalg.vector_norm(rows, dim=1, keepdim=True)), usable


def those(rows: Float64[Tensor, "b k"], usable: Bool[Tensor, " b"]) -> Float64[Tensor, "u k"]:
    """The usable rows; the very same memory where all are."""
    return rows if bool(usable.all()) else rows[usable]


class Centroid:
    """The centroid and the dispersion of a family, accumulated over batches of fingerprints.

    Attributes
    ----------
    members : int
        Models added that have a fingerprint.
    excluded : int
        Models added that have none (rows of NaN).

    Notes
    -----
    The result is the same, to round-off, however the models are split into batches or over accumulators
    that are merged. Memory: a vector of k float64 numbers and a few rows of a batch. Cost: 6k
    operations per model. Where the batches are torch tensors the sums stay on the device of the first.

    Examples
    --------
    >>> family = Centroid()
    >>> family.add(np.eye(3))
    >>> family.members, round(family.dispersion, 12)
    (3, 1.0)
    """

    def __init__(self) -> None:
        self.members = 0
        self.excluded = 0
        self._mean: Tensor | None = None
        self._scatter = 0.0
        self._torch = False

    def add(self, batch: Float[Array, "b k"]) -> None:
        """Add models.

        Parameters
        ----------
        batch : (b, k) array, NumPy or torch
            One `akp_core.similarity.fingerprint` per row, float32 or float64, all of the same examples and
            estimator; rows are brought to length 1 again. A row of NaN is counted as excluded.

        Raises
        ------
        AkpError
            If the batch is not such an array, naming the row at fault. Blocks of rows before it are
            already added.
        """
        for rows, usable in unit_rows(batch, None if self._mean is None else len(self._mean)):
            self.excluded += int((~usable).sum())
            self.add_rows(those(rows, usable), torch_came=isinstance(batch, Tensor))

    def add_rows(self, rows: Float64[Tensor, "b k"], *, torch_came: bool) -> None:
        """Add rows of `unit_rows`, which are overwritten."""
        if len(rows) == 0:
            return
        if self._mean is None:
            self._mean, self._torch = torch.zeros_like(rows[0]), torch_came
        here = rows.to(self._mean.device)
        mean = here.mean(dim=0)
        deviations = here.sub_(mean).flatten()
        self._join(len(rows), mean, float(deviations.dot(deviations)))

    def _join(self, members: int, mean: Tensor, scatter: float) -> None:
        """Chan, Golub and LeVeque's update with the mean and the sum of squares about it of more members."""
        assert self._mean is not None
        everyone = self.members + members
        apart = mean - self._mean
        self._scatter += scatter + float(apart.dot(apart)) * self.members * members / everyone
        self._mean = self._mean + apart * (members / everyone)
        self.members = everyone

    def merge(self, other: Centroid) -> None:
        """Add the models of another accumulator, as if their batches had been added here."""
        if not isinstance(other, Centroid):
            raise expected("another Centroid", type(other).__name__)
        if self._mean is not None and other._mean is not None and len(other._mean) != len(self._mean):
            raise expected(f"fingerprints of {len(self._mean)} entries", str(len(other._mean)))
        self.excluded += other.excluded
        if other._mean is None:
            return
        if self._mean is None:
            self._mean, self._torch = torch.zeros_like(other._mean), other._torch
        self._join(other.members, other._mean.to(self._mean.device), other._scatter)

    @property
    def mean(self) -> Float64[Array, " k"]:
        """The centroid, of the kind (NumPy or torch) of the first batch; shorter than 1 if models differ."""
        if self._mean is None:
            raise expected("at least 1 model with a fingerprint", "0", "add a batch first")
        return self._mean if self._torch else self._mean.cpu().numpy()

    @property
    def dispersion(self) -> float:
        """sqrt(V): root mean square distance to the centroid, with n - 1; 0 for identical models."""
        self._check_two()
        v = self._scatter / (self.members - 1)
        return float(np.sqrt(v)) if v > _RESOLUTION else 0.0

    def _check_two(self) -> None:
        if self.members < 2:
            raise expected("at least 2 models with a fingerprint", str(self.members), "add members")

    def squared(self, rows: Float64[Tensor, "b k"]) -> Float64[np.ndarray, " b"]:
        """Squared distance of rows of `unit_rows`, overwritten, to the mean, without the n / (n - 1)."""
        assert self._mean is not None
        if self._scatter <= _RESOLUTION * (self.members - 1):
            return np.zeros(len(rows))
        deviations = rows.to(self._mean.device).sub_(self._mean)
        found: Float64[np.ndarray, " b"] = torch.linalg.vecdot(deviations, deviations).cpu().numpy()
        return found

    def distances(self, batch: Float[A, "b k"]) -> Float64[A, " b"]:
        r"""Distance of each model to the centroid, on a second pass over the same models.

        .. math:: \delta_i = \sqrt{\tfrac{n}{n-1}}\, |f_i - \bar f|

        Parameters
        ----------
        batch : (b, k) array, NumPy or torch
            As for `add`.

        Returns
        -------
        (b,) float64 array of the kind that came
            As `distance_to_centroid` of the chordal distances: 0 or more, NaN for a model without a
            fingerprint.

        Raises
        ------
        AkpError
            As `add`; with fewer than 2 members.
        """
        self._check_two()
        assert self._mean is not None
        found: list[Float64[np.ndarray, " b"]] = []
        for rows, usable in unit_rows(batch, len(self._mean)):
            squared = np.full(len(rows), np.nan)
            squared[usable.cpu().numpy()] = self.squared(those(rows, usable))
            found.append(np.sqrt(squared * self.members / (self.members - 1)))
        result = torch.from_numpy(np.concatenate([np.empty(0), *found]))
        return like(result.to(batch.device) if isinstance(batch, Tensor) else result, batch)
