"""One of the two networks: which parts are looked at, and what a pass puts out there."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from akp_core.errors import AkpError, expected, unknown_name
from akp_core.layers.grams import Grams, titled
from akp_core.similarity.convolution import as_features


class Side:
    """One of the two networks: which parts are looked at, and what a pass puts out there."""

    def __init__(
        self, model: nn.Module, title: str, names: Sequence[str] | None, positions: str, channels: int
    ) -> None:
        if not isinstance(model, nn.Module):
            raise expected(f"the {title} network as an nn.Module", type(model).__name__)
        if isinstance(names, str):
            raise expected("layers as a sequence of names", f"the text {names!r}", f"give [{names!r}]")
        known = {name: part for name, part in model.named_modules() if name}
        for name in names or ():
            if name not in known:
                raise unknown_name(f"layer of the {title} network", name, known)
        if not known or (names is not None and not len(names)):
            raise expected(f"named parts of the {title} network to compare", "none")
        self.model, self.title, self.named = model, title, names is not None
        self.parts = known if names is None else {name: known[name] for name in names}
        self.positions, self.channels = positions, channels
        weights = [t for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()]
        self.device = weights[0].device if weights else torch.device("cpu")
        self.precision = weights[0].dtype if weights else None
        self.skipped: dict[str, str] = {}
        self.entries = 0
        self.grams = Grams(len(self.parts), self.device)

    def run(self, images: Tensor) -> Float[Tensor, "L n n"]:
        """Pass images through the network; gives the centred Gram matrix of every part's output."""
        grams = self.grams
        grams.open(len(images))
        calls: Counter[str] = Counter()
        alike: dict[Any, tuple[weakref.ref[Tensor], int]] = {}

        def watch(part: str) -> Any:
            def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
                calls[part] += 1
                name = part if calls[part] == 1 else f"{part}#{calls[part]}"
                if (fault := _fault(output, len(images))) is not None:
                    self._leave_out(name, fault)
                    return
                key = _identity(output)
                known, index = alike.get(key, (None, 0))
                if key is not None and known is not None and known() is not None:
                    grams.again((self.title, name), index)
                else:
                    index = grams.add((self.title, name), self._features(output))
                    alike[key] = weakref.ref(output), index

            return hook

        handles = [part.register_forward_hook(watch(name)) for name, part in self.parts.items()]
        try:
            self.model(images.to(self.device, self.precision if images.is_floating_point() else None))
        finally:
            for handle in handles:
                handle.remove()
        for part in self.parts:
            if not calls[part]:
                self._leave_out(part, "is never called in a pass")
        self.entries = len(grams.names)
        if not self.entries:
            raise expected(f"a layer of the {self.title} network that gives one floating tensor", "none")
        return grams.close()

    def _leave_out(self, name: str, fault: str) -> None:
        if self.named:
            raise AkpError(
                f"{titled((self.title, name))} {fault}; name a part that gives one floating tensor"
            )
        self.skipped[name] = fault

    def _features(self, output: Tensor) -> Float[Tensor, "n p"]:
        if self.positions == "mean":
            return as_features(output, positions="mean", channels=self.channels if output.ndim == 3 else 1)
        # a Gram matrix does not know the order of its features: the one in memory needs no copy
        order = sorted(range(1, output.ndim), key=output.stride, reverse=True)
        return output.permute(0, *order).reshape(len(output), -1)


def _fault(output: Any, n: int) -> str | None:
    """Why an output is no representation, or None if it is one."""
    if not isinstance(output, Tensor):
        return f"gives {type(output).__name__}"
    if not output.is_floating_point() or output.layout != torch.strided:
        return f"gives {output.dtype} ({output.layout})"
    if output.ndim < 2 or len(output) != n or not output.numel():
        return f"gives shape {tuple(output.shape)} for {n} images"
    return None


def _identity(output: Tensor) -> Any:
    """What two outputs share only if one is the other, as long as the first is alive."""
    if output.is_inference():
        return None
    return output.data_ptr(), output.dtype, output.shape, output.stride(), output._version
