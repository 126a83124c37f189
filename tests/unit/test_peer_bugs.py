"""Faults that public packages have had: ours passes, and the fault, restated in a few lines, fails the test.

The faults are those of section 4 and table 1d of the project's survey. That a swap after compilation is seen
is tested in test_networks.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from akp_core.errors import AkpError
from akp_core.layers import layer_map
from akp_core.networks.tap import tapped
from akp_core.similarity import MinibatchCKA, cka, pairwise

Pairwise = Callable[[np.ndarray, np.ndarray], float]
Batches = Sequence[tuple[np.ndarray, np.ndarray]]


def related(n: int, p: int, q: int, *, seed: int = 0, own: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((n, 6))
    x, y = (shared @ rng.standard_normal((6, w)) + own * rng.standard_normal((n, w)) for w in (p, q))
    return x, y


def hsic_1(k: np.ndarray, l: np.ndarray) -> float:  # noqa: E741
    """Song et al. 2012, eq. 5, in the dtype that comes and with no centring beforehand."""
    n = len(k)
    k, l = (z * (1 - np.eye(n, dtype=z.dtype)) for z in (k, l))  # noqa: E741
    product = k @ l
    return (np.trace(product) + k.sum() * l.sum() / ((n - 1) * (n - 2)) - 2 * product.sum() / (n - 2)) / (
        n * (n - 3)
    )


def centred(x: np.ndarray) -> np.ndarray:
    return x - x.mean(axis=0)


def reference(x: np.ndarray, y: np.ndarray) -> float:
    """Unbiased CKA of centred float64 features by eq. 5."""
    k, l = (z @ z.T for z in (centred(x.astype(np.float64)), centred(y.astype(np.float64))))  # noqa: E741
    return hsic_1(k, l) / (hsic_1(k, k) * hsic_1(l, l)) ** 0.5


def fails(check: Callable[..., None], *arguments: object) -> bool:
    """Whether a check turns the given fault down."""
    try:
        check(*arguments)
    except (AssertionError, pytest.fail.Exception):
        return True
    return False


# ---------------------------------------------------------------- two arrays


def uncentred_float32(x: np.ndarray, y: np.ndarray) -> float:
    k, l = x @ x.T, y @ y.T  # noqa: E741
    with np.errstate(invalid="ignore"):
        return float(hsic_1(k, l) / np.sqrt(hsic_1(k, k) * hsic_1(l, l)))


@pytest.mark.parametrize("mean", [1, 10, 100])
def test_a_mean_far_from_zero_costs_no_digits(mean: int) -> None:
    """torch-cka, pytorch-cka, cka-pytorch: HSIC_1 of uncentred float32 Gram matrices."""
    x, y = (np.maximum(z, 0).astype(np.float32) + np.float32(mean) for z in related(512, 128, 96))

    def check(similarity: Pairwise) -> None:
        assert abs(similarity(x, y) - reference(x, y)) < 1e-6

    check(cka)
    check(lambda a, b: float(pairwise([a, b])[0, 1]))
    assert fails(check, uncentred_float32)


@pytest.mark.parametrize("estimator", ["biased", "unbiased"])
def test_a_representation_has_cka_one_with_itself_at_any_scale(estimator: str) -> None:
    """netrep #19 left the root out of the denominator; cka-pytorch adds 1e-4 inside it."""
    x, _ = related(40, 12, 5)

    def check(similarity: Pairwise) -> None:
        for scale in (1e-6, 0.1, 1.0, 1e6):
            assert abs(similarity(x, scale * x) - 1) < 1e-9
            assert abs(similarity(scale * x, scale * x) - 1) < 1e-9

    def parts(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
        k, l = (z @ z.T for z in (centred(a), centred(b)))  # noqa: E741
        return hsic_1(k, l), hsic_1(k, k) * hsic_1(l, l)

    def rootless(a: np.ndarray, b: np.ndarray) -> float:
        above, below = parts(a, b)
        return above / below

    def epsilon_in_the_root(a: np.ndarray, b: np.ndarray) -> float:
        above, below = parts(a, b)
        return above / (below + 1e-4) ** 0.5

    check(lambda a, b: cka(a, b, estimator=estimator))
    check(lambda a, b: float(pairwise([a, b], estimator=estimator)[0, 1]))
    assert fails(check, rootless)
    assert fails(check, epsilon_in_the_root)


def test_the_unbiased_estimator_is_not_clamped_at_zero() -> None:
    """pytorch-cka clamps to [0, 1], which biases what was debiased."""
    independent = np.random.default_rng(3).standard_normal((40, 32, 64))
    apart = np.triu_indices(40, 1)

    def check(values: np.ndarray) -> None:
        assert abs(values.mean()) < 3 * values.std() / len(values) ** 0.5

    values = pairwise(independent)[apart]
    check(values)
    check(np.array([cka(independent[i], independent[j]) for i, j in zip(*apart, strict=True) if i < 2]))
    assert fails(check, values.clip(0, 1))


def test_the_value_is_a_cosine_not_its_angle() -> None:
    """netrep's LinearCKA returns arccos of CKA under the name CKA."""
    x, y = related(50, 8, 11)

    def check(similarity: Pairwise) -> None:
        k, l = (z @ z.T for z in (centred(x), centred(y)))  # noqa: E741
        assert similarity(x, x) == pytest.approx(1)
        assert similarity(x, y) == pytest.approx((k * l).sum() / (np.linalg.norm(k) * np.linalg.norm(l)))

    check(lambda a, b: cka(a, b, estimator="biased"))
    assert fails(check, lambda a, b: float(np.arccos(cka(a, b, estimator="biased"))))


def test_long_sums_are_taken_in_float64() -> None:
    """google-research's Gram form and netrep sum n^2 float32 products (9e-4 off at n = 10000)."""
    x, y = (z.astype(np.float32) for z in related(1500, 24, 16))

    def check(similarity: Pairwise) -> None:
        wide, narrow = x.astype(np.float64), y.astype(np.float64)
        k, l = (z @ z.T for z in (centred(wide), centred(narrow)))  # noqa: E741
        truth = np.vdot(k, l) / (np.linalg.norm(k) * np.linalg.norm(l))
        assert abs(similarity(x, y) - truth) < 2e-8

    def single_precision(a: np.ndarray, b: np.ndarray) -> float:
        k, l = (centred(z) @ centred(z).T for z in (a, b))  # noqa: E741
        # a running float32 sum, as a dot product without blocks takes it
        dot = lambda u, v: np.cumsum((u * v).ravel(), dtype=np.float32)[-1]  # noqa: E731
        return float(dot(k, l) / np.sqrt(dot(k, k) * dot(l, l)))

    check(lambda a, b: cka(a, b, estimator="biased"))
    check(lambda a, b: float(pairwise([a, b], estimator="biased")[0, 1]))
    assert fails(check, single_precision)


@pytest.mark.parametrize("n", [2, 3])
def test_too_few_examples_are_refused(n: int) -> None:
    """torch-cka #4 divides by n - 3 or n - 2: 0 / 0."""
    x, y = related(n, 5, 5)

    def check(similarity: Pairwise) -> None:
        with pytest.raises(AkpError, match="4 examples"):
            similarity(x, y)

    check(cka)
    check(lambda a, b: float(pairwise([a, b])[0, 1]))
    with np.errstate(all="ignore"):
        assert fails(check, reference)


# ---------------------------------------------------------------- batches


def in_batches(batches: Batches) -> float:
    sums = MinibatchCKA()
    for x, y in batches:
        sums.add([x, y])
    return float(sums.result()[0, 1])


def hsic_sums(batches: Batches, *, keep: int = 0) -> float:
    """Minibatch CKA by eq. 5, of the last ``keep`` batches (0: all)."""
    sums = np.zeros(3)
    for x, y in batches[-keep:]:
        k, l = (z @ z.T for z in (centred(x), centred(y)))  # noqa: E741
        sums += hsic_1(k, l), hsic_1(k, k), hsic_1(l, l)
    return float(sums[0] / np.sqrt(sums[1] * sums[2]))


def split(x: np.ndarray, y: np.ndarray, size: int) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(x[i : i + size], y[i : i + size]) for i in range(0, len(x), size)]


