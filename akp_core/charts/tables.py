"""What every chart does to its table before it draws."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd

from akp_core.errors import AkpError


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


def lines_of_numbers(table: pd.DataFrame) -> alt.InlineData:
    """A table of numbers as text, for a chart of thousands of rows: names of columns are written once."""
    return alt.InlineData(
        values=table.to_csv(index=False),
        format=alt.CsvDataFormat(type="csv", parse=dict.fromkeys(map(str, table.columns), "number")),
    )


def top_of(values: pd.Series) -> float:
    """Where an axis from zero ends; 1 where there is nothing to draw."""
    highest = float(values.max())
    return 1.05 * highest if highest > 0 else 1.0
