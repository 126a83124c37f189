"""Any network of the user's has slots and taps, or is refused by a line that says what to change."""

import functools
import re
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace

import cloudpickle
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import resnet18

from akp_core.errors import AkpError
from akp_core.networks import Architecture, Own, Slot, representations, slots, swap
from akp_core.networks.adopt import PALETTE_NAMES
from akp_core.palette import ACTIVATIONS

SHAPE = (3, 16, 16)


class Small(nn.Module):
    """One activation module in three places, one more, and a placeholder that is none."""

    def __init__(self, act: Callable[[], nn.Module] = nn.ReLU, classes: int = 4, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.stem = nn.Conv2d(3, 8, 3, stride=2)
        self.act = act()
        self.body = nn.ModuleList([nn.Conv2d(8, 8, 3, padding=1) for _ in range(2)])
        self.skip = nn.Identity()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(8, 8), act(), nn.Dropout(0.1), nn.Linear(8, classes)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.stem(x))
        for layer in self.body:
            x = self.skip(x) + self.act(layer(x))
        return self.scale * self.head(self.pool(x))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int = 5) -> torch.Tensor:
    return torch.randn(n, *SHAPE, generator=generator(9))


def built(own: Own, seed: int = 0) -> nn.Module:
    return own.build(SHAPE, 4, generator(seed)).eval()


def test_torchvisions_resnet_has_slots_and_taps_and_computes_what_it_did() -> None:
    own = Own(functools.partial(resnet18, num_classes=4))
    assert isinstance(own, Architecture)
    assert own.slots[:3] == ("relu", "layer1.0.relu", "layer1.1.relu")
    assert own.held == tuple((slot, "relu") for slot in own.slots)
    assert len(own.slots) == 9
    assert own.taps == ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "avgpool", "fc")
    assert own.draws
    own.check(SHAPE, 4)
    model, theirs, x = built(own), resnet18(num_classes=4).eval(), images()
    theirs.load_state_dict(model.state_dict())
    before = model(x)
    assert torch.equal(before, theirs(x))
    for slot in own.slots:
        swap(model, {slot: "tanh"})
        assert not torch.equal(model(x), before), slot
        swap(model, {slot: "relu"})
        assert torch.equal(model(x), before), slot
    seen = representations(model, x, own.taps)
    torch.testing.assert_close(seen["bn1"], theirs.bn1(theirs.conv1(x)).flatten(1))
    assert torch.equal(seen["fc"], before)


@pytest.mark.parametrize(("module", "name"), PALETTE_NAMES.items(), ids=PALETTE_NAMES.values())
def test_each_activation_module_is_the_registered_function(module: type[nn.Module], name: str) -> None:
    x = torch.linspace(-30, 30, 2001)
    assert torch.equal(module()(x), ACTIVATIONS[name].function(x))
    inplace = functools.partial(module, inplace=True) if hasattr(module(), "inplace") else module
    own = Own(lambda: Small(inplace))
    assert own.held == (("act", name), ("head.2", name))
    model, theirs = built(own), Small(module).eval()
    theirs.load_state_dict(model.state_dict())
    assert torch.equal(model(images()), theirs(images()))
    values = x.clone()
    slots(model)["act"](values)
    assert torch.equal(values, x), "the slot works in place"


def test_a_shared_module_is_one_slot_and_a_placeholder_is_none() -> None:
    class Tied(Small):
        def __init__(self) -> None:
            super().__init__()
            self.head[2] = self.act

    own = Own(Tied)
    assert own.slots == ("act",)
    model = built(own)
    assert model.head[2] is model.act
    assert isinstance(model.skip, nn.Identity)


def test_slots_of_the_users_own_stay_and_may_hold_any_registered_activation() -> None:
    assert Own(lambda: Small(lambda: Slot("square"))).held == (("act", "square"), ("head.2", "square"))


def test_weights_follow_from_the_generator_alone() -> None:
    own = Own(Small)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, two, other = (built(own, seed).state_dict() for seed in (0, 0, 1))
    own.check(SHAPE, 4)
    Own(Small)
    assert torch.equal(before, torch.get_rng_state()), "the global generator was not put back"
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert not any(torch.equal(one[k], other[k]) for k in one)
    drawn = generator()
    assert not torch.equal(
        own.build(SHAPE, 4, drawn).stem.weight,
        own.build(SHAPE, 4, drawn).stem.weight,
    )


