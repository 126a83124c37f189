"""Reads the representations of many models from a folder: one `.npy` file a model, one row an example.

A file is opened when it is asked for, as a memory map, and closed when it is let go, so that a folder may
hold more models than fit into memory. What is wrong with a file is one line that names it; a model that
diverged or collapsed is nothing wrong: it stays, and is counted.
"""

from __future__ import annotations

import difflib
import errno
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tokenize import TokenError
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from jaxtyping import Float32, Real, Shaped
from numpy.lib import format as npy

from akp_core.errors import AkpError, expected, unknown_name, whole_number
from akp_core.similarity import as_features, fingerprint, representation_fault
from akp_core.similarity.gram import Estimator, check_estimator

Positions: TypeAlias = Literal["flatten", "mean"]
Fault: TypeAlias = Literal["collapsed", "diverged"]

_SAVE = "write it with numpy.save(path, array)"


@dataclass(frozen=True, eq=False)
class Folder(Mapping[str, np.ndarray]):
    """The models of a folder: a read-only mapping from a model's name to its (n, p) representation.

    Attributes
    ----------
    path : Path
        The folder.
    files : dict of str to Path
        The file of each model, in the order of the names: the file's path in the folder, without ``.npy``.
    examples : int
        Rows of every representation.
    positions : {"flatten", "mean"}
        How maps are read.
    """

    path: Path
    files: dict[str, Path]
    examples: int
    positions: Positions

    def __getitem__(self, name: str) -> Real[np.ndarray, "n p"]:
        """Open the representation of one model, as a memory map where its layout allows it."""
        if name not in self.files:
            near = difflib.get_close_matches(str(name), self.files, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the first is {next(iter(self.files))!r}"
            raise expected(f"one of the {len(self.files)} models in {self.path}", repr(name), hint)
        return as_features(_mapped(self.files[name]), positions=self.positions)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, sorted."""
        return iter(self.files)

    def __len__(self) -> int:
        """Count the models, lost ones included."""
        return len(self.files)

    def __contains__(self, name: object) -> bool:
        """Return whether a model goes by that name."""
        return name in self.files

    def get(self, name: str, default: Any = None) -> Any:
        """Return the representation of a model, or a default if there is none."""
        return self[name] if name in self.files else default

    @cached_property
    def lost(self) -> dict[str, Fault]:
        """Models without a similarity, and why: see `akp_core.similarity.representation_fault`.

        Found once, at the cost of reading every file and of a fingerprint for each.
        """
        found = {}
        for name in self:
            fault = representation_fault(self[name])
            if fault:
                found[name] = fault
        return found

    @property
    def usable(self) -> dict[str, Real[np.ndarray, "n p"]]:
        """The representations of all models that are not lost, in order."""
        return {name: self[name] for name in self if name not in self.lost}


def read_folder(
    path: str | Path, *, pattern: str = "*.npy", positions: Positions = "flatten", examples: int | None = None
) -> Folder:
    """Open a folder with one ``.npy`` file a model, and check every file before any work is done.

    Parameters
    ----------
    path : str or Path
        The folder. A file holds an array (n, p), or maps (n, c, h, w), of real numbers; widths may differ
        from model to model, the examples are the same in the same order. Files that begin with a dot are
        passed over.
    pattern : str
        Which files; ``**/*.npy`` looks into subfolders.
    positions : {"flatten", "mean"}
        How to read maps: see `akp_core.similarity.as_features`.
    examples : int, optional
        The n that every file must have, such as ``.examples`` of another folder.

    Returns
    -------
    Folder
        Mapping of names, sorted, to (n, p) arrays, of which none is in memory yet.

    Raises
    ------
    AkpError
        If there is no such folder or no file in it; naming the file, if one is damaged, no `.npy`, not
        numeric, of Python objects (which are never unpickled), of a wrong shape, or with another number of
        examples than the others.

    Notes
    -----
    Models that diverged or collapsed are kept and listed in ``.lost``; their files are sound.

    Cost: a header for each file.
    """
    if not isinstance(path, str | Path) or not str(path):
        raise expected("the path of a folder", repr(path))
    if positions not in get_args(Positions):
        raise unknown_name("policy for positions", positions, get_args(Positions))
    if examples is not None:
        examples = whole_number("examples", examples, 1)
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise _no_folder(folder)
    files: dict[str, Path] = {}
    for file in _matching(folder, pattern):
        name = file.relative_to(folder).as_posix().removesuffix(".npy")
        if name in files:
            raise expected(f"each model once in {folder}", f"{files[name].name} and {file.name}")
        files[name] = file
    counts = {}
    for name in sorted(files):
        shape = _mapped(files[name]).shape
        if len(shape) < 2 or 0 in shape:
            raise expected(
                f"{files[name]} as (examples, features) or maps (n, c, h, w), not empty",
                f"shape {shape}",
                "reshape one feature to (n, 1)" if len(shape) == 1 else "",
            )
        counts[name] = shape[0]
    files = {name: files[name] for name in counts}
    return Folder(folder, files, _same_examples(folder, files, counts, examples), positions)


def fingerprints(
    folder: Folder, *, estimator: Estimator = "unbiased", out: str | Path | None = None
) -> Float32[np.ndarray, "M k"]:
    """Fingerprints of all models of a folder, one row a model, read one model at a time.

    Parameters
    ----------
    folder : Folder
        From `read_folder`.
    estimator : {"unbiased", "biased"}
        As for `akp_core.similarity.fingerprint`.
    out : str or Path, optional
        A new ``.npy`` file to hold them, outside the folder; for more models than fit into memory.

    Returns
    -------
    (M, k) float32 array
        In the order of the names; NaN throughout for a lost model. With `out`, a read-only memory map of the
        file. `akp_core.dispersion.streamed_test` takes either.

    Raises
    ------
    AkpError
        As `akp_core.similarity.fingerprint`, naming the model; if `out` exists or lies in the folder.

    Notes
    -----
    Cost: :math:`2n^2p` operations and one reading for each model. Memory: one representation, its
    :math:`n^2` Gram matrix and, without `out`, the rows: :math:`2n^2` bytes a model.
    """
    check_estimator(estimator)
    n = folder.examples
    shape = (len(folder), n * (n - 1) // 2 if estimator == "unbiased" else n * (n + 1) // 2)
    if out is None:
        rows = np.empty(shape, dtype=np.float32)
        _fill(rows, folder, estimator)
        return rows
    target = Path(out).expanduser()
    if target.exists() or not target.parent.is_dir():
        why = "a file that is there already" if target.exists() else f"no folder {target.parent}"
        raise expected("a new file as out", why, "give another name")
    if target.resolve().is_relative_to(folder.path.resolve()):
        raise expected("a file outside the folder of models as out", str(target), "it would pass for a model")
    unfinished = target.with_name(target.name + ".part")
    try:
        stored = npy.open_memmap(unfinished, mode="w+", dtype=np.float32, shape=shape)
        _fill(stored, folder, estimator)
        stored.flush()
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
    return _mapped(target)


def read_groups(path: str | Path, examples: int) -> Shaped[np.ndarray, " n"]:
    """Read which group, such as a patient, each example belongs to.

    Parameters
    ----------
    path : str or Path
        A ``.npy`` file with one whole number or text for each example.
    examples : int
        How many there must be.

    Returns
    -------
    (n,) array of whole numbers or text

    Raises
    ------
    AkpError
        If the file cannot be read or holds anything else.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise expected("a .npy file with the group of each example", f"no file at {file}")
    labels = np.array(_mapped(file, kinds="iubUS"))
    if labels.shape != (examples,):
        raise expected(f"one label for each of the {examples} examples in {file}", f"shape {labels.shape}")
    return labels


def _fill(rows: Float32[np.ndarray, "M k"], folder: Folder, estimator: Estimator) -> None:
    for row, name in zip(rows, folder, strict=True):
        x = folder[name]
        try:
            row[:] = fingerprint(x, estimator=estimator, dtype="float32")
        except AkpError:
            try:
                fault = representation_fault(x, estimator=estimator)
            except AkpError as error:
                raise AkpError(f"{folder.files[name]}: {error}") from None
            if fault is None:
                raise
            row[:] = np.nan


def _no_folder(folder: Path) -> AkpError:
    if folder.exists():
        return expected(
            "a folder with one .npy file a model", f"the file {folder}", "give the folder it is in"
        )
    beside = [p.name for p in folder.parent.iterdir() if p.is_dir()] if folder.parent.is_dir() else []
    near = difflib.get_close_matches(folder.name, beside, n=1)
    hint = f"did you mean {str(folder.parent / near[0])!r}?" if near else f"looked from {Path.cwd()}"
    return expected("a folder with one .npy file a model", f"no folder at {folder}", hint)


def _matching(folder: Path, pattern: str) -> list[Path]:
    try:
        found = [p for p in folder.glob(pattern) if p.is_file() and not p.name.startswith(".")]
    except (ValueError, NotImplementedError, TypeError, IndexError):
        raise expected("a pattern of file names such as '*.npy'", repr(pattern)) from None
    if found:
        return sorted(found)
    kinds = Counter(p.suffix or "no suffix" for p in folder.iterdir() if p.is_file())
    there = ", ".join(f"{count} of {kind}" for kind, count in kinds.most_common(3)) or "no file"
    raise expected(
        f"at least one file {pattern!r} in {folder}",
        f"none (it holds {there})",
        "save each model's representation with numpy.save",
    )


def _mapped(file: Path, kinds: str = "fiub") -> Real[np.ndarray, "n ..."]:
    """A file as a memory map, or one line on why it cannot be one."""
    try:
        with np.errstate(over="raise"):
            array = npy.open_memmap(file, mode="r")
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise AkpError(
                f"too many files are open at once to open {file}; read folders of this size one model at a "
                "time, with folders.fingerprints"
            ) from None
        raise expected(f"{file} to be readable", error.strerror or str(error)) from None
    except (ValueError, EOFError, SyntaxError, TokenError, TypeError, ArithmeticError, MemoryError) as error:
        raise expected(f"{file} as a .npy file of numbers", _what_it_is(file, str(error)), _SAVE) from None
    if array.dtype.kind not in kinds:
        wanted = "real numbers" if "f" in kinds else "whole numbers or text"
        raise expected(f"{wanted} in {file}", f"dtype {array.dtype}", "save it as another dtype")
    return array


def _what_it_is(file: Path, error: str) -> str:
    with file.open("rb") as opened:
        head = opened.read(6)
    if head == npy.MAGIC_PREFIX:
        return (
            "Python objects, which are not unpickled"
            if "objects" in error
            else "a file that is cut short or damaged"
        )
    if not head:
        return "an empty file"
    if head[:2] == b"PK":
        return "an .npz archive"
    return "a pickle, which is not opened" if head[:1] == b"\x80" else "something else"


def _same_examples(folder: Path, files: dict[str, Path], counts: dict[str, int], wanted: int | None) -> int:
    """The number of examples of every file; refuses the first that has another than most, or than wanted."""
    usual = wanted or Counter(counts.values()).most_common(1)[0][0]
    odd = next((name for name, count in counts.items() if count != usual), None)
    if odd is None:
        return usual
    as_many = sum(count == usual for count in counts.values())
    whose = "as asked for" if wanted else f"as {as_many} of {len(counts)} have"
    raise expected(
        f"{usual} examples in every file of {folder}, {whose}",
        f"{counts[odd]} in {files[odd].name}",
        "show every model the same examples in the same order",
    )
