"""From a patient's measurements to the nuclei of one field of view.

**The distribution of a quantity within a patient** is log-normal with the measured mean m and the spread

    s = (SE sqrt(N) + (worst - m) / e_N) / 2,

two estimates of one standard deviation: from the standard error, and from the worst value by the expected
mean e_N of the three largest of N standard normal values. The table does not say N. But (worst - m) / SE has
a median between 5.1 and 5.9 for each of the ten quantities, and e_N sqrt(N) = 5.4 at N = 16 (e_16 = 1.345):
so N = 16. No nucleus is drawn beyond `BEYOND_WORST` x worst. A wide s is the patient's pleomorphism. The
quantities of one nucleus are drawn independently: the table does not say how they covary within a patient.

**From a quantity to the picture.** Lengths are in the table's unit, and every field is 96 units wide for
every patient, so size carries information. Amplitudes are relative to the mean radius.

=================  ====================================================================================
radius             mean radius R of the outline, one to one
texture            sd of the chromatin in grey levels of 255, one to one (before blur and noise)
compactness c      close to perimeter^2 / (4 pi area) - 1 (r = 0.97 in the table), to which a mode k of small
                   amplitude e adds (k^2 - 1) e^2 / 2. Mode 2, the elongation, takes the share `ELONGATION` of
                   it: e = sqrt(2 ELONGATION c / 3)
symmetry           mirror asymmetry about the long axis: a sine mode 3 of amplitude `SKEW` x symmetry
concavity          depth of the indentations: modes 3 to 7 with root mean square `LOBE` x concavity
concave points     number of indentations: these modes centre on 3 + 15 x concave points
smoothness         local variation of the radius: modes 8 to 14 with root mean square `ROUGH` x smoothness
fractal dimension  D - 1 of the outline sets how fast these fall: amplitude of mode k ~ k^-((5 - 2 D) / 2)
perimeter, area    not used: radius and outline determine them
=================  ====================================================================================

Drawn by the same law for every patient, because the table does not measure them: the number of nuclei (3 to
7, some cut by the edge), their places, orientations and phases, depth of stain, brightness and unevenness of
the light, focus, sensor noise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Complex128, Float64

from akp_core.datasets.rendering import FIELD, FIRST, FOCUS, GRAIN_NODES, LAST, Scene

if TYPE_CHECKING:
    import pandas as pd

COUNTED = 16
"""Nuclei measured per patient, as the ratio of the table's spreads implies (see above)."""
TOP_THREE = 1.345
"""Expected mean of the three largest of `COUNTED` standard normal values."""
BEYOND_WORST = 1.15
"""No nucleus exceeds the patient's worst value by more than this factor."""
SLOTS, FEWEST = 7, 3
ELONGATION, SKEW, LOBE, ROUGH = 0.35, 0.3, 0.4, 0.25
GREY_LEVELS = 255.0
QUANTITIES = (
    "radius",
    "texture",
    "smoothness",
    "compactness",
    "concavity",
    "concave points",
    "symmetry",
    "fractal dimension",
)


