"""The receiver: what its tap holds, how it goes on from another representation, what map it can use best."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn

from akp_core.errors import AkpError, expected
from akp_core.networks.tap import continued, evaluating, tapped
from akp_core.stitching.affine import AffineMap, Kind, matched

Method: TypeAlias = Literal["matching", "task"]
Images: TypeAlias = tuple[Float[Tensor, "n c h w"], Int[Tensor, " n"]]

_BATCH = 256


class Receiver:
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
        self.network, self.tap, self.kind, self.method, self.steps = receiver, tap, kind, method, steps
        self.go_on = continued(receiver, tap)
        self.images, self.later = fit[0], evaluation[0]
        self.target = features_at(receiver, tap, "receiver", self.images)
        own = logits_of(receiver, self.later)
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
        x = features_at(model, tap, title, self.images)
        if order is not None:
            x = x[torch.from_numpy(order).to(x.device)]
        fitted = matched(x, self.target, self.kind)
        if self.method == "task":
            fitted = self._trained(fitted, x)
        return fitted, features_at(model, tap, title, self.later)

    def predictions(self, fitted: AffineMap, x: Tensor) -> Int[Tensor, " n"]:
        """The class that the receiver gives each evaluation image, going on from a sender's features."""
        with evaluating(self.network), torch.no_grad():
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
        with evaluating(self.network), torch.enable_grad():
            optimiser.step(loss)  # type: ignore[no-untyped-call]
        return best

    def _refuse_shortcut(self) -> None:
        """Refuse a tap that part of what the receiver uses goes around: it would stitch itself to itself."""
        few = self.images[:32]
        mean = self.target.mean(dim=0).expand(len(few), *self.target.shape[1:])
        with evaluating(self.network), torch.no_grad():
            usual, cut = self.network(few), self.go_on(few, mean)
        if float((cut - cut[0]).abs().max()) > 1e-3 * float((usual - usual[0]).abs().max()):
            raise expected(
                "a tap that all the receiver uses goes through",
                f"{self.tap!r}, which a shortcut goes around",
                "tap a whole block or stage",
            )


def features_at(model: nn.Module, tap: str, title: str, images: Tensor) -> Tensor:
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


def logits_of(model: nn.Module, images: Tensor) -> Any:
    """What a network gives for all images, or whatever else it gives for some."""
    with evaluating(model), torch.no_grad():
        outputs = [model(part) for part in torch.split(images, _BATCH)]
    return torch.cat(outputs) if all(isinstance(o, Tensor) and o.ndim for o in outputs) else outputs[0]


def _described(outputs: Any) -> str:
    if not isinstance(outputs, Tensor):
        return type(outputs).__name__
    bad = int((~outputs.isfinite()).sum())
    return f"{bad} non-finite of {outputs.numel()}" if bad else f"shape {tuple(outputs.shape)}"
