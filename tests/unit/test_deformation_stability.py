"""D_f, G_f and R_f against sums written out and a linear network whose answer is known."""

import math
import re

import numpy as np
import pytest
import torch

from akp_core.deformation import linear_answer, planes, stability, stability_of, temperature_for
from akp_core.deformation.resampling import middle
from akp_core.errors import AkpError

RNG = np.random.default_rng(0)


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draws(n: int = 20, p: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    clean = RNG.standard_normal((n, p)) + 3
    return clean, clean + 0.1 * RNG.standard_normal((n, p)), clean + 0.3 * RNG.standard_normal((n, p))


@pytest.mark.parametrize("how", ["mean", "median"])
@pytest.mark.parametrize("n", [20, 21])
def test_the_definition_written_out(how: str, n: int) -> None:
    clean, bent, noisy = draws(n)
    found = stability(clean, bent, noisy, how=how)
    pairs = np.mean([np.sum((a - b) ** 2) for a in clean for b in clean])
    average = np.mean if how == "mean" else np.median
    d, g = (average((part - clean) ** 2, axis=0).sum() / pairs for part in (bent, noisy))
    assert found.normaliser == pytest.approx(pairs)
    assert (found.d_f.value, found.g_f.value) == pytest.approx((d, g))
    assert found.r_f.value == pytest.approx(d / g)
    assert (found.images, found.repeats, found.how, found.why) == (n, 1, how, "")
    assert math.isnan(found.r_f.low)


def test_torch_and_numpy_any_shape_and_precision_say_the_same() -> None:
    arrays = draws(12, 24)
    plain = stability(*arrays)
    maps = stability(*(torch.from_numpy(a.astype(np.float32)).reshape(12, 2, 3, 4) for a in arrays))
    assert maps.d_f.value == pytest.approx(plain.d_f.value, rel=1e-5)
    assert maps.r_f.value == pytest.approx(plain.r_f.value, rel=1e-5)


@pytest.mark.parametrize("how", ["mean", "median"])
def test_scale_and_shift_of_activations_change_nothing(how: str) -> None:
    arrays = draws()
    first = stability(*arrays, how=how, generator=stream())
    second = stability(*(5 - 3 * a[:, ::-1] for a in arrays), how=how, generator=stream())
    assert np.allclose([*first.d_f, *first.g_f, *first.r_f], [*second.d_f, *second.g_f, *second.r_f])


def test_means_are_the_same_after_a_rotation() -> None:
    arrays = draws()
    turn = np.linalg.qr(RNG.standard_normal((6, 6)))[0]
    plain, turned = (stability(*(a @ q for a in arrays)).r_f.value for q in (np.eye(6), turn))
    assert turned == pytest.approx(plain)


def test_one_wild_image_moves_the_mean_and_not_the_median() -> None:
    clean, bent, noisy = draws(101)
    bent[0] += 100
    d = {how: stability(clean, bent, noisy, how=how).d_f.value for how in ("mean", "median")}
    calm = stability(clean[1:], bent[1:], noisy[1:], how="median").d_f.value
    assert d["mean"] > 100 * d["median"]
    assert d["median"] == pytest.approx(calm, rel=0.1)


@pytest.mark.parametrize("how", ["mean", "median"])
def test_repeats_are_averaged_and_the_image_stays_the_replicate(how: str) -> None:
    clean, bent, noisy = draws(40)
    once = stability(clean, bent, noisy, how=how, generator=stream())
    thrice = stability(clean, [bent] * 3, [noisy] * 3, how=how, generator=stream())
    assert thrice.repeats == 3
    assert thrice.images == 40
    assert np.allclose([*once.d_f, *once.g_f, *once.r_f], [*thrice.d_f, *thrice.g_f, *thrice.r_f], rtol=0.1)
    if how == "mean":
        assert np.allclose([*once.d_f, *once.r_f], [*thrice.d_f, *thrice.r_f])
    more = [clean + 0.1 * RNG.standard_normal(clean.shape) for _ in range(5)]
    several = stability(clean, more, [noisy] * 5)
    alone = [stability(clean, one, noisy).d_f.value for one in more]
    assert several.d_f.value == pytest.approx(np.mean(alone))


@pytest.mark.parametrize("how", ["mean", "median"])
def test_intervals_hold_the_truth_about_as_often_as_they_claim(how: str) -> None:
    """At 95 % they held it in 92 to 94 %; the size of the change differs between images."""
    held, times, n, p = 0, 100, 30, 4
    rng = np.random.default_rng(1)
    for turn in range(times):
        size = rng.gamma(2.0, size=(n, 1)) ** 0.5
        clean = rng.standard_normal((n, p))
        changes = (clean + s * size * rng.standard_normal((n, p)) for s in (0.2, 0.4))
        found = stability(clean, *changes, how=how, generator=stream(turn), draws=199).r_f
        held += found.low <= 0.25 <= found.high
    assert 0.85 * times <= held < times


@pytest.mark.parametrize("how", ["mean", "median"])
def test_images_of_one_patient_are_drawn_together(how: str) -> None:
    clean, bent, noisy = draws(24)
    alone = stability(clean, bent, noisy, how=how, generator=stream())
    own = stability(clean, bent, noisy, how=how, groups=[f"p{k:02}" for k in range(24)], generator=stream())
    assert (own.groups, own.r_f) == (alone.groups, pytest.approx(alone.r_f))
    copies = [np.repeat(part, 8, axis=0) for part in (clean, bent, noisy)]
    patients = np.repeat(np.arange(24)[::-1], 8)
    told = stability(*copies, how=how, groups=patients, generator=stream(1))
    untold = stability(*copies, how=how, generator=stream(1))
    assert (told.images, told.groups, untold.groups) == (192, 24, 192)
    assert told.r_f.value == pytest.approx(alone.r_f.value)
    width, wide, narrow = (math.log(one.r_f.high / one.r_f.low) for one in (alone, told, untold))
    assert wide == pytest.approx(width, rel=0.25), "eight copies of 24 images are 24 patients"
    assert narrow < 0.6 * width


def test_patients_of_unequal_size_count_by_their_images() -> None:
    clean, bent, noisy = draws(21)
    groups = np.repeat(np.arange(6), [1, 2, 3, 4, 5, 6])
    found = stability(clean, bent, noisy, how="median", groups=groups, generator=stream(), draws=99)
    drawn = torch.randint(6, (99, 6), generator=stream())
    change = [(part - clean) ** 2 for part in (bent, noisy)]
    angles = []
    for draw in drawn:
        rows = np.concatenate([np.flatnonzero(groups == g) for g in draw])
        angles.append(math.atan2(*(float(np.median(part[rows], axis=0).sum()) for part in change)))
    inside = np.mean([math.tan(a) < found.r_f.low or math.tan(a) > found.r_f.high for a in angles])
    assert inside <= 0.05
    assert any(math.isclose(math.tan(a), found.r_f.low, rel_tol=1e-9) for a in angles)


def test_an_interval_narrows_with_the_square_root_of_the_images_and_not_with_repeats() -> None:
    def width(n: int, repeats: int) -> float:
        rng = np.random.default_rng(5)
        size = rng.gamma(1.0, size=(n, 1)) ** 0.5
        clean = rng.standard_normal((n, 3))
        bent = [clean + size * rng.standard_normal((n, 3)) for _ in range(repeats)]
        noisy = [clean + rng.standard_normal((n, 3)) for _ in range(repeats)]
        found = stability(clean, bent, noisy, generator=stream()).r_f
        return math.log(found.high / found.low)

    assert width(1600, 1) / width(100, 1) == pytest.approx(0.25, rel=0.4)
    assert width(100, 30) > 0.4 * width(100, 1), "thirty repeats of 100 images are not 3000 images"


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ([1, 2], "expected a group for each of 20 images, got shape (2,)"),
        (
            ["one"] * 20,
            "expected at least 2 groups of images, got 1; leave groups out if images are independent",
        ),
    ],
)
def test_groups_that_will_not_do_are_one_line(groups: list[object], said: str) -> None:
    with pytest.raises(AkpError, match=re.escape(said)):
        stability(*draws(), groups=groups)