def test_a_gradient_reaches_every_parameter() -> None:
    model = built(Own(functools.partial(resnet18, num_classes=4)))
    model.train()(images()).square().sum().backward()
    assert all(p.grad is not None and float(p.grad.abs().max()) > 0 for p in model.parameters())


def test_unnamed_taps_are_the_parts_with_weights_and_the_global_pool() -> None:
    own = Own(Small)
    assert own.taps == ("stem", "body.0", "body.1", "pool", "head")
    assert Own(Small, taps=["head.1", "pool"]).taps == ("head.1", "pool")
    own.check(SHAPE, 4)
    seen = representations(built(own), images(), own.taps)
    assert [x.shape for x in seen.values()] == [(5, 8 * 49), (5, 8 * 49), (5, 8 * 49), (5, 8), (5, 4)]


@pytest.mark.filterwarnings("ignore:enable_nested_tensor:UserWarning")
def test_a_transformer_evaluates_with_what_its_slots_hold() -> None:
    class Patches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch = nn.Conv2d(3, 8, 4, stride=4)
            layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation=nn.ReLU())
            self.encoder = nn.TransformerEncoder(layer, 2)
            self.head = nn.Linear(8, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.encoder(self.patch(x).flatten(2).mT).mean(1))

    own = Own(Patches)
    own.check(SHAPE, 4)
    model, theirs = built(own), Patches().eval()
    theirs.load_state_dict(model.state_dict())
    with torch.no_grad():
        before = model(images())
        torch.testing.assert_close(before, theirs(images()), rtol=1e-4, atol=1e-5)
        swap(model, dict.fromkeys(own.slots, "square"))
        assert not torch.allclose(model(images()), before, rtol=1e-3, atol=1e-3), "the fused path ran"


def test_the_specification_names_all_that_determines_the_network() -> None:
    def widened(by: float) -> Callable[[], nn.Module]:
        return lambda: Small(scale=by)

    def pretrained(value: float) -> nn.Module:
        net = Small()
        nn.init.constant_(net.stem.weight, value)
        return net

    same = Own(widened(1.0)), Own(widened(1.0))
    assert same[0] == same[1]
    assert hash(same[0]) == hash(same[1])
    others = [
        Own(widened(2.0)),
        Own(widened(1.0), taps=["head"]),
        Own(Small),
        Own(lambda: Small(nn.Tanh)),
        Own(lambda by=1.0: Small(scale=by)),
        Own(functools.partial(pretrained, 0.5)),
        Own(functools.partial(pretrained, 0.25)),
    ]
    assert len({*same, *others}) == 1 + len(others)
    spec = same[0].spec
    assert spec["kind"] == "own"
    assert "ReLU" in spec["structure"]
    assert [source.split()[0] for source in spec["sources"][1:]] == ["Small"]
    assert spec["taps"] == list(same[0].taps)
    assert " at 0x" not in str(spec)


def test_constants_tell_networks_apart_where_the_code_is_the_same() -> None:
    loaded = SimpleNamespace()

    def make() -> nn.Module:
        net = Small(scale=loaded.scale)
        net.stem.weight.data.copy_(loaded.weight)
        return net

    def spec(seed: int, scale: float) -> dict[str, object]:
        loaded.weight, loaded.scale = torch.randn(8, 3, 3, 3, generator=generator(seed)), scale
        return Own(make).spec

    first = spec(0, 1.0)
    assert first == spec(0, 1.0)
    for other in (spec(1, 1.0), spec(0, 2.0)):
        assert {k for k in first if first[k] != other[k]} == {"constants"}


def gained(by: float) -> nn.Module:
    net = Small()
    net.stem.weight.data.mul_(by)
    return net


def closing_over(by: float) -> Callable[[], nn.Module]:
    return lambda: gained(by)


class Maker:
    """A factory with a field, as an object or by its method."""

    def __init__(self, by: float) -> None:
        self.by = by

    def __call__(self) -> nn.Module:
        return gained(self.by)


