"""Images with labels, groups and four disjoint parts, by name.

`load` gives any registered data set. A new one is a function that takes some of the options of `load` as
keyword-only arguments and returns a `Dataset`, and one line: ``register("name", function)``.

Nothing is downloaded unless `fetch` is called.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from akp_core.datasets import arrays, cifar10, digits, folder, medmnist, nuclei, pcam
from akp_core.datasets.dataset import Dataset, Split
from akp_core.datasets.files import About
from akp_core.errors import AkpError, expected, unknown_name, whole_number

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Dataset", "Split", "fetch", "load", "names", "overview", "register"]

OPTIONS = ("side", "fields", "seed", "path", "probe", "limit", "classes", "groups", "root", "subset")
AMBIENT = ("seed", "root")
"""Options that every data set may be given; one without chance, or without files, leaves them alone."""
_LOADERS: dict[str, Callable[..., Dataset]] = {}
_ABOUT: dict[str, About] = {}
BUILT_IN: frozenset[str] = frozenset()
"""The names that this library starts with."""


def register(name: str, loader: Callable[..., Dataset], about: About | None = None) -> None:
    """Make a data set loadable by name.

    A later loader of the same name takes the place of an earlier one, as when a cell is run again; what was
    trained on either stays apart, since the images are part of the key.

    Parameters
    ----------
    name : str
        A name that this library does not use, without a colon.
    loader : callable
        Takes some of `OPTIONS` as keyword-only arguments with defaults; returns a `Dataset`.
    about : About, optional
        What `overview` and `fetch` say and do of it.

    Raises
    ------
    AkpError
        If the name is taken, or the loader asks for something that `load` does not pass on.
    """
    if name in BUILT_IN:
        raise expected("a new name for a data set", f"{name!r}, which is registered", "choose another")
    if ":" in name:
        raise expected("a name for a data set without a colon", repr(name), "a colon names a subset")
    for option, parameter in inspect.signature(loader).parameters.items():
        if parameter.kind is not parameter.KEYWORD_ONLY or parameter.default is parameter.empty:
            raise expected(f"keyword-only options with defaults in the loader of {name!r}", str(parameter))
        if option not in OPTIONS:
            raise unknown_name(f"option of the loader of {name!r}", option, OPTIONS)
    _LOADERS[name] = loader
    if about is not None:
        _ABOUT[name] = about


def names() -> tuple[str, ...]:
    """Names of the registered data sets, sorted."""
    return tuple(sorted(_LOADERS))


def load(
    name: str,
    *,
    side: int | None = None,
    fields: int | None = None,
    seed: int = 0,
    path: str | Path | None = None,
    probe: int | None = None,
    limit: int | None = None,
    classes: Sequence[str] | None = None,
    groups: str | None = None,
    root: str | Path | None = None,
) -> Dataset:
    """Load a data set by name.

    An option left at None takes the data set's own default.

    Parameters
    ----------
    name : str
        One of `names()`. Of ``medmnist``, which is a collection, with the set that is meant:
        ``medmnist:bloodmnist``.
    side : int, optional
        Pixels along a side of an image.
    fields : int, optional
        Fields of view a patient, of ``nuclei``.
    seed : int
        Seed of the split and of whatever is drawn, >= 0.
    path : str or Path, optional
        The user's file or folder, of ``arrays`` and ``folder``.
    probe : int, optional
        Number of probe images.
    limit : int, optional
        At most so many images of each class in train, in validation and in test.
    classes : sequence of str, optional
        Only these classes, in this order; names joined by ``+`` make one class.
    groups : str, optional
        Pattern that finds the patient or slide in a file name, of ``folder``.
    root : str or Path, optional
        Where public data sets lie. A data set that needs no files leaves it alone.

    Returns
    -------
    Dataset
        On the CPU; images float32 in [0, 1].

    Raises
    ------
    AkpError
        If the name is unknown, the data set does not take an option, an option is out of range, or files
        are missing or damaged; nothing is downloaded.
    """
    base, subset = _named(name)
    takes = inspect.signature(_LOADERS[base]).parameters
    if subset and "subset" not in takes:
        raise expected(f"{base!r} without a colon, as it has no subsets", repr(name))
    seed = whole_number("seed", seed, 0, 2**63 - 1)
    if root is not None and not isinstance(root, str | Path):
        raise expected("root as a path", repr(root))
    given: dict[str, object] = {
        "side": side,
        "fields": fields,
        "seed": seed,
        "path": path,
        "probe": probe,
        "limit": limit,
    }
    given |= {"classes": classes, "groups": groups, "root": root, "subset": subset or None}
    chosen = {
        key: value
        for key, value in given.items()
        if value is not None and (key in takes or key not in AMBIENT)
    }
    for key in chosen:
        if key not in takes:
            options = ", ".join(option for option in takes if option != "subset") or "none"
            raise AkpError(f"the data set {base!r} takes no option {key!r}; it takes: {options}")
    data = _LOADERS[base](**chosen)
    if not isinstance(data, Dataset):
        raise expected(f"a Dataset from the loader of {base!r}", type(data).__name__)
    return data


def fetch(name: str, root: str | Path, *, side: int | None = None) -> Path:
    """Download a public data set, check its checksums, and return the root; the only door to the network.

    Parameters
    ----------
    name : str
        As for `load`.
    root : str or Path
        Folder to put it under; made if it is not there.
    side : int, optional
        The size that will be asked for, of ``medmnist``, which comes in several.

    Raises
    ------
    AkpError
        If the data set is none that can be fetched, or the download fails; the line says how to do it by
        hand.
    """
    base, subset = _named(name)
    if not isinstance(root, str | Path) or not str(root):
        raise expected("root as a path", repr(root))
    about = _ABOUT.get(base)
    if about is None or about.fetch is None:
        raise expected(
            "a data set that can be fetched",
            repr(name),
            f"these can: {', '.join(sorted(key for key, value in _ABOUT.items() if value.fetch))}",
        )
    place = Path(root).expanduser()
    about.fetch(place, subset, side)
    return place


def overview(root: str | Path) -> pd.DataFrame:
    """Tabulate the data sets.

    Returns
    -------
    DataFrame
        One row a data set: ``name``, what of it is ``here`` under a root, what it ``holds`` and ``needs``,
        and its ``licence``.
    """
    import pandas as pd

    nothing = About("registered by you", "see its loader", "see its loader", lambda _: "")
    rows = []
    for name in names():
        about = _ABOUT.get(name, nothing)
        rows.append(
            {
                "name": name,
                "here": about.here(Path(root).expanduser()),
                "holds": about.holds,
                "needs": about.needs,
                "licence": about.licence,
            }
        )
    return pd.DataFrame(rows)


def _named(name: str) -> tuple[str, str]:
    base, colon, subset = name.partition(":") if isinstance(name, str) else ("", "", "")
    if not isinstance(name, str) or base not in _LOADERS or (colon and not subset):
        raise unknown_name("data set", name, _LOADERS)
    return base, subset


register("nuclei", nuclei.load, nuclei.ABOUT)
register("digits", digits.load, digits.ABOUT)
register("arrays", arrays.load, arrays.ABOUT)
register("folder", folder.load, folder.ABOUT)
register("cifar10", cifar10.load, cifar10.ABOUT)
register("pcam", pcam.load, pcam.ABOUT)
register("medmnist", medmnist.load, medmnist.ABOUT)
BUILT_IN = frozenset(_LOADERS)
