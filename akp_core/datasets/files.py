"""Where data sets lie on a disk, whether their files are whole, and what to do where they are not.

Nothing here touches the network unless `downloaded` is called, and only `akp_core.datasets.fetch` calls it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from akp_core.errors import AkpError, expected


@dataclass(frozen=True)
class About:
    """What a reader must know of a data set before choosing it.

    Attributes
    ----------
    holds : str
        Images and classes.
    needs : str
        What it needs: nothing, a path, files under a root, a package.
    licence : str
        Under what terms.
    here : callable
        Takes the root; says in a word or two what of it is there.
    fetch : callable, optional
        Takes the root, the subset and the side; downloads what is missing.
    """

    holds: str
    needs: str
    licence: str
    here: Callable[[Path], str]
    fetch: Callable[[Path, str, int | None], None] | None = None


@dataclass(frozen=True)
class Source:
    """A public set of files: how it is called, where it lies under a root, where it comes from.

    Attributes
    ----------
    name : str
        The name to load it by.
    folder : str
        Its folder under the root.
    url : str
        The page to get it from by hand.
    size : str
        Of the download.
    options : str
        Of the command that fetches it.
    """

    name: str
    folder: str
    url: str
    size: str
    options: str = ""

    def home(self, root: str | Path | None) -> Path:
        """The folder of this set under a root, which need not exist.

        Raises
        ------
        AkpError
            If no root is given.
        """
        if not isinstance(root, str | Path) or not str(root):
            do = f'for example load({self.name!r}, root="data")'
            raise expected(f"root, the folder that holds {self.folder}/", repr(root), do)
        return Path(root).expanduser() / self.folder

    def present(self, file: Path) -> Path:
        """Return a file that is there, or say in one line what to fetch and where to put it."""
        if file.is_file():
            return file
        packed = file.with_name(file.name + ".gz")
        if packed.is_file():
            raise expected(f"{file.name} in {file.parent}", f"only {packed.name}", f"gunzip -k {packed}")
        raise expected(
            f"{file.name} in {file.parent}",
            "no such file",
            f'run "akp data fetch {self.name}{self.options}" ({self.size}), or put it there from {self.url}',
        )

    def whole(self, file: Path, md5: str) -> Path:
        """Return a file that is there with the right MD5 checksum, or one line on what is wrong."""
        found = digest(self.present(file))
        if found != md5:
            what = f"MD5 {found}, so it is damaged or another file"
            raise expected(f"{file} with MD5 {md5}", what, "delete it and fetch it again")
        return file


def digest(file: Path) -> str:
    """MD5 of a file, in hexadecimal, as publishers of data sets state it."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def located(path: str | Path, root: str | Path | None) -> Path:
    """Where a user's path is: as it stands, or under the root if it is only there."""
    path = Path(path).expanduser()
    under = None if root is None else Path(root).expanduser() / path
    return under if under is not None and not path.exists() and under.exists() else path


def counted(root: Path, files: Iterable[str]) -> str:
    """Say how many of some files are there: ``here``, ``not here``, ``2 of 6 files``."""
    names = list(files)
    found = sum((root / name).is_file() for name in names)
    return "here" if found == len(names) else f"{found} of {len(names)} files" if found else "not here"


def downloaded(source: Source, root: Path, download: Callable[[], object]) -> None:
    """Carry out a download that was asked for, and put what goes wrong with it in one line.

    Raises
    ------
    AkpError
        If a package is missing, the network fails, the disk is full, or a checksum does not match.
    """
    try:
        source.home(root).mkdir(parents=True, exist_ok=True)
        download()
    except AkpError:
        raise
    # Libraries wrap what went wrong in many types; whatever it was, the reader can fetch by hand.
    except Exception as cause:
        why = " ".join(str(cause).split()) or type(cause).__name__
        raise AkpError(
            f"could not fetch {source.name}: {why}; put its files into {source.home(root)} from {source.url}"
        ) from cause
