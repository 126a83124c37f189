"""Each disturbance does what it declares, by as much as its dose says, and nothing at its neutral dose."""

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch

from akp_core import disturbances
from akp_core.disturbances import DISTURBANCES, Disturbance, disturbance, register_disturbance
from akp_core.errors import AkpError
from akp_core.seeds import generator

CLASSES = 4


def an_input(target: str) -> Any:
    """Something of the target's kind, with negative zeros in it where it is a tensor."""
    stream = torch.Generator().manual_seed(3)
    if target == "rate":
        return 0.1
    if target == "labels":
        return torch.randint(CLASSES, (500,), generator=stream)
    x = torch.randn(6, 3, 16, 16, generator=stream)
    x[0, 0, 0] = -0.0
    return x


def apply(entry: Disturbance, x: Any, dose: float, seed: int = 0) -> Any:
    stream = torch.Generator().manual_seed(seed)
    if entry.target == "rate":
        return entry.function(x, dose)
    if entry.target == "labels":
        return entry.function(x, CLASSES, dose, stream)
    return entry.function(x, dose, stream)


def bits(x: Any) -> bytes:
    return x.numpy().tobytes() if isinstance(x, torch.Tensor) else float(x).hex().encode()


def some_dose(entry: Disturbance) -> float:
    """A dose well inside the range and away from the neutral one."""
    span = min(entry.high, entry.low + 1) - entry.low
    return next(d for d in (entry.low + 0.3 * span, entry.low + 0.6 * span) if d != entry.neutral)


every = pytest.mark.parametrize("entry", DISTURBANCES.values(), ids=DISTURBANCES)
drawing = pytest.mark.parametrize(
    "entry", [e for e in DISTURBANCES.values() if e.target != "rate"], ids=lambda e: e.name
)


@every
def test_the_neutral_dose_gives_back_the_same_bits(entry: Disturbance) -> None:
    x = an_input(entry.target)
    assert bits(apply(entry, x, entry.neutral)) == bits(x)


@every
def test_a_dose_changes_what_it_acts_on_and_leaves_the_original(entry: Disturbance) -> None:
    x = an_input(entry.target)
    before = bits(x)
    y = apply(entry, x, some_dose(entry))
    assert bits(x) == before, "works in place"
    assert bits(y) != before
    if isinstance(x, torch.Tensor):
        assert (y.shape, y.dtype) == (x.shape, x.dtype)
        assert torch.isfinite(y).all()


@drawing
def test_its_generator_alone_determines_it(entry: Disturbance) -> None:
    x = an_input(entry.target)
    torch.manual_seed(1)
    one = apply(entry, x, some_dose(entry))
    state = torch.get_rng_state()
    torch.manual_seed(2)
    assert bits(apply(entry, x, some_dose(entry))) == bits(one)
    assert bits(apply(entry, x, some_dose(entry), seed=1)) != bits(one)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state), "draws from torch's own stream"


@drawing
def test_every_dose_draws_equally_much(entry: Disturbance) -> None:
    """Else what shares a stream with a disturbance would change with its dose."""
    left = []
    for dose in (entry.neutral, some_dose(entry)):
        stream = torch.Generator().manual_seed(0)
        x = an_input(entry.target)
        entry.function(x, CLASSES, dose, stream) if entry.target == "labels" else entry.function(
            x, dose, stream
        )
        left.append(stream.get_state())
    assert torch.equal(*left)


@pytest.mark.parametrize("name", [e.name for e in DISTURBANCES.values() if e.target in ("images", "weights")])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_precision_is_kept_and_the_numbers_are_the_same(name: str, dtype: torch.dtype) -> None:
    entry, x = disturbance(name), an_input("images")
    got = apply(entry, x.to(dtype), 0.3)
    assert got.dtype == dtype
    torch.testing.assert_close(got.float(), apply(entry, x, 0.3), atol=0.05, rtol=0.01)


def test_a_jolt_multiplies_the_rate() -> None:
    assert disturbance("learning_rate").function(0.02, 10.0) == 0.2


@pytest.mark.parametrize("dose", [0.0, 0.1, 0.3, 1.0])
def test_label_noise_replaces_its_share_and_never_by_the_label_itself(dose: float) -> None:
    labels = an_input("labels")
    noisy = apply(disturbance("label_noise"), labels, dose)
    assert int((noisy != labels).sum()) == round(dose * len(labels))
    assert noisy.min() >= 0
    assert noisy.max() < CLASSES


def test_label_noise_is_nested_in_its_dose() -> None:
    labels = an_input("labels")
    several = [apply(disturbance("label_noise"), labels, dose) for dose in (0.1, 0.2, 0.75, 1.0)]
    for less, more in pairwise(several):
        wrong = less != labels
        assert torch.equal(less[wrong], more[wrong])


def test_label_noise_takes_each_other_class_equally_often_whatever_the_label() -> None:
    labels = torch.arange(CLASSES).repeat(9000)
    noisy = apply(disturbance("label_noise"), labels, 1.0)
    counts = torch.zeros(CLASSES, CLASSES).index_put_((labels, noisy), torch.tensor(1.0), accumulate=True)
    assert (counts.diagonal() == 0).all()
    off = counts[~torch.eye(CLASSES, dtype=torch.bool)]
    assert (off - 3000).abs().max() < 5 * math.sqrt(3000 * 2 / 3)


def test_which_labels_are_wrong_does_not_lean_to_one_end() -> None:
    labels = torch.zeros(40_000, dtype=torch.int64)
    wrong = (apply(disturbance("label_noise"), labels, 0.3) != labels).float()
    assert abs(wrong[:20_000].mean() - 0.3) < 5 * math.sqrt(0.3 * 0.7 / 20_000)


