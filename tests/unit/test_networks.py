"""Slots are where activations are swapped, taps are where one looks in."""

import pytest
import torch

from akp_core.errors import AkpError
from akp_core.networks import Network, representations, slots, swap, tapped

SHAPES = {"cnn": (1, 16, 16), "mlp": (2, 5, 4)}


def build(kind: str, seed: int = 0, **fields: object) -> torch.nn.Module:
    return Network(kind, width=4, **fields).build(SHAPES[kind], 3, torch.Generator().manual_seed(seed))


def images(kind: str, n: int = 6) -> torch.Tensor:
    return torch.randn(n, *SHAPES[kind], generator=torch.Generator().manual_seed(9))


@pytest.mark.parametrize("kind", SHAPES)
def test_declared_slots_and_taps_are_those_of_the_built_network(kind: str) -> None:
    model = build(kind)
    assert tuple(slots(model)) == Network(kind, width=4).slots
    seen = representations(model, images(kind), Network(kind, width=4).taps)
    assert list(seen) == list(Network(kind, width=4).taps)
    assert seen["logits"].shape == (6, 3)
    assert all(x.shape[0] == 6 and x.ndim == 2 for x in seen.values())


@pytest.mark.parametrize("kind", SHAPES)
def test_building_is_a_function_of_the_generator_alone(kind: str) -> None:
    torch.manual_seed(1)
    one = build(kind).state_dict()
    before = torch.get_rng_state()
    two = build(kind).state_dict()
    assert torch.equal(before, torch.get_rng_state()), "the global generator was touched"
    other = build(kind, seed=1).state_dict()
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert not torch.equal(
        one["block1.conv.weight" if kind == "cnn" else "block1.linear.weight"],
        other["block1.conv.weight" if kind == "cnn" else "block1.linear.weight"],
    )


def test_first_weights_have_the_variance_of_he() -> None:
    net = Network("mlp", width=400).build((1, 20, 20), 3, torch.Generator().manual_seed(0))
    weight = dict(net.named_parameters())["block2.linear.weight"]
    assert float(weight.detach().var()) == pytest.approx(2 / 400, rel=0.02)
    assert float(dict(net.named_parameters())["block2.linear.bias"].detach().abs().max()) == 0


@pytest.mark.parametrize("kind", SHAPES)
def test_a_swap_changes_the_function_and_no_weight(kind: str) -> None:
    model, x = build(kind), images(kind)
    weights = {k: v.clone() for k, v in model.state_dict().items()}
    before = model(x)
    swap(model, {"block2.slot": "tanh"})
    assert not torch.equal(model(x), before)
    assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())
    swap(model, {"block2.slot": "relu"})
    assert torch.equal(model(x), before)


def test_a_swap_that_names_a_wrong_place_or_function_swaps_nothing() -> None:
    model, x = build("cnn"), images("cnn")
    before = model(x)
    with pytest.raises(AkpError, match=r"unknown slot 'blok1.slot': did you mean 'block1.slot'"):
        swap(model, {"block2.slot": "tanh", "blok1.slot": "tanh"})
    with pytest.raises(AkpError, match="unknown activation 'tahn'"):
        swap(model, {"block1.slot": "sine", "block2.slot": "tahn"})
    assert torch.equal(model(x), before)


@pytest.mark.filterwarnings("ignore:Guards may run slower:RuntimeWarning")  # torch on Python 3.13.0
def test_compiled_and_eager_forward_agree_after_a_swap() -> None:
    model, x = build("mlp"), images("mlp")
    compiled = torch.compile(model, backend="eager")
    compiled(x)
    swap(model, {"block1.slot": "sine"})
    assert torch.equal(compiled(x), model(x))


def test_taps_leave_nothing_behind_also_after_an_error() -> None:
    model, x = build("cnn"), images("cnn")
    with tapped(model, ["block1"]) as seen:
        model(x)
    assert seen["block1"].shape == (6, 4, 8, 8)
    with pytest.raises(RuntimeError), tapped(model, ["block1"]):
        model(torch.zeros(1, 7, 7, 7))
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())


def test_a_tap_gives_the_value_at_that_place() -> None:
    model, x = build("mlp"), images("mlp")
    got = representations(model, x, ["block2"], batch=4)["block2"]
    hidden = x.flatten(1)
    for block in (model.block1, model.block2):
        hidden = torch.relu(block.linear(hidden))
    torch.testing.assert_close(got, hidden)


def test_a_tap_called_twice_in_a_pass_is_refused() -> None:
    shared = torch.nn.Linear(4, 4)
    model = torch.nn.Sequential(shared, torch.nn.ReLU(), shared)
    with pytest.raises(AkpError, match="tap '0' is called more than once"):
        representations(model, torch.zeros(2, 4), ["0"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Network("ccn"), r"unknown network 'ccn': did you mean 'cnn'\? valid: cnn, mlp"),
        (lambda: Network(activation="rellu"), "unknown activation 'rellu': did you mean 'relu'"),
        (lambda: Network(width=-1), "expected width as a whole number of at least 1, got -1"),
        (lambda: Network(depth=2.5), "expected depth as a whole number of at least 1, got 2.5"),
        (lambda: Network().build((1, 4, 4), 2, torch.Generator()), "at least 8 pixels, got 4 x 4"),
        (
            lambda: representations(build("cnn"), images("cnn"), ["blok1"]),
            "unknown tap 'blok1': did you mean 'block1'",
        ),
    ],
)
def test_bad_requests_say_what_to_do(make, message: str) -> None:
    with pytest.raises(AkpError, match=message):
        make()
