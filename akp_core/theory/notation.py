"""The symbols of the book, each with the object of the code that it names: a table that cannot rot unseen.

Shapes are read from the annotations of that object when the table is made, and a name that is gone, or whose
annotation no longer says a shape, is an error. A test and the page itself make the table.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pydoc import ErrorDuringImport, locate

from akp_core.errors import AkpError

_AXES = re.compile(r"[\"']\s*([^\"']+?)\s*[\"']")


@dataclass(frozen=True)
class Symbol:
    """A symbol and where the code has it.

    Attributes
    ----------
    symbol : str
        LaTeX.
    meaning : str
        A few words.
    code : str
        Dotted path of the object.
    part : str
        The parameter, attribute or property of it that the symbol stands for; empty for what a call
        returns, or for the object itself.
    values : str
        The values that it may take, in words or LaTeX.
    """

    symbol: str
    meaning: str
    code: str
    part: str = ""
    values: str = ""


SYMBOLS: tuple[Symbol, ...] = (
    Symbol(
        "x",
        "an item: an image, or a point of a simulated law",
        "akp_core.datasets.dataset.Split",
        "images",
        "pixels in [0, 1]",
    ),
    Symbol("y", "its label", "akp_core.datasets.dataset.Split", "labels", "0 to $K-1$"),
    Symbol(
        "p(x)",
        "the law: probability of each class at x",
        "akp_core.theory.outputs.excess_risk",
        "truth",
        "at least 0, sums to 1",
    ),
    Symbol(
        "q(x)",
        "a model's output: its class probabilities",
        "akp_core.theory.outputs.excess_risk",
        "outputs",
        "at least 0, sums to 1",
    ),
    Symbol("z(x)", "logits", "akp_core.theory.targets.expected_loss", "logits", "real"),
    Symbol(r"\ell(z, y)", "a loss of the palette", "akp_core.palette.Loss", "function", "real"),
    Symbol(
        r"z^\star(p)",
        "target of a loss: logits of least expected loss",
        "akp_core.theory.targets.population_minimiser",
        "",
        "real",
    ),
    Symbol(
        r"e",
        "error: share of items answered wrongly",
        "akp_core.similarity.disagreement_bound",
        "errors",
        "[0, 1]",
    ),
    Symbol(
        r"\varepsilon",
        "excess risk: risk less the least possible",
        "akp_core.theory.outputs.excess_risk",
        "",
        r"$[0, \infty]$; nats",
    ),
    Symbol(
        r"\lambda", "modulus: how strongly proper a loss is", "akp_core.theory.outputs.modulus", "", "above 0"
    ),
    Symbol(
        r"\mathrm{TV}, D_1, D_2",
        "distances between outputs",
        "akp_core.theory.probabilities.output_distances",
        "",
        r"$D_1 \le 1$, $D_2 \le \sqrt2$",
    ),
    Symbol(
        "X", "a representation: one row an item, at one tap", "akp_core.similarity.fingerprint", "x", "real"
    ),
    Symbol(
        r"\mathrm{CKA}",
        "similarity of two representations",
        "akp_core.similarity.pairwise",
        "",
        "biased [0, 1], unbiased [−1, 1]",
    ),
    Symbol(
        "d(i, j)",
        r"distance $\sqrt{2 - 2\,\mathrm{CKA}}$",
        "akp_core.similarity.chordal_distance",
        "",
        "[0, 2]",
    ),
    Symbol("M", "members of a family", "akp_core.study.Study", "members", "at least 1"),
    Symbol(
        r"\mathcal F", "a family: networks that share all but their seeds", "akp_core.study.Family", "", ""
    ),
    Symbol(
        r"\mathcal P", "a population: all families of a study, trained", "akp_core.outcome.Population", "", ""
    ),
    Symbol(r"s", "a stress", "akp_core.stress.Stress", "", ""),
    Symbol(
        r"\delta_i",
        r"distance of a member to its family's centroid, times $\sqrt{M/(M-1)}$",
        "akp_core.dispersion.distance_to_centroid",
        "",
        r"$[0, 2]$",
    ),
    Symbol(
        "R^2",
        "share of squared distances between families",
        "akp_core.dispersion.location.LocationTest",
        "r_squared",
        "[0, 1]",
    ),
)
"""All symbols that the pages of theory share.

:meta hide-value:
"""


def shape_of(symbol: Symbol) -> str:
    """The shape that the code's annotation gives, such as ``M × n × K``; empty where it names none.

    Parameters
    ----------
    symbol : Symbol

    Returns
    -------
    str
        ``one number`` for a plain number.

    Raises
    ------
    AkpError
        If the object, or that part of it, is no longer there.
    """
    try:
        found = locate(symbol.code)
    except ErrorDuringImport as fault:
        raise AkpError(f"the notation names {symbol.code}, which cannot be imported: {fault}") from None
    if found is None:
        raise AkpError(f"the notation names {symbol.code}, which is not in the code; correct the table")
    if inspect.isclass(found):
        said = _of_class(found, symbol.part)
    else:
        try:
            signature = inspect.signature(found)  # type: ignore[arg-type]
        except TypeError:
            raise AkpError(f"the notation names {symbol.code}, which is no function and no class") from None
        if symbol.part and symbol.part not in signature.parameters:
            raise AkpError(
                f"the notation names {symbol.part!r} of {symbol.code}, which has no such parameter"
            )
        said = signature.parameters[symbol.part].annotation if symbol.part else signature.return_annotation
    text = said if isinstance(said, str) else getattr(said, "__name__", str(said))
    if text in ("int", "float"):
        return "one number"
    axes = _AXES.search(text)
    return " × ".join(axes.group(1).split()) if axes else ""


def _of_class(found: type, part: str) -> object:
    """The annotation of a class's attribute or property; of the class itself, none."""
    if not part:
        return ""
    for one in found.__mro__:
        if part in vars(one).get("__annotations__", {}):
            return vars(one)["__annotations__"][part]
    if isinstance(getattr(found, part, None), property):
        return inspect.signature(getattr(found, part).fget).return_annotation
    raise AkpError(
        f"the notation names {part!r} of {found.__module__}.{found.__name__}, which has no such part"
    )


def notation(symbols: Sequence[Symbol] = SYMBOLS) -> list[dict[str, str]]:
    """Make the table, and find every name in the code while doing so.

    Parameters
    ----------
    symbols : sequence of Symbol

    Returns
    -------
    list of dict
        For each symbol ``symbol``, ``meaning``, ``shape``, ``values`` and ``code``.

    Raises
    ------
    AkpError
        For the first name that the code does not have.
    """
    return [
        {
            "symbol": one.symbol,
            "meaning": one.meaning,
            "shape": shape_of(one),
            "values": one.values,
            "code": f"{one.code}({one.part})" if one.part else one.code,
        }
        for one in symbols
    ]