def test_no_value_where_there_is_none_and_why() -> None:
    clean, bent, noisy = draws()
    constant = np.full_like(clean, 0.1)
    bad = noisy.copy()
    bad[3, 2], bad[5, 0] = math.nan, math.inf
    for given, why in (
        ((constant, bent, noisy), "activations are the same for all images"),
        ((constant + 1e-17 * RNG.standard_normal(clean.shape), bent, noisy), "activations are the same"),
        ((clean, bent, bad), "activations of 2 of 20 images are not finite"),
        ((clean * 1e200, bent, noisy), "activations are so large that their squares are not finite"),
    ):
        found = stability(*given, generator=stream())
        assert found.why.startswith(why)
        assert all(math.isnan(v) for v in (*found.d_f, *found.g_f, *found.r_f))
    still = stability(clean, bent, clean, generator=stream())
    assert still.why == "noise changed no activation"
    assert still.d_f.value > 0
    assert still.g_f == (0, 0, 0)
    assert math.isnan(still.r_f.value)
    dead = clean.copy()
    dead[:2] = noisy[:2]
    assert stability(clean, bent, dead, how="median").why == "noise changed no activation of most images"
    few = stability(clean, bent, dead, generator=stream())
    assert few.why == ""
    assert few.r_f.low < few.r_f.value < few.r_f.high
    assert not math.isnan(few.r_f.high)


