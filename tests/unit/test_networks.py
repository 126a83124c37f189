"""Slots are where activations are swapped, taps are where one looks in."""

import copy
import pickle

import pytest
import torch
import torchvision
from torch import nn
from torch.func import functional_call, stack_module_state

from akp_core.errors import AkpError
from akp_core.networks import BLUEPRINTS, Architecture, Network, Slot, representations, slots, swap, tapped
from akp_core.networks.pool import HalvingPool
from akp_core.networks.residual import groups
from akp_core.palette import ACTIVATIONS, Activation

KINDS = sorted(BLUEPRINTS)
NORM_SCALES = ("norm.weight", "norm1.weight", "norm2.weight")
SHAPE = (2, 16, 16)


def build(kind: str, seed: int = 0, **fields: object) -> nn.Module:
    return Network(kind, width=4, **fields).build(SHAPE, 3, torch.Generator().manual_seed(seed))


def images(n: int = 6, shape: tuple[int, int, int] = SHAPE) -> torch.Tensor:
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(9))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("depth", [1, 2])
def test_declared_slots_and_taps_are_those_of_the_built_network(kind: str, depth: int) -> None:
    network, model = Network(kind, width=4, depth=depth), build(kind, depth=depth)
    assert isinstance(network, Architecture)
    assert tuple(slots(model)) == network.slots
    assert network.held == tuple((slot, "relu") for slot in network.slots)
    assert network.taps[-2:] == ("features", "logits")
    seen = representations(model, images(), network.taps)
    assert list(seen) == list(network.taps)
    assert seen["logits"].shape == (6, 3)
    assert all(x.shape[0] == 6 and x.ndim == 2 for x in seen.values())
    torch.testing.assert_close(model.logits(seen["features"]), seen["logits"])


def test_slots_have_names_a_reader_can_type() -> None:
    assert Network("mlp", depth=2).slots == ("block1.slot", "block2.slot")
    assert Network("resnet18").slots[:3] == ("stem.slot", "stage1.block1.slot1", "stage1.block1.slot2")
    assert Network("wide_resnet").slots[-2:] == ("stage3.block2.slot2", "features.slot")
    assert len(Network("resnet18").slots) == 17
    assert len(Network("wide_resnet").slots) == 13


@pytest.mark.parametrize("kind", KINDS)
def test_slots_are_called_in_the_order_of_their_names(kind: str) -> None:
    model, order = build(kind), []
    for name, slot in slots(model).items():
        slot.register_forward_hook(lambda *_, name=name: order.append(name))
    model(images())
    assert tuple(order) == Network(kind).slots


def test_no_size_means_the_usual_one() -> None:
    assert Network() == Network("cnn", 16, 3, "relu")
    assert Network("wide_resnet") == Network("wide_resnet", 64, 2)
    assert Network().spec == {"kind": "cnn", "width": 16, "depth": 3, "activation": "relu"}
    assert pickle.loads(pickle.dumps(Network("mlp"))).slots == Network("mlp").slots


@pytest.mark.parametrize("kind", KINDS)
def test_building_is_a_function_of_the_generator_alone(kind: str) -> None:
    torch.manual_seed(1)
    one = build(kind).state_dict()
    before = torch.get_rng_state()
    two = build(kind).state_dict()
    assert torch.equal(before, torch.get_rng_state()), "the global generator was touched"
    other = build(kind, seed=1).state_dict()
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert not any(torch.equal(one[k], other[k]) for k in one if one[k].ndim > 1)


@pytest.mark.parametrize("kind", KINDS)
def test_first_weights_have_the_variance_of_he(kind: str) -> None:
    network = Network(kind, width=32, depth=2)
    model = network.build((3, 64, 64), 100, torch.Generator().manual_seed(0))
    for name, p in ((name, p.detach()) for name, p in model.named_parameters()):
        if p.ndim > 1:
            gain = 1.0 if name == "logits.weight" else 2.0
            rough = 5 * (2 / p.numel()) ** 0.5  # five standard errors of a variance
            assert float(p.var()) * p[0].numel() / gain == pytest.approx(1, abs=rough), name
        else:
            assert torch.equal(p, torch.full_like(p, name.endswith(NORM_SCALES))), name


@pytest.mark.parametrize(("kind", "size"), [("resnet18", 11_173_962), ("wide_resnet", 2_748_890)])
def test_residual_networks_have_the_size_of_the_published_ones(kind: str, size: int) -> None:
    model = Network(kind).build((3, 32, 32), 10, torch.Generator())
    assert sum(p.numel() for p in model.parameters()) == size


def test_resnet18_computes_what_torchvisions_does() -> None:
    theirs = torchvision.models.resnet18(num_classes=3, norm_layer=lambda c: nn.GroupNorm(groups(c), c))
    theirs.conv1, theirs.maxpool = nn.Conv2d(2, 64, 3, padding=1, bias=False), nn.Identity()
    ours = Network("resnet18").build(SHAPE, 3, torch.Generator().manual_seed(0))
    for a, b in zip(theirs.parameters(), ours.parameters(), strict=True):
        a.data.copy_(b.data.normal_(0.1, 0.1, generator=torch.Generator().manual_seed(b.numel())))
    torch.testing.assert_close(ours(images()), theirs(images()))


