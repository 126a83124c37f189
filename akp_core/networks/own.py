"""Any network of the user's: its activation modules become slots, its parts become taps."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from akp_core.errors import AkpError, expected, unknown_name
from akp_core.networks.adopt import adopt
from akp_core.networks.architectures import Shape
from akp_core.networks.factory import drawn, refuse_arguments, refuse_shared
from akp_core.networks.origin import origin
from akp_core.networks.slot import slots
from akp_core.networks.specification import checked_shape
from akp_core.networks.tap import tapped

_GLOBAL_POOLS = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool2d)
_NEVER_CALLED = (nn.ParameterList, nn.ParameterDict)


@dataclass(frozen=True, eq=False, init=False)
class Own:
    """A network of the user's, from a factory without arguments.

    Every activation module (`akp_core.networks.adopt.PALETTE_NAMES`, at its default settings) becomes a
    slot under the module's own name. The factory draws its weights from torch's global stream on the CPU,
    which is seeded from the member's generator meanwhile and then put back.

    Parameters
    ----------
    build : callable
        Gives a new network on each call, such as ``lambda: torchvision.models.resnet18(num_classes=2)``.
    taps : sequence of str or None
        Qualified names of modules that are called once in a pass and give one floating tensor, batch
        first. None means the top-level parts that have weights or are adaptive (global) pools; lists of
        modules count by their items.

    Attributes
    ----------
    factory : callable
        What was given as `build`.
    taps : tuple of str
    held : tuple of (slot, activation) names
        First to last.

    Raises
    ------
    AkpError
        For a factory that wants arguments, gives no network, or gives the same weights twice over; for a
        network with lazy shapes, without weights to train, or whose weights come from another source than
        torch's stream; for activation modules that cannot be swapped, or none (`adopt`); for unknown taps.

    Notes
    -----
    Equal are those with equal `spec`. The factory is called three times here and once in each `build`;
    `check` makes two passes of three images.
    """

    factory: Callable[[], nn.Module]
    taps: tuple[str, ...]
    held: tuple[tuple[str, str], ...]
    _spec: str = field(repr=False)
    _draws: bool = field(repr=False)

    def __init__(self, build: Callable[[], nn.Module], taps: Sequence[str] | None = None) -> None:
        refuse_arguments(build)
        model, again, other = (drawn(build, seed) for seed in (0, 0, 1))
        refuse_shared(model, again)
        facts = origin(build, model, other)
        adopt(model)
        chosen = tuple(_parts(model)) if taps is None else _named(model, taps)
        if not chosen:
            raise expected(
                "parts with weights to tap", f"none in {type(model).__name__}", "name them with taps=[...]"
            )
        held = tuple((name, slot.activation.name) for name, slot in slots(model).items())
        spec = {"kind": "own", **facts, "taps": chosen}
        fields = {"factory": build, "taps": chosen, "held": held, "_spec": json.dumps(spec), "_draws": True}
        for name, value in fields.items():
            object.__setattr__(self, name, value)  # as a frozen dataclass does itself

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Own) and self._spec == other._spec

    def __hash__(self) -> int:
        return hash(self._spec)

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of the places where an activation can be swapped, first to last."""
        return tuple(name for name, _ in self.held)

    @property
    def draws(self) -> bool:
        """Whether a training pass may draw random numbers: it may until `check` has seen that it does not."""
        return self._draws

    @property
    def spec(self) -> dict[str, Any]:
        """What `akp_core.networks.origin` names, and the taps; made once, so the same in every process."""
        return dict(json.loads(self._spec))

    def build(self, shape: Shape, classes: int, generator: torch.Generator) -> nn.Module:
        """Build the network with weights that follow from the generator alone.

        Parameters
        ----------
        shape, classes
            Known to the factory already; `check` holds it to them.
        generator : torch.Generator
            On the CPU; one number is drawn from it.

        Returns
        -------
        nn.Module
        """
        del shape, classes
        model = drawn(self.factory, int(torch.randint(2**63 - 1, (), generator=generator)))
        adopt(model)
        return model

    def check(self, shape: Shape, classes: int) -> None:
        """Pass images of zeros through the network, once as in evaluation and once as in training.

        Raises
        ------
        AkpError
            If the pass fails, the output is not (n, classes), a tap is not called exactly once or loses the
            batch axis, or a slot is never called, so that its swap would have no effect.
        """
        checked_shape(shape, classes)
        model = drawn(self.factory, 0)
        adopt(model)
        images = torch.zeros(3, *shape)
        called: set[str] = set()
        for name, slot in slots(model).items():
            slot.register_forward_hook(lambda *_, name=name: called.add(name))
        with tapped(model.eval(), self.taps) as seen:
            _pass(model, images, classes)
            for tap in self.taps:
                if tap not in seen:
                    raise AkpError(f"tap {tap!r} is never called in a pass; name other taps with taps=[...]")
                came = tuple(seen[tap].shape)
                if len(came) < 2 or came[0] != len(images):
                    raise expected(f"tap {tap!r} to give (n, ...), n = {len(images)} images", str(came))
        object.__setattr__(self, "_draws", _pass(model.train(), images, classes))
        for name in self.slots:
            if name not in called:
                raise AkpError(
                    f"slot {name!r} is never called in a pass, so a swap there would have no effect; "
                    f"call the module in forward or leave it out"
                )


def _parts(module: nn.Module, prefix: str = "") -> Iterator[str]:
    for name, part in module.named_children():
        if isinstance(part, nn.ModuleList | nn.ModuleDict):
            yield from _parts(part, f"{prefix}{name}.")
        elif isinstance(part, _GLOBAL_POOLS) or (
            any(True for _ in part.parameters()) and not isinstance(part, _NEVER_CALLED)
        ):
            yield prefix + name


def _named(model: nn.Module, taps: Sequence[str]) -> tuple[str, ...]:
    if isinstance(taps, str) or not isinstance(taps, Sequence) or len(set(taps)) < len(taps):
        raise expected("taps as a list of module names, each once", repr(taps))
    names = [name for name, _ in model.named_modules() if name]
    for tap in taps:
        if tap not in names:
            raise unknown_name("tap", tap, names)
    return tuple(taps)


def _pass(model: nn.Module, images: Tensor, classes: int) -> bool:
    """Pass images through; whether that drew from torch's stream."""
    how = "in training" if model.training else "in evaluation"
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            before = torch.get_rng_state()
            logits = model(images)
            drew = not torch.equal(before, torch.get_rng_state())
    except AkpError:
        raise
    except Exception as fault:
        said = (str(fault).splitlines() or [""])[0]
        raise AkpError(
            f"images of shape {tuple(images.shape[1:])} do not pass through {type(model).__name__} {how}: "
            f"{type(fault).__name__}: {said}"
        ) from fault
    fits = isinstance(logits, Tensor) and logits.is_floating_point()
    if not fits or tuple(logits.shape) != (len(images), classes):
        came = (
            f"{logits.dtype} {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        )
        raise expected(
            f"floating logits of shape (n, classes) = ({len(images)}, {classes}) {how}",
            came,
            "change the network's read-out",
        )
    return drew