def test_the_middle_of_numbers() -> None:
    for n in (1, 2, 7, 8):
        values = torch.randn(5, n, generator=stream(n), dtype=torch.float64)
        np.testing.assert_allclose(middle(values).numpy(), np.median(values.numpy(), axis=1))


CLEAN = np.eye(4)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (
            lambda: stability(CLEAN, CLEAN[:3], CLEAN),
            "deformed activations of 4 images with 4 numbers each, as the",
        ),
        (lambda: stability(CLEAN, CLEAN, CLEAN[:, :2]), "as the clean ones have, got 4 images with 2"),
        (
            lambda: stability(CLEAN, [CLEAN] * 2, CLEAN),
            "as many arrays of noisy activations as of deformed ones (2)",
        ),
        (lambda: stability(CLEAN, [], []), "deformed ones (0), at least one, got 0"),
        (lambda: stability(CLEAN[:1], CLEAN[:1], CLEAN[:1]), "at least 2 images along the first axis, got"),
        (lambda: stability(CLEAN * 1j, CLEAN, CLEAN), "expected real clean activations"),
        (
            lambda: stability("abc", CLEAN, CLEAN),
            "clean activations as a NumPy array or a torch tensor, got str",
        ),
        (lambda: stability(CLEAN, CLEAN, CLEAN, how="mode"), "unknown average 'mode': valid: mean, median"),
        (
            lambda: stability(CLEAN, CLEAN, CLEAN, draws=9),
            "expected draws as a whole number of at least 99, got 9",
        ),
        (lambda: stability(CLEAN, CLEAN, CLEAN, level=0), "expected level above 0 and up to 0.5, got 0"),
        (lambda: stability(CLEAN, CLEAN, CLEAN, generator=0), "expected a torch.Generator, got int"),
        (lambda: stability_of(str, torch.rand(4, 1, 8, 8), generator=stream()), "tensors by tap, got str"),
        (lambda: stability_of(lambda _: {}, torch.rand(4, 1, 8, 8), generator=stream()), "by tap, got dict"),
        (
            lambda: stability_of(lambda x: x, torch.rand(4, 8, 8), generator=stream()),
            "expected images as a tensor",
        ),
        (
            lambda: stability_of(lambda x: x, torch.rand(4, 1, 8, 8), generator=stream(), repeats=0),
            "expected repeats as a whole number of at least 1",
        ),
        (lambda: planes(torch.zeros(3, 2), (8, 8)), "expected gradients as a tensor (images, channels, 2)"),
        (
            lambda: linear_answer(torch.ones(1, 2, 8, 8), torch.ones(3, 1, 2), cutoff=3, temperature=1),
            "expected gradients of 2 channels",
        ),
        (
            lambda: linear_answer(torch.zeros(1, 1, 8, 8), torch.ones(3, 1, 2), cutoff=3, temperature=1),
            "not all zero",
        ),
    ],
)
def test_what_cannot_be_is_said_in_one_line(call, line: str) -> None:
    with pytest.raises(AkpError, match=re.escape(line)) as caught:
        call()
    assert "\n" not in str(caught.value)