def test_label_noise_needs_another_class() -> None:
    with pytest.raises(AkpError, match="expected at least 2 classes to replace a label by another, got 1"):
        disturbance("label_noise").function(torch.zeros(3, dtype=torch.int64), 1, 0.5, generator(0))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 50.0])
def test_weight_noise_is_relative_to_the_tensor(scale: float) -> None:
    weight = scale * (2 + torch.randn(300, 200, generator=torch.Generator().manual_seed(5)))
    noise = apply(disturbance("weight_noise"), weight, 0.2) - weight
    rms = weight.square().mean().sqrt()
    assert float(noise.std() / rms) == pytest.approx(0.2, rel=0.02)
    assert abs(float(noise.mean() / rms)) < 5 * 0.2 / math.sqrt(weight.numel())


def test_weight_noise_leaves_a_tensor_of_zeros() -> None:
    zeros = torch.zeros(64)
    assert bits(apply(disturbance("weight_noise"), zeros, 3.0)) == bits(zeros)


def test_the_gradient_passes_weight_noise_unchanged() -> None:
    weight = torch.randn(5, 4, requires_grad=True)
    apply(disturbance("weight_noise"), weight, 0.5).sum().backward()
    assert torch.equal(weight.grad, torch.ones(5, 4))


@pytest.mark.parametrize("dose", [0.1, 2.0])
def test_input_noise_has_its_dose_as_standard_deviation(dose: float) -> None:
    images = 7 * torch.randn(20, 3, 32, 32, generator=torch.Generator().manual_seed(5))
    noise = apply(disturbance("input_noise"), images, dose) - images
    assert float(noise.std()) == pytest.approx(dose, rel=0.02)
    assert abs(float(noise.mean())) < 5 * dose / math.sqrt(images.numel())
    assert (noise[0] - noise[1]).std() > dose


@pytest.mark.parametrize(("height", "width"), [(16, 16), (12, 20), (9, 5)])
@pytest.mark.parametrize("dose", [0.0, 0.25, 0.5, 1.0])
def test_occlusion_sets_one_square_of_each_image_to_zero(height: int, width: int, dose: float) -> None:
    images = torch.ones(40, 2, height, width)
    covered = apply(disturbance("occlusion"), images, dose) == 0
    side = math.floor(dose * min(height, width) + 0.5)
    assert torch.equal(covered[:, 0], covered[:, 1])
    for square in covered[:, 0]:
        rows, columns = square.any(dim=1).nonzero().flatten(), square.any(dim=0).nonzero().flatten()
        assert square.sum() == side * side
        assert len(rows) == len(columns) == side
        assert side == 0 or int(rows[-1] - rows[0]) == int(columns[-1] - columns[0]) == side - 1


def test_an_occluding_square_lies_anywhere_within_the_image() -> None:
    covered = apply(disturbance("occlusion"), torch.ones(6000, 1, 4, 5), 0.5)[:, 0] == 0
    tops, lefts = covered.any(dim=2).int().argmax(dim=1), covered.any(dim=1).int().argmax(dim=1)
    counts = torch.bincount(tops * 4 + lefts, minlength=12)
    assert len(counts) == 12
    assert (counts - 500).abs().max() < 5 * math.sqrt(500)


@every
def test_its_range_is_checked_in_words(entry: Disturbance) -> None:
    assert entry.checked(entry.neutral) == entry.neutral
    assert isinstance(entry.checked(int(entry.low) + 1), float)
    for dose in (entry.low - 1, math.nan, math.inf, True, "much", None):
        with pytest.raises(AkpError, match=rf"expected a dose of {entry.name} .*, got .*; the dose is "):
            entry.checked(dose)


def test_ranges_read_as_words() -> None:
    assert disturbance("label_noise").range == "from 0 to 1"
    assert disturbance("input_noise").range == "from 0 up"
    with pytest.raises(
        AkpError, match=r"dose of label_noise from 0 to 1, got 1\.5; the dose is a share of the labels"
    ):
        disturbance("label_noise").checked(1.5)
    with pytest.raises(AkpError, match=r"dose of learning_rate from 0.0001 to 10000, got 0"):
        disturbance("learning_rate").checked(0)


def test_an_unknown_name_says_what_is_valid() -> None:
    with pytest.raises(
        AkpError, match=r"unknown disturbance 'label_nose': did you mean 'label_noise'\? valid"
    ):
        disturbance("label_nose")


def test_identity_tells_functions_apart() -> None:
    assert len({entry.identity for entry in DISTURBANCES.values()}) == len(DISTURBANCES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "'label_noise' is already registered; choose another name"),
        ({"name": "loss"}, "'loss' is already registered"),
        (
            {"name": "new", "target": "label"},
            "unknown target of a disturbance 'label': did you mean 'labels'",
        ),
        ({"name": "new", "neutral": 2.0}, "expected a dose of new from 0 to 1, got 2.0"),
    ],
)
def test_what_cannot_be_registered_says_why(change: dict[str, Any], message: str) -> None:
    with pytest.raises(AkpError, match=message):
        register_disturbance(replace(disturbance("label_noise"), **change))
    assert "new" not in DISTURBANCES


def test_a_new_disturbance_is_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disturbances, "DISTURBANCES", dict(DISTURBANCES))

    def flip(x: torch.Tensor, dose: float, _: torch.Generator) -> torch.Tensor:
        return x.flip(-1) if dose else x

    register_disturbance(Disturbance("mirror", "images", flip, 0, 0, 1, "on or off", "x"))
    assert disturbance("mirror").function is flip
