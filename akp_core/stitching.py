"""Model stitching, the functional witness: can one network go on from what another has computed?

An affine map, fitted on images of its own, carries the sender's representation at a tap to the receiver's,
and the receiver finishes the work. What that costs in errors is the stitching penalty. It asks whether the
receiver *can use* what the sender holds, not whether the two hold the same: stitching succeeds between
networks that use different information, so it is a second witness beside similarity and never the judge.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, nn

from akp_core.errors import AkpError, expected, unknown_name, whole_number
from akp_core.networks.tap import continued, evaluating, tapped
from akp_core.similarity.convolution import as_features

Kind: TypeAlias = Literal["auto", "position", "dense"]
Method: TypeAlias = Literal["matching", "task"]
Images: TypeAlias = tuple[Float[Tensor, "n c h w"], Int[Tensor, " n"]]

_RIDGES = 10.0 ** np.arange(-12, 2.25, 0.25)
"""Candidates for the ridge, as shares of the largest eigenvalue of the sender's covariance."""
_BATCH = 256


@dataclass(frozen=True, eq=False)
class AffineMap:
    """What carries a sender's representation to a receiver's.

    Attributes
    ----------
    weight : (q, p) float64
    bias : (q,) float64
    shape : tuple of int
        Shape of the receiver's representation of one image.
    by_position : bool
        Whether the map acts on the channels at each position, as a 1 x 1 convolution, or on all features.
    ridge : float
        The chosen ridge, as a share of the largest eigenvalue of the sender's covariance.
    """

    weight: Float64[Tensor, "q p"]
    bias: Float64[Tensor, " q"]
    shape: tuple[int, ...]
    by_position: bool
    ridge: float

    def __call__(self, x: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        """Carry representations (n, p, ...) over; computes in their precision."""
        rows = as_features(x, positions="each") if self.by_position else x.flatten(1)
        y = F.linear(rows, self.weight.to(x), self.bias.to(x))
        if not self.by_position:
            return y.reshape(len(x), *self.shape)
        return y.reshape(len(x), -1, len(self.bias)).swapaxes(1, 2).reshape(len(x), *self.shape)


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
    level: float = 0.95,
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
    resamples, level
        Of the bootstrap.

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
    if not 0 < level < 1:
        raise expected("a level between 0 and 1", repr(level))
    _check_images(fit, "fit", 4)
    _check_images(evaluation, "evaluation", 2)
    if groups is not None and groups.shape != evaluation[1].shape:
        raise expected(f"one group for each of {len(evaluation[1])} evaluation images", tuple(groups.shape))
    _refuse_common(fit[0], evaluation[0])
    goal = _Goal(receiver, receiver_tap or sender_tap, fit, evaluation, kind, method, steps)

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
    outputs = _logits(sender, evaluation[0])
    alike = isinstance(outputs, Tensor) and outputs.shape == goal.own.shape
    wrong, usual = predictions != goal.truth, goal.own.argmax(dim=1) != goal.truth
    return Stitched(
        error=goal.error(predictions),
        receiver_error=goal.error(goal.own.argmax(dim=1)),
        sender_error=goal.error(outputs.argmax(dim=1)) if alike else None,
        null_error=float(np.mean(nulls)),
        untrained_error=None if untrained is None else error_from(untrained, "untrained sender"),
        penalty=(int(wrong.sum()) - int(usual.sum())) / len(wrong),
        interval=_interval(wrong, usual, groups, resamples, level, rng),
        p_value=_mcnemar(wrong, usual) if groups is None else None,
        predictions=predictions,
        map=fitted,
        method=method,
    )


class _Goal:
    """The receiver: what its tap holds, and what it makes of another representation there."""

    def __init__(
        self,
        receiver: nn.Module,
        tap: str,
        fit: Images,
        evaluation: Images,
        kind: Kind,
        method: Method,
        steps: int,
    ) -> None:
        self.receiver, self.tap, self.kind, self.method, self.steps = receiver, tap, kind, method, steps
        self.go_on = continued(receiver, tap)
        self.images, self.later = fit[0], evaluation[0]
        self.target = _features(receiver, tap, "receiver", self.images)
        own = _logits(receiver, self.later)
        if not isinstance(own, Tensor) or own.ndim != 2 or not bool(own.isfinite().all()):
            raise expected("a receiver that gives finite logits (n, classes)", _described(own))
        self.own = own
        self.labels, self.truth = (labels.to(own.device) for _, labels in (fit, evaluation))
        for name, labels in (("fit", self.labels), ("evaluation", self.truth)):
            if int(labels.min()) < 0 or int(labels.max()) >= own.shape[1]:
                raise expected(
                    f"{name} labels from 0 to {own.shape[1] - 1}, the receiver's classes",
                    f"{int(labels.min())} to {int(labels.max())}",
                )
        self._refuse_shortcut()

    def stitched(
        self, model: nn.Module, tap: str, title: str, order: NDArray[np.int64] | None = None
    ) -> tuple[AffineMap, Tensor]:
        """The map from a sender, fitted to pairs in the given order, and what to evaluate it on."""
        x = _features(model, tap, title, self.images)
        if order is not None:
            x = x[torch.from_numpy(order).to(x.device)]
        fitted = _matched(x, self.target, self.kind)
        if self.method == "task":
            fitted = self._trained(fitted, x)
        return fitted, _features(model, tap, title, self.later)

    def predictions(self, fitted: AffineMap, x: Tensor) -> Int[Tensor, " n"]:
        """The class that the receiver gives each evaluation image, going on from a sender's features."""
        with evaluating(self.receiver), torch.no_grad():
            parts = zip(torch.split(self.later, _BATCH), torch.split(x, _BATCH), strict=True)
            logits = torch.cat([self.go_on(images, fitted(features)) for images, features in parts])
        if not bool(logits.isfinite().all()):
            raise AkpError(
                "expected finite logits of the stitched network, got NaN or infinity at the receiver"
            )
        return logits.argmax(dim=1)

    def error(self, predictions: Int[Tensor, " n"]) -> float:
        """Share of wrong predictions."""
        return int((predictions != self.truth).sum()) / len(self.truth)

    def _trained(self, start: AffineMap, x: Tensor) -> AffineMap:
        """The map with the least cross-entropy on the fitting images, from a start."""
        moving = replace(start, weight=start.weight.clone(), bias=start.bias.clone())
        weights = [moving.weight.requires_grad_(), moving.bias.requires_grad_()]
        best, least = start, float("inf")

        def loss() -> float:
            nonlocal best, least
            total = 0.0
            for part in weights:
                part.grad = None
            for images, features, labels in zip(
                *(torch.split(t, _BATCH) for t in (self.images, x, self.labels)), strict=True
            ):
                logits = self.go_on(images, moving(features))
                share = F.cross_entropy(logits.double(), labels, reduction="sum") / len(x)
                share.backward(inputs=weights)  # type: ignore[no-untyped-call]
                total += float(share.detach())
            if total < least:
                least = total
                best = replace(
                    start, weight=moving.weight.detach().clone(), bias=moving.bias.detach().clone()
                )
            return total

        optimiser = torch.optim.LBFGS(weights, max_iter=self.steps, line_search_fn="strong_wolfe")
        with evaluating(self.receiver), torch.enable_grad():
            optimiser.step(loss)  # type: ignore[no-untyped-call]
        return best

    def _refuse_shortcut(self) -> None:
        """Refuse a tap that part of what the receiver uses goes around: it would stitch itself to itself."""
        few = self.images[:32]
        mean = self.target.mean(dim=0).expand(len(few), *self.target.shape[1:])
        with evaluating(self.receiver), torch.no_grad():
            usual, cut = self.receiver(few), self.go_on(few, mean)
        if float((cut - cut[0]).abs().max()) > 1e-3 * float((usual - usual[0]).abs().max()):
            raise expected(
                "a tap that all the receiver uses goes through",
                f"{self.tap!r}, which a shortcut goes around",
                "tap a whole block or stage",
            )


def _matched(x: Tensor, y: Tensor, kind: Kind) -> AffineMap:
    """Ridge regression of one representation on another, by position or dense."""
    maps = x.ndim > 2 and y.ndim > 2
    by_position = kind == "position" or (kind == "auto" and maps)
    if by_position and not (maps and x.shape[2:] == y.shape[2:]):
        raise expected(
            "maps of equal size at both taps for a stitch by position",
            f"{tuple(x.shape[1:])} and {tuple(y.shape[1:])}",
            "choose taps of equal size, or kind='dense'",
        )
    positions: Literal["each", "flatten"] = "each" if by_position else "flatten"
    rows, goal = (as_features(t, positions=positions).double() for t in (x, y))
    centre, middle = rows.mean(dim=0), goal.mean(dim=0)
    weight, ridge = _ridge(rows - centre, goal - middle)
    return AffineMap(weight, middle - weight @ centre, tuple(y.shape[1:]), by_position, ridge)


def _ridge(x: Float64[Tensor, "n p"], y: Float64[Tensor, "n q"]) -> tuple[Float64[Tensor, "q p"], float]:
    r"""Ridge regression of centred data, the ridge by generalised cross-validation; weights and ridge.

    With :math:`s_k` the singular values of x and :math:`g_k` the sum of squares of y along the k-th left
    singular vector, the ridge :math:`\lambda` has the least

    .. math:: \frac{\|y\|^2 - \sum_k g_k + \sum_k g_k (\lambda / (s_k^2 + \lambda))^2}
              {(n - 1 - \sum_k s_k^2 / (s_k^2 + \lambda))^2} .
    """
    n, p = x.shape
    wide = p > n
    squares, vectors = torch.linalg.eigh(x @ x.T if wide else x.T @ x)
    kept = squares > len(squares) * torch.finfo(torch.float64).eps * squares[-1]
    squares, vectors = squares[kept], vectors[:, kept]
    left = vectors if wide else x @ vectors / squares.sqrt()
    along = left.T @ y
    power = along.square().sum(dim=1)
    ridges = torch.from_numpy(_RIDGES).to(squares) * squares[-1]
    shrink = ridges[:, None] / (squares + ridges[:, None])
    rest = (y.square().sum() - power.sum()).clamp(min=0)
    free = n - 1 - (1 - shrink).sum(dim=1)
    score = (rest + (power * shrink.square()).sum(dim=1)) / free.square()
    score[free < 1e-6 * n] = torch.inf
    best = int(score.argmin())
    right = x.T @ left / squares.sqrt() if wide else vectors
    weight = (right * (squares.sqrt() / (squares + ridges[best]))) @ along
    return weight.T.contiguous(), float(_RIDGES[best])


def _features(model: nn.Module, tap: str, title: str, images: Tensor) -> Tensor:
    """What a part puts out for all images, with its shape."""
    pieces = []
    with evaluating(model), torch.no_grad(), tapped(model, [tap]) as seen:
        for part in torch.split(images, _BATCH):
            model(part)
            if tap not in seen:
                raise AkpError(f"tap {tap!r} is never called in a pass; tap a part that is called once")
            pieces.append(seen[tap])
    x = torch.cat(pieces)
    if x.ndim < 2 or len(x) != len(images):
        raise expected(f"a row an image at tap {tap!r} of the {title}", f"shape {tuple(x.shape)}")
    if not bool(x.isfinite().all()):
        raise AkpError(f"expected finite outputs at tap {tap!r} of the {title}, got NaN or infinity")
    if bool((x == x[:1]).all()):
        raise AkpError(
            f"tap {tap!r} of the {title} gives the same for every image; there is nothing to stitch"
        )
    return x


def _logits(model: nn.Module, images: Tensor) -> Any:
    """What a network gives for all images, or whatever else it gives for some."""
    with evaluating(model), torch.no_grad():
        outputs = [model(part) for part in torch.split(images, _BATCH)]
    return torch.cat(outputs) if all(isinstance(o, Tensor) and o.ndim for o in outputs) else outputs[0]


def _described(outputs: Any) -> str:
    if not isinstance(outputs, Tensor):
        return type(outputs).__name__
    bad = int((~outputs.isfinite()).sum())
    return f"{bad} non-finite of {outputs.numel()}" if bad else f"shape {tuple(outputs.shape)}"


def _check_images(pair: Images, name: str, least: int) -> None:
    if not (isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(t, Tensor) for t in pair)):
        raise expected(f"{name} as a pair of tensors (images, labels)", type(pair).__name__)
    images, labels = pair
    if images.ndim < 2 or labels.shape != images.shape[:1] or labels.is_floating_point():
        got = f"{tuple(images.shape)} and {labels.dtype} of shape {tuple(labels.shape)}"
        raise expected(f"{name} images (n, ...) and whole labels (n,)", got)
    if len(images) < least:
        raise expected(f"at least {least} {name} images", str(len(images)))


