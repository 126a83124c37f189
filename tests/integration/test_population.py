"""A population has the same bits however it was trained, and its controls hold exactly."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from loky import ProcessPoolExecutor

from akp_core import engines, palette
from akp_core.datasets import Dataset, load
from akp_core.errors import AkpError
from akp_core.family import ENGINE, _seen, train
from akp_core.judgement import judge, placed
from akp_core.networks import Network
from akp_core.population import Study, cost, run
from akp_core.probes import NO_PREDICTION, Eyes, evaluated, standardise
from akp_core.recipe import Recipe
from akp_core.store import Store
from akp_core.stress import Stress, phases, step_of, unstressed
from akp_core.tree import grow

CPU = torch.device("cpu")
TANH = Stress("activation", "tanh")


def study(**changes: object) -> Study:
    plain = Study(
        load("digits"),
        stresses=(TANH,),
        onsets=(0.5,),
        members=2,
        network=Network(width=4, depth=2),
        recipe=Recipe(epochs=2, batch=128),
    )
    return replace(plain, **changes)


def bits(population, family: str) -> list[torch.Tensor]:
    keys = [population.tree.leaves[family, m] for m in range(population.study.members)]
    states = [population.store.state(key).tensors for key in keys]
    records = [population.store.record(key) for key in keys]
    last = [
        {k: v[:, -1] for k, v in r.items() if k.startswith("probe/") and k != "probe/step"} for r in records
    ]
    return [t for one in (*states, *last) for _, t in sorted(one.items())]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    stresses = (
        TANH,
        Stress(),
        Stress("activation", "relu"),
        Stress("loss", "cross_entropy"),
        Stress("activation", "sine", end=0.0, optimizer="reset"),
    )
    return run(study(stresses=stresses, onsets=(0.0, 0.55)), store=store, progress=False)


def test_same_seed_same_bits_other_seed_other_bits(finished, tmp_path: Path) -> None:
    again = run(study(onsets=(0.55,)), store=tmp_path / "a", progress=False)
    other = run(study(onsets=(0.55,), seed=1), store=tmp_path / "b", progress=False)
    for family in ("control", "tanh @ 55%"):
        assert same(bits(finished, family), bits(again, family))
        assert not same(bits(finished, family), bits(other, family))
    assert not same(bits(finished, "control"), bits(finished, "tanh @ 55%"))


@pytest.mark.parametrize("onset", ["0%", "55%"])
@pytest.mark.parametrize("control", ["no-op", "relu", "loss: cross_entropy"])
def test_a_swap_that_changes_nothing_leaves_identical_bits(finished, control: str, onset: str) -> None:
    assert finished.tree.leaves["control", 0] != finished.tree.leaves[f"{control} @ {onset}", 0]
    assert same(bits(finished, "control"), bits(finished, f"{control} @ {onset}"))


def test_a_pulse_of_no_length_leaves_identical_bits(finished) -> None:
    name = next(f.name for f in finished.study.families if f.stress is not None and f.stress.to == "sine")
    assert same(bits(finished, "control"), bits(finished, name))


def test_members_differ_and_twins_share_their_start(finished) -> None:
    prints = dict(zip(finished.rows, finished.fingerprints("features", step=0), strict=True))
    assert not torch.equal(prints["control", 0], prints["control", 1])
    assert torch.equal(prints["control", 1], prints["tanh @ 55%", 1])
    assert not torch.equal(prints["control", 1], prints["tanh @ 0%", 1]), (
        "at onset 0 tanh is there from the start"
    )


def test_a_fork_equals_training_from_scratch(finished) -> None:
    s = finished.study
    stress = TANH.at(0.55)
    onset = step_of(0.55, s.steps)
    calm = unstressed(s.network, s.recipe.loss, 0, onset)
    look = {"taps": s.taps, "probe_steps": (s.steps,), "device": CPU}
    half, _ = train(s.network, s.recipe, s.data, [s.member_seed(1)], calm, **look)
    (press,) = phases(stress, s.network, s.recipe.loss, s.steps)
    end, _ = train(s.network, s.recipe, s.data, [s.member_seed(1)], press, parent=half, **look)
    stored = finished.store.state(finished.tree.leaves["tanh @ 55%", 1]).tensors
    assert all(torch.equal(end.tensors[k], v) for k, v in stored.items())


def test_members_of_a_block_train_as_if_alone(finished) -> None:
    s = finished.study
    whole = unstressed(s.network, s.recipe.loss, 0, s.steps)
    seeds = [s.member_seed(m) for m in range(s.members)]
    block, _ = train(s.network, s.recipe, s.data, seeds, whole, taps=s.taps, probe_steps=(), device=CPU)
    for m in range(s.members):
        alone = finished.store.state(finished.tree.leaves["control", m]).tensors
        assert all(torch.equal(block.tensors[k][m], v[0]) for k, v in alone.items())


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("policy", ["keep", "reset"])
def test_a_phase_broken_off_goes_on_to_the_same_bits(optimizer: str, policy: str) -> None:
    s = study(recipe=Recipe(epochs=4, batch=128, optimizer=optimizer, schedule="cosine"))
    look = {"taps": s.taps, "probe_steps": (8, s.steps), "device": CPU}
    half, _ = train(s.network, s.recipe, s.data, [7], unstressed(s.network, s.recipe.loss, 0, 5), **look)
    (press,) = phases(replace(TANH, onset=5 / s.steps, optimizer=policy), s.network, s.recipe.loss, s.steps)
    kept = []
    whole, record = train(
        s.network, s.recipe, s.data, [7], press, parent=half, checkpoint=lambda *c: kept.append(c), **look
    )
    assert len(kept) >= 3
    for cut in kept:
        end, again = train(s.network, s.recipe, s.data, [7], press, parent=half, resume=cut, **look)
        assert all(torch.equal(end.tensors[k], v) for k, v in whole.tensors.items())
        assert all(torch.equal(again[k], v) for k, v in record.items())


def test_resetting_the_optimiser_matters() -> None:
    s = study()
    look = {"taps": s.taps, "probe_steps": (), "device": CPU}
    half, _ = train(s.network, s.recipe, s.data, [7], unstressed(s.network, s.recipe.loss, 0, 5), **look)
    ends = []
    for policy in ("keep", "reset"):
        (press,) = phases(
            replace(TANH, onset=5 / s.steps, optimizer=policy), s.network, s.recipe.loss, s.steps
        )
        ends.append(train(s.network, s.recipe, s.data, [7], press, parent=half, **look)[0].tensors)
    assert not torch.equal(ends[0]["model/logits.weight"], ends[1]["model/logits.weight"])


def test_only_what_is_new_is_trained(finished) -> None:
    store = finished.store.root
    assert cost(finished.study, store).steps == 0
    s = finished.study
    one_more = cost(replace(s, members=3), store)
    assert one_more.stored == len(finished.tree.segments)
    assert one_more.segments - one_more.stored == len(finished.tree.segments) // 2
    for onset, fork in ((0.75, 11), (0.7, 9)):  # of 14 steps; 0.75 is a cut, 0.7 takes a stub from one
        later = replace(s, stresses=(TANH,), onsets=(onset,))
        new = [x for key, x in grow(later, CPU).segments.items() if key not in finished.store]
        assert sum(x.steps for x in new) == 2 * (s.steps - fork)


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from test_population import study
from akp_core.population import run
if __name__ == "__main__":
    run(study(members=16), store={store!r}, progress=False)
"""


