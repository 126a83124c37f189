"""What a stack's layers see: receptive fields, their widths, and which layers lie below the scale."""

from __future__ import annotations

from akp_core.errors import expected
from akp_core.scale_detection.network import Stack
from akp_core.theory.pooling import sensitivity


def reach(stack: Stack) -> list[int]:
    """Receptive field of each layer along an axis, in pixels."""
    return [1 + (stack.filter - 1) * sum(stack.stride**i for i in range(k + 1)) for k in range(stack.depth)]


def widths(stack: Stack) -> list[float]:
    """Width A of the receptive field of each layer of even filters, as `akp_core.theory.pooling` has it."""
    if stack.filter < 2:
        raise expected("a filter of at least 2 places, which averages", str(stack.filter))
    return [sensitivity([1.0] * stack.filter, stack.stride, k + 1).width for k in range(stack.depth)]


def below_scale(stack: Stack, scale: float) -> list[int]:
    """Layers, from 1, whose receptive field is below the scale: only there is pooling of use, and measured.

    Raises
    ------
    AkpError
        For fewer than two.
    """
    found = [k + 1 for k, field in enumerate(reach(stack)) if field < scale]
    if len(found) < 2:
        raise expected(
            "at least 2 layers with a receptive field below the scale", f"{len(found)} below {scale:g}",
            "take a larger scale or a smaller filter",
        )  # fmt: skip
    return found
