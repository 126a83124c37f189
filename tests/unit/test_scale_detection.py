"""The scale-detection task: its data by hand counts, its network against PyTorch's, D and G by theory."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from akp_core.errors import AkpError
from akp_core.scale_detection.conclusions import aliasing, derived, place, together
from akp_core.scale_detection.curves import over_networks
from akp_core.scale_detection.fields import below_scale, reach, widths
from akp_core.scale_detection.filters import binomial_share, even_share, spectra
from akp_core.scale_detection.images import Probe, move, probe, render
from akp_core.scale_detection.network import Stack, Weights, forward, initial, shuffled
from akp_core.scale_detection.sensitivity import changes, ideal, layers_of, measured, member_function
from akp_core.scale_detection.task import Pairs, ScaleTask
from akp_core.seeds import generator
from akp_core.theory.pooling import sensitivity


def stream(*path: str | int) -> torch.Generator:
    return generator(0, "test", *path)


def test_pairs_on_a_circle_are_labelled_as_counted_by_hand() -> None:
    task = ScaleTask(16, 5, gap=1)
    found = {}
    for (a, b), label in zip(
        task.all_pairs.places[..., 0].tolist(), task.all_pairs.labels.tolist(), strict=True
    ):
        found[a, b] = float(label)
    for a, b in itertools.combinations(range(16), 2):
        apart = min(b - a, 16 - (b - a))
        due = 1 if apart < 4 else -1 if apart >= 6 else None
        assert found.get((a, b)) == due


def test_pairs_in_blocks_and_quadrants_are_labelled_as_counted_by_hand() -> None:
    line = ScaleTask(12, 4, rule="block").all_pairs
    assert int((line.labels > 0).sum()) == 3 * 6
    assert len(line.labels) == 66
    square = ScaleTask(4, 2, rule="block", dims=2).all_pairs
    assert int((square.labels > 0).sum()) == 4 * 6
    assert len(square.labels) == 120


@pytest.mark.parametrize(("norm", "periodic"), list(itertools.product(("euclidean", "max"), (True, False))))
def test_pairs_in_the_plane_halve_the_gap(norm: str, periodic: bool) -> None:
    task = ScaleTask(9, 3, gap=1, dims=2, norm=norm, periodic=periodic)  # type: ignore[arg-type]
    sites = list(itertools.product(range(9), repeat=2))
    found = {
        (tuple(p), tuple(q)): y
        for (p, q), y in zip(task.all_pairs.places.tolist(), task.all_pairs.labels.tolist(), strict=True)
    }
    for p, q in itertools.combinations(sites, 2):
        gaps = [abs(a - b) for a, b in zip(p, q, strict=True)]
        gaps = [min(g, 9 - g) for g in gaps] if periodic else gaps
        apart = max(gaps) if norm == "max" else (gaps[0] ** 2 + gaps[1] ** 2) ** 0.5
        assert found.get((p, q)) == (1 if apart < 2.5 else -1 if apart >= 3.5 else None)


def test_pixels_on_the_diagonal_occur_unlike_in_the_public_code() -> None:
    places = ScaleTask(6, 3, dims=2).all_pairs.places
    assert (places[..., 0] == places[..., 1]).any()


def test_draws_are_balanced_disjoint_and_repeatable() -> None:
    task = ScaleTask(16, 4)
    train, test = task.draw(40, 20, stream())
    again = task.draw(40, 20, stream())
    assert float(train.labels.sum()) == float(test.labels.sum()) == 0
    seen = {tuple(p) for p in train.places[..., 0].tolist()}
    assert len(seen) == 40
    assert not seen & {tuple(p) for p in test.places[..., 0].tolist()}
    assert torch.equal(train.places, again[0].places)
    assert len(set(train.labels[:20].tolist())) == 2


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ScaleTask(3, 2), "side as a whole number of at least 4"),
        (lambda: ScaleTask(16, 4, dims=3), "dims as a whole number from 1 to 2"),
        (lambda: ScaleTask(16, 40), "pairs of both classes"),
        (lambda: ScaleTask(16, 2, gap=2), "pairs of both classes"),
        (lambda: ScaleTask(16, 5, rule="block"), "divides the side 16"),
        (lambda: ScaleTask(16, 4, gap=1, rule="block"), "gap 0 for blocks"),
        (lambda: ScaleTask(16, 4, rule="blocks"), "did you mean 'block'"),
        (lambda: ScaleTask(16, 4, norm="maximum"), "unknown norm"),
        (lambda: ScaleTask(64, 4, dims=2), "at most 5,000,000 pairs"),
        (lambda: ScaleTask(16, float("nan")), "scale as a finite number"),
        (lambda: ScaleTask(16, 4).draw(41, 20, stream()), "even numbers"),
        (lambda: ScaleTask(16, 4).draw(400, 20, stream()), "at most 96"),
        (lambda: ScaleTask(16, 4).draw(4, 2, 7), "a torch.Generator"),
        (lambda: render(ScaleTask(16, 4), torch.tensor([[[0], [16]]])), "places from 0 to 15"),
        (lambda: render(ScaleTask(16, 4), torch.tensor([[0, 1]])), "shape"),
        (lambda: Stack(3, filter=0), "filter as a whole number"),
        (lambda: Stack(3, padding="same"), "unknown padding"),
        (lambda: Stack(3).check(12), "2\\^3 divides"),
        (lambda: Stack(3, filter=3).check(8), "with 3 left at each layer"),
        (lambda: below_scale(Stack(3), 3), "at least 2 layers"),
        (lambda: widths(Stack(3, filter=1)), "at least 2 places"),
        (lambda: place(0, 1, 0.5, -1), "tolerance"),
        (lambda: ideal(Stack(3), torch.ones(3)), "2 positive weights"),
    ],
)  # fmt: skip
def test_a_bad_request_is_refused_in_one_line(make: object, says: str) -> None:
    with pytest.raises(AkpError, match=says) as caught:
        make()  # type: ignore[operator]
    assert "\n" not in str(caught.value)


def test_images_have_the_brightness_of_the_papers() -> None:
    line, square = ScaleTask(16, 4), ScaleTask(8, 3, dims=2)
    assert float(render(line, line.all_pairs.places[:5]).square().mean()) == pytest.approx(1)
    image = render(square, torch.tensor([[[2, 5], [7, 0]]]))
    assert float(image.mean()) == pytest.approx(1)
    assert image[0, 0, 2, 5] == image[0, 0, 7, 0] == 32
    assert float(render(line, torch.tensor([[[3], [3]]]))[0, 0, 3]) == pytest.approx(2 * 8**0.5)


@pytest.mark.parametrize("periodic", [True, False])
def test_points_go_one_step_on_their_own(periodic: bool) -> None:
    task = ScaleTask(16, 4, periodic=periodic)
    places = task.all_pairs.places.repeat(20, 1, 1)
    step = move(task, places, stream()) - places
    ends = (places == 0) | (places == 15)
    assert set(step[~ends].tolist()) == {-1, 1}
    assert set(step[ends].tolist()) == ({-1, 1, -15, 15} if periodic else {-1, 0, 1})
    assert abs(float(step[~ends].float().mean())) < 0.05
    both = (step.squeeze(-1)[~ends.squeeze(-1).any(1)]).float()
    assert abs(float((both[:, 0] * both[:, 1]).mean())) < 0.1


def test_points_stay_in_their_block_and_go_diagonally_in_the_plane() -> None:
    blocks = ScaleTask(16, 4, rule="block")
    places = blocks.all_pairs.places.repeat(10, 1, 1)
    gone = move(blocks, places, stream())
    assert torch.equal(gone // 4, places // 4)
    assert 0.2 < float((gone == places).float().mean()) < 0.3
    plane = ScaleTask(9, 4, dims=2)
    inner = torch.full((4000, 2, 2), 4)
    steps = (move(plane, inner, stream()) - inner).reshape(-1, 2).tolist()
    assert {tuple(s) for s in steps} == set(itertools.product((-1, 0, 1), repeat=2)) - {(0, 0)}


def test_the_noise_is_as_strong_as_the_deformation_and_rectified_unscaled() -> None:
    task = ScaleTask(32, 8)
    found = probe(task, task.draw(2, 200, stream())[1], stream())
    moved = float((found.moved - found.images).square().mean())
    assert float((found.noisy - found.images).square().mean()) == pytest.approx(moved, rel=0.05)
    kept = found.rectified - found.images
    assert torch.allclose(kept, (found.noisy - found.images).clamp_min(0), atol=1e-5)
    assert float(kept.square().mean()) == pytest.approx(moved / 2, rel=0.05)


@pytest.mark.parametrize(
    ("dims", "filter_", "stride", "padding"),
    list(itertools.product((1, 2), (2, 3, 4), (1, 2), ("circular", "zeros"))),
)
def test_the_network_is_pytorchs_convolution(dims: int, filter_: int, stride: int, padding: str) -> None:
    stack = Stack(2, 5, filter_, stride, dims, bias=True, padding=padding)  # type: ignore[arg-type]
    weights = initial(stack, 2, 3)
    images = torch.randn(2, 4, 1, *[8] * dims, generator=stream())
    layers, outputs = forward(stack, weights, images)
    conv = F.conv1d if dims == 1 else F.conv2d
    left = (filter_ - 1) // 2
    ends = [left, filter_ - 1 - left] * dims
    for member in range(2):
        x = images[member]
        for k, (w, b) in enumerate(zip(weights.layers, weights.biases, strict=True)):
            kernel = w[member].reshape(*[filter_] * dims, -1, 5).movedim((-1, -2), (0, 1))
            if dims == 2:
                kernel = kernel.transpose(2, 3)
            fan = kernel[0].numel()
            x = F.pad(x, ends, mode="circular") if padding == "circular" else F.pad(x, ends)
            x = conv(x, kernel / fan**0.5, b[member, 0], stride=stride).relu() * filter_ ** (dims / 2)
            assert torch.allclose(layers[k][member].movedim(-1, 1), x, atol=1e-4)
        due = x.flatten(2).mean(2) @ weights.beta[member] / 5
        assert torch.allclose(outputs[member], due[:, 0], atol=1e-4)


def test_a_member_is_the_same_whatever_the_population() -> None:
    one, many = initial(Stack(2, 4), 1, 5), initial(Stack(2, 4), 3, 5)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(one.all(), many.all(), strict=True))
    assert not torch.equal(many.layers[0][0], many.layers[0][1])


def test_shuffled_channels_keep_every_filter_and_move_some() -> None:
    stack = Stack(2, 6, 3, 1)
    weights = initial(stack, 2, 0)
    mixed = shuffled(weights, stream())
    assert torch.equal(mixed.layers[0], weights.layers[0])
    a, b = (w.layers[1].reshape(2, 3, 6, 6) for w in (weights, mixed))
    assert not torch.equal(a, b)
    for m, h in itertools.product(range(2), range(6)):
        assert {tuple(f) for f in a[m, :, :, h].T.tolist()} == {tuple(f) for f in b[m, :, :, h].T.tolist()}
    assert np.allclose(spectra(stack, weights), spectra(stack, mixed))


@pytest.mark.parametrize(("filter_", "stride"), [(2, 1), (2, 2), (3, 2)])
def test_the_ideal_network_has_the_proved_sensitivities(filter_: int, stride: int) -> None:
    task = ScaleTask(1024, 200)
    stack = Stack(3, filter=filter_, stride=stride)
    found = probe(task, task.draw(2, 4000, stream())[1], stream())
    one = changes(member_function(*ideal(stack, relu=False), 0), found)
    for k in range(3):
        due = sensitivity([1.0] * filter_, stride, k + 1)
        assert one[str(k + 1)].relative() == pytest.approx((due.shift, due.noise, due.rectified), rel=0.08)


def test_the_first_relu_rectifies_noise_so_that_it_piles_up_even_if_it_came_unrectified() -> None:
    task, stack = ScaleTask(1024, 200), Stack(5)
    found = probe(task, task.draw(2, 1000, stream())[1], stream())
    with_relu, without = (
        [c.relative()[1] for c in changes(member_function(*ideal(stack, relu=relu), 0), found).values()]
        for relu in (True, False)
    )
    assert without == pytest.approx([1] * 5, rel=0.08)
    assert with_relu[0] == pytest.approx(0.5, rel=0.08)
    assert with_relu[4] > 3 * with_relu[0]


def test_sensitivities_are_the_plain_means_and_do_not_see_scale_or_mean() -> None:
    x = torch.randn(6, 1, 8, generator=stream())
    asked = Probe(x, x + 1, x * 2, x.abs())
    plain = changes(lambda images: {"it": images}, asked)["it"].relative()
    scaled = changes(lambda images: {"it": 3 * images - 7}, asked)["it"].relative()
    flat = x.reshape(6, 8).double()
    apart = torch.cdist(flat, flat).square().sum() / 30
    due = [float(((y - x).double() ** 2).sum(dim=(1, 2)).mean() / apart) for y in asked[1:]]
    assert plain == pytest.approx(due)
    assert scaled == pytest.approx(due, rel=1e-4)


def test_equal_outputs_have_no_sensitivity_even_after_rounding() -> None:
    x = torch.rand(8, 1, 16, generator=stream())
    asked = Probe(x, x, x, x)
    found = changes(lambda images: {"it": 5 + 1e-6 * images}, asked)["it"].relative()
    assert np.isnan(found).all()
    table = measured(lambda images: {"it": torch.ones(len(images), 2)}, asked, rng=np.random.default_rng(0))
    assert table[["value", "low", "high"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda x: x, "a mapping of layers"),
        (lambda x: {"a": x[:1]}, "activations \\(8, channels, ...\\) at 'a'"),
        (layers_of(torch.nn.Sequential(torch.nn.Conv1d(1, 2, 3)), ["9"]), "unknown tap '9'"),
    ],
)
def test_a_function_that_gives_something_else_is_refused(function: object, says: str) -> None:
    x = torch.rand(8, 1, 16, generator=stream())
    with pytest.raises(AkpError, match=says):
        changes(function, Probe(x, x, x, x))  # type: ignore[arg-type]


def test_too_few_images_and_modules_without_parts_are_refused() -> None:
    x = torch.rand(3, 1, 16, generator=stream())
    with pytest.raises(AkpError, match="at least 4 images"):
        changes(lambda images: {"a": images}, Probe(x, x, x, x))
    with pytest.raises(AkpError, match="a module with parts"):
        layers_of(torch.nn.Identity())


def test_intervals_over_images_hold_the_value_and_shrink() -> None:
    task = ScaleTask(32, 8)
    few, many = (probe(task, task.draw(2, n, stream())[1], stream()) for n in (16, 400))
    function = member_function(*ideal(Stack(2)), 0)
    wide, narrow = (measured(function, p, rng=np.random.default_rng(0)) for p in (few, many))
    for table in (wide, narrow):
        assert ((table["low"] <= table["value"]) & (table["value"] <= table["high"])).all()
    assert ((narrow["high"] - narrow["low"]) < (wide["high"] - wide["low"])).all()


def test_spectra_know_even_odd_and_random_filters() -> None:
    stack = Stack(1, 4000, 3, 2)
    of = spectra(stack, initial(stack, 1, 0))
    assert of.shape == (1, 1, 3)
    assert np.allclose(of, 1 / 3, atol=0.03)
    plain, weights = ideal(stack)
    assert np.allclose(spectra(plain, weights), [1, 0, 0])
    assert np.allclose(binomial_share(plain, weights), 8 / 9)
    edge = Weights((torch.tensor([[[1.0], [0.0], [-1.0]]]),), *weights[1:])
    assert np.allclose(spectra(plain, edge), [0, 1, 0])
    none = Weights((torch.zeros(1, 3, 1),), *weights[1:])
    assert np.isnan(even_share(plain, none)).all()
    two = Weights((torch.tensor([[[1.0, 2.0], [1.0, -2.0]]]),), *weights[1:])
    assert np.allclose(spectra(Stack(1, 2), two), [1 / 5, 4 / 5])
    square = ideal(Stack(2, filter=3, dims=2), torch.tensor([1.0, 2.0, 1.0]))
    assert np.allclose(binomial_share(*square), 1)


def test_fields_and_widths_are_those_of_the_theory() -> None:
    assert reach(Stack(4)) == [2, 4, 8, 16]
    assert reach(Stack(3, filter=3, stride=1)) == [3, 5, 7]
    assert below_scale(Stack(6), 16) == [1, 2, 3]
    assert widths(Stack(3))[0] == pytest.approx(0.5)
    assert derived(Stack(3)) == {"moved": -1, "noisy": 0, "rectified": 1}
    assert derived(Stack(3, filter=2, stride=1, dims=2)) == {"moved": -2, "noisy": 0, "rectified": 2}
    assert derived(Stack(3, filter=3))["moved"] == 0
    assert derived(Stack(3, filter=4))["moved"] == -2
    assert np.isnan(derived(Stack(3, filter=6))["moved"])


def test_verdicts_come_from_intervals() -> None:
    assert place(-1.1, -0.9, -1, 0.25) == "reproduced"
    assert place(-0.7, -0.5, -1, 0.25) == "not reproduced"
    assert place(-1.9, -1.3, -1, 0.25) == "not reproduced"
    assert place(-1.1, -0.5, -1, 0.25) == place(-0.9, -0.5, -1, 0.25) == "undecided"
    assert place(np.nan, np.nan, -1, 0.25) == "undecided"
    assert place(-1.1, -0.9, np.nan, 0.25) == "undecided"
    assert together(["reproduced", "reproduced"]) == "reproduced"
    assert together(["reproduced", "not reproduced", "undecided"]) == "not reproduced"
    assert together(["reproduced", "undecided"]) == together([]) == "undecided"
    assert aliasing(-1.8, -1.2, -0.2, 0.25) == "avoided"
    assert aliasing(-0.3, 0.1, -0.2, 0.25) == "shown"
    assert aliasing(-0.9, 0.1, -0.2, 0.25) == aliasing(np.nan, np.nan, 0, 0.25) == "undecided"


def test_means_over_networks_count_the_lost_and_give_no_interval_for_two() -> None:
    mean, low, high, count = over_networks([1.0, 2.0, 3.0, np.nan])
    assert (mean, count) == (2, 3)
    assert (low, high) == pytest.approx((2 - 2.484, 2 + 2.484), abs=1e-3)
    assert np.isnan(over_networks([1.0, 2.0])[1])
    assert over_networks([])[3] == 0


def test_pairs_keep_their_labels_when_drawn() -> None:
    task = ScaleTask(16, 4, gap=1)
    train, _ = task.draw(60, 2, stream())
    near = task.distance(train.places) < 3
    assert torch.equal(train.labels, 2 * near.float() - 1)
    assert isinstance(train, Pairs)