def test_every_batch_counts() -> None:
    """ckatorch 1.0.3 assigns inside the loop over batches, so that the last one is all there is."""
    batches = split(*related(160, 10, 8, own=2.0), 16)

    def check(similarity: Callable[[Batches], float]) -> None:
        assert similarity(batches) == pytest.approx(hsic_sums(batches), abs=1e-9)
        assert similarity(batches) == pytest.approx(similarity(batches[::-1]), abs=1e-9)

    check(in_batches)
    assert fails(check, lambda given: hsic_sums(given, keep=1))


def test_the_minibatch_estimate_needs_matching_examples() -> None:
    """The same fault from outside: near the value of all examples, and near 0 once one side is shuffled."""
    x, y = related(960, 10, 8, own=2.0)
    shuffled = y[np.random.default_rng(1).permutation(len(y))]

    def check(similarity: Callable[[Batches], float]) -> None:
        assert abs(similarity(split(x, y, 16)) - cka(x, y)) < 0.03
        assert abs(similarity(split(x, shuffled, 16))) < 0.03

    check(in_batches)
    assert fails(check, lambda given: hsic_sums(given, keep=1))


@pytest.mark.parametrize("count", [1, 4, 8])
def test_the_number_of_layers_is_no_divisor(count: int) -> None:
    """simtorch 0.2.1 adds up the values of the batches and divides by the number of layers, here 3."""
    x, y = related(16 * count, 10, 8)
    batches = split(x, y, 16)

    def check(similarity: Callable[[Batches], np.ndarray]) -> None:
        assert np.diag(similarity(batches)) == pytest.approx([1, 1, 1], abs=1e-9)

    def ours(given: Batches) -> np.ndarray:
        sums = MinibatchCKA()
        for a, b in given:
            sums.add([a, b, a**2])
        return np.asarray(sums.result())

    def by_layers(given: Batches) -> np.ndarray:
        return sum(pairwise([a, b, a**2], estimator="biased") for a, b in given) / 3

    check(ours)
    assert fails(check, by_layers)


