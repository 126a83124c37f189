"""Networks for the question of clones: a last hidden layer of any width, and a task beyond one unit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from akp_core.datasets import Dataset, Split
from akp_core.errors import expected, unknown_name, whole_number
from akp_core.networks import Architecture, Network, Own
from akp_core.seeds import generator

LAYERS = ("linear", "rectified")
KINDS = ("mlp", "cnn", "resnet18", "wide_resnet")
_PER_WIDTH = {"cnn": 4, "resnet18": 8, "wide_resnet": 4}


class WideLast(nn.Module):
    """Rectified layers, then a last hidden layer that is linear or rectified, then the read-out.

    Parameters
    ----------
    inputs, classes : int
    body, depth : int
        Units of each of the first layers, and how many there are.
    width : int
        Units of the last hidden layer.
    rectified : bool
        Whether that is rectified. The published networks have none there: pooling follows the last norm.
    """

    def __init__(self, inputs: int, classes: int, body: int, depth: int, width: int, rectified: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten())
        for k in range(depth):
            self.body.extend([nn.Linear(body if k else inputs, body), nn.ReLU()])
        self.features = nn.Sequential(nn.Linear(body, width))
        if rectified:
            self.features.append(nn.ReLU())
        self.logits = nn.Linear(width, classes)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Logits of images."""
        logits: Tensor = self.logits(self.features(self.body(images)))
        return logits


def of_width(
    data: Dataset, width: int, *, kind: str = "mlp", layer: str = "linear", body: int = 0, depth: int = 0
) -> Architecture:
    """A network whose last hidden layer has so many units.

    Parameters
    ----------
    data : Dataset
        What it is to learn: its images and classes settle the other sizes.
    width : int
        Units of the last hidden layer, W; a multiple of 4 for ``cnn`` and ``wide_resnet``, of 8
        for ``resnet18``.
    kind : {"mlp", "cnn", "resnet18", "wide_resnet"}
        ``mlp`` is a `WideLast`, the others an `akp_core.networks.Network`, every layer of which widens.
    layer : {"linear", "rectified"}
        Of ``mlp``; the last hidden layer of the others is rectified before it is pooled.
    body : int
        Of ``mlp``: units of the other layers, 0 for as many as the last has.
    depth : int
        Layers before the last of ``mlp``, 0 for one; blocks of the others, 0 for the usual number
        (``wide_resnet`` of depth 4 is WRN-28).

    Returns
    -------
    Network or Own

    Raises
    ------
    AkpError
        For an unknown name, or a width that the kind cannot have.
    """
    whole_number("width", width, 1)
    if kind not in KINDS:
        raise unknown_name("network", kind, KINDS)
    if layer not in LAYERS:
        raise unknown_name("last layer", layer, LAYERS)
    if kind == "mlp":
        inputs, classes = int(torch.Size(data.shape).numel()), data.classes
        inner, rectified = whole_number("body", body, 0) or width, layer == "rectified"
        layers = whole_number("depth", depth, 0) or 1
        return Own(lambda: WideLast(inputs, classes, inner, layers, width, rectified), taps=["features"])
    per = _PER_WIDTH[kind]
    if width % per:
        raise expected(f"a width of {kind} that is a multiple of {per}", repr(width))
    return Network(kind, width=width // per, depth=depth)


def parameters(network: Architecture, data: Dataset) -> int:
    """Weights that a network trains."""
    model = network.build(data.shape, data.classes, torch.Generator().manual_seed(0))
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def wandering(data: Dataset, *, room: int = 2, copies: int = 2, judged: int = 4, seed: int = 0) -> Dataset:
    """The same images, each at random places in a larger frame: a harder task with more test images.

    Parameters
    ----------
    data : Dataset
    room : int
        Pixels by which the frame is larger than the image; 0 leaves the images alone.
    copies, judged : int
        Places of each training image, and of each image of the other parts. Copies keep their image's group.
    seed : int

    Returns
    -------
    Dataset

    Raises
    ------
    AkpError
        For numbers out of range.
    """
    for name, value, least in (("room", room, 0), ("copies", copies, 1), ("judged", judged, 1)):
        whole_number(name, value, least)
    parts: dict[str, Any] = {
        name: _moved(part, room, copies if name == "train" else judged, generator(seed, "wandering", name))
        for name, part in data.splits.items()
        if name != "probe"
    }
    parts["probe"] = _moved(data.probe, room, 1, generator(seed, "wandering", "probe"))
    options = data.options | {"room": room, "copies": copies, "judged": judged, "wandering": seed}
    return replace(data, name=f"wandering {data.name}", options=options, **parts)


def _moved(part: Split, room: int, copies: int, stream: torch.Generator) -> Split:
    each = torch.arange(len(part)).repeat_interleave(copies)
    n, (c, h, w) = len(each), part.images.shape[1:]
    frame = torch.zeros(n, c, h + room, w + room)
    down, right = torch.randint(0, room + 1, (2, n), generator=stream)
    rows = down[:, None] + torch.arange(h)
    columns = right[:, None] + torch.arange(w)
    frame[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]] = part.images[
        each
    ].permute(0, 2, 3, 1)
    return Split(frame, part.labels[each], part.groups[each])
