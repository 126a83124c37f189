"""Stitching real, trained networks: what a receiver can do with what a sender has computed."""

import copy
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from akp_core.datasets import load
from akp_core.errors import AkpError
from akp_core.networks import Network
from akp_core.networks.tap import continued, evaluating
from akp_core.probes import standardise
from akp_core.similarity.convolution import as_features
from akp_core.stitching import stitch
from akp_core.stitching.affine import RIDGES, ridge_regression
from akp_core.threads import one_thread


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    with one_thread():
        yield


def build(width: int, seed: int, kind: str = "cnn") -> nn.Module:
    return Network(kind, width=width, depth=2).build((1, 8, 8), 10, torch.Generator().manual_seed(seed))


def trained(model: nn.Module, x: Tensor, y: Tensor, seed: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(8):
        for rows in torch.randperm(len(x), generator=generator).split(64):
            optimiser.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimiser.step()
    return model.eval()


@dataclass
class Bench:
    fit: tuple[Tensor, Tensor]
    evaluation: tuple[Tensor, Tensor]
    receiver: nn.Module
    wide: nn.Module
    untrained: nn.Module
    mlp: nn.Module

    def stitch(self, sender: nn.Module, tap: str = "block1", receiver_tap: str | None = None, **more: object):
        asked = {"fit": self.fit, "evaluation": self.evaluation, "rng": np.random.default_rng(0)} | more
        return stitch(sender, self.receiver, tap, receiver_tap, **asked)


@pytest.fixture(scope="module")
def bench(_one_thread: None) -> Bench:
    data = load("digits", side=8)
    x, y = standardise(data, data.train.images), data.train.labels
    held = [data.test, data.probe]
    later = torch.cat([standardise(data, part.images) for part in held])
    labels = torch.cat([part.labels for part in held])
    return Bench(
        fit=(x[:500], y[:500]),
        evaluation=(later, labels),
        receiver=trained(build(8, 0), x, y, 0),
        wide=trained(build(12, 1), x, y, 1),
        untrained=build(12, 1),
        mlp=trained(build(24, 2, "mlp"), x, y, 2),
    )


def error_of(model: nn.Module, pair: tuple[Tensor, Tensor]) -> float:
    with torch.no_grad():
        return float((model(pair[0]).argmax(1) != pair[1]).double().mean())


@pytest.mark.parametrize("method", ["matching", "task"])
@pytest.mark.parametrize("tap", ["block1", "features"])
def test_a_network_stitched_to_itself_loses_nothing(bench: Bench, tap: str, method: str) -> None:
    got = bench.stitch(bench.receiver, tap, method=method, steps=3)
    assert abs(got.penalty) <= (0.0 if method == "matching" else 0.01)
    assert got.receiver_error == got.sender_error == error_of(bench.receiver, bench.evaluation)
    if method == "matching":
        with torch.no_grad():
            held = bench.receiver[:1] if tap == "block1" else bench.receiver[:3]
            alive = as_features(held(bench.fit[0]), positions="each").std(dim=0) > 0
        identity = torch.diag(alive.double())
        torch.testing.assert_close(got.map.weight, identity, atol=1e-3, rtol=0)
        assert got.interval == (0.0, 0.0)
        assert got.p_value == 1.0
        assert torch.equal(got.predictions, bench.receiver(bench.evaluation[0]).argmax(1))


@pytest.mark.parametrize("method", ["matching", "task"])
def test_another_network_of_another_width_stitches_and_its_nulls_do_not(bench: Bench, method: str) -> None:
    got = bench.stitch(bench.wide, untrained=bench.untrained, method=method, steps=10)
    assert got.receiver_error < 0.1
    assert got.error < 0.25 < 0.5 < got.null_error
    assert got.error <= got.untrained_error
    assert got.penalty == pytest.approx(got.error - got.receiver_error, abs=1e-12)
    assert got.interval[0] <= got.penalty <= got.interval[1]
    assert got.interval[0] < got.interval[1]
    assert 0 <= got.p_value <= 1
    assert got.map.by_position
    assert got.map.weight.shape == (8, 12)
    assert got.sender_error == error_of(bench.wide, bench.evaluation)


def test_the_error_is_that_of_the_stitched_network_run_by_hand(bench: Bench) -> None:
    got, (x, y) = bench.stitch(bench.wide), bench.evaluation
    with torch.no_grad():
        sent = bench.wide.block1(x)
        conv = nn.Conv2d(12, 8, 1)
        conv.weight.copy_(got.map.weight[:, :, None, None])
        conv.bias.copy_(got.map.bias)
        torch.testing.assert_close(got.map(sent), conv(sent), atol=1e-4, rtol=1e-4)
        by_hand = bench.receiver[1:](conv(sent)).argmax(1)
    assert float((by_hand == got.predictions).double().mean()) > 0.999
    assert got.error == float((got.predictions != y).double().mean())


def test_task_training_lowers_the_loss_of_matching(bench: Bench) -> None:
    x, y = bench.fit
    loss = {}
    for method in ("matching", "task"):
        carried = bench.stitch(bench.wide, "block2", method=method, steps=10).map
        with torch.no_grad():
            sent = bench.wide.block2(bench.wide.block1(x))
            loss[method] = float(F.cross_entropy(bench.receiver[2:](carried(sent)), y))
    assert loss["task"] < 0.7 * loss["matching"]


def test_networks_without_maps_stitch_densely(bench: Bench) -> None:
    got = bench.stitch(bench.mlp, "block2", "features")
    assert not got.map.by_position
    assert got.map.weight.shape == (16, 24)
    assert got.error < 0.25 < 0.5 < got.null_error
    dense = bench.stitch(bench.wide, kind="dense")
    assert dense.map.weight.shape == (8 * 16, 12 * 16)
    assert dense.error < 0.25
    into = bench.stitch(bench.mlp, "block1", "block1")
    assert into.map.weight.shape == (8 * 16, 24)


def test_an_affine_map_of_the_senders_channels_changes_nothing(bench: Bench) -> None:
    class Mixed(nn.Module):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.body = model.block1
            self.block1 = nn.Conv2d(12, 12, 1)
            mix = torch.linalg.qr(torch.randn(12, 12, generator=torch.Generator().manual_seed(3)))[0]
            self.block1.weight.data.copy_((3 * mix)[:, :, None, None])
            self.block1.bias.data.fill_(2.0)

        def forward(self, x: Tensor) -> Tensor:
            return self.block1(self.body(x)).mean(dim=(2, 3))

    plain, mixed = bench.stitch(bench.wide), bench.stitch(Mixed(bench.wide))
    assert float((plain.predictions == mixed.predictions).double().mean()) > 0.995
    assert mixed.sender_error is None, "twelve outputs are not ten classes"


def test_more_features_than_fitting_images_still_have_one_ridge(bench: Bench) -> None:
    few = (bench.fit[0][:60], bench.fit[1][:60])
    got = bench.stitch(bench.wide, kind="dense", fit=few)
    assert got.map.weight.shape[1] > 60
    assert got.error < 0.6 < got.null_error


def test_the_ridge_is_that_of_least_cross_validation_and_solves_its_equations() -> None:
    rng = np.random.default_rng(0)
    for n, p in ((50, 8), (12, 30)):
        x, y = rng.standard_normal((n, p)), rng.standard_normal((n, 3))
        y[:, 0] += x[:, 0]
        x, y = x - x.mean(0), y - y.mean(0)
        weight, ridge = ridge_regression(torch.from_numpy(x), torch.from_numpy(y))
        top = np.linalg.eigvalsh(x.T @ x)[-1]
        scores = []
        for share in RIDGES:
            solve = np.linalg.solve(x.T @ x + share * top * np.eye(p), x.T)
            free = n - 1 - np.trace(x @ solve)
            scores.append(np.square(y - x @ solve @ y).sum() / free**2 if free > 1e-6 * n else np.inf)
        assert ridge == pytest.approx(RIDGES[int(np.argmin(scores))])
        want = np.linalg.solve(x.T @ x + ridge * top * np.eye(p), x.T @ y).T
        np.testing.assert_allclose(weight.numpy(), want, atol=1e-9)


def test_the_same_generator_gives_the_same_numbers_and_global_streams_are_left_alone(bench: Bench) -> None:
    before = torch.get_rng_state()
    one, two = (bench.stitch(bench.wide, method="task", steps=3) for _ in range(2))
    assert (one.error, one.null_error, one.interval) == (two.error, two.null_error, two.interval)
    assert torch.equal(one.map.weight, two.map.weight)
    assert torch.equal(before, torch.get_rng_state())


def test_the_level_is_what_the_interval_leaves_out(bench: Bench) -> None:
    usual, wide, narrow = (bench.stitch(bench.wide, **more) for more in ({}, {"level": 0.01}, {"level": 0.5}))
    widths = [float(np.diff(s.interval)[0]) for s in (wide, usual, narrow)]
    assert widths[0] > widths[1] > 1.5 * widths[2] > 0
    assert usual.interval == bench.stitch(bench.wide, level=0.05).interval


def test_images_may_carry_gradients(bench: Bench) -> None:
    fit = (bench.fit[0].clone().requires_grad_(), bench.fit[1])
    later = (bench.evaluation[0].clone().requires_grad_(), bench.evaluation[1])
    got = bench.stitch(bench.wide, fit=fit, evaluation=later)
    assert got.error == bench.stitch(bench.wide).error


def test_groups_that_err_together_widen_the_interval(bench: Bench) -> None:
    alone = bench.stitch(bench.untrained)
    together = bench.stitch(bench.untrained, groups=bench.evaluation[1])
    assert together.p_value is None
    assert np.diff(together.interval) > np.diff(alone.interval)


def test_networks_are_left_as_they_were_also_after_an_error(bench: Bench) -> None:
    sender, receiver = copy.deepcopy(bench.wide).train(), copy.deepcopy(bench.receiver).train()
    weights = [copy.deepcopy(m.state_dict()) for m in (sender, receiver)]
    asked = {"fit": bench.fit, "evaluation": bench.evaluation, "rng": np.random.default_rng(0)}
    stitch(sender, receiver, "block1", method="task", steps=2, **asked)
    with pytest.raises(AkpError, match="maps of equal size"):
        stitch(sender, receiver, "block1", "block2", **asked)
    for model, was in zip((sender, receiver), weights, strict=True):
        assert all(torch.equal(v, was[k]) for k, v in model.state_dict().items())
        assert all(p.grad is None or not p.grad.any() for p in model.parameters())
        assert not any(p._forward_hooks or p._forward_pre_hooks for p in model.modules())
        assert all(part.training for part in model.modules())


def test_a_tap_that_a_shortcut_goes_around_is_refused(bench: Bench) -> None:
    model = build(4, 0, "resnet18")
    asked = {"fit": bench.fit, "evaluation": bench.evaluation, "rng": np.random.default_rng(0)}
    with pytest.raises(
        AkpError, match=r"got 'stage1.block1.conv1', which a shortcut goes around; tap a whole"
    ):
        stitch(model, model, "stage1.block1.conv1", **asked)
    assert stitch(model, model, "stage1.block1", **asked).penalty == 0


def test_a_network_goes_on_from_a_replaced_tap(bench: Bench) -> None:
    model, x = bench.receiver, bench.fit[0][:8]
    run = continued(model, "block1")
    inside = model.block1(x).detach()
    torch.testing.assert_close(run(x, inside), model(x))
    other = inside.roll(1, dims=0).requires_grad_()
    out = run(x, other)
    torch.testing.assert_close(out, model(x).roll(1, dims=0))
    out.sum().backward(inputs=[other])
    assert bool(other.grad.any())
    with torch.no_grad():
        assert not run(x, other).requires_grad
    assert torch.is_grad_enabled()
    with pytest.raises(AkpError, match=r"replacement of shape \(8, 8, 4, 4\) at tap 'block1', got \(8, 3\)"):
        run(x, torch.zeros(8, 3))
    assert torch.is_grad_enabled()
    assert not any(p._forward_hooks for p in model.modules())
    twice = nn.Linear(4, 4)
    for tap, why in (("0", "called more than once"), ("1.idle", "never called")):
        shared = nn.Sequential(twice, nn.ReLU(), twice)
        shared[1].idle = nn.Linear(1, 1)
        with pytest.raises(AkpError, match=why):
            continued(shared, tap)(torch.zeros(2, 4), torch.zeros(2, 4))
    with pytest.raises(AkpError, match="unknown tap 'blok1': did you mean 'block1'"):
        continued(model, "blok1")


def test_evaluation_mode_ends_part_by_part() -> None:
    model = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(3)).train()
    model[1].eval()
    with evaluating(model):
        assert not any(p.training for p in model.modules())
    assert [p.training for p in model.modules()] == [True, True, False]
    with pytest.raises(RuntimeError), evaluating(model):
        raise RuntimeError
    assert [p.training for p in model.modules()] == [True, True, False]