def test_tokens_are_not_taken_for_examples() -> None:
    """ckatorch compares the tokens of each image where it was given (images, tokens, features)."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((12, 9, 4)), rng.standard_normal((12, 9, 6))

    def check(similarity: Pairwise) -> None:
        with pytest.raises(AkpError, match=r"\(examples, features\)"):
            similarity(x, y)

    check(cka)
    check(lambda a, b: in_batches([(a, b)]))
    check(lambda a, b: float(pairwise([a, b])[0, 1]))
    assert fails(check, lambda a, b: hsic_sums(list(zip(a, b, strict=True))))


# ---------------------------------------------------------------- networks


class Shared(nn.Module):
    """One ReLU, in place, called after each of two layers."""

    def __init__(self, seed: int, *, inplace: bool = True) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.a, self.b, self.c = nn.Linear(10, 24), nn.Linear(24, 24), nn.Linear(24, 4)
        self.relu = nn.ReLU(inplace=inplace)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.relu(self.b(self.relu(self.a(x)))))


def images(n: int = 64) -> Tensor:
    return torch.randn(n, 10, generator=torch.Generator().manual_seed(5))


def held_by_reference(model: nn.Module, x: Tensor, name: str) -> Tensor:
    """What a hook keeps that stores the output itself: the last call's, and whatever became of it."""
    kept: dict[str, Tensor] = {}
    part = dict(model.named_modules())[name]
    handle = part.register_forward_hook(lambda _m, _i, out: kept.__setitem__(name, out))
    with torch.no_grad():
        model(x)
    handle.remove()
    return kept[name]


def test_two_networks_are_not_compared_as_one() -> None:
    """anatome ran the first model's extractor for both, from November 2021 to June 2025."""
    one, two, x = Shared(0), Shared(1), images()

    def check(second: nn.Module) -> None:
        diagonal = layer_map(one, second, [x]).similarity.diagonal()
        assert (diagonal < 0.99).all()

    check(two)
    assert fails(check, one)
    assert torch.allclose(layer_map(one, one, [x]).similarity.diagonal(), torch.ones(5, dtype=torch.float64))


def test_a_layer_before_an_activation_in_place_is_read_before_it() -> None:
    """torch-cka and pytorch-cka keep the output itself, which the activation then overwrites."""
    one, two, x = Shared(0), Shared(1), images()
    with torch.no_grad():
        before = cka(one.a(x), two.a(x))
        after = cka(one.a(x).relu(), two.a(x).relu())

    def check(value: float) -> None:
        assert value == pytest.approx(before, abs=1e-5)

    assert abs(before - after) > 0.01
    check(float(layer_map(one, two, [x], layers=["a"]).similarity))
    with tapped(one, ["a"]) as seen, tapped(two, ["a"]) as other, torch.no_grad():
        one(x), two(x)
    check(cka(seen["a"], other["a"]))
    kept = cka(held_by_reference(one, x, "a"), held_by_reference(two, x, "a"))
    assert kept == pytest.approx(after, abs=1e-5)
    assert fails(check, kept)


