"""The deformation lens against oracles: other interpolators, sums written out, numbers of the papers."""

import math
import re

import numpy as np
import pytest
import torch
from scipy import ndimage

from akp_core.deformation import (
    deform,
    displacement_variance,
    fields,
    fold_scale,
    folds,
    matched_noise,
    root_mean_square,
    temperature_for,
    temperature_range,
    typical_displacement,
    warp,
)
from akp_core.deformation.folds import fold_scales
from akp_core.deformation.modes import modes
from akp_core.errors import AkpError


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 7) -> torch.Tensor:
    return torch.rand(*shape, generator=stream(seed), dtype=dtype)


@pytest.mark.parametrize(
    ("side", "cutoff", "typical", "one", "length", "whole"),
    [(32, 3, 0.297, 0.267, 0.378, 0.243), (224, 10, 3.01, 2.34, 3.31, 2.64)],
)
def test_the_typical_displacement_lies_between_a_component_and_the_length(
    side: int, cutoff: int, typical: float, one: float, length: float, whole: float
) -> None:
    variance = displacement_variance((side, side), cutoff=cutoff, temperature=1e-4)
    centre = variance[side // 2, side // 2]
    assert typical_displacement(1e-4, cutoff, side) == pytest.approx(typical, rel=5e-3)
    assert math.sqrt(centre) == pytest.approx(one, rel=0.01)
    assert math.sqrt(2 * centre) == pytest.approx(length, rel=0.01)
    assert root_mean_square((side, side), cutoff=cutoff, temperature=1e-4) == pytest.approx(whole, rel=5e-3)


def test_temperature_and_displacement_are_inverse_and_the_range_is_that_of_the_paper() -> None:
    for displacement in (0.0, 0.3, 2.0):
        temperature = temperature_for(displacement, 5, 28)
        assert typical_displacement(temperature, 5, 28) == pytest.approx(displacement)
    low, high = temperature_range(3, 32)
    assert low == pytest.approx(1 / (math.pi * 32**2 * math.log(3)))
    assert high == pytest.approx(4 / (math.pi**3 * 9 * math.log(3)))
    assert typical_displacement(low, 3, 32) == pytest.approx(0.5)


def test_a_field_is_the_sum_of_its_modes() -> None:
    h, w, cutoff, temperature = 9, 13, 4, 2e-3
    field = fields(1, (h, w), cutoff=cutoff, temperature=temperature, generator=stream(), dtype=torch.float64)
    which = modes((h, w), cutoff)
    draws = torch.randn(1, 16 * math.ceil(2 * len(which.deviation) / 16), generator=stream()).double()[0]
    wanted = np.zeros((2, h, w))
    place = 0
    for component in range(2):
        for j, i in zip(which.vertical.tolist(), which.horizontal.tolist(), strict=True):
            deviation = math.sqrt(temperature / ((i / w) ** 2 + (j / h) ** 2))
            for y in range(h):
                for x in range(w):
                    wave = math.sin(j * math.pi * y / (h - 1)) * math.sin(i * math.pi * x / (w - 1))
                    wanted[component, y, x] += float(draws[place]) * deviation * wave
            place += 1
    np.testing.assert_allclose(field[0].numpy(), wanted, atol=1e-6)


def test_the_modes_of_a_square_are_those_of_the_paper_and_a_long_image_has_more_along_it() -> None:
    for cutoff in (1, 2, 3, 7):
        square = modes((20, 20), cutoff)
        pairs = set(zip(square.vertical.tolist(), square.horizontal.tolist(), strict=True))
        around = range(1, cutoff + 1)
        assert pairs == {(j, i) for j in around for i in around if math.hypot(i, j) < cutoff + 0.5}
        assert square.deviation.max() == pytest.approx(20 / math.sqrt(2))
    long = modes((20, 60), 3)
    assert long.vertical.max() == 3
    assert long.horizontal.max() == 10


@pytest.mark.parametrize("shape", [(3, 1, 12, 12), (2, 3, 9, 17), (1, 5, 31, 8)])
def test_bending_reads_as_scipy_does(shape: tuple[int, ...]) -> None:
    images = pictures(*shape)
    field = 40 * torch.randn(shape[0], 2, *shape[2:], generator=stream(3), dtype=torch.float64)
    field[0] *= 0.02  # one that stays near, the others far beyond the frame
    places = np.indices(shape[2:]) - field.numpy()
    wanted = [
        [ndimage.map_coordinates(channel, at, order=1, mode="nearest") for channel in image]
        for image, at in zip(images.numpy(), places, strict=True)
    ]
    np.testing.assert_allclose(warp(images, field).numpy(), wanted, atol=1e-12)


def test_a_positive_displacement_carries_the_picture_down_and_to_the_right() -> None:
    image, field = torch.zeros(1, 1, 7, 9), torch.zeros(1, 2, 7, 9)
    image[0, 0, 2, 3] = 1
    field[0, 0], field[0, 1] = 1, 2
    assert warp(image, field)[0, 0].argmax() == 3 * 9 + 5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(300, 3, 32, 32), (5, 1, 60, 24)])