def draw_scene(table: pd.DataFrame, rng: np.random.Generator) -> Scene:
    """Draw one field of view for every patient of a table of measurements.

    Parameters
    ----------
    table : pandas.DataFrame
        One row a patient, with columns "mean Q", "Q error" and "worst Q" for each Q of `QUANTITIES`.
    rng : numpy.random.Generator
        Source of all that is drawn.

    Returns
    -------
    Scene
        As many fields of view as patients, in their order, with `SLOTS` nucleus slots each.
    """
    n, shape = len(table), (len(table), SLOTS)
    nucleus = {name: _sample(table, name, rng.standard_normal(shape)) for name in QUANTITIES}
    re, im = _contour(nucleus, rng)
    present = np.arange(SLOTS) < rng.integers(FEWEST, SLOTS + 1, size=(n, 1))
    # A shifted, jittered 3 x 3 lattice: nuclei may touch and overlap, but do not pile up.
    pitch = FIELD / 3
    cell = rng.random((n, 9)).argsort(axis=1)[:, :SLOTS]
    jitter = rng.uniform(-0.3, 0.3, size=(2, *shape)) + rng.uniform(-0.25, 0.25, size=(2, n, 1))
    stain = rng.uniform(0.42, 0.60, size=(n, 1)) + 0.04 * rng.standard_normal(shape)
    light = np.stack(
        [rng.uniform(0.82, 0.94, n), *rng.uniform(-0.05, 0.05, (2, n)), rng.uniform(0, 0.04, n)], axis=1
    )
    drawn = {
        "x": (cell % 3 + 0.5 + jitter[0]) * pitch,
        "y": (cell // 3 + 0.5 + jitter[1]) * pitch,
        "radius": nucleus["radius"],
        "modes_re": re,
        "modes_im": im,
        "absorption": stain * present,
        "chromatin": nucleus["texture"] / GREY_LEVELS * present,
        "light": light,
        "focus": rng.uniform(*FOCUS, size=n),
        "grain": rng.standard_normal((n, GRAIN_NODES, GRAIN_NODES), dtype=np.float32),
    }
    # Drawn in float64 and rounded once: a last-digit difference in exp or cos does not reach the picture.
    return Scene(**{name: torch.from_numpy(values.astype(np.float32)) for name, values in drawn.items()})


def _sample(table: pd.DataFrame, name: str, z: Float64[np.ndarray, "n k"]) -> Float64[np.ndarray, "n k"]:
    mean, error, worst = (
        table[key].to_numpy()[:, None] for key in (f"mean {name}", f"{name} error", f"worst {name}")
    )
    spread = (error * COUNTED**0.5 + (worst - mean) / TOP_THREE) / 2
    mean = np.maximum(mean, 1e-9)  # nuclei without any concavity have mean and spread 0
    variance = np.log1p((spread / mean) ** 2)
    # A heavy tail would draw nuclei far beyond any that was seen.
    return np.minimum(mean * np.exp(np.sqrt(variance) * z - variance / 2), BEYOND_WORST * worst)


def _contour(
    nucleus: dict[str, Float64[np.ndarray, "n k"]], rng: np.random.Generator
) -> tuple[Float64[np.ndarray, "n k m"], Float64[np.ndarray, "n k m"]]:
    k = np.arange(FIRST, LAST + 1)
    q = {name: values[..., None] for name, values in nucleus.items()}
    shape = nucleus["radius"].shape
    centre = 3 + 15 * q["concave points"].clip(max=0.25)
    lobes = np.where((k >= 3) & (k <= 7), np.exp(-(((k - centre) / 1.5) ** 2) / 2), 0.0)
    dimension = 1 + q["fractal dimension"].clip(max=0.5)
    rough = np.where(k >= 8, (k / 8.0) ** -((5 - 2 * dimension) / 2), 0.0)
    # Random moduli, not phases alone: an outline of one mode would be a star.
    random = rng.standard_normal((*shape, len(k))) + 1j * rng.standard_normal((*shape, len(k)))
    modes = _scaled(random * lobes, LOBE * q["concavity"].clip(max=0.45)) + _scaled(
        random * rough, ROUGH * q["smoothness"]
    )
    axis = rng.uniform(0, 2 * np.pi, size=shape)
    modes[..., 0] += np.sqrt(2 * ELONGATION * nucleus["compactness"].clip(max=0.5) / 3) * np.exp(-2j * axis)
    side = np.where(rng.random(shape) < 0.5, -1j, 1j)
    modes[..., 1] += side * SKEW * nucleus["symmetry"].clip(max=0.5) * np.exp(-3j * axis)
    return modes.real, modes.imag


def _scaled(modes: Complex128[np.ndarray, "n k m"], deviation: Float64[np.ndarray, "n k 1"]) -> np.ndarray:
    """The modes, scaled so that the relative radius deviates by `deviation` in root mean square."""
    return modes * (deviation * np.sqrt(2) / np.linalg.norm(modes, axis=-1, keepdims=True))
