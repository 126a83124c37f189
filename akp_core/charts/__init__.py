"""Draws tidy tables: one Altair chart a function, each with a description that says what it shows.

No statistics here: a chart draws the numbers it is given. Colours, fonts and backgrounds are the book's,
which sets them for light and dark.
"""

from __future__ import annotations

from akp_core.charts.populations import ROLES, VERDICTS, dispersions, explorer, heatmap, histories

__all__ = ["ROLES", "VERDICTS", "dispersions", "explorer", "heatmap", "histories"]