@pytest.mark.parametrize("cutoff", [3, 5])  # few modes, and many: other products
def test_deform_is_fields_and_warp(cutoff: int, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    images = pictures(*shape, dtype=dtype)
    found = deform(images, cutoff=cutoff, displacement=1.5, generator=stream(1))
    temperature = temperature_for(1.5, cutoff, math.sqrt(shape[2] * shape[3]))
    field = fields(
        shape[0], shape[2:], cutoff=cutoff, temperature=temperature, generator=stream(1), dtype=dtype
    )
    assert torch.equal(found.fields, field)
    assert torch.equal(found.folded, folds(field))
    assert found.share_folded == pytest.approx(folds(field).double().mean().item())
    close = {"atol": 2e-5, "rtol": 0} if dtype == torch.float32 else {"atol": 1e-12, "rtol": 0}
    torch.testing.assert_close(found.images, warp(images, field), **close)
    assert found.images.dtype == dtype


def test_one_pixel_of_displacement_is_the_default() -> None:
    images = pictures(2, 1, 16, 16)
    default, asked = (deform(images, generator=stream(), **more) for more in ({}, {"displacement": 1.0}))
    assert torch.equal(default.images, asked.images)
    assert default.temperature == temperature_for(1.0, 3, 16)


def test_nothing_moves_without_temperature_bit_for_bit() -> None:
    images = pictures(70, 3, 31, 45, dtype=torch.float32)
    assert torch.equal(deform(images, temperature=0.0, generator=stream()).images, images)
    assert torch.equal(warp(images, torch.zeros(70, 2, 31, 45)), images)
    field = fields(70, (31, 45), cutoff=3, temperature=1e-3, generator=stream())
    field[7] = 0
    bent = warp(images, field)
    assert torch.equal(bent[7], images[7])
    assert not torch.equal(bent[8], images[8])


def test_images_keep_their_frame_their_range_and_what_is_constant() -> None:
    images = pictures(50, 2, 20, 28, dtype=torch.float32)
    images[0] = 0.37
    bent = deform(images, cutoff=6, displacement=2.0, generator=stream()).images
    torch.testing.assert_close(bent[0], images[0], atol=1e-6, rtol=0)
    assert bent.min() >= images.min()
    assert bent.max() <= images.max() + 1e-6
    for edge in ((..., 0, 0), (..., -1, -1), (..., 0, -1), (..., -1, 0)):
        torch.testing.assert_close(bent[edge], images[edge], atol=1e-5, rtol=0)
    torch.testing.assert_close(bent[..., 0, :], images[..., 0, :], atol=2e-5, rtol=0)


def test_an_image_is_bent_alike_alone_and_among_many() -> None:
    images = pictures(400, 3, 32, 32, dtype=torch.float32)
    many = deform(images, cutoff=4, generator=stream(5))
    few = deform(images[:3], cutoff=4, generator=stream(5))
    assert torch.equal(few.fields, many.fields[:3])
    torch.testing.assert_close(few.images, many.images[:3], atol=1e-5, rtol=0)
    both = stream(5)
    split = torch.cat(
        [deform(part, cutoff=4, generator=both).images for part in (images[:150], images[150:])]
    )
    torch.testing.assert_close(split, many.images, atol=1e-5, rtol=0)


def test_a_fold_is_found_where_the_map_turns_over() -> None:
    field = torch.zeros(3, 2, 8, 8)
    field[0, 1, 3, 3], field[0, 1, 3, 4] = -0.6, 0.6  # neighbours pass one another
    field[1, 1, 3, 3], field[1, 1, 3, 4] = -0.45, 0.45
    assert folds(field).tolist() == [True, False, False]
    scale = fold_scale(field)
    assert scale[0] == pytest.approx(1 / 1.2)
    assert scale[1] == pytest.approx(1 / 0.9)
    assert scale[2] == math.inf
    assert (fold_scales(field)[0] < 1).nonzero().tolist() == [[2, 3], [3, 3]]


def test_a_turn_by_a_quarter_and_more_folds_only_with_its_shear() -> None:
    y, x = torch.meshgrid(torch.arange(6.0), torch.arange(6.0), indexing="ij")
    turned = torch.stack([x, -y])[None]  # the gradient has eigenvalues i and -i: no real one, no fold
    assert not folds(3 * turned).any()
    assert fold_scale(turned) == math.inf
    sheared = torch.stack([0.5 * x, 0.5 * y])[None]  # eigenvalues 0.5 and -0.5
    assert fold_scale(sheared) == pytest.approx(2.0)


def test_corners_decide_for_every_point_between_pixels() -> None:
    field = fields(40, (9, 9), cutoff=4, temperature=6e-3, generator=stream(), dtype=torch.float64)
    fine = torch.linspace(0, 8, 8 * 16 + 1, dtype=torch.float64)
    least = []
    for one in field:
        y, x = np.meshgrid(fine, fine, indexing="ij")
        dense = torch.stack(
            [torch.from_numpy(ndimage.map_coordinates(part.numpy(), [y, x], order=1)) for part in one]
        )
        # triangles of a fine grid: the map turns over where the sign of their area changes
        down, right = 1 / 16, 1 / 16
        yy, xx = down - dense[0].diff(dim=0), right - dense[1].diff(dim=1)
        yx, xy = -dense[0].diff(dim=1), -dense[1].diff(dim=0)
        least.append(float((yy[:, :-1] * xx[:-1] - yx[:-1] * xy[:, :-1]).min()))
    seen = torch.tensor(least) <= 0
    assert 5 < int(folds(field).sum()) < 35
    assert bool((folds(field) | ~seen).all()), "a fold between the pixels was overlooked"
    assert int((folds(field) ^ seen).sum()) <= 1


def test_a_field_folds_from_its_scale_on() -> None:
    field = fields(200, (24, 24), cutoff=5, temperature=1e-3, generator=stream())
    scale = fold_scale(field)
    for factor in (0.5, 1.0, 2.0, 4.0):
        assert torch.equal(folds(factor * field), scale <= factor)
    assert torch.equal(
        folds(field * (0.999 * scale)[:, None, None, None]), torch.zeros(200, dtype=torch.bool)
    )
    assert folds(field * (1.001 * scale)[:, None, None, None]).all()


@pytest.mark.parametrize(("side", "cutoff", "share"), [(32, 3, 0.37), (32, 15, 0.06)])
def test_at_the_upper_temperature_as_many_fold_as_an_independent_count_found(
    side: int, cutoff: int, share: float
) -> None:
    high = temperature_range(cutoff, side)[1]
    field = fields(600, (side, side), cutoff=cutoff, temperature=high, generator=stream())
    assert folds(field).double().mean() == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 500))


