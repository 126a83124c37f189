"""Reading a stranger's `.npz` with care: each thing that can be wrong with it is one clear line.

Members are decompressed one at a time and nothing is unpickled.
"""

from __future__ import annotations

import difflib
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from akp_core.datasets.splitting import check_leak
from akp_core.errors import AkpError, expected, unknown_name

REQUIRED = ("images", "labels")
GROUPS = ("groups", "patient", "source")
KNOWN = (*REQUIRED, "split", *GROUPS, "class_names", "licence", "provenance")
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError)


@dataclass(frozen=True, eq=False)
class Archive:
    """The members of one `.npz` file that a data set is made of.

    Parameters
    ----------
    name : str
        The file's name, for messages.
    members : mapping of str to numpy array
        What was read.
    """

    name: str
    members: Mapping[str, np.ndarray]

    @classmethod
    def open(cls, path: str | Path) -> Archive:
        """Read every known member of a file.

        Raises
        ------
        AkpError
            If there is no such file, it is no `.npz`, it is damaged, a required key is missing, or a key is
            misspelt.
        """
        path = Path(path).expanduser()
        if not path.is_file():
            raise expected("an .npz file", f"no file at {path}", "check path")
        if not zipfile.is_zipfile(path):
            raise expected(
                f"{path.name} to be an .npz file (a zip archive of arrays)",
                "something else, or a file cut short",
                "write it with numpy.savez_compressed(path, images=..., labels=...)",
            )
        try:
            with np.load(path, allow_pickle=False) as file:
                _check_keys(path.name, list(file.files))
                return cls(
                    path.name, {key: _member(path.name, file, key) for key in file.files if key in KNOWN}
                )
        except AkpError:
            raise
        except _BROKEN as cause:
            raise _damaged(path.name, cause) from cause

    def images(self) -> np.ndarray:
        """The images as they are in the file."""
        return self.members["images"]

    def check_images(self, most_channels: int) -> tuple[int, int]:
        """Check shape, type and range of the images; return their number and channels.

        Raises
        ------
        AkpError
            If they are not (N, H, W) or (N, H, W, C), uint8 or float in [0, 1].
        """
        images = self.members["images"]
        shape = images.shape
        if images.ndim not in (3, 4) or 0 in shape:
            raise expected(f"images of shape (N, H, W) or (N, H, W, C) in {self.name}", shape)
        channels = shape[3] if images.ndim == 4 else 1
        if images.ndim == 4 and channels > 4 and shape[1] <= 4:
            do = "move the channels last: numpy.moveaxis(images, 1, -1)"
            raise expected(
                f"images of shape (N, H, W, C) in {self.name}", f"{shape}, which looks like (N, C, H, W)", do
            )
        if channels > most_channels:
            raise expected(f"at most {most_channels} channels, last, in the images of {self.name}", shape)
        if images.dtype == np.uint8:
            return shape[0], channels
        if images.dtype.kind != "f":
            raise expected(
                f"images as uint8, or float in [0, 1], in {self.name}", images.dtype, "convert them"
            )
        # One pass, no copy: a value that is not finite makes the minimum or the maximum not finite.
        low, high = float(images.min()), float(images.max())
        if not np.isfinite([low, high]).all():
            bad = int((~np.isfinite(images)).reshape(shape[0], -1).any(axis=1).sum())
            raise expected(
                f"finite pixels in {self.name}", f"NaN or infinity in {bad} images", "remove or repair them"
            )
        if low < 0 or high > 1:
            raise expected(f"float images in [0, 1] in {self.name}", f"{low:g} to {high:g}", "scale them")
        return shape[0], channels

    def labels(self, n: int) -> tuple[Int64[Tensor, " n"], tuple[str, ...]]:
        """Labels from 0 to classes - 1, and the name of each class.

        Without `class_names`, the classes are the distinct labels in sorted order. With it, labels are either
        these names or indices into them.

        Raises
        ------
        AkpError
            If there are not N labels of at least two classes, or `class_names` does not fit them.
        """
        labels = self._column("labels", n)
        present, inverse = np.unique(labels, return_inverse=True)
        if len(present) < 2:
            raise expected(f"labels of at least two classes in {self.name}", f"one: {present[0]}")
        if "class_names" not in self.members:
            return torch.from_numpy(inverse.astype(np.int64)), tuple(str(value) for value in present)
        names = [str(name) for name in np.atleast_1d(self.members["class_names"])]
        if len(set(names)) < len(names):
            raise expected(f"distinct class_names in {self.name}", ", ".join(names))
        if labels.dtype.kind in "US":
            for value in present.tolist():
                if value not in names:
                    raise unknown_name(f"label in {self.name}", value, names)
            index = np.array([names.index(value) for value in present.tolist()])[inverse]
        else:
            if present[0] < 0 or present[-1] >= len(names):
                what = f"labels from 0 to {len(names) - 1}, for the {len(names)} class_names of {self.name}"
                raise expected(what, f"{present[0]} to {present[-1]}")
            index = labels.astype(np.int64)
        return torch.from_numpy(index.astype(np.int64)), tuple(names)

    def groups(self, n: int) -> tuple[Int64[Tensor, " n"], bool]:
        """Groups numbered from 0, and whether the file gives any; if not, each image is its own."""
        for key in GROUPS:
            if key in self.members:
                inverse = np.unique(self._column(key, n), return_inverse=True)[1]
                return torch.from_numpy(inverse.astype(np.int64)), True
        return torch.arange(n), False

    def parts(self, n: int, spellings: Mapping[str, str]) -> Shaped[np.ndarray, " n"] | None:
        """The part of each image, or None if the file marks none.

        Raises
        ------
        AkpError
            If a part's name is unknown, or a group is in two parts.
        """
        if "split" not in self.members:
            return None
        split = self._column("split", n)
        if split.dtype.kind not in "US":
            raise expected(f"split as strings ({', '.join(spellings)}) in {self.name}", split.dtype)
        present, inverse = np.unique(split, return_inverse=True)
        for value in present.tolist():
            if value not in spellings:
                raise unknown_name(f"split in {self.name}", value, spellings)
        parts = np.array([spellings[value] for value in present.tolist()])[inverse]
        for key in GROUPS:
            if key in self.members:
                do = "keep each in one part, or leave out the key split to have one made"
                check_leak(self.name, key, self._column(key, n), parts, do)
                break
        return parts

    def text(self, key: str) -> str:
        """A text that the file states about itself, such as its licence."""
        if key not in self.members:
            return f"given by the user's file {self.name}, which states no {key}"
        return "; ".join(str(value) for value in np.atleast_1d(self.members[key]))

    def _column(self, key: str, n: int) -> np.ndarray:
        column = self.members[key]
        if column.shape != (n,):
            raise expected(f"{key} of shape ({n},), one for each image of {self.name}", column.shape)
        if column.dtype.kind not in "iuUS":
            raise expected(f"{key} as whole numbers or strings in {self.name}", column.dtype, "convert them")
        return np.char.decode(column, "utf-8") if column.dtype.kind == "S" else column


def _check_keys(file: str, keys: list[str]) -> None:
    for key in keys:
        near = difflib.get_close_matches(
            key.lower(), [name for name in KNOWN if name not in keys], n=1, cutoff=0.75
        )
        if key not in KNOWN and near:
            raise AkpError(
                f"{file} has the key {key!r}, which is not read: did you mean {near[0]!r}? rename or drop it"
            )
    for key in REQUIRED:
        if key not in keys:
            raise expected(
                f"the keys {' and '.join(REQUIRED)} in {file}", ", ".join(keys) or "none", f"add {key}"
            )


def _member(file: str, archive: np.lib.npyio.NpzFile, key: str) -> np.ndarray:
    try:
        return np.asarray(archive[key])
    except _BROKEN as cause:
        if "allow_pickle" in str(cause):
            do = "save whole numbers, or strings as numpy.array(values, dtype=str)"
            raise expected(f"plain arrays in {file}", f"pickled Python objects in {key}", do) from cause
        raise _damaged(file, cause) from cause


def _damaged(file: str, cause: Exception) -> AkpError:
    return expected(
        f"{file} to be a whole .npz file", f"{type(cause).__name__}: {cause}", "write or copy it again"
    )