def _refuse_common(fit: Tensor, evaluation: Tensor) -> None:
    known = {row.tobytes() for row in fit.cpu().contiguous().numpy()}
    common = sum(row.tobytes() in known for row in evaluation.cpu().contiguous().numpy())
    if common:
        raise expected(
            "evaluation images that the fit does not see", f"{common} of {len(evaluation)} in both"
        )


def _interval(
    wrong: Tensor,
    usual: Tensor,
    groups: Tensor | None,
    resamples: int,
    level: float,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean paired difference, drawing groups."""
    difference = wrong.cpu().numpy().astype(float) - usual.cpu().numpy().astype(float)
    of = (
        np.arange(len(difference))
        if groups is None
        else np.unique(groups.cpu().numpy(), return_inverse=True)[1]
    )
    if of.max() == 0:
        raise expected("at least two groups of evaluation images", "one", "there is nothing to resample")
    result = stats.bootstrap(
        (np.bincount(of, weights=difference), np.bincount(of).astype(float)),
        lambda totals, counts, axis: totals.sum(axis) / counts.sum(axis),
        paired=True,
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, 10_000_000 // len(difference)),
        confidence_level=level,
        method="percentile",
        rng=rng,
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def _mcnemar(wrong: Tensor, usual: Tensor) -> float:
    """Exact two-sided McNemar test: of the images on which they differ, half go each way."""
    lost, won = int((wrong & ~usual).sum()), int((~wrong & usual).sum())
    return float(stats.binomtest(lost, lost + won).pvalue) if lost + won else 1.0