GAIN = 0.5


def reading_a_global() -> nn.Module:
    return gained(GAIN)


@pytest.mark.parametrize(
    "factory",
    [
        closing_over,
        lambda by: functools.partial(gained, by),
        lambda by: functools.partial(gained, by=by),
        lambda by: lambda by=by: gained(by),
        lambda by: lambda *, by=by: gained(by),
        Maker,
        lambda by: Maker(by).__call__,
        lambda _: reading_a_global,
    ],
)
def test_a_value_that_only_the_factory_knows_tells_networks_apart(
    factory: Callable[[float], Callable[[], nn.Module]], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, same = Own(factory(0.5)), Own(factory(0.5))
    monkeypatch.setitem(globals(), "GAIN", 0.25)
    other = Own(factory(0.25))
    assert one == same
    assert one != other
    assert one.spec["constants"] == other.spec["constants"], "the value is seen elsewhere too"


PROMPT = """
import sys
from torch import nn
from akp_core.networks import Own
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.act = nn.Linear(2, 2), nn.ReLU()
        self.tags = {"b", "a", "c"}
    def forward(self, x):
        return self.a(self.act(x.flatten(1))) * %s
print(Own(lambda: Net()).spec)
"""


def test_a_network_typed_at_a_prompt_has_the_same_specification_in_every_process() -> None:
    def said(factor: str) -> str:
        command = [sys.executable, "-c", PROMPT % factor]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    first = said("2")
    assert first == said("2")
    assert first != said("3")


def test_it_travels_to_another_process() -> None:
    own = Own(lambda: Small(scale=3.0))
    back = cloudpickle.loads(cloudpickle.dumps(own))
    assert back == own
    assert back.held == own.held
    assert torch.equal(built(back)(images()), built(own)(images()))
    with pytest.raises(AttributeError):
        own.taps = ()


class Odd(nn.Module):
    """A network whose forward pass is given."""

    def __init__(self, forward: Callable[[nn.Module, torch.Tensor], object]) -> None:
        super().__init__()
        self.conv, self.act, self.head = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Linear(4, 4)
        self.run = forward

    def forward(self, x: torch.Tensor) -> object:
        return self.run(self, x)


def mean_of(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return model.head(model.act(model.conv(x)).mean((2, 3)))


ONE = Small()
NORM = nn.BatchNorm2d(8, affine=False)
WEIGHT = torch.ones(4, 4)


def tied() -> nn.Module:
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    net[0].weight = nn.Parameter(WEIGHT)
    return net


def unset() -> nn.Module:
    net = Small()
    net.stem.weight.data = torch.from_numpy(np.random.default_rng().normal(size=(8, 3, 3, 3))).float()
    return net


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Own(ONE),
            "expected a factory without arguments that builds the network, got Small; give lam",
        ),
        (lambda: Own(3), "expected a factory without arguments that builds the network, got int"),
        (
            lambda: Own(Odd),
            "expected a factory without arguments, got one with a missing a required argument",
        ),
        (lambda: Own(lambda: {"a": 1}), "expected the factory to give an nn.Module, got dict"),
        (
            lambda: Own(lambda: ONE),
            "expected a new network on each call of the factory, got weights that two",
        ),
        (
            lambda: Own(lambda: nn.Sequential(Small(), NORM)),
            "got weights that two calls share; build it inside",
        ),
        (lambda: Own(tied), "got weights that two calls share; build it inside"),
        (lambda: Own(unset), "another 'stem.weight' from the same seed; draw with torch"),
        (
            lambda: Own(lambda: nn.Sequential(nn.LazyLinear(4), nn.ReLU())),
            "got the lazy '0.weight'; give its",
        ),
        (lambda: Own(nn.ReLU), "expected a network with weights to train, got ReLU without any"),
        (
            lambda: Own(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Identity(), nn.Softmax(1))),
            "make slots of (nn.ReLU, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Softplus, or "
            "akp_core.networks.Slot), found none in Sequential; a functional call such as F.relu(x) cannot",
        ),
        (
            lambda: Own(lambda: Small(lambda: nn.LeakyReLU(0.2))),
            "module 'act' is LeakyReLU(negative_slope=0.2), which is not the registered 'leaky_relu'; use "
            "nn.LeakyReLU() as it is by default, or register its function in akp_core.palette and put",
        ),
        (lambda: Own(lambda: Small(lambda: nn.Softplus(beta=2))), "which is not the registered 'softplus'"),
        (lambda: Own(lambda: Small(lambda: nn.GELU("tanh"))), "which is not the registered 'gelu'"),
        (
            lambda: Own(lambda: Small(nn.ELU)),
            "module 'act' is ELU(alpha=1.0), which has no registered counter",
        ),
        (lambda: Own(lambda: Small(nn.PReLU)), "module 'act' is PReLU(num_parameters=1), which has no regis"),
        (
            lambda: Own(lambda: Small(type("Mine", (nn.ReLU,), {}))),
            "module 'act' is Mine(), which has no regi",
        ),
        (lambda: Own(Small, taps=["hed"]), "unknown tap 'hed': did you mean 'head'"),
        (lambda: Own(Small, taps="head"), "expected taps as a list of module names, each once, got 'head'"),
        (lambda: Own(Small, taps=["head", "head"]), "expected taps as a list of module names, each once"),
        (
            lambda: Own(Small, taps=[]),
            "expected parts with weights to tap, got none in Small; name them with",
        ),
    ],
)
def test_what_cannot_be_swapped_or_built_anew_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(AkpError, match=re.escape(message)):
        make()


