"""Clones: does a layer say the same thing several times over (Doimo et al. 2022)?

A *chunk* is a random part of a layer's units. If a chunk, a fraction of the layer, tells all that the whole
layer tells, and errs as little, then the layer holds several copies (clones) of one representation. All
functions take arrays: the units' activations and, where errors are asked for, the trained read-out.
"""

from __future__ import annotations

from akp_core.clones.chunks import chunk_sizes, nested_chunks
from akp_core.clones.critical import Critical, critical_width, crossing
from akp_core.clones.curves import ChunkCurves, chunk_curves
from akp_core.clones.errors import ChunkErrors, chunk_errors
from akp_core.clones.law import PowerLaw, fit_law, power_law
from akp_core.clones.planted import (
    Planted,
    plant,
    planted_correlation,
    planted_margin_error,
    planted_margins,
    planted_r_squared,
)
from akp_core.clones.regression import Regression, chunk_regression

__all__ = [
    "ChunkCurves",
    "ChunkErrors",
    "Critical",
    "Planted",
    "PowerLaw",
    "Regression",
    "chunk_curves",
    "chunk_errors",
    "chunk_regression",
    "chunk_sizes",
    "critical_width",
    "crossing",
    "fit_law",
    "nested_chunks",
    "plant",
    "planted_correlation",
    "planted_margin_error",
    "planted_margins",
    "planted_r_squared",
    "power_law",
]
