"""A data set: images as tensors, with labels, groups, four disjoint parts, a fingerprint and a licence.

The four parts are `train`, `validation`, `test` and `probe`. The probe is what every network is asked to
represent; it is disjoint, group by group, from the three others, so that similarity is never measured on
images that trained or judged a network.

The *fingerprint* is the SHA-256 of the names, types, shapes and bytes of all twelve tensors. Two data sets
with the same fingerprint train the same networks.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from akp_core.errors import AkpError, expected

if TYPE_CHECKING:
    import pandas as pd

PARTS = ("train", "validation", "test", "probe")
FORMAT = "akp-dataset-1"
SMALLEST_STD = 1.0 / 255.0
"""Floor of `Dataset.channel_std`: one grey level of 255, so that a constant channel can be standardised."""
_TENSORS = ("images", "labels", "groups")
_TEXTS = ("name", "licence", "provenance", "notice")


@dataclass(frozen=True, eq=False)
class Split:
    """One part of a data set.

    Parameters
    ----------
    images : float32, shape (n, c, h, w)
        Pictures, in [0, 1].
    labels : int64, shape (n,)
        Class of each image, 0 to classes - 1.
    groups : int64, shape (n,)
        What the image comes from (patient, slide, source image); images of one group are not independent.

    Raises
    ------
    AkpError
        If a type or a shape is another one.
    """

    images: Float[Tensor, "n c h w"]
    labels: Int64[Tensor, " n"]
    groups: Int64[Tensor, " n"]

    def __post_init__(self) -> None:
        if self.images.dtype != torch.float32 or self.images.ndim != 4 or not len(self.images):
            got = f"{self.images.dtype} of shape {tuple(self.images.shape)}"
            raise expected("images as float32 (n, c, h, w) with n > 0", got)
        for name in ("labels", "groups"):
            tensor = getattr(self, name)
            if tensor.dtype != torch.int64 or tensor.shape != self.images.shape[:1]:
                got = f"{tensor.dtype} of shape {tuple(tensor.shape)}"
                raise expected(f"{name} as int64 of shape ({len(self.images)},), one for each image", got)

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device | str) -> Split:
        """The same part, with its tensors on another device."""
        return Split(self.images.to(device), self.labels.to(device), self.groups.to(device))


@dataclass(frozen=True, eq=False)
class Dataset:
    """Four disjoint parts of labelled images, and where they come from.

    Parameters
    ----------
    name : str
        The name it was loaded by.
    train, validation, test, probe : Split
        The parts. They share the shape of an image; no group is in two of them.
    class_names : tuple of str
        Name of each class, in the order of the labels; at least two.
    licence, provenance, notice : str
        Under what terms, from where, and what a reader must be told. A medical data set's notice says that it
        is not for clinical use.
    options : dict
        The options it was loaded with; representable in JSON.

    Raises
    ------
    AkpError
        If image shapes differ between parts, a label has no class name, or a group is in two parts.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    probe: Split
    class_names: tuple[str, ...]
    licence: str
    provenance: str
    notice: str
    options: dict[str, Any]

    def __post_init__(self) -> None:
        if self.classes < 2:
            raise expected("at least two classes", f"{self.classes}: {', '.join(self.class_names) or 'none'}")
        seen: dict[int, str] = {}
        for name, split in self.splits.items():
            shape = tuple(split.images.shape[1:])
            if shape != self.shape:
                raise expected(f"images of shape {self.shape} in {name}, as in train", shape)
            low, high = int(split.labels.min()), int(split.labels.max())
            if low < 0 or high >= self.classes:
                raise expected(f"labels from 0 to {self.classes - 1} in {name}", f"{low} to {high}")
            for group in torch.unique(split.groups).tolist():
                if seen.setdefault(group, name) != name:
                    raise AkpError(
                        f"group {group} is in {seen[group]} and in {name}: keep each group in one part"
                    )

    @property
    def splits(self) -> dict[str, Split]:
        """The four parts by name, in the order of `PARTS`."""
        return {name: getattr(self, name) for name in PARTS}

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, of names, types, shapes and bytes of all tensors, on any device."""
        digest = hashlib.sha256()
        for name, array in self._arrays().items():
            digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
            digest.update(array.data)
        return digest.hexdigest()

    @cached_property
    def channel_mean(self) -> Float[Tensor, " c"]:
        """Mean of each channel over the pixels of train; summed in float64, returned as float32."""
        return self._moments[0].float().to(self.train.images.device)

    @cached_property
    def channel_std(self) -> Float[Tensor, " c"]:
        """Standard deviation of each channel over the pixels of train, at least `SMALLEST_STD`."""
        return self._moments[1].clamp(min=SMALLEST_STD).float().to(self.train.images.device)

    @cached_property
    def _moments(self) -> tuple[Tensor, Tensor]:
        # On the CPU whatever the device, so that a network standardises by the same numbers everywhere.
        parts = [part.double() for part in torch.split(self.train.images.cpu(), 1024)]
        pixels = sum(part[:, 0].numel() for part in parts)
        mean = torch.stack([part.sum(dim=(0, 2, 3)) for part in parts]).sum(dim=0) / pixels
        centred = [((part - mean[:, None, None]) ** 2).sum(dim=(0, 2, 3)) for part in parts]
        return mean, (torch.stack(centred).sum(dim=0) / pixels).sqrt()

    def to(self, device: torch.device | str) -> Dataset:
        """The same data set, with all tensors on another device."""
        moved = [self.splits[name].to(device) for name in PARTS]
        return replace(self, train=moved[0], validation=moved[1], test=moved[2], probe=moved[3])

    def describe(self) -> pd.DataFrame:
        """One row a part: `split`, `images`, `groups`, and for each class its `share NAME`, in [0, 1]."""
        import pandas as pd

        rows = []
        for name, split in self.splits.items():
            count = torch.bincount(split.labels.cpu(), minlength=self.classes).double() / len(split)
            share = {
                f"share {label}": value for label, value in zip(self.class_names, count.tolist(), strict=True)
            }
            rows.append(
                {"split": name, "images": len(split), "groups": len(torch.unique(split.groups)), **share}
            )
        return pd.DataFrame(rows)

    def save(self, path: str | Path) -> None:
        """Write the data set to one safetensors file, whole or not at all.

        Parameters
        ----------
        path : str or Path
            The file. Missing folders are made; an existing file is replaced in one step.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        about = {key: getattr(self, key) for key in _TEXTS} | {
            "format": FORMAT,
            "class_names": list(self.class_names),
            "options": self.options,
            "fingerprint": self.fingerprint,
        }
        beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
        try:
            save_file(self._arrays(), beside, metadata={"dataset": json.dumps(about, sort_keys=True)})
            with beside.open("rb+") as file:
                os.fsync(file.fileno())
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)

    @classmethod
    def read(cls, path: str | Path) -> Dataset:
        """Read a data set that `save` wrote, and check its fingerprint.

        Parameters
        ----------
        path : str or Path
            The file.

        Returns
        -------
        Dataset
            On the CPU, with the bits that were saved.

        Raises
        ------
        AkpError
            If there is no such file, it is truncated or changed, or holds something else.
        """
        path = Path(path)
        if not path.is_file():
            raise expected("a saved data set", f"no file at {path}", "save it first")
        try:
            with safe_open(path, framework="pt") as file:
                about = json.loads((file.metadata() or {})["dataset"])
                if about["format"] != FORMAT:
                    raise expected(
                        f"a data set of format {FORMAT} in {path}", about["format"], "save it again"
                    )
                splits: dict[str, Any] = {
                    part: Split(*(file.get_tensor(f"{part}.{tensor}") for tensor in _TENSORS))
                    for part in PARTS
                }
            content: dict[str, Any] = {key: about[key] for key in (*_TEXTS, "options")}
            loaded = cls(**content, **splits, class_names=tuple(about["class_names"]))
            saved = str(about["fingerprint"])
        except (SafetensorError, OSError, KeyError, TypeError, json.JSONDecodeError) as cause:
            problem = f"{type(cause).__name__}: {cause}"
            raise expected(
                f"a whole data set file at {path}", problem, "delete it and save it again"
            ) from cause
        if loaded.fingerprint != saved:
            got = f"{loaded.fingerprint[:12]}... where {saved[:12]}... was saved"
            raise expected(f"an unchanged data set file at {path}", got, "delete it and save it again")
        return loaded

    def _arrays(self) -> dict[str, np.ndarray]:
        tensors = {
            f"{part}.{name}": getattr(split, name) for part, split in self.splits.items() for name in _TENSORS
        }
        return {name: np.ascontiguousarray(tensor.cpu().numpy()) for name, tensor in tensors.items()}
