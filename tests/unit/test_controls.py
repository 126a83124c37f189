"""Controls are laid out as what they claim to be, and a broken one is said in one line."""

import pandas as pd
import pytest
import torch

from akp_core.datasets import load
from akp_core.errors import AkpError
from akp_core.evidence.controls import BROKEN, HELD, calibrating, exact, require
from akp_core.evidence.memorising import few, memorising
from akp_core.networks import Network
from akp_core.stress import Stress, phases, unstressed
from akp_core.study import Study


@pytest.fixture(scope="module")
def study() -> Study:
    return Study(load("digits"), (Stress("activation", "square"),), (0.25, 0.5), 4, Network("mlp", 8, 2))


@pytest.mark.parametrize("onset", [0.0, 0.5, 0.95])
def test_exact_controls_compile_to_the_unstressed_functions_throughout(study: Study, onset: float) -> None:
    sham = exact(study, onset)
    assert len(sham.families) == 6
    for family in sham.families[1:]:
        for phase in phases(family.stress, study.network, study.recipe.loss, study.steps):
            calm = unstressed(study.network, study.recipe.loss, phase.start, phase.stop)
            assert phase == calm, family.name


def test_the_swap_to_itself_and_back_is_cut_in_two_and_a_stress_is_not_exact(study: Study) -> None:
    back = next(f.stress for f in exact(study, 0.5).families[1:] if 0.5 < f.stress.end < 1)
    assert len(phases(back, study.network, "cross_entropy", study.steps)) == 2
    (struck,) = phases(Stress("activation", "square", onset=0.5), study.network, "cross_entropy", study.steps)
    assert struck != unstressed(study.network, "cross_entropy", struck.start, struck.stop)


def test_a_network_of_two_activations_is_swapped_where_it_holds_each() -> None:
    from torch import nn

    from akp_core.networks import Own

    own = Own(
        lambda: nn.Sequential(
            nn.Flatten(), nn.Linear(256, 8), nn.Tanh(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 10)
        ),
        taps=("4",),
    )
    sham = exact(Study(load("digits"), (), (0.5,), 4, own), 0.5)
    for family in sham.families[1:]:
        (*_, last) = phases(family.stress, own, "cross_entropy", sham.steps)
        assert last.activations == unstressed(own, "cross_entropy", 0, 1).activations


def test_a_broken_control_fails_in_one_line() -> None:
    row = {"family": "no-op @ 50%", "networks": 10, "predictions": 10, "fingerprints": 9, "state": 7}
    require(pd.DataFrame([row | {"verdict": HELD}]))
    with pytest.raises(AkpError, match="3 of 10 networks of 'no-op @ 50%' that differ") as caught:
        require(pd.DataFrame([row | {"verdict": HELD}, row | {"verdict": BROKEN}]))
    assert "\n" not in str(caught.value)


def test_calibrating_controls_are_a_jolt_that_ends_and_a_stress_from_the_first_step(study: Study) -> None:
    jolted, started = calibrating(study, jolt=10, length=0.125)
    assert [f.name for f in jolted.families] == ["control", "learning rate x 10 for 12.5% @ 25%"]
    assert [f.name for f in started.families] == ["control", "square @ 0%"]
    with pytest.raises(AkpError, match="at least one stress"):
        calibrating(Study(study.data, (), (0.5,), 4, study.network))
    with pytest.raises(AkpError, match="dose of learning_rate"):
        calibrating(study, jolt=0)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_random_labels_leave_no_trace_of_the_class_for_any_number_of_classes(classes: int) -> None:
    """With the share 1 - 1/C each class is as likely for every image; with all replaced it is not."""
    from akp_core.disturbances import random_labels

    true = torch.arange(classes).repeat_interleave(6000)
    for dose, traceless in ((1 - 1 / classes, True), (1.0, False)):
        given = random_labels(true, classes, dose, torch.Generator().manual_seed(0))
        counts = torch.stack([torch.bincount(given[true == c], minlength=classes) for c in range(classes)])
        most = float((counts / 6000 - 1 / classes).abs().max())
        assert (most < 0.03) is traceless


def test_few_images_are_spread_over_the_training_images(study: Study) -> None:
    part = few(study.data, 100)
    assert len(part.train) == 100
    assert torch.equal(part.train.images[0], study.data.train.images[0])
    assert torch.equal(part.train.images[-1], study.data.train.images[-1])
    assert torch.equal(part.probe.images, study.data.probe.images)
    with pytest.raises(AkpError, match="images to learn by heart as a whole number from 2 to"):
        few(study.data, 10**6)


def test_a_memorising_study_shares_its_random_labels_and_keeps_the_rest(study: Study) -> None:
    heart = memorising(study, images=64, epochs=7)
    assert [f.name for f in heart.families] == ["control", "label noise 0.9 @ 0%"]
    assert (heart.recipe.epochs, heart.network, heart.seed) == (7, study.network, study.seed)
    with pytest.raises(AkpError, match="at least one batch"):
        _ = memorising(study, images=32, epochs=7).steps