def test_a_part_that_is_called_twice_is_seen_twice() -> None:
    """Every package with hooks keeps the last call alone."""
    one, x = Shared(0), images()
    with torch.no_grad():
        first = one.a(x).relu()
        second = one.b(first).relu()
    found = layer_map(one, one, [x])
    calls = [i for i, name in enumerate(found.first_layers) if name.startswith("relu")]

    def check(values: Sequence[float]) -> None:
        assert list(values) == pytest.approx([cka(first, first), cka(first, second)], abs=1e-5)

    check([float(found.similarity[calls[0], i]) for i in calls])
    last = held_by_reference(one, x, "relu")
    assert fails(check, [cka(last, last)])
    assert fails(check, [cka(last, last), cka(last, last)])
    with pytest.raises(AkpError, match="called more than once"), tapped(one, ["relu"]), torch.no_grad():
        one(x)


class Once:
    """A loader that shuffles anew each time it is iterated, and counts how often it was."""

    def __init__(self) -> None:
        self.loader = DataLoader(
            TensorDataset(images(96), torch.zeros(96)),
            batch_size=32,
            shuffle=True,
            generator=torch.Generator().manual_seed(2),
        )
        self.times = 0

    def __iter__(self) -> Iterator[list[Tensor]]:
        self.times += 1
        return iter(self.loader)


def test_both_networks_see_the_same_images_of_a_shuffled_loader() -> None:
    """torch-cka iterates one shuffled loader twice: a model and its copy come out unrelated."""
    one, copy = Shared(0), Shared(0)

    def check(diagonal: Sequence[float]) -> None:
        assert list(diagonal) == pytest.approx([1.0] * len(diagonal), abs=1e-5)

    loader = Once()
    check(layer_map(one, copy, loader).similarity.diagonal().tolist())
    assert loader.times == 1

    with torch.no_grad():
        pairs = [(one.a(x).numpy(), copy.a(y).numpy()) for (x, _), (y, _) in zip(loader, loader, strict=True)]
    assert fails(check, [hsic_sums(pairs)])


def test_feature_maps_of_one_name_are_read_as_those_of_two() -> None:
    """anatome takes channels for examples where two layers have one name, and images otherwise."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        one, two = (nn.Sequential(nn.Conv2d(2, 6, 3), nn.Tanh(), nn.Conv2d(6, 6, 3)) for _ in range(2))
        x = torch.randn(24, 2, 8, 8)
    with torch.no_grad():
        maps = [(one[:stop](x), two[:stop](x)) for stop in (1, 3)]

    def check(similarity: Callable[[int, int], float]) -> None:
        for i, j in ((0, 0), (0, 1), (1, 1)):
            assert similarity(i, j) == pytest.approx(
                cka(maps[i][0].flatten(1), maps[j][1].flatten(1)), abs=1e-5
            )

    found = layer_map(one, two, [x], layers=["0", "2"]).similarity

    def by_name(i: int, j: int) -> float:
        a, b = maps[i][0], maps[j][1]
        return cka(*(z.transpose(0, 1).flatten(1) if i == j else z.flatten(1) for z in (a, b)))

    check(lambda i, j: float(found[i, j]))
    assert fails(check, by_name)


def test_an_unknown_layer_is_named_and_no_hook_stays() -> None:
    """torch-cka hooks nothing for a misspelt name, which ends in 0 / 0, and never removes a hook."""
    one, two, x = Shared(0), Shared(1), images()
    with pytest.raises(AkpError, match=r"(?s)'relu1'.*did you mean 'relu'.*valid: a, b, c, relu"):
        layer_map(one, two, [x], layers=["a", "relu1"])
    layer_map(one, two, [x])
    assert not any(part._forward_hooks or part._forward_pre_hooks for m in (one, two) for part in m.modules())


def test_a_loader_of_small_batches_gives_no_nan() -> None:
    """torch-cka #2, #6, #10: the last batch of 1 to 3 images makes the whole map NaN."""
    one, two = Shared(0), Shared(1)

    def check(values: Tensor) -> None:
        assert bool(torch.isfinite(values).all())

    for last in (1, 2, 3):
        batches = images(32 + last).split(32)
        check(layer_map(one, two, batches).similarity)
        with torch.no_grad(), np.errstate(all="ignore"):
            pairs = [(one.a(x).numpy(), two.a(x).numpy()) for x in batches]
            assert fails(check, torch.tensor(hsic_sums(pairs)))
