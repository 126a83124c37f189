"""A stress is frozen data that compiles to phases of constant functions."""

import dataclasses

import pytest

from akp_core.errors import AkpError
from akp_core.networks import Network
from akp_core.stress import Phase, Stress, phases, step_of, swaps, unstressed

NET = Network(depth=2)
RELU = (("block1.slot", "relu"), ("block2.slot", "relu"))


def test_a_press_is_one_phase_to_the_end() -> None:
    assert phases(Stress("activation", "tanh", onset=0.25), NET, "cross_entropy", 100) == (
        Phase(25, 100, (("block1.slot", "tanh"), ("block2.slot", "tanh")), "cross_entropy"),
    )


def test_a_pulse_is_undone() -> None:
    stress = Stress("activation", "sine", slots=("block2.slot",), onset=0.2, end=0.5, optimizer="reset")
    assert phases(stress, NET, "hinge", 10) == (
        Phase(2, 5, (("block1.slot", "relu"), ("block2.slot", "sine")), "hinge", reset_optimizer=True),
        Phase(5, 10, RELU, "hinge", reset_optimizer=True),
    )


def test_a_loss_swap_leaves_the_activations_alone() -> None:
    assert phases(Stress("loss", "hinge", onset=0.5), NET, "cross_entropy", 10) == (
        Phase(5, 10, RELU, "hinge"),
    )


@pytest.mark.parametrize(
    "stress",
    [
        Stress(onset=0.5),
        Stress("activation", "relu", onset=0.5),
        Stress("loss", "cross_entropy", onset=0.5),
        Stress("activation", "tanh", onset=0.5, end=0.5, optimizer="reset"),
    ],
)
def test_controls_compile_to_the_unstressed_phase(stress: Stress) -> None:
    assert phases(stress, NET, "cross_entropy", 10) == (unstressed(NET, "cross_entropy", 5, 10),)


def test_a_stress_is_frozen_and_compares_by_value() -> None:
    assert Stress("activation", "tanh") == Stress("activation", "tanh")
    with pytest.raises(dataclasses.FrozenInstanceError):
        Stress().onset = 0.5  # type: ignore[misc]


def test_swaps_makes_one_stress_for_each_name() -> None:
    assert swaps(["tanh"], ["hinge"]) == (Stress("activation", "tanh"), Stress("loss", "hinge"))


def test_moving_a_pulse_keeps_its_length() -> None:
    assert Stress("loss", "hinge", onset=0.1, end=0.3).at(0.5) == Stress("loss", "hinge", onset=0.5, end=0.7)
    assert Stress("loss", "hinge", onset=0.1).at(0.5).end == 1.0


def test_names_tell_stresses_apart() -> None:
    several = [
        Stress(),
        Stress("activation", "tanh"),
        Stress("activation", "tanh", slots=("block1.slot",)),
        Stress("activation", "tanh", end=0.5),
        Stress("activation", "tanh", optimizer="reset"),
        Stress("loss", "hinge"),
    ]
    assert [s.name for s in several] == [
        "no-op",
        "tanh",
        "tanh in block1",
        "tanh until 50%",
        "tanh, optimiser reset",
        "loss: hinge",
    ]


def test_phase_data_names_the_functions_behind_the_names() -> None:
    one = Phase(0, 1, RELU, "hinge").as_dict()["functions"]
    assert set(one) == {"relu", "hinge"}
    assert one != Phase(0, 1, (("block1.slot", "tanh"),), "hinge").as_dict()["functions"]


def test_shares_round_to_the_nearest_step() -> None:
    assert [step_of(s, 10) for s in (0, 0.04, 0.05, 0.24, 0.26, 1)] == [0, 0, 1, 2, 3, 10]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Stress("activaton", "tanh"),
            "unknown kind of stress 'activaton': did you mean 'activation'",
        ),
        (lambda: Stress("activation", "tahn"), "unknown activation 'tahn': did you mean 'tanh'"),
        (lambda: Stress("loss", "higne"), "unknown loss 'higne': did you mean 'hinge'"),
        (lambda: Stress("loss"), "expected the loss to swap to, got none; give to=..., such as 'hinge'"),
        (lambda: Stress(to="tanh"), "expected no target for a stress of kind 'none', got 'tanh'"),
        (lambda: Stress(onset=1.5), "expected onset as a share of training from 0 to 1, got 1.5"),
        (lambda: Stress(onset="early"), "expected onset as a share of training from 0 to 1, got 'early'"),
        (lambda: Stress(onset=0.5, end=0.2), "expected end at or after the onset 0.5, got 0.2"),
        (lambda: Stress(optimizer="forget"), "unknown optimizer policy 'forget'.*valid: keep, reset"),
        (lambda: Stress("loss", "hinge", slots=("block1.slot",)), "slots are for an activation swap"),
        (
            lambda: phases(Stress("activation", "tanh", slots=("block9.slot",)), NET, "hinge", 10),
            "unknown slot 'block9.slot'",
        ),
        (lambda: phases(Stress("activation", "tanh", slots=()), NET, "hinge", 10), "no effect"),
    ],
)
def test_bad_stresses_say_what_to_do(make, message: str) -> None:
    with pytest.raises(AkpError, match=message):
        make()
