"""What every chart does to its table before it draws."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd

from akp_core.errors import AkpError

_KINDS = {"f": "number", "i": "number", "u": "number", "b": "boolean"}


def needs(table: pd.DataFrame, columns: Sequence[str]) -> None:
    """Refuse a table without the columns that a chart draws."""
    missing = [c for c in columns if c not in table.columns]
    if missing:
        raise AkpError(
            f"expected a table with the columns {', '.join(columns)}; missing: {', '.join(missing)}"
        )


def rounded(table: pd.DataFrame, digits: int = 4) -> pd.DataFrame:
    """The table with its fractions cut to what a reader can tell apart, so that pages stay small."""
    return table.round({name: digits for name in table.columns if table[name].dtype.kind == "f"})


def as_lines(table: pd.DataFrame) -> alt.InlineData:
    """A table as text, a line a row: names of columns are written once, and a page stays small.

    Every encoding of such a table must say its type, as none is inferred.

    Parameters
    ----------
    table : DataFrame
        Of numbers, words and truth values; what is missing, or no finite number, stays missing.
    """
    table = table.infer_objects()
    kinds = {str(name): _KINDS.get(table[name].dtype.kind) for name in table.columns}
    # a column of nothing has no kind; read as words, it would be a row of valid empty ones
    kinds |= {str(name): "number" for name in table.columns if table[name].isna().all()}
    plain = table.replace([np.inf, -np.inf], np.nan)
    plain = plain.assign(**{c: plain[c].astype(int) for c, kind in kinds.items() if kind == "boolean"})
    short = plain.to_csv(index=False, float_format="%.15g", lineterminator="\n")
    parse = {name: kind for name, kind in kinds.items() if kind}
    return alt.InlineData(values=short, format=alt.CsvDataFormat(type="csv", parse=parse))


def top_of(values: pd.Series) -> float:
    """Where an axis from zero ends; 1 where there is nothing to draw."""
    highest = float(values.max())
    return 1.05 * highest if highest > 0 else 1.0
