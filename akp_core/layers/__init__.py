"""The layer by layer similarity map of two networks, in one pass over the images.

Every part's output becomes its centred Gram matrix the moment it is put out: an activation that goes on to
work in place cannot change it, no feature is kept, and both networks see the same images, as the loader is
read once. Per batch all pairs of layers are one product of these matrices, whose sums give minibatch CKA.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn
from tqdm.auto import tqdm

from akp_core.errors import AkpError, expected
from akp_core.layers.grams import LEAST, titled
from akp_core.layers.side import Side
from akp_core.networks.tap import evaluating
from akp_core.similarity.convolution import check_positions
from akp_core.similarity.minibatch import MinibatchCKA
from akp_core.similarity.products import single_threaded

__all__ = ["LayerMap", "layer_map"]


@dataclass(frozen=True, eq=False)
class LayerMap:
    """How alike every layer of one network is to every layer of another, on the same images.

    Attributes
    ----------
    similarity : (L1, L2) float64
        Minibatch CKA, in [-1, 1]; 1: the same geometry up to rotation and scale, about 0: none in common.
    within_first, within_second : (L1, L1) and (L2, L2) float64
        The same inside each network; symmetric, 1 on the diagonal.
    first_layers, second_layers : tuple of str
        In the order in which the parts put out, so that a container follows its children. A part that a pass
        calls again appears again, as ``name#2`` and so on.
    skipped_first, skipped_second : dict of str to str
        Parts that have no place in the map, and why.
    positions : str
        The policy for feature maps.
    examples, batches : int
        Images seen, and in how many batches.
    """

    similarity: Float64[Tensor, "l1 l2"]
    within_first: Float64[Tensor, "l1 l1"]
    within_second: Float64[Tensor, "l2 l2"]
    first_layers: tuple[str, ...]
    second_layers: tuple[str, ...]
    skipped_first: dict[str, str]
    skipped_second: dict[str, str]
    positions: str
    examples: int
    batches: int


def layer_map(
    first: nn.Module,
    second: nn.Module,
    batches: Iterable[Any],
    *,
    layers: Sequence[str] | None = None,
    second_layers: Sequence[str] | None = None,
    positions: Literal["flatten", "mean"] = "flatten",
    channels: int = 1,
    progress: bool = False,
) -> LayerMap:
    r"""Compare every layer of one network with every layer of another, in one pass over the images.

    .. math:: \mathrm{CKA}_{ij} = \frac{\sum_b n_b\, \mathrm{HSIC}_1(K_{ib}, L_{jb})}
              {\sqrt{\sum_b n_b\, \mathrm{HSIC}_1(K_{ib}, K_{ib})}
               \sqrt{\sum_b n_b\, \mathrm{HSIC}_1(L_{jb}, L_{jb})}},

    with :math:`K_{ib}` the Gram matrix of layer i for the :math:`n_b` images of batch b. Sums come before the
    ratio (`akp_core.similarity.MinibatchCKA`).

    Parameters
    ----------
    first, second : nn.Module
        Of any two architectures, each where its weights are. They are run in evaluation mode without
        gradients, and left as they were found: modes, weights and hooks.
    batches : iterable of (n_b, ...) tensors, or of tuples and lists that start with one
        Read once; labels are ignored. Both networks get each batch, in the precision of their weights. A
        batch of fewer than 4 images, such as a last one, is joined to the one before it (or after it, at
        the start).
    layers, second_layers : sequence of str, optional
        Names of parts; those of the second network are the first's unless given. None means every named part
        that gives one floating tensor with a row an image, containers included.
    positions : {"flatten", "mean"}
        How feature maps are read (`akp_core.similarity.convolution.as_features`). Positions as examples
        would need Gram matrices of n h w rows and equal sizes everywhere, and are not offered here.
    channels : int
        For ``mean``, the axis of the channels in outputs of three axes: 1, as `nn.Conv1d` has it, or 2 for
        tokens (n, tokens, d). Outputs of four axes or more have them second.
    progress : bool
        Show a bar, a step a batch.

    Returns
    -------
    LayerMap

    Raises
    ------
    AkpError
        For an unknown name; a named layer that is not called, or gives no floating tensor with a row an
        image; a layer whose output is not finite, or the same for all images (named, as it has no CKA: leave
        it out of ``layers``); fewer than 4 images; a network that calls other parts for another batch.

    Notes
    -----
    Invariances: for each layer those of `akp_core.similarity.cka`. With one batch the map is the unbiased CKA
    of the two layers' outputs; with more it is its minibatch estimate, which depends on how images were
    batched.

    Gram matrices are in float32, or float64 where a network is; features are centred before they are
    multiplied. An output that is the very tensor of another part, as a container's is its last child's, is
    not multiplied again.

    Cost: both forward passes, :math:`n_b^2 \sum_i p_i` operations a batch for the Gram matrices and
    :math:`L^2 n_b^2` for all pairs, L = L1 + L2; memory for :math:`L n_b^2` numbers and one layer's output.

    References
    ----------
    Nguyen, Raghu and Kornblith 2021, eq. 4 and 5 (minibatch CKA); Kornblith et al. 2019.
    """
    check_positions(positions)
    if str(positions) == "each":
        raise expected(
            "positions as 'flatten' or 'mean' in a layer map",
            "'each'",
            "use as_features(x, positions='each')",
        )
    sides = [Side(first, "first", layers, positions, channels)]
    alone = second is first and second_layers is None
    if not alone:
        sides.append(
            Side(second, "second", layers if second_layers is None else second_layers, positions, channels)
        )
    wide = any(p.dtype == torch.float64 for side in sides for p in side.model.parameters())
    for side in sides:
        side.grams.dtype = torch.float64 if wide else torch.float32
    sums = MinibatchCKA()
    total = len(batches) if isinstance(batches, Sized) else None
    # tqdm and the loop would each ask a loader for an iterator, and so start its workers twice.
    shown = tqdm(iter(batches), total=total, desc="layers", unit="batch", disable=not progress)
    with evaluating(first, second), torch.inference_mode(False), torch.no_grad(), _passes(sides) as run:
        for images in _large_enough(shown):
            sums.add_grams(torch.cat([grams.cpu() for grams in run(images)]), check=False)
    names = [name for side in sides for name in side.grams.checked_names()]
    whole = _result(sums, names)
    here = slice(0, sides[0].entries)
    there = here if alone else slice(sides[0].entries, None)
    return LayerMap(
        similarity=whole[here, there],
        within_first=whole[here, here],
        within_second=whole[there, there],
        first_layers=tuple(name for _, name in names[here]),
        second_layers=tuple(name for _, name in names[there]),
        skipped_first=sides[0].skipped,
        skipped_second=sides[-1].skipped,
        positions=positions,
        examples=sums.examples,
        batches=sums.batches,
    )


@contextmanager
def _passes(sides: Sequence[Side]) -> Iterator[Callable[[Tensor], list[Float[Tensor, "L n n"]]]]:
    """Pass images through the networks; on a CPU, two that share no part run at once on half the threads.

    Matrix products stay on the thread that asks for them: a second pool of threads would wait, busily, on
    the cores of the one that runs the network.
    """
    threads = torch.get_num_threads()
    parts = [set(side.model.modules()) for side in sides]
    apart = len(sides) == 2 and threads > 1 and not parts[0] & parts[1]
    apart = apart and all(side.device.type == "cpu" for side in sides)

    def one(side: Side, images: Tensor) -> Float[Tensor, "L n n"]:
        if apart:
            torch.set_num_threads(threads // 2)
        with torch.inference_mode(False), torch.no_grad():
            return side.run(images)

    with ThreadPoolExecutor(2) as pool:

        def run(images: Tensor) -> list[Float[Tensor, "L n n"]]:
            with single_threaded():
                return list((pool.map if apart else map)(one, sides, [images] * len(sides)))

        try:
            yield run
        finally:
            torch.set_num_threads(threads)


def _result(sums: MinibatchCKA, names: Sequence[tuple[str, str]]) -> Float64[Tensor, "L L"]:
    """All similarities; a fault names its layer, which the sums know by its place alone."""
    try:
        return torch.as_tensor(sums.result())
    except AkpError as fault:
        said = re.sub(r"^representation (\d+)", lambda m: titled(names[int(m[1])]), str(fault))
        raise AkpError(said) from None


def _large_enough(batches: Iterable[Any]) -> Iterator[Tensor]:
    """The images of every batch; those of a batch too small join the batch beside it."""
    held: Tensor | None = None
    for batch in batches:
        images = batch[0] if isinstance(batch, tuple | list) and len(batch) else batch
        if not isinstance(images, Tensor) or images.ndim < 2:
            got = f"shape {tuple(images.shape)}" if isinstance(images, Tensor) else type(images).__name__
            raise expected(
                "batches of images, or (images, labels) pairs", got, "cut a tensor with torch.split(x, 128)"
            )
        if held is not None and min(len(held), len(images)) >= LEAST:
            yield held
            held = None
        held = images if held is None else torch.cat([held, images])
    if held is None or len(held) < LEAST:
        raise expected(f"at least {LEAST} images", "none" if held is None else str(len(held)))
    yield held