def test_a_preactivation_block_adds_to_what_came_in() -> None:
    model, x = build("wide_resnet"), images()
    first, second = model.stage2.block1, model.stage2.block2
    x = model.stage1(model.stem(x))
    ready = first.norm1(x).relu()
    y = first.conv2(first.norm2(first.conv1(ready)).relu()) + first.shortcut(ready)
    y = y + second.conv2(second.norm2(second.conv1(second.norm1(y).relu())).relu())
    torch.testing.assert_close(model.stage2(x), y)


def test_groups_divide_the_channels_and_are_not_too_small() -> None:
    for channels in range(1, 600):
        g = groups(channels)
        assert channels % g == 0
        assert g <= 32
        assert g == 1 or channels // g >= 4
    assert [groups(c) for c in (16, 64, 128, 512, 13)] == [4, 16, 32, 32, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_has_its_logits_whatever_images_are_beside_it(kind: str) -> None:
    model, x = build(kind).train(), images()
    others = torch.cat([x[:1], 100 * images(9)[3:] + 7])
    torch.testing.assert_close(model(others)[0], model(x)[0])
    assert not list(model.buffers()), "a buffer would remember what was swapped out"


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("kind", KINDS)
def test_a_gradient_reaches_every_parameter(kind: str, activation: str) -> None:
    model = build(kind, activation=activation)
    (model(images()) * images(6, (3, 1, 1)).flatten(1)).sum().backward()
    for name, p in model.named_parameters():
        assert p.grad is not None, name
        assert bool(p.grad.isfinite().all()), name
        assert float(p.grad.abs().max()) > 0, name


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("kind", KINDS)
def test_members_side_by_side_compute_what_each_computes_alone(kind: str, activation: str) -> None:
    members = [build(kind, seed, activation=activation) for seed in range(3)]
    weights, buffers = stack_module_state(members)
    base = copy.deepcopy(members[0]).to("meta")

    def one(w: dict[str, torch.Tensor], b: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        return functional_call(base, (w, b), (x,))

    x = torch.stack([images() + k for k in range(3)])
    together = torch.vmap(one)(weights, buffers, x)
    alone = torch.stack([model(part) for model, part in zip(members, x, strict=True)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4 * float(alone.detach().abs().max()))


@pytest.mark.parametrize("kind", KINDS)
def test_a_swap_changes_the_function_of_one_slot_and_no_weight(kind: str) -> None:
    model, x = build(kind), images()
    weights = {k: v.clone() for k, v in model.state_dict().items()}
    before = model(x)
    for slot in Network(kind).slots:
        swap(model, {slot: "tanh"})
        assert [k for k, part in slots(model).items() if part.activation.name == "tanh"] == [slot]
        assert not torch.equal(model(x), before), slot
        swap(model, {slot: "relu"})
        assert torch.equal(model(x), before), slot
    assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
def test_no_activation_works_in_place(kind: str) -> None:
    model, x = build(kind), images()
    before = {}

    def keep(name: str):
        def hook(_part: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
            before[name] = (inputs[0], inputs[0].clone(), output, output.clone())

        return hook

    for name, slot in slots(model).items():
        slot.register_forward_hook(keep(name))
    model(x)
    for name, (x_in, x_was, y_out, y_was) in before.items():
        assert torch.equal(x_in, x_was), name
        assert torch.equal(y_out, y_was), name


def test_a_swap_takes_an_activation_as_well_as_its_name() -> None:
    model, x = build("mlp"), images()
    swap(model, {"block1.slot": "sine"})
    named = model(x)
    swap(model, {"block1.slot": Activation("half a sine", lambda z: 0.5 * torch.sin(z), True, False, "")})
    assert not torch.equal(model(x), named)
    swap(model, {"block1.slot": ACTIVATIONS["sine"]})
    assert torch.equal(model(x), named)


def test_a_swap_that_names_a_wrong_place_or_function_swaps_nothing() -> None:
    model, x = build("cnn"), images()
    before = model(x)
    with pytest.raises(AkpError, match=r"unknown slot 'blok1.slot': did you mean 'block1.slot'"):
        swap(model, {"block2.slot": "tanh", "blok1.slot": "tanh"})
    with pytest.raises(AkpError, match="unknown activation 'tahn'"):
        swap(model, {"block1.slot": "sine", "block2.slot": "tahn"})
    assert torch.equal(model(x), before)


@pytest.mark.filterwarnings("ignore:Guards may run slower:RuntimeWarning")  # torch on Python 3.13.0
def test_compiled_and_eager_forward_agree_after_a_swap() -> None:
    model, x = build("mlp"), images()
    compiled = torch.compile(model, backend="eager")
    compiled(x)
    swap(model, {"block1.slot": "sine"})
    assert torch.equal(compiled(x), model(x))


def test_taps_leave_nothing_behind_also_after_an_error() -> None:
    model, x = build("cnn"), images()
    with tapped(model, ["block1"]) as seen:
        model(x)
    assert seen["block1"].shape == (6, 4, 8, 8)
    with pytest.raises(RuntimeError), tapped(model, ["block1"]):
        model(torch.zeros(1, 7, 7, 7))
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())


def test_a_tap_gives_the_value_at_that_place() -> None:
    model, x = build("mlp"), images()
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


def test_a_tap_is_a_copy_that_a_later_change_in_place_cannot_reach() -> None:
    class Adds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.first(x)
            y += 1
            return y

    model, x = Adds(), torch.ones(2, 4)
    got = representations(model, x, ["first"])["first"]
    assert torch.equal(got, model.first(x))


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.LSTM(4, 4, batch_first=True), "tap '0' gives tuple; tap a part that gives one floating tensor"),
        (nn.Flatten(), "tap '0' gives torch.int64"),
    ],
)
def test_a_tap_gives_one_floating_tensor(module: nn.Module, message: str) -> None:
    x = torch.zeros(2, 3, 4, dtype=torch.int64 if isinstance(module, nn.Flatten) else torch.float32)
    with pytest.raises(AkpError, match=message):
        representations(nn.Sequential(module), x, ["0"])


