"""What holds for every shape, cutoff and temperature; and the law of the displacements."""

import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from akp_core.deformation import deform, displacement_variance, fields, folds, warp

SIDES = st.integers(5, 24)
CASES = {"h": SIDES, "w": SIDES, "cutoff": st.integers(1, 3), "seed": st.integers(0, 2**31)}


def stream(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=25, deadline=None)
@given(**CASES, first=st.integers(1, 9), second=st.integers(1, 9))
def test_draws_come_image_after_image(h, w, cutoff, seed, first, second) -> None:
    more = {"cutoff": cutoff, "temperature": 1e-3}
    whole = fields(first + second, (h, w), generator=stream(seed), **more)
    both = stream(seed)
    parts = [fields(n, (h, w), generator=both, **more) for n in (first, second)]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-5, atol=1e-6)
    again = fields(first + second, (h, w), generator=stream(seed), **more)
    assert torch.equal(again, whole)


@settings(max_examples=25, deadline=None)
@given(**CASES, temperature=st.floats(1e-6, 1e-1), factor=st.floats(0.1, 10))
def test_fields_keep_the_frame_and_grow_with_the_root_of_temperature(
    h, w, cutoff, seed, temperature, factor
) -> None:
    def at(temperature: float, dtype: torch.dtype = torch.float64) -> torch.Tensor:
        return fields(3, (h, w), cutoff=cutoff, temperature=temperature, generator=stream(seed), dtype=dtype)

    field = at(temperature)
    assert field.shape == (3, 2, h, w)
    for edge in (field[..., 0, :], field[..., -1, :], field[..., 0], field[..., -1]):
        assert not edge.any()
    scale = float(field.abs().max())
    torch.testing.assert_close(
        at(temperature * factor**2), factor * field, rtol=1e-5, atol=1e-6 * factor * scale
    )
    torch.testing.assert_close(at(temperature, torch.float32).double(), field, rtol=1e-4, atol=1e-5 * scale)


@settings(max_examples=25, deadline=None)
@given(**CASES, channels=st.integers(1, 4), temperature=st.floats(0, 1e-2))
def test_bending_is_linear_and_leaves_corners(h, w, cutoff, seed, channels, temperature) -> None:
    draw = stream(seed)
    a, b = torch.rand(2, 4, channels, h, w, generator=draw, dtype=torch.float64)
    at = {"cutoff": cutoff, "temperature": temperature}
    bent = [deform(x, generator=stream(seed), **at) for x in (a, b, 2 * a - 3 * b)]
    torch.testing.assert_close(bent[2].images, 2 * bent[0].images - 3 * bent[1].images, rtol=0, atol=1e-10)
    torch.testing.assert_close(bent[0].images, warp(a, bent[0].fields), rtol=0, atol=1e-12)
    torch.testing.assert_close(bent[0].images[..., 0, 0], a[..., 0, 0], rtol=0, atol=1e-12)
    mirrored = warp(a.flip(3), torch.stack([bent[0].fields[:, 0], -bent[0].fields[:, 1]], dim=1).flip(3))
    torch.testing.assert_close(mirrored, bent[0].images.flip(3), rtol=0, atol=1e-10)
    if temperature == 0:
        assert torch.equal(bent[0].images, a)


@settings(max_examples=10, deadline=None)
@given(**CASES)
def test_turning_the_image_turns_what_folds(h, w, cutoff, seed) -> None:
    field = fields(20, (h, w), cutoff=cutoff, temperature=2e-2, generator=stream(seed), dtype=torch.float64)
    turned = field.flip(1).transpose(2, 3)
    assert torch.equal(folds(turned), folds(field))


def test_displacements_have_the_analytic_variance_at_every_pixel() -> None:
    """Sums of squares of n normal numbers are chi-squared; 2 x 200 pixels, corrected for their number."""
    n, shape = 3000, (14, 20)
    field = fields(n, shape, cutoff=4, temperature=2e-3, generator=stream(11), dtype=torch.float64).numpy()
    variance = displacement_variance(shape, cutoff=4, temperature=2e-3)
    inside = np.s_[1:-1, 1:-1]
    squares = (field[:, :, *inside] ** 2).sum(axis=0) / variance[inside]
    p = 2 * np.minimum(stats.chi2.cdf(squares, n), stats.chi2.sf(squares, n))
    assert p.min() > 1e-3 / p.size
    assert abs(squares.mean() / n - 1) < 0.03
    centre = field[:, :, 7, 10] / math.sqrt(variance[7, 10])
    assert stats.kstest(centre.ravel(), "norm").pvalue > 1e-3


def test_components_and_images_are_independent() -> None:
    n = 4000
    field = fields(n, (12, 12), cutoff=3, temperature=1e-3, generator=stream(12))
    flat = field[:, :, 2:10:2, 1:11:3].flatten(2).double().numpy()
    down, across = flat[:, 0], flat[:, 1]
    for a, b in ((down, across), (down[:-1], down[1:]), (across[:-1], down[1:])):
        joint = np.corrcoef(a.T, b.T)[: a.shape[1], a.shape[1] :]
        assert np.abs(joint).max() < 4.5 / math.sqrt(n)
