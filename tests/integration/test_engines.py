"""The numerics contract: a member trained in a block, by whichever engine, is the member trained alone.

``AKP_TEST_DEVICE=cuda`` holds it on a GPU.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from torch import nn

from akp_core import engines, palette
from akp_core.datasets import load
from akp_core.disturbances import DISTURBANCES
from akp_core.errors import AkpError
from akp_core.family import train
from akp_core.networks import Network, Own
from akp_core.networks.architectures import BLUEPRINTS
from akp_core.population import Study, run
from akp_core.recipe import OPTIMIZERS, PRECISIONS, Recipe
from akp_core.seeds import generator
from akp_core.stress import Stress, phases, unstressed
from akp_core.threads import one_thread

DEVICE = torch.device(os.environ.get("AKP_TEST_DEVICE", "cpu"))
DATA = load("digits")
RECIPE = Recipe(epochs=1, batch=32)
SMALL = Network(width=4, depth=2)
STEPS = 5
OTHERS = [name for name in engines.ENGINES if name != "loop"]


def ends(engine, seeds, *, network=SMALL, recipe=RECIPE, stress=None):
    """Weights of a block after a few steps, with a look in between, under a stress from the start."""
    steps = recipe.epochs * recipe.steps_per_epoch(len(DATA.train))
    if stress is None:
        phase = unstressed(network, recipe.loss, 0, STEPS)
    else:
        phase = replace(phases(stress, network, recipe.loss, steps)[0], stop=STEPS)
    state, _ = train(
        network,
        recipe,
        DATA,
        seeds,
        phase,
        taps=network.taps[-1:],
        probe_steps=(2,),
        device=DEVICE,
        engine=engine,
    )
    return state.tensors


def apart(a, b) -> float:
    """Largest difference of a weight over the largest weight, over all tensors."""
    names = [name for name in a if name.startswith("model/")]
    assert len(names) > 3
    return max(float((a[n] - b[n]).abs().max() / a[n].abs().max().clamp_min(1e-12)) for n in names)


def moved(a) -> bool:
    return not torch.equal(a["model/logits.weight"], ends("loop", [7, 8])["model/logits.weight"])


@pytest.mark.parametrize("engine", OTHERS)
@pytest.mark.parametrize("kind", BLUEPRINTS)
def test_every_network(engine: str, kind: str) -> None:
    """By plain steps and a smooth activation.

    Adam divides a gradient by its size, which makes whole steps of the rounding of small ones; and where a
    preactivation is within rounding of a kink, as on an image's even background, ReLU's slope may flip.
    """
    how = {
        "network": Network(kind, width=8, depth=1, activation="silu"),
        "recipe": replace(RECIPE, optimizer="sgd"),
    }
    assert apart(ends("loop", [7, 8], **how), ends(engine, [7, 8], **how)) < engines.TOLERANCE


@pytest.mark.parametrize("engine", OTHERS)
@pytest.mark.parametrize("name", palette.ACTIVATIONS)
def test_every_activation(engine: str, name: str) -> None:
    stress = Stress("activation", name, dose=0.75)
    alone = ends("loop", [7, 8], stress=stress)
    assert apart(alone, ends(engine, [7, 8], stress=stress)) < engines.TOLERANCE
    assert name == "relu" or moved(alone)


@pytest.mark.parametrize("engine", OTHERS)
@pytest.mark.parametrize("name", palette.LOSSES)
def test_every_loss(engine: str, name: str) -> None:
    stress = Stress("loss", name)
    alone = ends("loop", [7, 8], stress=stress)
    assert apart(alone, ends(engine, [7, 8], stress=stress)) < engines.TOLERANCE
    assert name == RECIPE.loss or moved(alone)


@pytest.mark.parametrize("engine", OTHERS)
@pytest.mark.parametrize("name", DISTURBANCES)
def test_every_disturbance(engine: str, name: str) -> None:
    entry = DISTURBANCES[name]
    stress = Stress(name, dose=entry.neutral + 0.3 * min(1.0, entry.high - entry.neutral))
    alone = ends("loop", [7, 8], stress=stress)
    assert apart(alone, ends(engine, [7, 8], stress=stress)) < engines.TOLERANCE
    assert moved(alone)


@pytest.mark.parametrize("engine", OTHERS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_every_optimiser(engine: str, optimizer: str, schedule: str) -> None:
    """Over the end of an epoch: 256 images a step are three steps of it."""
    recipe = Recipe(2, 256, optimizer, schedule=schedule, weight_decay=0.01, learning_rate=0.01)
    alone = ends("loop", [7, 8], recipe=recipe)
    together = ends(engine, [7, 8], recipe=recipe)
    assert apart(alone, together) < engines.TOLERANCE
    assert alone.keys() == together.keys()


@pytest.mark.parametrize("engine", OTHERS)
def test_bfloat16(engine: str) -> None:
    """By plain steps; its rounding is 65,536 times that of float32."""
    recipe = replace(RECIPE, precision="bfloat16", optimizer="sgd")
    alone = ends("loop", [7, 8], recipe=recipe)
    assert apart(alone, ends(engine, [7, 8], recipe=recipe)) < 0.01
    assert 1e-5 < apart(alone, ends("loop", [7, 8], recipe=replace(recipe, precision="float32"))) < 0.1


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("engine", engines.ENGINES)
def test_a_member_has_the_same_bits_in_any_company(engine: str, precision: str) -> None:
    recipe = replace(RECIPE, precision=precision)
    alone = ends(engine, [7], recipe=recipe)
    for company in ([7, 8], [1, 2, 3, 7, 4], list(range(20))):
        i = company.index(7)
        block = ends(engine, company, recipe=recipe)
        assert all(torch.equal(block[name][i], value[0]) for name, value in alone.items()), company
        assert len(company) == len(block["diverged"])


@pytest.mark.parametrize("engine", engines.ENGINES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_block_broken_off_goes_on_to_the_same_bits(engine: str, optimizer: str) -> None:
    recipe = replace(RECIPE, epochs=2, optimizer=optimizer, batch=128)
    phase = unstressed(SMALL, recipe.loss, 0, 14)
    how = {"taps": ("features",), "probe_steps": (0, 5, 14), "device": DEVICE, "engine": engine}
    kept = []
    end, record = train(SMALL, recipe, DATA, [7, 8], phase, checkpoint=lambda *c: kept.append(c), **how)
    assert [state.step for state, _ in kept] == [5, 7]
    for cut in kept:
        again, seen = train(SMALL, recipe, DATA, [7, 8], phase, resume=cut, **how)
        assert all(torch.equal(again.tensors[k], v) for k, v in end.tensors.items())
        assert all(torch.equal(seen[k], v) for k, v in record.items())


@pytest.mark.parametrize("engine", OTHERS)
def test_a_study_gives_the_same_networks_by_any_engine(engine: str, tmp_path) -> None:
    study = Study(
        DATA,
        (Stress("activation", "tanh", optimizer="reset"),),
        (0.5,),
        3,
        SMALL,
        Recipe(epochs=2, batch=128),
    )
    there = run(study, store=tmp_path, engine=engine, device=DEVICE, progress=False)
    here = run(study, store=tmp_path, engine="loop", device=DEVICE, progress=False)
    assert not set(there.tree.segments) & set(here.tree.segments), "an engine is part of the key"
    assert torch.allclose(there.distances("features"), here.distances("features"), atol=1e-3)
    assert (there.predictions() == here.predictions()).double().mean() > 0.99
    one_more = run(replace(study, members=4), store=tmp_path, engine=engine, device=DEVICE, progress=False)
    assert set(there.tree.segments) < set(one_more.tree.segments)


@pytest.mark.parametrize("engine", OTHERS)
def test_one_member_that_diverges_takes_no_other_with_it(engine: str) -> None:
    recipe = Recipe(epochs=1, batch=32, optimizer="sgd", learning_rate=1e4)
    block = ends(engine, [7, 8, 9], recipe=recipe, stress=Stress("activation", "square"))
    assert min(block["diverged"].tolist()) >= 0
    network = engines.block(
        engine,
        SMALL,
        RECIPE,
        engines.resident(DATA, DEVICE),
        [7, 8],
        phase := unstressed(SMALL, RECIPE.loss, 0, 5),
    )
    spoilt = network.dump()
    spoilt["model/logits.bias"][0] = torch.inf
    network.restore(spoilt)
    network.enter(phase, reset=False)
    with one_thread(flush_denormals=True):
        network.advance(0, STEPS)
    assert network.diverged[0] == 0
    assert network.diverged[1] == -1
    well = ends(engine, [8])
    assert all(torch.equal(network.dump()[name][1], value[0]) for name, value in well.items())


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.act, self.out = nn.Linear(256, 8), nn.ReLU(), nn.Linear(8, 10)

    def forward(self, x):
        return self.out(self.act(self.hidden(x.flatten(1))))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("start", range(7))
def test_warming_a_device_up_changes_nothing_wherever_training_stands(start: int, optimizer: str) -> None:
    """An epoch has seven steps; the warm-up before a capture must not run over its end."""
    recipe = Recipe(1, 128, optimizer)
    calm = unstressed(SMALL, recipe.loss, 0, 7)
    block = engines.block("graphed", SMALL, recipe, engines.resident(DATA, DEVICE), [7, 8], calm)
    block.enter(calm, reset=False)
    with one_thread(flush_denormals=True):
        if start:
            block.advance(0, start)
        block._lay_out(0, start)
        before = block.dump()
        block._warm_up()
        assert all(torch.equal(v, before[name]) for name, v in block.dump().items())
        assert int(block._step) == int(block._within) == start
        block.advance(start, 7)
    whole, _ = train(SMALL, recipe, DATA, [7, 8], calm, taps=("logits",), probe_steps=(), device=DEVICE)
    assert apart(whole.tensors, block.dump()) < engines.TOLERANCE


class Permuted(Plain):
    def forward(self, x):
        inner = self.act(torch.einsum("bi,oi->bo", x.flatten(1), self.hidden.weight))
        return inner @ self.out.weight.t().contiguous()


class Frozen(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.hidden.requires_grad_(False)
        self.spare = nn.Linear(2, 2)


@pytest.mark.parametrize("engine", OTHERS)
@pytest.mark.parametrize("kind", [Permuted, Frozen])
@pytest.mark.parametrize("stress", [None, Stress("weight_noise", dose=0.1)])
def test_weights_of_any_layout_frozen_or_unused_are_trained_alike(engine: str, kind, stress) -> None:
    network = Own(kind, taps=("act",))
    network.check(DATA.shape, DATA.classes)
    how: dict = {"network": network, "recipe": replace(RECIPE, optimizer="sgd"), "stress": stress}
    alone, together = ends("loop", [7, 8], **how), ends(engine, [7, 8], **how)
    assert apart(alone, together) < engines.TOLERANCE
    fresh = network.build(DATA.shape, DATA.classes, generator(7, "weights"))
    for name, p in fresh.named_parameters():
        moved = not torch.equal(together[f"model/{name}"][0], p)
        used = "spare" not in name if kind is Frozen else "bias" not in name
        assert moved == (p.requires_grad and used), name


class Dropping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.act = nn.Linear(256, 8), nn.ReLU()
        self.norm, self.drop, self.out = nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 10)

    def forward(self, x):
        return self.out(self.drop(self.norm(self.act(self.hidden(x.flatten(1))))))


def test_a_network_of_ones_own_with_buffers_and_dropout_keeps_the_bits(tmp_path) -> None:
    before = torch.get_rng_state()
    study = Study(
        DATA, (Stress("activation", "tanh"),), (0.5,), 2, Own(Dropping), Recipe(epochs=2, batch=128)
    )
    first = run(study, store=tmp_path / "a", progress=False)
    torch.manual_seed(5)
    second = run(replace(study, members=1), store=tmp_path / "b", progress=False)
    torch.set_rng_state(before)
    states = [p.store.state(p.tree.leaves["tanh @ 50%", 0]).tensors for p in (first, second)]
    assert all(torch.equal(states[0][name], value) for name, value in states[1].items())
    assert int(states[0]["buffer/norm.num_batches_tracked"]) == study.steps
    rebuilt = first.network("tanh @ 50%", 0)
    assert torch.equal(rebuilt.norm.running_mean, states[0]["buffer/norm.running_mean"][0])
    assert float((first.members["test_error"]).max()) < 0.8


@pytest.mark.parametrize("engine", OTHERS)
def test_a_network_of_ones_own_that_draws_nothing_is_trained_by_any_engine(engine: str) -> None:
    network = Own(Plain)
    assert network.draws, "nothing is known of it yet"
    network.check(DATA.shape, DATA.classes)
    assert not network.draws
    how: dict = {"network": network, "recipe": replace(RECIPE, optimizer="sgd")}
    assert apart(ends("loop", [7, 8], **how), ends(engine, [7, 8], **how)) < engines.TOLERANCE
    dropping = Own(Dropping)
    dropping.check(DATA.shape, DATA.classes)
    assert dropping.draws


def test_threads_of_one_process_do_not_spoil_each_others_draws(tmp_path) -> None:
    study = Study(
        DATA, (Stress("activation", "tanh"),), (0.5,), 4, Own(Dropping), Recipe(epochs=2, batch=128)
    )
    alone = run(study, store=tmp_path / "a", progress=False)
    with ThreadPoolExecutor(3) as pool:
        threads = run(study, store=tmp_path / "b", executor=pool, progress=False)
    for key in alone.tree.segments:
        one, other = (p.store.state(key).tensors for p in (alone, threads))
        assert all(torch.equal(other[name], value) for name, value in one.items())


def test_an_engine_says_which_networks_it_cannot_train() -> None:
    with pytest.raises(
        AkpError, match=r"without buffers and draws for the engine 'vectorised'.*choose the engine"
    ):
        ends("vectorised", [7], network=Own(Dropping))
    with pytest.raises(AkpError, match="unknown engine 'lop': did you mean 'loop'"):
        ends("lop", [7])
