"""A stress is frozen data that compiles to phases of constant functions."""

import dataclasses
import json

import pytest
import torch
from torch import nn

from akp_core import palette
from akp_core.disturbances import DISTURBANCES, TARGETS, disturbance
from akp_core.errors import AkpError
from akp_core.networks import Network, Own, swap
from akp_core.stress import Phase, Stress, phases, pulses, step_of, swaps, unstressed

NET = Network(depth=2)
RELU = (("block1.slot", (("relu", 1.0),)), ("block2.slot", (("relu", 1.0),)))
TANH = (("block1.slot", (("tanh", 1.0),)), ("block2.slot", (("tanh", 1.0),)))
CE, HINGE = (("cross_entropy", 1.0),), (("hinge", 1.0),)
DISTURBED = [
    Stress(name, dose=entry.neutral + 0.2 * min(1.0, entry.high - entry.neutral))
    for name, entry in sorted(DISTURBANCES.items())
]
STRESSES = [
    Stress(),
    *(Stress("activation", name) for name in sorted(palette.ACTIVATIONS)),
    *(Stress("loss", name) for name in sorted(palette.LOSSES)),
    Stress("activation", "tanh", dose=0.5),
    Stress("loss", "hinge", dose=0.5),
    *DISTURBED,
]


def test_a_press_is_one_phase_to_the_end() -> None:
    assert phases(Stress("activation", "tanh", onset=0.25), NET, "cross_entropy", 100) == (
        Phase(25, 100, TANH, CE),
    )


def test_a_pulse_is_undone() -> None:
    stress = Stress("activation", "sine", slots=("block2.slot",), onset=0.2, end=0.5, optimizer="reset")
    assert phases(stress, NET, "hinge", 10) == (
        Phase(2, 5, (RELU[0], ("block2.slot", (("sine", 1.0),))), HINGE, reset_optimizer=True),
        Phase(5, 10, RELU, HINGE, reset_optimizer=True),
    )


def test_a_loss_swap_leaves_the_activations_alone() -> None:
    assert phases(Stress("loss", "hinge", onset=0.5), NET, "cross_entropy", 10) == (
        Phase(5, 10, RELU, HINGE),
    )


def test_a_dose_mixes_the_new_function_into_the_old() -> None:
    (mixed,) = phases(
        Stress("activation", "tanh", dose=0.25, slots=("block2.slot",)), NET, "cross_entropy", 10
    )
    assert mixed == Phase(0, 10, (RELU[0], ("block2.slot", (("relu", 0.75), ("tanh", 0.25)))), CE)
    (mixed,) = phases(Stress("loss", "hinge", dose=0.25), NET, "cross_entropy", 10)
    assert mixed == Phase(0, 10, RELU, (("cross_entropy", 0.75), ("hinge", 0.25)))


def test_slots_that_hold_different_activations_are_mixed_each_for_itself() -> None:
    network = Own(_two_kinds)
    (phase,) = phases(Stress("activation", "tanh", dose=0.3), network, "cross_entropy", 10)
    assert [mixture for _, mixture in phase.activations] == [(("tanh", 1.0),), (("relu", 0.7), ("tanh", 0.3))]
    calm = unstressed(network, "cross_entropy", 0, 10)
    assert calm.activations == tuple((slot, ((name, 1.0),)) for slot, name in network.held)


def _two_kinds() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(16, 5), nn.Tanh(), nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 3)
    )


@pytest.mark.parametrize("stress", DISTURBED, ids=lambda s: s.name)
def test_a_disturbance_leaves_the_functions_alone(stress: Stress) -> None:
    (phase,) = phases(stress.at(0.5), NET, "cross_entropy", 10)
    assert phase == Phase(5, 10, RELU, CE, disturbances=((stress.kind, stress.dose),))
    entry = disturbance(stress.kind)
    acting = {target: phase.acting_on(target) for target in TARGETS}
    assert acting == {t: ((entry, stress.dose),) if t == entry.target else () for t in TARGETS}


@pytest.mark.parametrize("stress", STRESSES, ids=lambda s: s.name)
def test_every_stress_is_a_press_or_a_pulse(stress: Stress) -> None:
    """A pulse is the press cut off, followed by the unstressed phase."""
    (press,) = phases(stress.at(0.2), NET, "cross_entropy", 10)
    pulse = phases(dataclasses.replace(stress, onset=0.2, end=0.6), NET, "cross_entropy", 10)
    assert pulse == (dataclasses.replace(press, stop=6), unstressed(NET, "cross_entropy", 6, 10))
    assert (press.start, press.stop) == (2, 10)