def test_a_tap_that_no_pass_calls_is_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    model[0].unused = nn.Linear(4, 4)
    with pytest.raises(AkpError, match=r"tap '0.unused' is never called in a pass"):
        representations(model, torch.zeros(2, 4), ["0.unused"])


@pytest.mark.parametrize("kind", KINDS)
def test_the_smallest_images_pass_and_smaller_ones_are_refused(kind: str) -> None:
    network = Network(kind, width=1)
    side = 2 ** BLUEPRINTS[kind].halvings(network.depth)
    model = network.build((1, side, side + 1), 2, torch.Generator().manual_seed(0))
    assert bool(model(images(3, (1, side, side + 1))).isfinite().all())
    network.check((1, side, side), 2)
    for action in (network.check, lambda *a: network.build(*a, torch.Generator())):
        if side > 1:
            said = f"a side of at least {side} pixels, got {side} x {side - 1}; use larger images"
            with pytest.raises(AkpError, match=said):
                action((1, side, side - 1), 2)
        with pytest.raises(AkpError, match="expected classes as a whole number of at least 1, got 0"):
            action((1, side, side), 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Network("ccn"),
            r"unknown network 'ccn': did you mean 'cnn'\? valid: cnn, mlp, resnet18, wide",
        ),
        (lambda: Network(activation="rellu"), "unknown activation 'rellu': did you mean 'relu'"),
        (lambda: Network(width=-1), "expected width as a whole number of at least 1, got -1"),
        (lambda: Network(depth=2.5), "expected depth as a whole number of at least 1, got 2.5"),
        (lambda: Network(width=True), "expected width as a whole number of at least 1, got True"),
        (lambda: Network(depth=False), "expected depth as a whole number of at least 1, got False"),
        (
            lambda: Network().build((1, 4, 4), 2, torch.Generator()),
            "a cnn of depth 3 halves the image 3 times",
        ),
        (
            lambda: Network().check((28, 28), 2),
            r"expected the shape of an image as \(channels, height, width\)",
        ),
        (lambda: Network().check((0, 28, 28), 2), "expected the channels of an image as a whole number"),
        (lambda: Slot("rellu"), "unknown activation 'rellu': did you mean 'relu'"),
        (
            lambda: representations(build("cnn"), images(), ["blok1"]),
            "unknown tap 'blok1': did you mean 'block1'",
        ),
    ],
)
def test_bad_requests_say_what_to_do(make, message: str) -> None:
    with pytest.raises(AkpError, match=message):
        make()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("sides", [(8, 8), (7, 9), (2, 3)])
def test_pooling_without_gradients_is_that_of_torch(
    sides: tuple[int, int], layout: torch.memory_format
) -> None:
    x = torch.randn(5, 3, *sides, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=layout)
    x[0, 0, 0, 0] = torch.nan
    x[1, 1, 1, 1] = torch.inf
    with torch.no_grad():
        ours = HalvingPool()(x)
    theirs = torch.nn.MaxPool2d(2)(x)
    assert ours.equal(theirs) or torch.equal(ours.nan_to_num(7), theirs.nan_to_num(7))
    assert ours.isnan().equal(theirs.isnan())
    assert ours.stride() == theirs.stride()


def test_pooling_with_gradients_sends_them_to_the_first_of_equals() -> None:
    x = torch.zeros(1, 1, 2, 2, requires_grad=True)
    HalvingPool()(x).sum().backward()
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [1, 0, 0, 0]