@pytest.mark.parametrize(
    ("own", "shape", "message"),
    [
        (
            Own(Small),
            (1, 16, 16),
            "images of shape (1, 16, 16) do not pass through Small in evaluation: Run",
        ),
        (Own(Small), (3, 16), "expected the shape of an image as (channels, height, width), got (3, 16)"),
        (
            Own(lambda: Small(classes=5)),
            SHAPE,
            "expected floating logits of shape (n, classes) = (3, 4) in evaluation, got torch.float32 (3, 5)",
        ),
        (
            Own(lambda: Odd(lambda m, x: (mean_of(m, x), x) if m.training else mean_of(m, x))),
            SHAPE,
            "expected floating logits of shape (n, classes) = (3, 4) in training, got tuple",
        ),
        (
            Own(lambda: Odd(lambda m, x: m.head(F.relu(m.conv(x)).mean((2, 3))))),
            SHAPE,
            "slot 'act' is never called in a pass, so a swap there would have no effect",
        ),
        (
            Own(lambda: Odd(lambda m, x: mean_of(m, x) + mean_of(m, x))),
            SHAPE,
            "tap 'conv' is called more than once in a pass; tap a part that is called once",
        ),
        (
            Own(lambda: Odd(lambda m, x: m.act(m.conv(x)).mean((2, 3)) @ m.head.weight)),
            SHAPE,
            "tap 'head' is never called in a pass; name other taps with taps=[...]",
        ),
        (
            Own(lambda: Odd(lambda m, x: mean_of(m, x.repeat(2, 1, 1, 1))[:3])),
            SHAPE,
            "expected tap 'conv' to give (n, ...), n = 3 images, got (6, 4, 14, 14)",
        ),
    ],
)
def test_a_check_finds_what_a_pass_would_get_wrong(own: Own, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(AkpError, match=re.escape(message)):
        own.check(shape, 4)


SCRIPT = """
import sys
from torch import nn
from akp_core.networks import Own

class Mine(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.act, self.kind = nn.Linear(4, 2), nn.ReLU(), nn.ReLU

    def forward(self, x):
        return self.act(self.first(x.flatten(1)))

own = Own(lambda: Mine())
if __name__ == "__main__":
    sys.stdout.write(repr(own.spec))
"""


def test_a_script_names_its_network_alike_when_it_is_run_and_when_it_is_imported(tmp_path) -> None:
    (tmp_path / "mine.py").write_text(SCRIPT)
    ways = (["mine.py"], ["-c", "import mine; print(mine.own.spec, end='')"])
    run, imported = (
        subprocess.run([sys.executable, *w], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        for w in ways
    )
    assert run.startswith("{'kind': 'own'")
    assert run == imported