@pytest.mark.parametrize("stress", STRESSES, ids=lambda s: s.name)
def test_a_phase_gives_the_functions_that_it_names(stress: Stress) -> None:
    (phase,) = phases(stress, NET, "cross_entropy", 10)
    swap(NET.build((1, 8, 8), 3, torch.Generator()), phase.held())
    assert list(phase.held()) == list(NET.slots)
    if stress.kind == "activation" and stress.dose == 1:
        assert set(phase.held().values()) == {palette.activation(stress.to)}
    if stress.kind == "loss" and stress.dose == 1:
        assert phase.loss_function() is palette.loss(stress.to).function
    data = phase.as_dict()
    assert json.loads(json.dumps(data, allow_nan=False)).keys() == data.keys()


@pytest.mark.parametrize(
    "stress",
    [
        Stress(onset=0.5),
        Stress("activation", "relu", onset=0.5),
        Stress("loss", "cross_entropy", onset=0.5),
        Stress("activation", "tanh", onset=0.5, end=0.5, optimizer="reset"),
        Stress("activation", "tanh", dose=0, onset=0.5),
        Stress("loss", "hinge", dose=0, onset=0.5),
        *(Stress("activation", "relu", dose=d, onset=0.5) for d in (0.1, 0.3, 0.7)),
        *(Stress(entry.name, dose=entry.neutral, onset=0.5) for entry in DISTURBANCES.values()),
    ],
    ids=lambda s: s.name,
)
def test_controls_compile_to_the_unstressed_phase(stress: Stress) -> None:
    assert phases(stress, NET, "cross_entropy", 10) == (unstressed(NET, "cross_entropy", 5, 10),)


def test_a_stress_is_frozen_and_compares_by_value() -> None:
    assert Stress("activation", "tanh") == Stress("activation", "tanh")
    with pytest.raises(dataclasses.FrozenInstanceError):
        Stress().onset = 0.5  # type: ignore[misc]


def test_a_swap_is_whole_unless_a_dose_is_given() -> None:
    assert Stress("activation", "tanh") == Stress("activation", "tanh", dose=1)
    assert Stress("loss", "hinge").dose == 1.0
    assert Stress().dose is None
    assert isinstance(Stress("label_noise", dose=1).dose, float)


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
        Stress("activation", "tanh", dose=0.5),
        Stress("activation", "tanh", dose=0),
        Stress("activation", "tanh", dose=0.5, slots=("block1.slot", "block2.slot"), end=0.5),
        Stress("loss", "hinge", dose=0.125),
        Stress("label_noise", dose=0.2),
        Stress("label_noise", dose=1),
        Stress("learning_rate", dose=10, end=0.5),
        Stress("learning_rate", dose=0.001),
        Stress("weight_noise", dose=0.1, optimizer="reset"),
    ]
    assert [s.name for s in several] == [
        "no-op",
        "tanh",
        "tanh in block1",
        "tanh for 50%",
        "tanh, optimiser reset",
        "loss: hinge",
        "tanh, dose 0.5",
        "tanh, dose 0",
        "tanh in block1, block2, dose 0.5 for 50%",
        "loss: hinge, dose 0.125",
        "label noise 0.2",
        "label noise 1",
        "learning rate x 10 for 50%",
        "learning rate x 0.001",
        "weight noise 0.1, optimiser reset",
    ]
    assert len({s.name for s in STRESSES}) == len(STRESSES)


def test_phase_data_names_the_functions_behind_the_names() -> None:
    mixed = (("block1.slot", (("relu", 0.5), ("square", 0.5))),)
    data = Phase(0, 1, mixed, (("hinge", 0.5), ("focal", 0.5)), (("occlusion", 0.2),)).as_dict()
    assert data["functions"] == {
        "activation relu": palette.activation("relu").identity,
        "activation square": palette.activation("square").identity,
        "loss hinge": palette.loss("hinge").identity,
        "loss focal": palette.loss("focal").identity,
        "disturbance occlusion": disturbance("occlusion").identity,
    }


@pytest.mark.parametrize(
    "change",
    [
        {"activations": TANH},
        {"activations": (RELU[0], ("block2.slot", (("relu", 0.5), ("tanh", 0.5))))},
        {"loss": HINGE},
        {"disturbances": (("label_noise", 0.2),)},
        {"disturbances": (("label_noise", 0.3),)},
        {"reset_optimizer": True},
    ],
)
def test_phase_data_tells_phases_apart(change: dict[str, object]) -> None:
    calm = unstressed(NET, "cross_entropy", 0, 1)
    other = Phase(0, 1, RELU, CE, (("label_noise", 0.25),))
    changed = dataclasses.replace(calm, **change).as_dict()
    assert changed != calm.as_dict()
    assert changed != other.as_dict()