WEIGHTS = {
    "mean": torch.ones(1, 2, 12, 16),
    "random": torch.randn(5, 2, 12, 16, generator=stream(1)),
    "difference": torch.nn.functional.pad(
        torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).expand(1, 2, 2, 2), (7, 7, 5, 5)
    ),
}


@pytest.mark.parametrize("kind", list(WEIGHTS))
def test_a_linear_network_has_the_stability_that_was_derived(kind: str) -> None:
    weights, cutoff = WEIGHTS[kind].double(), 3
    gradients = torch.randn(600, 2, 2, generator=stream(2), dtype=torch.float64)
    temperature = temperature_for(1.0, cutoff, math.sqrt(12 * 16))
    want = linear_answer(weights, gradients, cutoff=cutoff, temperature=temperature)
    found = stability_of(
        lambda x: torch.einsum("pchw,nchw->np", weights, x),
        planes(gradients, (12, 16)),
        generator=stream(3),
        repeats=3,
        level=0.001,
    )
    assert found.r_f.low < want.relative < found.r_f.high
    assert found.d_f.low < want.deformed / found.normaliser < found.d_f.high
    assert found.g_f.low < want.noisy / found.normaliser < found.g_f.high
    assert found.r_f.high / found.r_f.low < 2, "too wide to tell"
    cooler = linear_answer(weights, gradients, cutoff=cutoff, temperature=temperature / 10)
    assert cooler.relative == pytest.approx(want.relative)
    assert {"mean": want.relative > 10, "random": 0.5 < want.relative < 2, "difference": want.relative < 0.2}[
        kind
    ]


def test_whatever_keeps_distances_has_exactly_one() -> None:
    images = torch.rand(30, 3, 16, 16, generator=stream())
    turn = torch.linalg.qr(torch.randn(768, 768, generator=stream(), dtype=torch.float64))[0]
    for function in (lambda x: x, lambda x: 7 - 2 * x, lambda x: x.flatten(1).double() @ turn):
        found = stability_of(function, images, generator=stream())
        assert found.r_f.value == pytest.approx(1, abs=1e-5)
        assert found.r_f.high - found.r_f.low < 1e-4


def test_the_mean_match_is_one_only_on_average() -> None:
    images = torch.rand(200, 1, 16, 16, generator=stream()) * torch.rand(200, 1, 1, 1, generator=stream(1))
    found = stability_of(lambda x: x, images, generator=stream(), match="mean")
    assert found.r_f.value > 1.1, "the mean square of the norms exceeds the square of their mean"


def test_taps_share_their_draws_and_batches_change_nothing() -> None:
    images = torch.rand(50, 3, 16, 16, generator=stream())
    seen = []

    def taps(x: torch.Tensor) -> dict[str, torch.Tensor]:
        seen.append(len(x))
        return {"pixels": x, "twice": 2 * x, "mean": x.mean(dim=(2, 3))}

    whole = stability_of(taps, images, generator=stream(4), repeats=2)
    assert seen == [50] * 5
    parts = stability_of(taps, images, generator=stream(4), repeats=2, batch=16)
    assert max(seen[5:]) == 16
    assert whole["pixels"].r_f == whole["twice"].r_f
    for tap in whole:
        assert np.allclose(whole[tap].r_f, parts[tap].r_f, rtol=1e-4)
    alone = stability_of(lambda x: taps(x)["mean"], images, generator=stream(4), repeats=2)
    assert alone == whole["mean"]
    none = stability_of(taps, images, generator=stream(4), repeats=2, draws=0)["mean"]
    assert none.r_f.value == alone.r_f.value
    assert math.isnan(none.r_f.low)


def test_a_network_that_died_at_one_tap_says_so_there_alone() -> None:
    images = torch.rand(20, 1, 12, 12, generator=stream())
    found = stability_of(lambda x: {"alive": x, "dead": x.clamp(max=-1)}, images, generator=stream())
    assert found["alive"].why == ""
    assert found["dead"].why == "activations are the same for all images"