def test_kill_9_in_mid_run_loses_nothing(tmp_path: Path) -> None:
    store = tmp_path / "store"
    code = SCRIPT.format(tests=str(Path(__file__).parent), store=str(store))
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    deadline = time.monotonic() + 120
    while not list(store.glob("segments/*/*/manifest.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    total = len(grow(study(members=16), CPU).segments)
    left = len(list(store.glob("segments/*/*/manifest.json")))
    assert 0 < left < total, "the kill came too early or too late to show anything"
    resumed = run(study(members=16), store=store, progress=False)
    unbroken = run(study(members=16), store=tmp_path / "unbroken", progress=False)
    for family in ("control", "tanh @ 50%"):
        assert same(bits(resumed, family), bits(unbroken, family))


@pytest.mark.parametrize("make", [lambda: ThreadPoolExecutor(1), lambda: ProcessPoolExecutor(2)])
def test_any_executor_gives_the_same_bits(finished, tmp_path: Path, make) -> None:
    with make() as pool:
        there = run(study(onsets=(0.55,)), store=tmp_path, executor=pool, progress=False)
    assert same(bits(finished, "tanh @ 55%"), bits(there, "tanh @ 55%"))


def test_a_damaged_file_is_named_set_aside_and_made_again(tmp_path: Path) -> None:
    first = run(study(stresses=(), members=1), store=tmp_path, progress=False)
    good = bits(first, "control")
    key = first.tree.leaves["control", 0]
    file = next(tmp_path.glob(f"segments/*/{key}/state.safetensors"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(
        AkpError, match=rf"state.safetensors of segment {key[:12]} is damaged; it was set aside"
    ):
        first.store.state(key)
    assert len(list(tmp_path.glob("damaged/*"))) == 1
    again = run(study(stresses=(), members=1), store=tmp_path, progress=False)
    assert same(bits(again, "control"), good)


def test_diverged_and_collapsed_members_are_counted_and_enter_no_distance(tmp_path: Path) -> None:
    wild = study(
        stresses=(Stress("activation", "square"),),
        onsets=(0.0,),
        recipe=Recipe(epochs=2, batch=128, optimizer="sgd", learning_rate=30.0),
    )
    population = run(wild, store=tmp_path, progress=False)
    table = population.members.set_index("family")
    assert set(table.loc["square @ 0%", "status"]) == {"diverged"}
    assert set(table.loc["control", "status"]) <= {"collapsed", "diverged"}
    assert (table.loc["square @ 0%", "test_error"] == 1).all()
    assert table.loc["square @ 0%", "one_answer"].all()
    state = population.store.state(population.tree.leaves["square @ 0%", 0]).tensors
    assert 0 <= int(state["diverged"][0]) < wild.recipe.steps_per_epoch(len(wild.data.train)), (
        "it went on after the loss was lost"
    )
    assert not table.isna().loc[:, "train_error":"gap"].any().any()
    distances = population.distances("features")
    assert distances[~torch.eye(len(distances), dtype=torch.bool)].isnan().all()


@pytest.mark.parametrize(
    ("stress", "recipe"),
    [
        (Stress("loss", "squared_error"), Recipe(epochs=2, batch=128, learning_rate=3e6)),
        (Stress("activation", "square"), Recipe(epochs=2, batch=128, optimizer="sgd", learning_rate=30.0)),
    ],
)
def test_a_lost_network_is_lost_at_every_tap_and_said_so(
    tmp_path: Path, stress: Stress, recipe: Recipe
) -> None:
    """A loss may end in infinity while weights and taps stay finite; that network diverged all the same."""
    s = study(stresses=(stress,), members=4, recipe=recipe)
    population = run(s, store=tmp_path, progress=False)
    name = s.families[1].name
    status = population.members.set_index("family").loc[name, "status"]
    assert (status != "trained").all()
    for tap in s.taps:
        assert population.fingerprints(tap)[4:].isnan().all(), tap
    for member in range(4):
        state = population.store.state(population.tree.leaves[name, member]).tensors
        assert (int(state["diverged"][0]) >= 0) == (status.iloc[member] == "diverged")
    cells = judge(population, permutations=99)
    assert set(cells["verdict"]) == {"not testable"}
    assert (cells["lost"] >= 4).all()
    assert placed(population)["distance"].isna().sum() >= 4 * len(s.taps)


@pytest.mark.parametrize("engine", engines.ENGINES)
def test_a_network_whose_loss_was_lost_is_lost_though_all_that_is_left_of_it_is_finite(engine: str) -> None:
    s = study()
    calm = unstressed(s.network, s.recipe.loss, 0, s.steps)
    block = engines.block(engine, s.network, s.recipe, engines.resident(s.data, CPU), [7, 8], calm)
    block.enter(calm, reset=False)
    eyes = Eyes.of(s.data, s.taps, CPU)
    sound = _seen(block, eyes, 5)
    assert all(bool(one["finite"]) for one in sound)
    block.lose(0, 3)
    seen, other = _seen(block, eyes, 5)
    assert not bool(seen["finite"])
    assert bool(other["finite"])
    assert all(bool(seen[f"fingerprint/{tap}"].isnan().all()) for tap in s.taps)
    assert (seen["prediction/test"] == NO_PREDICTION).all(), "none of its answers counts"
    assert seen["loss/test"].isposinf()
    assert block.diverged == [3, -1], "the step at which it was lost stays"


@pytest.mark.parametrize("content", [b"\xff\xfe", b"{}", b"[1]", None])
def test_a_damaged_manifest_heals_on_the_next_run(tmp_path: Path, content: bytes | None) -> None:
    s = study(stresses=(), members=1)
    first = run(s, store=tmp_path, progress=False)
    good, key = bits(first, "control"), first.tree.leaves["control", 0]
    manifest = next(tmp_path.glob(f"segments/*/{key}/manifest.json"))
    if content is None:
        manifest.unlink()
    else:
        manifest.write_bytes(content)
        with pytest.raises(
            AkpError, match=f"manifest.json of segment {key[:12]} is damaged; it was set aside"
        ):
            first.store.state(key)
    assert same(bits(run(s, store=tmp_path, progress=False), "control"), good)


def test_a_damaged_copy_of_the_data_is_replaced(tmp_path: Path) -> None:
    s = study(stresses=(), members=1)
    copy = tmp_path / "data" / f"{s.data.fingerprint}.safetensors"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(b"not a data set")
    run(s, store=tmp_path, progress=False)
    assert Dataset.read(copy).fingerprint == s.data.fingerprint


def test_predictions_and_errors_are_those_of_the_rebuilt_network(finished) -> None:
    model = finished.network("tanh @ 55%", 1)
    test = finished.study.data.test
    with torch.no_grad():
        predicted = model(standardise(finished.study.data, test.images)).argmax(1)
    row = finished.rows.index(("tanh @ 55%", 1))
    agree = (predicted == finished.predictions("test")[row]).double().mean()
    assert agree > 0.999
    error = float((predicted != test.labels).double().mean())
    assert finished.members.loc[row, "test_error"] == pytest.approx(error, abs=1e-3)


@pytest.mark.parametrize("family", ["control", "tanh @ 55%"])
def test_a_network_can_be_rebuilt_wherever_its_weights_were_kept(finished, family: str) -> None:
    right, steps = finished.correct("test")
    images, labels = (getattr(finished.study.data.test, name) for name in ("images", "labels"))
    row = finished.rows.index((family, 1))
    shared = [step for step in finished.kept(family) if step in steps]
    assert {0, finished.study.steps} < set(shared)
    for step in shared:
        with torch.no_grad():
            predicted = finished.network(family, 1, step=step)(standardise(finished.study.data, images))
        agree = (predicted.argmax(1) == labels) == right[row, steps.index(step)]
        assert agree.double().mean() > 0.999
    with pytest.raises(AkpError, match=f"weights of '{family}' are kept, got 3; kept: 0, "):
        finished.network(family, 1, step=3)


def test_what_was_answered_rightly_is_known_for_every_network_at_common_times(finished) -> None:
    right, steps = finished.correct("train")
    assert right.shape == (len(finished.rows), len(steps), len(evaluated(finished.study.data, "train")))
    assert steps == finished.looks()
    assert (steps[0], steps[-1]) == (0, finished.study.steps)
    wrong = 1 - right[:, -1].double().mean(1)
    assert finished.members["train_error"].to_numpy() == pytest.approx(wrong.numpy(), abs=1e-12)
    control, tanh = (right[finished.rows.index((name, 0))] for name in ("control", "tanh @ 55%"))
    before = [k for k, step in enumerate(steps) if step <= 0.5 * finished.study.steps]
    assert len(before) > 1
    assert torch.equal(control[before], tanh[before])
    with pytest.raises(AkpError, match="unknown split 'trian': did you mean 'train'"):
        finished.correct("trian")


def test_tables_have_one_row_a_network_and_no_gaps(finished) -> None:
    s = finished.study
    assert len(finished.members) == len(s.families) * s.members
    assert finished.members.drop(columns="onset").notna().all().all()
    gap = finished.members["test_error"] - finished.members["train_error"]
    assert np.allclose(finished.members["gap"], gap)
    per_network = finished.curves.groupby(["family", "member"])["step"]
    assert (per_network.max() == s.steps).all()
    assert per_network.apply(lambda c: c.is_monotonic_increasing and c.is_unique).all()
    ends = finished.history.groupby(["family", "member"])["step"].agg(["min", "max"])
    assert (ends["min"] == 0).all()
    assert (ends["max"] == s.steps).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: study(members=0), "expected members as a whole number of at least 1, got 0"),
        (lambda: study(onsets=(1.2,)), "expected each onset as a share of training.*got 1.2"),
        (lambda: study(onsets=(0.999,)), "onset 0.999 rounds to the end of training"),
        (lambda: study(stresses=(TANH, TANH)), "'tanh @ 50%' is asked for twice; give each stress"),
        (lambda: study(taps=("featurs",)), "unknown tap 'featurs': did you mean 'features'"),
        (
            lambda: study(onsets=(0.5, 0.5001)),
            r"'50.01%' is asked for twice \(as '50%' too, which rounds to the same",
        ),
        (lambda: study(onsets=0.25), "expected onsets to be a list of shares of training, got 0.25"),
        (lambda: study(taps="features"), "expected taps to be a list of tap names, got 'features'"),
        (lambda: study(taps=("features", "features")), "expected taps to name at least one place, each once"),
        (
            lambda: study(stresses=("tanh",)),
            "expected stresses to be a list of Stress objects, got 'tanh' in it",
        ),
        (
            lambda: study(network="cnn"),
            r"expected network to be a Network, or Own\(\.\.\.\) for a module of yours, got 'cnn'",
        ),
        (lambda: study(recipe=None), "expected recipe to be a Recipe, got None"),
        (lambda: run("study"), "expected a Study, got 'study'"),
        (
            lambda: Stress("activation", "tanh", slots="block1.slot"),
            "expected slots to be a list of slot names",
        ),
        (lambda: Recipe(learning_rate="fast"), "expected a learning rate above 0, got 'fast'"),
        (lambda: Recipe(learning_rate=True), "expected a learning rate above 0, got True"),
        (lambda: study(data="digits"), "expected data from akp_core.datasets.load, got str"),
        (lambda: study(recipe=Recipe(batch=10**6)), "at least one batch of 1000000 training images"),
        (lambda: Recipe(optimizer="adm"), "unknown optimizer 'adm': did you mean 'adam'"),
        (lambda: Recipe(learning_rate=float("nan")), "expected a learning rate above 0, got nan"),
        (lambda: Recipe(epochs=0), "expected epochs as a whole number of at least 1, got 0"),
        (lambda: Recipe(schedule="cosin"), "unknown schedule 'cosin': did you mean 'cosine'"),
        (lambda: Store(__file__), "expected a folder for the store, got the file"),
        (lambda: Store("nowhere").record("ab" * 32), "is not in the store nowhere; run the study first"),
    ],
)
def test_bad_requests_say_what_to_do(make, message: str) -> None:
    with pytest.raises(AkpError, match=message):
        make()


def test_bad_questions_to_a_population_say_what_to_do(finished) -> None:
    with pytest.raises(AkpError, match=r"unknown tap 'block7'.*valid: block1, block2, features, logits"):
        finished.fingerprints("block7")
    with pytest.raises(AkpError, match=r"step 3 of 'control' was not probed; probed: \[0, "):
        finished.fingerprints("features", step=3)
    with pytest.raises(AkpError, match="unknown split 'tset': did you mean 'test'"):
        finished.predictions("tset")
    with pytest.raises(AkpError, match="unknown network 'control / 99'"):
        finished.network("control", 99)


def test_members_see_the_images_in_orders_of_their_own() -> None:
    orders = [engines.order(seed, epoch, 50) for seed in (1, 2) for epoch in (0, 1)]
    assert all(sorted(o.tolist()) == list(range(50)) for o in orders)
    assert len({tuple(o.tolist()) for o in orders}) == 4
    assert torch.equal(engines.order(1, 1, 50), orders[1])


def test_a_changed_function_is_another_key(monkeypatch) -> None:
    before = grow(study(), CPU).leaves
    steeper = replace(palette.activation("tanh"), function=lambda x: torch.tanh(2 * x))
    monkeypatch.setitem(palette.ACTIVATIONS, "tanh", steeper)
    after = grow(study(), CPU).leaves
    assert before["tanh @ 50%", 0] != after["tanh @ 50%", 0]
    assert before["control", 0] == after["control", 0]


def test_whatever_determines_a_segment_is_in_its_key() -> None:
    base = study()
    leaf = grow(base, CPU).leaves["tanh @ 50%", 0]
    first_slot = Stress("activation", "tanh", slots=("block1.slot",), onset=0.5)
    others = [
        study(seed=1),
        study(recipe=Recipe(epochs=2, batch=128, learning_rate=2e-3)),
        study(network=Network(width=5, depth=2)),
        study(data=load("digits", seed=1)),
        study(taps=("features",)),
        study(stresses=(replace(TANH, optimizer="reset"),)),
        study(stresses=(first_slot,)),
        study(onsets=(0.75,)),
    ]
    keys = [next(k for (name, _), k in grow(s, CPU).leaves.items() if name != "control") for s in others]
    assert len({leaf, *keys}) == len(others) + 1
    assert grow(base, torch.device("cuda")).leaves["tanh @ 50%", 0] != leaf
    assert grow(study(members=3), CPU).leaves["tanh @ 50%", 0] == leaf


def test_the_engine_gives_what_its_number_promises() -> None:
    """If this fails on purpose, raise `akp_core.family.ENGINE` with it, or stores mix old bits with new."""
    s = study()
    whole = unstressed(s.network, s.recipe.loss, 0, s.steps)
    _, record = train(
        s.network, s.recipe, s.data, [7], whole, taps=s.taps, probe_steps=(s.steps,), device=CPU
    )
    assert ENGINE == "3"
    assert float(record["probe/loss/test"][0, -1]) == pytest.approx(2.67902, rel=1e-3)


def test_looks_let_every_family_be_compared_at_common_times(tmp_path) -> None:
    seen = study(looks=4, stresses=(TANH, replace(TANH, end=0.25)), onsets=(0.0, 0.5))
    population = run(seen, store=tmp_path, device=CPU, progress=False)
    for quarter in range(5):
        prints = population.fingerprints("features", step=step_of(quarter / 4, seen.steps))
        assert prints.isfinite().all(), quarter
    plain = run(replace(seen, looks=0), store=tmp_path, device=CPU, progress=False)
    with pytest.raises(AkpError, match="was not probed"):
        plain.fingerprints("features", step=step_of(0.75, seen.steps))
    for family in ("control", "tanh @ 50%", "tanh for 25% @ 0%"):
        assert same(bits(population, family), bits(plain, family)), "looking changes nothing"
    with pytest.raises(AkpError, match="expected looks as a whole number"):
        study(looks=-1)