def test_a_changed_disturbance_changes_the_phase_data(monkeypatch: pytest.MonkeyPatch) -> None:
    phase = Phase(0, 1, RELU, CE, (("learning_rate", 2.0),))
    before = phase.as_dict()
    cubed = dataclasses.replace(disturbance("learning_rate"), function=lambda rate, dose: rate * dose**3)
    monkeypatch.setitem(DISTURBANCES, "learning_rate", cubed)
    assert phase.as_dict() != before


def test_a_registered_disturbance_is_a_kind_of_stress(monkeypatch: pytest.MonkeyPatch) -> None:
    dimmer = dataclasses.replace(disturbance("input_noise"), name="dimmer")
    monkeypatch.setitem(DISTURBANCES, "dimmer", dimmer)
    (phase,) = phases(Stress("dimmer", dose=0.5), NET, "hinge", 4)
    assert phase.acting_on("images") == ((dimmer, 0.5),)


def test_an_unknown_target_says_what_is_valid() -> None:
    with pytest.raises(AkpError, match="unknown target of a disturbance 'image': did you mean 'images'"):
        unstressed(NET, "hinge", 0, 1).acting_on("image")


def test_shares_round_to_the_nearest_step() -> None:
    assert [step_of(s, 10) for s in (0, 0.04, 0.05, 0.24, 0.26, 1)] == [0, 0, 1, 2, 3, 10]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Stress("activaton", "tanh"),
            "unknown kind of stress 'activaton': did you mean 'activation'",
        ),
        (
            lambda: Stress("label_nose", dose=0.2),
            "unknown kind of stress 'label_nose': did you mean 'label_noise'. valid: activation, input_noise",
        ),
        (lambda: Stress("activation", "tahn"), "unknown activation 'tahn': did you mean 'tanh'"),
        (lambda: Stress("loss", "higne"), "unknown loss 'higne': did you mean 'hinge'"),
        (lambda: Stress("loss"), "expected the loss to swap to, got none; give to=..., such as 'hinge'"),
        (lambda: Stress(to="tanh"), "expected no target for a stress of kind 'none', got 'tanh'"),
        (
            lambda: Stress("label_noise", 0.2),
            "expected no target for a stress of kind 'label_noise', got 0.2; .* a strength is given as dose=",
        ),
        (lambda: Stress("label_noise"), "expected a dose of label_noise from 0 to 1, got none; give dose="),
        (lambda: Stress("occlusion", dose=2), "expected a dose of occlusion from 0 to 1, got 2; the dose is"),
        (
            lambda: Stress("learning_rate", dose=0),
            "expected a dose of learning_rate from 0.0001 to 10000, got 0",
        ),
        (lambda: Stress("input_noise", dose=-1), "expected a dose of input_noise from 0 up, got -1"),
        (lambda: Stress(dose=0.5), "expected no dose for a stress of kind 'none', got 0.5"),
        (
            lambda: Stress("activation", "tanh", dose=1.5),
            "expected dose as a share of the new activation from 0 to 1, got 1.5",
        ),
        (lambda: Stress("loss", "hinge", dose="half"), "dose as a share of the new loss .*, got 'half'"),
        (lambda: Stress("loss", "hinge", dose=True), "dose as a share of the new loss .*, got True"),
        (lambda: Stress("label_noise", dose=0.1, slots=("block1.slot",)), "slots are for an activation swap"),
        (lambda: Stress("activation", "tanh", slots="block1.slot"), "expected slots to be a list of slot"),
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


def test_pulses_are_undone_after_their_length_wherever_they_start() -> None:
    tanh, hinge = pulses(swaps(["tanh"], ["hinge"]), 0.125)
    assert [s.name for s in (tanh, hinge)] == ["tanh for 12.5%", "loss: hinge for 12.5%"]
    later = tanh.at(0.75)
    assert (later.onset, later.end, later.name) == (0.75, 0.875, tanh.name)
    assert tanh.at(0.3).name == tanh.name
    for length, said in ((0.0, "between 0 and 1"), (1, "between 0 and 1"), ("a", "share of training")):
        with pytest.raises(AkpError, match=said):
            pulses(swaps(["tanh"]), length)  # type: ignore[arg-type]