def test_an_unfolded_map_is_one_to_one() -> None:
    field = fields(1, (16, 16), cutoff=3, temperature=temperature_for(1, 3, 16), generator=stream())
    assert not folds(field).any()
    y, x = np.indices((16, 16)) - field[0].numpy()
    assert y.min() >= -1e-6
    assert y.max() <= 15 + 1e-6
    assert x.min() >= -1e-6
    assert x.max() <= 15 + 1e-6
    assert (np.diff(y, axis=0) > 0).all()
    assert (np.diff(x, axis=1) > 0).all()


def test_folds_can_be_refused() -> None:
    images = pictures(20, 1, 16, 16)
    deform(images, displacement=0.5, generator=stream(), on_folds="raise")
    with pytest.raises(
        AkpError, match=r"expected diffeomorphisms, got \d+ of 20 images with a fold; lower the"
    ):
        deform(images, displacement=6, generator=stream(), on_folds="raise")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noise_has_the_norm_of_each_change_or_of_their_mean(dtype: torch.dtype) -> None:
    images = pictures(12, 3, 15, 11, dtype=dtype)
    images[4] = 0.5  # constant: bending does not change it
    bent = deform(images, displacement=1.0, generator=stream())
    change = (bent.images - images).flatten(1).norm(dim=1)
    each = matched_noise(images, bent, generator=stream(1)) - images
    torch.testing.assert_close(each.flatten(1).norm(dim=1), change, rtol=1e-4, atol=1e-6)
    assert each[4].abs().max() < 1e-6
    mean = matched_noise(images, bent.images, generator=stream(1), match="mean") - images
    torch.testing.assert_close(mean.flatten(1).norm(dim=1), change.mean().expand(12), rtol=1e-4, atol=1e-6)
    along = torch.nn.functional.cosine_similarity(each.flatten(1)[:4], mean.flatten(1)[:4])
    torch.testing.assert_close(along, torch.ones(4, dtype=dtype), rtol=0, atol=1e-5)
    alone = matched_noise(images[:2], bent.images[:2], generator=stream(1)) - images[:2]
    torch.testing.assert_close(alone, each[:2])