BAD = [
    ({"method": "tsak"}, "unknown method of stitching 'tsak': did you mean 'task'"),
    ({"kind": "dens"}, "unknown kind of stitch 'dens': did you mean 'dense'"),
    ({"rng": 3}, "rng as a numpy.random.Generator, got int"),
    ({"shuffles": 0}, "shuffles as a whole number of at least 1, got 0"),
    ({"level": 1.0}, "level as a probability between 0 and 1, got 1.0"),
    ({"level": True}, "level as a probability between 0 and 1, got True"),
    ({"level": "0.05"}, "level as a probability"),
    ({"untrained": 3}, "untrained as a torch module, got int"),
    ({"groups": [0, 1]}, "groups as a dense tensor of whole numbers, got list"),
    ({"fit": (torch.zeros(9, 1, 8, 8, device="meta"), torch.zeros(9).long())}, "fit as dense tensors"),
    ({"fit": (torch.zeros(9, 64).to_sparse(), torch.zeros(9).long())}, "fit as dense tensors"),
    ({"fit": (torch.randn(9, 1, 8, 8), torch.zeros(9, dtype=torch.bool))}, "whole labels"),
    ({"fit": "images"}, r"fit as a pair of tensors \(images, labels\), got str"),
    ({"tap": "blok1"}, "unknown tap 'blok1': did you mean 'block1'"),
    ({"receiver_tap": "blok1"}, "unknown tap 'blok1'"),
    (
        {"receiver_tap": "block2"},
        r"maps of equal size at both taps .* got \(12, 4, 4\) and \(16, 2, 2\); choose",
    ),
    ({"receiver_tap": "features", "kind": "position"}, "maps of equal size at both taps"),
    ({"groups": torch.zeros(3)}, "one group for each of"),
    ({"fit": torch.zeros(3)}, r"fit as a pair of tensors \(images, labels\), got Tensor"),
    ({"fit": (torch.zeros(9, 1, 8, 8), torch.zeros(8).long())}, "fit images .* and whole labels"),
    ({"fit": (torch.randn(9, 1, 8, 8), torch.zeros(9))}, "whole labels"),
    ({"fit": (torch.zeros(3, 1, 8, 8), torch.zeros(3).long())}, "at least 4 fit images, got 3"),
    ({"fit": (torch.zeros(9, 1, 8, 8), torch.zeros(9).long())}, "gives the same for every image"),
    ({"fit": (torch.full((9, 1, 8, 8), torch.nan), torch.zeros(9).long())}, "finite outputs at tap 'block1'"),
    ({"fit": (torch.rand(9, 1, 8, 8), torch.full((9,), 10))}, "fit labels from 0 to 9, .* got 10 to 10"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_requests_say_what_to_do(bench: Bench, change: dict, message: str) -> None:
    asked = {"tap": "block1"} | change
    with pytest.raises(AkpError, match=message):
        bench.stitch(bench.wide, asked.pop("tap"), asked.pop("receiver_tap", None), **asked)


def test_images_that_fitted_the_stitch_cannot_judge_it(bench: Bench) -> None:
    both = tuple(torch.cat([a[:5], b]) for a, b in zip(bench.fit, bench.evaluation, strict=True))
    with pytest.raises(
        AkpError, match=f"evaluation images that the fit does not see, got 5 of {len(both[0])}"
    ):
        bench.stitch(bench.wide, evaluation=both)
