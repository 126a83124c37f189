"""The deformation lens: how much less does a network mind a bent image than a noisy one?

``deform`` bends each image by a random diffeomorphism of its own, of maximal entropy; ``matched_noise`` gives
noise of the same norm. ``stability_of`` sends both through a network, or any function, and compares how its
activations change: D_f, G_f and R_f = D_f / G_f, with intervals over images. ``stability`` does the same for
activations that you have.
"""

from __future__ import annotations

from akp_core.deformation.deformed import Deformed, deform
from akp_core.deformation.field import fields
from akp_core.deformation.folds import fold_scale, folds
from akp_core.deformation.known_answer import linear_answer, planes
from akp_core.deformation.noise import matched_noise
from akp_core.deformation.of_function import stability_of
from akp_core.deformation.reading import warp
from akp_core.deformation.scales import (
    displacement_variance,
    root_mean_square,
    temperature_for,
    temperature_range,
    typical_displacement,
)
from akp_core.deformation.stability import Estimate, Stability, stability

__all__ = [
    "Deformed",
    "Estimate",
    "Stability",
    "deform",
    "displacement_variance",
    "fields",
    "fold_scale",
    "folds",
    "linear_answer",
    "matched_noise",
    "planes",
    "root_mean_square",
    "stability",
    "stability_of",
    "temperature_for",
    "temperature_range",
    "typical_displacement",
    "warp",
]