def test_noise_prefers_no_direction_and_differs_between_images() -> None:
    images = torch.zeros(4000, 1, 2, 4, dtype=torch.float64)
    noise = matched_noise(images, images + 1, generator=stream()).flatten(1)
    directions = noise / math.sqrt(8)
    torch.testing.assert_close(directions.norm(dim=1), torch.ones(4000, dtype=torch.float64))
    covariance = directions.T @ directions / 4000
    assert (covariance - torch.eye(8) / 8).abs().max() < 5 / math.sqrt(4000) / 8 * math.sqrt(2)
    assert directions.mean(dim=0).abs().max() < 5 / math.sqrt(8 * 4000)


GOOD = torch.zeros(2, 1, 8, 8)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (
            lambda: typical_displacement(1e-3, 1, 32),
            "expected a cutoff of at least 2, as the typical displacement",
        ),
        (
            lambda: temperature_for(1.0, 1, 32),
            "is divided by ln(cutoff), got 1; choose a cutoff of 2 or more",
        ),
        (lambda: temperature_range(1, 32), "got 1; choose"),
        (lambda: temperature_for(1.0, 3, 0), "expected a side of more than 0 pixels, got 0"),
        (lambda: typical_displacement(-1, 3, 32), "expected temperature as a number of 0 or more, got -1"),
        (lambda: temperature_for(math.nan, 3, 32), "expected displacement as a number of 0 or more, got nan"),
        (
            lambda: deform(GOOD, cutoff=1, generator=stream()),
            "got 1; choose a cutoff of 2 or more, or give a temp",
        ),
        (
            lambda: deform(GOOD, cutoff=7, generator=stream()),
            "a cutoff for images of 8 x 8 pixels as a whole number",
        ),
        (lambda: deform(GOOD, cutoff=2.5, generator=stream()), "as a whole number of at least 2, got 2.5"),
        (lambda: deform(GOOD, displacement=1, temperature=1, generator=stream()), "got both (1 and 1)"),
        (
            lambda: deform(GOOD, temperature=math.inf, generator=stream()),
            "temperature as a number of 0 or more, got inf",
        ),
        (
            lambda: deform(GOOD, generator=np.random.default_rng(0)),
            "expected a torch.Generator, got Generator",
        ),
        (
            lambda: deform(GOOD[0], generator=stream()),
            "got shape (1, 8, 8); grey images (n, h, w) need a channel",
        ),
        (lambda: deform(GOOD.numpy(), generator=stream()), "got ndarray"),
        (
            lambda: deform(GOOD.byte(), generator=stream()),
            "expected float32 or float64 images, got torch.uint8",
        ),
        (lambda: deform(GOOD * math.nan, generator=stream()), "got 128 pixels that are NaN or infinite"),
        (
            lambda: deform(GOOD, generator=stream(), on_folds="rais"),
            "unknown way with folds 'rais': did you mean 'raise'",
        ),
        (
            lambda: warp(GOOD, torch.zeros(2, 2, 8, 9)),
            "expected fields of shape (2, 2, 8, 8), got shape (2, 2, 8, 9)",
        ),
        (lambda: warp(GOOD, torch.full((2, 2, 8, 8), math.inf)), "expected finite displacements"),
        (
            lambda: folds(torch.zeros(2, 3, 8, 8)),
            "expected fields as a tensor (n, 2, height, width), got shape",
        ),
        (lambda: fold_scale(torch.full((1, 2, 8, 8), math.nan)), "expected finite displacements"),
        (
            lambda: fields(0, (8, 8), cutoff=3, temperature=1, generator=stream()),
            "the number of fields as a whole",
        ),
        (
            lambda: fields(1, (8,), cutoff=3, temperature=1, generator=stream()),
            "expected the shape of an image as",
        ),
        (
            lambda: fields(1, (8, 2), cutoff=3, temperature=1, generator=stream()),
            "an image's width as a whole number",
        ),
        (
            lambda: fields(1, (8, 8), cutoff=3, temperature=1, generator=stream(), dtype=torch.float16),
            "expected float32 or float64 for fields, got torch.float16",
        ),
        (
            lambda: matched_noise(GOOD, GOOD[:1], generator=stream()),
            "that of the images, got shape (1, 1, 8, 8)",
        ),
        (lambda: matched_noise(GOOD, GOOD, generator=stream(), match="eahc"), "did you mean 'each'"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(call, line: str) -> None:
    with pytest.raises(AkpError, match=re.escape(line)) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_cutoff_of_one_needs_a_temperature() -> None:
    field = fields(500, (10, 10), cutoff=1, temperature=1e-3, generator=stream())
    assert field.square().mean() == pytest.approx(
        displacement_variance((10, 10), cutoff=1, temperature=1e-3).mean(), rel=0.25
    )
    assert deform(GOOD, cutoff=1, temperature=1e-3, generator=stream()).images.shape == GOOD.shape
