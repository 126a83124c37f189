"""Stitching two networks, and what it cost beside every comparison that tells what the cost means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from akp_core.errors import expected, unknown_name, whole_number
from akp_core.stitching.affine import AffineMap, Kind
from akp_core.stitching.penalty import interval_of, mcnemar
from akp_core.stitching.receiver import Images, Method, Receiver, logits_of


@dataclass(frozen=True, eq=False)
class Stitched:
    """What became of the errors when a receiver went on from a sender's representation.

    All errors are shares in [0, 1] of the evaluation images.

    Attributes
    ----------
    error : float
        Of the stitched network.
    receiver_error : float
        Of the receiver alone.
    sender_error : float or None
        Of the sender alone; None where it gives other outputs than the receiver.
    null_error : float
        Mean over stitches fitted to pairs that were shuffled: what the receiver's top does by itself.
    untrained_error : float or None
        Of a stitch from the untrained sender: what an arbitrary map of the images would have allowed.
    penalty : float
        ``error - receiver_error``, in [-1, 1]; 0: nothing lost.
    interval : tuple of float
        Percentile bootstrap interval of the penalty over the images, or their groups: for these two networks,
        not for their families. It has no width where the two err on the same images.
    p_value : float or None
        Exact McNemar test that both err alike; None where groups were given, as it takes images as
        independent.
    predictions : (n,) int64
        The stitched network's class for each evaluation image.
    map : AffineMap
        What was fitted.
    method : {"matching", "task"}
    """

    error: float
    receiver_error: float
    sender_error: float | None
    null_error: float
    untrained_error: float | None
    penalty: float
    interval: tuple[float, float]
    p_value: float | None
    predictions: Int[Tensor, " n"]
    map: AffineMap
    method: Method


def stitch(
    sender: nn.Module,
    receiver: nn.Module,
    sender_tap: str,
    receiver_tap: str | None = None,
    *,
    fit: Images,
    evaluation: Images,
    rng: np.random.Generator,
    method: Method = "matching",
    kind: Kind = "auto",
    untrained: nn.Module | None = None,
    groups: Int[Tensor, " n"] | None = None,
    shuffles: int = 1,
    steps: int = 50,
    resamples: int = 2000,
    level: float = 0.05,
) -> Stitched:
    r"""Let a receiver go on from a sender's representation, through a fitted affine map.

    With x and y the two representations of the fitting images, the map is :math:`y \approx Wx + b`,

    .. math:: \min_{W, b} \sum_i \|y_i - W x_i - b\|^2 + \lambda \|W\|_F^2 \quad (\text{matching}),

    the ridge chosen by generalised cross-validation; or, from there, the map with the least cross-entropy of
    the receiver's output (task). The penalty is the stitched network's error less the receiver's.

    Parameters
    ----------
    sender, receiver : nn.Module
        On one device, over the same images; the receiver gives logits (n, classes). Both are run in
        evaluation mode and left as they were found.
    sender_tap, receiver_tap : str
        Parts that are called once in a pass; the receiver's is the sender's unless given. All that the
        receiver computes must go through its tap.
    fit, evaluation : (images, labels)
        Images (n, c, h, w) as the networks take them, labels (n,) from 0. The two sets share no image.
    rng : numpy.random.Generator
        Draws the shuffles of the null and the bootstrap, and nothing else.
    method : {"matching", "task"}
        ``matching`` needs no labels and is in closed form. ``task`` trains the map alone, with L-BFGS on all
        fitting images at once, which asks what the receiver can do with the sender's representation at best.
    kind : {"auto", "position", "dense"}
        ``position``: over the channels at each position, for maps of equal height and width. ``dense``: over
        all features. ``auto``: the first where both taps give maps, else the second.
    untrained : nn.Module, optional
        The sender before its training, stitched in the same way for comparison.
    groups : (n,) int, optional
        What the evaluation images come from, such as patients; the bootstrap then draws these.
    shuffles : int
        Nulls to fit.
    steps : int
        L-BFGS iterations of ``task``.
    resamples : int
        Of the bootstrap.
    level : float
        The interval leaves out this much, in (0, 1): 0.05 for one of 95%.

    Returns
    -------
    Stitched

    Raises
    ------
    AkpError
        For an unknown tap, method or kind; a tap that a shortcut goes around; representations that are not
        finite or constant; maps of unequal sizes by position; an image in both sets; labels that are not one
        class an image; an rng that is not a generator.

    Notes
    -----
    Invariances: an invertible affine map of the sender's features (for ``matching`` up to the ridge), with
    ``position`` of its channels. Not symmetric: a penalty has a direction.

    A low penalty is evidence that the receiver can read the sender's representation, not that the two use the
    same information. Near the input an untrained sender stitches as well: read the penalty beside
    ``untrained_error`` and ``null_error``. Positions of one image are not independent, so by position the
    cross-validation chooses somewhat too small a ridge.

    Cost: two passes over the images for each stitch, :math:`N p (p + q)` operations for N rows; a task step
    is one to a few forward and backward passes through the receiver.

    References
    ----------
    Lenc and Vedaldi 2015; Bansal, Nakkiran and Barak 2021 (the penalty); Csiszarik et al. 2021 (matching
    against task). Golub, Heath and Wahba 1979 (generalised cross-validation).
    """
    if method not in get_args(Method):
        raise unknown_name("method of stitching", method, get_args(Method))
    if kind not in get_args(Kind):
        raise unknown_name("kind of stitch", kind, get_args(Kind))
    if not isinstance(rng, np.random.Generator):
        raise expected(
            "rng as a numpy.random.Generator", type(rng).__name__, "use numpy.random.default_rng(seed)"
        )
    shuffles, steps = whole_number("shuffles", shuffles, 1), whole_number("steps", steps, 1)
    resamples = whole_number("resamples", resamples, 1)
    if isinstance(level, bool) or not isinstance(level, int | float) or not 0 < level < 1:
        raise expected("level as a probability between 0 and 1", repr(level))
    _check_images(fit, "fit", 4)
    _check_images(evaluation, "evaluation", 2)
    for name, network in (("sender", sender), ("receiver", receiver), ("untrained", untrained)):
        if not isinstance(network, nn.Module) and not (name == "untrained" and network is None):
            raise expected(f"{name} as a torch module", type(network).__name__)
    _check_groups(groups, len(evaluation[1]))
    _refuse_common(fit[0], evaluation[0])
    goal = Receiver(receiver, receiver_tap or sender_tap, fit, evaluation, kind, method, steps)

    def error_from(model: nn.Module, title: str) -> float:
        return goal.error(goal.predictions(*goal.stitched(model, sender_tap, title)))

    fitted, seen = goal.stitched(sender, sender_tap, "sender")
    predictions = goal.predictions(fitted, seen)
    nulls = [
        goal.error(
            goal.predictions(*goal.stitched(sender, sender_tap, "sender", rng.permutation(len(fit[0]))))
        )
        for _ in range(shuffles)
    ]
    outputs = logits_of(sender, evaluation[0])
    alike = isinstance(outputs, Tensor) and outputs.shape == goal.own.shape
    wrong, usual = predictions != goal.truth, goal.own.argmax(dim=1) != goal.truth
    return Stitched(
        error=goal.error(predictions),
        receiver_error=goal.error(goal.own.argmax(dim=1)),
        sender_error=goal.error(outputs.argmax(dim=1)) if alike else None,
        null_error=float(np.mean(nulls)),
        untrained_error=None if untrained is None else error_from(untrained, "untrained sender"),
        penalty=(int(wrong.sum()) - int(usual.sum())) / len(wrong),
        interval=interval_of(wrong, usual, groups, resamples, level, rng),
        p_value=mcnemar(wrong, usual) if groups is None else None,
        predictions=predictions,
        map=fitted,
        method=method,
    )


def _check_images(pair: Images, name: str, least: int) -> None:
    if not (isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(t, Tensor) for t in pair)):
        raise expected(f"{name} as a pair of tensors (images, labels)", type(pair).__name__)
    images, labels = pair
    if any(t.layout != torch.strided or t.is_meta or t.is_complex() or t.is_quantized for t in pair):
        got = " and ".join(f"{t.dtype}, {t.layout} on {t.device}" for t in pair)
        raise expected(f"{name} as dense tensors of real numbers with data", got)
    whole = not (labels.is_floating_point() or labels.dtype == torch.bool)
    if images.ndim < 2 or labels.shape != images.shape[:1] or not whole:
        got = f"{tuple(images.shape)} and {labels.dtype} of shape {tuple(labels.shape)}"
        raise expected(f"{name} images (n, ...) and whole labels (n,)", got)
    if len(images) < least:
        raise expected(f"at least {least} {name} images", str(len(images)))


def _check_groups(groups: Int[Tensor, " n"] | None, images: int) -> None:
    if groups is None:
        return
    if not isinstance(groups, Tensor) or groups.layout != torch.strided or groups.is_meta:
        raise expected("groups as a dense tensor of whole numbers", type(groups).__name__)
    if groups.shape != (images,):
        raise expected(f"one group for each of {images} evaluation images", tuple(groups.shape))
    if groups.is_floating_point() or groups.is_complex():
        raise expected("groups as whole numbers", str(groups.dtype))


def _refuse_common(fit: Tensor, evaluation: Tensor) -> None:
    known = set(_rows(fit))
    common = sum(row in known for row in _rows(evaluation))
    if common:
        raise expected(
            "evaluation images that the fit does not see", f"{common} of {len(evaluation)} in both"
        )


def _rows(images: Tensor) -> list[bytes]:
    flat = images.detach().cpu().flatten(1).contiguous()
    return [row.tobytes() for row in flat.view(torch.uint8).numpy()]
