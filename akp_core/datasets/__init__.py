"""Images with labels, groups and four disjoint parts, by name.

`load` gives any registered data set. A new one is a function that takes some of the options of `load` as
keyword-only arguments and returns a `Dataset`, and one line: ``register("name", function)``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

from akp_core.datasets import arrays, digits, nuclei
from akp_core.datasets.dataset import Dataset, Split
from akp_core.errors import AkpError, expected, unknown_name, whole_number

__all__ = ["Dataset", "Split", "load", "names", "register"]

OPTIONS = ("side", "fields", "seed", "path", "probe")
_LOADERS: dict[str, Callable[..., Dataset]] = {}


def register(name: str, loader: Callable[..., Dataset]) -> None:
    """Make a data set loadable by name.

    Parameters
    ----------
    name : str
        A new name.
    loader : callable
        Takes some of side, fields, seed, path and probe as keyword-only arguments with defaults; returns a
        `Dataset`.

    Raises
    ------
    AkpError
        If the name is taken, or the loader asks for something that `load` does not pass on.
    """
    if name in _LOADERS:
        raise expected("a new name for a data set", f"{name!r}, which is registered", "choose another")
    for option, parameter in inspect.signature(loader).parameters.items():
        if parameter.kind is not parameter.KEYWORD_ONLY or parameter.default is parameter.empty:
            raise expected(f"keyword-only options with defaults in the loader of {name!r}", str(parameter))
        if option not in OPTIONS:
            raise unknown_name(f"option of the loader of {name!r}", option, OPTIONS)
    _LOADERS[name] = loader


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
) -> Dataset:
    """Load a data set by name.

    An option left at None takes the data set's own default.

    Parameters
    ----------
    name : str
        One of `names()`: ``nuclei`` (takes side and fields), ``digits`` (side), ``arrays`` (path, side and
        probe), or one registered since. All three take a seed.
    side : int, optional
        Pixels along a side of an image.
    fields : int, optional
        Fields of view a patient.
    seed : int
        Seed of the split and of whatever is drawn, >= 0.
    path : str or Path, optional
        The user's file.
    probe : int, optional
        Number of probe images.

    Returns
    -------
    Dataset
        On the CPU; images float32 in [0, 1].

    Raises
    ------
    AkpError
        If the name is unknown, the data set does not take an option, or an option is out of range.
    """
    if not isinstance(name, str) or name not in _LOADERS:
        raise unknown_name("data set", name, _LOADERS)
    loader = _LOADERS[name]
    takes = inspect.signature(loader).parameters
    seed = whole_number("seed", seed, 0, 2**63 - 1)
    given = {"side": side, "fields": fields, "seed": seed, "path": path, "probe": probe}
    # The seed always has a value; a data set without one leaves nothing to chance.
    chosen = {
        key: value for key, value in given.items() if value is not None and (key in takes or key != "seed")
    }
    for key in chosen:
        if key not in takes:
            raise AkpError(
                f"the data set {name!r} takes no option {key!r}; it takes: {', '.join(takes) or 'none'}"
            )
    return loader(**chosen)


register("nuclei", nuclei.load)
register("digits", digits.load)
register("arrays", arrays.load)
