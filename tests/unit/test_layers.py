"""A layer map is what stored representations would give, in one pass, and leaves no trace."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from akp_core.errors import AkpError
from akp_core.layers import layer_map
from akp_core.networks import Network
from akp_core.similarity import cka
from akp_core.similarity.convolution import as_features
from akp_core.similarity.minibatch import MinibatchCKA
from akp_core.threads import one_thread

SHAPE = (2, 16, 16)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    with one_thread():
        yield


def build(kind: str, seed: int = 0, **fields: object) -> nn.Module:
    return Network(kind, **({"width": 4} | fields)).build(SHAPE, 3, torch.Generator().manual_seed(seed))


def images(n: int = 40, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(9))


def stored(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Every part's output for all images at once, copied the moment it is put out, in order."""
    out: dict[str, Tensor] = {}
    handles = [
        part.register_forward_hook(lambda _m, _i, y, name=name: out.update({name: y.clone()}))
        for name, part in model.named_modules()
        if name
    ]
    with torch.no_grad():
        model.eval()(x)
    for handle in handles:
        handle.remove()
    return out


def reference(parts: list[list[Tensor]]) -> np.ndarray:
    """Sums of n HSIC_1 in float64 from representations, a list of layers for each batch: U-centred Grams."""
    total = 0.0
    for batch in parts:
        rows = []
        for x in batch:
            x = x.double().numpy()
            k = (x - x.mean(0)) @ (x - x.mean(0)).T
            n = len(k)
            np.fill_diagonal(k, 0)
            r = k.sum(0)
            u = k - (r[:, None] + r) / (n - 2) + r.sum() / ((n - 1) * (n - 2))
            np.fill_diagonal(u, 0)
            rows.append(u.ravel())
        total = total + np.stack(rows) @ np.stack(rows).T / (n - 3)
    d = np.sqrt(np.diag(total))
    return total / d[:, None] / d


class InPlace(nn.Module):
    """Convolutions whose outputs are overwritten by an activation, one module used twice, a shortcut."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.conv1 = nn.Conv2d(2, 6, 3, padding=1)
            self.conv2 = nn.Conv2d(6, 6, 3, padding=1)
            self.norm = nn.BatchNorm2d(6)
            self.relu = nn.ReLU(inplace=True)
            self.drop = nn.Dropout(0.5)
            self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.conv1(x))
        x = self.relu(self.norm(self.conv2(x)) + x)
        return self.head(self.drop(x.mean(dim=(2, 3))))


def no_hooks(*models: nn.Module) -> bool:
    return not any(p._forward_hooks or p._forward_pre_hooks for m in models for p in m.modules())


@pytest.mark.parametrize("policy", ["flatten", "mean"])
@pytest.mark.parametrize("kinds", [("cnn", "mlp"), ("resnet18", "resnet18"), ("wide_resnet", "cnn")])
def test_a_map_is_what_stored_representations_give(kinds: tuple[str, str], policy: str) -> None:
    first, second, x = build(kinds[0], depth=1), build(kinds[1], 1, depth=1), images()
    batches = x.split(16)
    got = layer_map(first, second, batches, positions=policy)
    parts = [stored(model, x) for model in (first, second)]
    assert got.first_layers == tuple(parts[0])
    assert got.second_layers == tuple(parts[1])
    cut = [
        [as_features(y, positions=policy)[i : i + 16] for p in parts for y in p.values()] for i in (0, 16, 32)
    ]
    ours = MinibatchCKA()
    for batch in cut:
        ours.add(batch)
    whole = reference(cut)
    rows = len(parts[0])
    np.testing.assert_allclose(np.asarray(ours.result()), whole, atol=2e-6)
    np.testing.assert_allclose(got.similarity.numpy(), whole[:rows, rows:], atol=2e-6)
    np.testing.assert_allclose(got.within_first.numpy(), whole[:rows, :rows], atol=2e-6)
    np.testing.assert_allclose(got.within_second.numpy(), whole[rows:, rows:], atol=2e-6)
    assert got.similarity.dtype == torch.float64
    assert (got.examples, got.batches, got.positions) == (40, 3, policy)


def test_one_batch_gives_unbiased_cka() -> None:
    first, second, x = build("cnn", depth=2), build("mlp", 1, depth=2), images()
    got = layer_map(first, second, [x], layers=["block1", "features"], second_layers=["block2"])
    for i, name in enumerate(("block1", "features")):
        want = cka(stored(first, x)[name].flatten(1), stored(second, x)["block2"])
        assert float(got.similarity[i, 0]) == pytest.approx(want, abs=1e-6)


def test_a_layer_is_seen_as_it_was_before_an_activation_in_place() -> None:
    first, second, x = InPlace(), InPlace(1), images()
    got = layer_map(first, second, [x])
    assert got.first_layers == ("conv1", "relu", "conv2", "norm", "relu#2", "drop", "head")
    net = first.eval()
    with torch.no_grad():
        before = net.conv1(x)
        after = before.relu()
        again = (net.norm(net.conv2(after)) + after).relu()
    other = stored(second, x)["head"]
    for name, y in {"conv1": before, "relu": after, "relu#2": again}.items():
        want = cka(y.flatten(1), other)
        row = got.first_layers.index(name)
        assert float(got.similarity[row, -1]) == pytest.approx(want, abs=1e-6), name
    assert float(got.within_first[0, 1]) < 0.99, "or the test could not tell"


def test_torchvisions_resnet_has_every_module_and_every_call() -> None:
    def make(seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return torchvision.models.resnet18(num_classes=10)

    first = make(0)
    got = layer_map(first, make(1), images(24, (3, 32, 32)).split(8))
    parts = [name for name, _ in first.named_modules() if name]
    assert len(parts) == 67
    assert {name.split("#")[0] for name in got.first_layers} == set(parts)
    twice = [name for name in got.first_layers if name.endswith("#2")]
    assert len(twice) == 8, "each block calls its activation twice"
    assert got.first_layers[-1] == "fc"
    assert got.skipped_first == {}
    assert float(got.similarity.abs().max()) <= 1
    ends = {n: k for k, n in enumerate(got.first_layers)}
    one, same = (got.similarity[ends[name]] for name in ("layer1", "layer1.1.relu#2"))
    torch.testing.assert_close(one, same, rtol=0, atol=1e-12)


def test_a_container_that_returns_what_its_child_gave_and_one_that_works_on_it_differ() -> None:
    class Adds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.child = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            y = self.child(x)
            y += x.square()
            return y

    torch.manual_seed(0)
    model = nn.Sequential(nn.Sequential(nn.Linear(5, 4)), Adds(), nn.Identity())
    x = images(12, (5,))
    got = layer_map(model, model, [x])
    names = {name: k for k, name in enumerate(got.first_layers)}
    assert list(names) == ["0.0", "0", "1.child", "1", "2"]
    s = got.similarity
    torch.testing.assert_close(s[names["0"]], s[names["0.0"]], rtol=0, atol=1e-12)
    torch.testing.assert_close(s[names["1"]], s[names["2"]], rtol=0, atol=1e-12)
    assert float(s[names["1.child"], names["1"]]) < 0.99
    y = model[0](x).detach()
    want = cka(y, model[1].child(y).detach() + y.square())
    assert float(s[names["0"], names["1"]]) == pytest.approx(want, abs=1e-6)


def test_memory_that_is_used_again_is_not_taken_for_the_same_tensor() -> None:
    layers = [nn.Linear(64, 64) for _ in range(12)]
    model = nn.Sequential(*layers).eval()
    got = layer_map(model, model, [images(16, (64,))])
    off = got.similarity[~torch.eye(12, dtype=torch.bool)]
    assert float(off.max()) < 1 - 1e-4


def test_a_network_beside_itself_is_one_on_the_diagonal_also_when_the_loader_shuffles() -> None:
    import copy

    model = build("cnn", depth=2)
    data = TensorDataset(images(), torch.arange(40))
    loader = DataLoader(data, batch_size=16, shuffle=True, generator=torch.Generator().manual_seed(0))
    for other in (model, copy.deepcopy(model)):
        got = layer_map(model, other, loader)
        torch.testing.assert_close(got.similarity.diagonal(), torch.ones(len(got.first_layers)).double())
        torch.testing.assert_close(got.similarity, got.within_second)
        assert got.examples == 40


def test_two_networks_are_not_taken_for_one() -> None:
    got = layer_map(build("cnn"), build("cnn", 1), [images()])
    assert float(got.similarity.diagonal().max()) < 0.999


def test_a_generator_is_read_once() -> None:
    calls = []

    def reading():
        for part in images().split(20):
            calls.append(len(part))
            yield part, torch.zeros(len(part))

    assert layer_map(build("cnn"), build("mlp"), reading()).batches == 2
    assert calls == [20, 20]


@pytest.mark.parametrize("cuts", [[16, 16, 5, 3], [2, 35, 3], [1, 1, 1, 37], [20, 1, 1, 18]])
def test_a_batch_too_small_joins_the_one_beside_it(cuts: list[int]) -> None:
    first, second, x = build("cnn"), build("mlp"), images()
    joined = {(16, 16, 5, 3): (16, 16, 8), (2, 35, 3): (40,), (1, 1, 1, 37): (40,), (20, 1, 1, 18): (22, 18)}
    got, want = (layer_map(first, second, x.split(list(c))) for c in (cuts, joined[tuple(cuts)]))
    assert torch.equal(got.similarity, want.similarity)
    assert (got.examples, got.batches) == (40, len(joined[tuple(cuts)]))


def test_modes_weights_hooks_and_gradient_state_are_left_as_they_were() -> None:
    first, second = InPlace().train(), InPlace(1)
    first.norm.eval()
    modes = [p.training for p in first.modules()]
    state = {k: v.clone() for k, v in first.state_dict().items()}
    layer_map(first, second, [images()])
    assert [p.training for p in first.modules()] == modes
    assert all(torch.equal(v, state[k]) for k, v in first.state_dict().items())
    assert no_hooks(first, second)
    assert torch.is_grad_enabled()


def test_nothing_is_left_behind_after_an_error_in_a_pass() -> None:
    first, second = build("cnn").train(), InPlace().train()
    with pytest.raises(RuntimeError):
        layer_map(first, second, [images(8), torch.zeros(8, 7, 3, 3)])
    second.conv1.weight.data[0, 0, 0, 0] = torch.nan
    with pytest.raises(AkpError, match="layer 'conv1' of the second network"):
        layer_map(first, second, [images(8)])
    assert no_hooks(first, second)
    assert first.training
    assert second.training
    assert torch.is_grad_enabled()


def test_inference_mode_around_it_changes_nothing() -> None:
    first, second, x = InPlace(), InPlace(1), images()
    want = layer_map(first, second, [x])
    with torch.inference_mode():
        got = layer_map(first, second, [x.clone()])
    assert torch.equal(got.similarity, want.similarity)


@pytest.mark.parametrize("scale", [1e-25, 1e-8, 1e8, 1e25])
def test_the_scale_of_a_layer_does_not_matter(scale: float) -> None:
    class Scaled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * scale

    x = images(shape=(6,))
    torch.manual_seed(0)
    tail = nn.Linear(6, 4)
    plain = layer_map(nn.Sequential(tail), nn.Sequential(nn.Tanh()), x.split(20))
    scaled = layer_map(nn.Sequential(nn.Sequential(tail, Scaled())), nn.Sequential(nn.Tanh()), x.split(20))
    assert float(scaled.similarity[-1, 0]) == pytest.approx(float(plain.similarity[0, 0]), abs=1e-6)


def test_a_mean_far_from_zero_costs_no_digits() -> None:
    class Shift(nn.Module):
        def __init__(self, by: float) -> None:
            super().__init__()
            self.by = by

        def forward(self, x: Tensor) -> Tensor:
            return x + self.by

    x = images(shape=(6,))
    got = layer_map(nn.Sequential(Shift(0), Shift(100)), nn.Sequential(nn.Tanh()), [x])
    assert float(got.similarity[0, 0]) == pytest.approx(float(got.similarity[1, 0]), abs=1e-5)


def test_float64_networks_are_compared_in_float64() -> None:
    first, second, x = InPlace().double(), InPlace(1).double(), images()
    got = layer_map(first, second, [x])
    want = cka(stored(first, x.double())["conv2"].flatten(1), stored(second, x.double())["head"])
    assert float(got.similarity[2, -1]) == pytest.approx(want, abs=1e-12)


def test_half_precision_is_compared_with_full() -> None:
    got = layer_map(build("mlp").bfloat16(), build("mlp"), [images()])
    assert float(got.similarity.diagonal().min()) > 0.99


def test_parts_without_a_floating_tensor_are_listed_with_the_reason() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.pick, self.idle = nn.LSTM(4, 3, batch_first=True), Pick(), nn.Linear(2, 2)
            self.total, self.head = Total(), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            y, _ = self.rnn(x)
            self.pick(y)
            self.total(y)
            return self.head(y[:, -1])

    class Pick(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.argmax(dim=1)

    class Total(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sum()

    model, x = Odd(), images(8, (5, 4))
    got = layer_map(model, model, [x])
    assert got.first_layers == ("head",)
    assert got.skipped_first == {
        "rnn": "gives tuple",
        "pick": "gives torch.int64 (torch.strided)",
        "total": "gives shape () for 8 images",
        "idle": "is never called in a pass",
    }
    for name, why in (("rnn", "gives tuple"), ("idle", "is never called"), ("total", "gives shape")):
        with pytest.raises(AkpError, match=f"layer '{name}' of the first network {why}"):
            layer_map(model, model, [x], layers=[name])


def test_tokens_have_their_channels_last() -> None:
    model, x = nn.Sequential(nn.Linear(5, 7), nn.Tanh()), images(12, (3, 5))
    got = layer_map(model, model, [x], positions="mean", channels=2)
    y = model[0](x).detach()
    assert float(got.similarity[0, 1]) == pytest.approx(cka(y.mean(1), y.tanh().mean(1)), abs=1e-6)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_layer_that_is_not_finite_is_named(value: float) -> None:
    model = build("cnn", depth=2)
    model.block2.conv.bias.data[0] = value
    with pytest.raises(AkpError, match=r"infinity.* in layer 'block2.conv' of the first network"):
        layer_map(model, build("cnn"), [images()])


def test_a_layer_that_is_constant_is_named_and_can_be_left_out() -> None:
    model = build("cnn", depth=2)
    model.block2.conv.bias.data.fill_(-1e4)
    with pytest.raises(
        AkpError, match=r"layer 'block2.slot' of the first network gives the same for every image"
    ):
        layer_map(model, build("cnn"), images().split(20))
    kept = ["block1", "block2.conv"]
    assert (
        layer_map(model, build("cnn", depth=2), [images()], layers=kept).first_layers
        == ("block2.conv", "block1")[::-1]
    )


def test_a_layer_constant_in_one_batch_only_is_fine() -> None:
    x = images(24, (6,))
    x[:8] = 1.0
    torch.manual_seed(0)
    first, second = nn.Sequential(nn.Linear(6, 4)), nn.Sequential(nn.Tanh())
    got = layer_map(first, second, x.split(8))
    want = reference([[first(p).detach(), p.tanh()] for p in x.split(8)])
    assert float(got.similarity[0, 0]) == pytest.approx(want[0, 1], abs=1e-5)


def test_a_network_that_takes_another_path_is_refused() -> None:
    class Forks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.a(x) if bool(x[0, 0] > 0) else self.b(x)

    x = images(16, (4,))
    x[0, 0], x[8, 0] = 1, -1
    with pytest.raises(
        AkpError, match="call the same parts in the same order for every batch, got another pass"
    ):
        layer_map(Forks(), Forks(), x.split(8))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda a, x: layer_map(a, a, [x], layers=["blok1"]),
            "unknown layer of the first network 'blok1': did you mean 'block1'",
        ),
        (
            lambda a, x: layer_map(a, a, [x], layers=["block1"], second_layers=["x"]),
            "unknown layer of the second network 'x'",
        ),
        (
            lambda a, x: layer_map(a, a, [x], layers="block1"),
            "layers as a sequence of names, got the text 'block1'",
        ),
        (
            lambda a, x: layer_map(a, a, [x], layers=[]),
            "named parts of the first network to compare, got none",
        ),
        (
            lambda a, x: layer_map(nn.Linear(3, 3), a, [x]),
            "named parts of the first network to compare, got none",
        ),
        (lambda a, x: layer_map(a, lambda y: y, [x]), "the second network as an nn.Module, got function"),
        (lambda a, x: layer_map(a, a, [x], positions="maen"), "did you mean 'mean'"),
        (
            lambda a, x: layer_map(a, a, [x], positions="each"),
            "positions as 'flatten' or 'mean' in a layer map, got 'each'",
        ),
        (lambda a, _: layer_map(a, a, []), "expected at least 4 images, got none"),
        (lambda a, x: layer_map(a, a, x[:3].split(2)), "expected at least 4 images, got 3"),
        (lambda a, x: layer_map(a, a, [{"x": x}]), "batches of images, or .* pairs, got dict"),
        (lambda a, _: layer_map(a, a, torch.zeros(5)), r"batches of images, .* got shape \(\)"),
    ],
)
def test_bad_requests_say_what_to_do(make, message: str) -> None:
    with pytest.raises(AkpError, match=message):
        make(build("cnn"), images(8))


def test_a_layer_that_puts_all_images_equally_far_apart_is_named() -> None:
    class Apart(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.eye(len(x), dtype=x.dtype)

    x = images(16, (5,))
    with pytest.raises(AkpError, match="layer '1' of the second network is the same for every example"):
        layer_map(nn.Sequential(nn.Tanh()), nn.Sequential(nn.Linear(5, 3).double(), Apart()), x.split(8))


def test_threads_are_what_they_were_for_threads_to_come() -> None:
    before = torch.get_num_threads()
    first, second = build("cnn", depth=1), build("mlp", 1, depth=1)
    try:
        torch.set_num_threads(4)
        layer_map(first, second, images().split(16))
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == 4
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)


def test_no_second_layers_is_not_the_same_as_none_named() -> None:
    with pytest.raises(AkpError, match="named parts of the second network to compare, got none"):
        layer_map(build("cnn", depth=1), build("mlp", 1, depth=1), images().split(16), second_layers=[])
