"""Several processes on one store, workers that are killed, segments that are being trained elsewhere."""

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent import futures
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from loky import ProcessPoolExecutor
from torch import nn
from torch.nn.functional import one_hot

from akp_core import population, schedule, shard, vocabulary
from akp_core.datasets import load
from akp_core.disturbances import DISTURBANCES, Disturbance, register_disturbance
from akp_core.errors import AkpError
from akp_core.networks import Network, Own
from akp_core.palette import (
    ACTIVATIONS,
    LOSSES,
    Activation,
    Loss,
    register_activation,
    register_loss,
)
from akp_core.population import Study, cost, run, train_part
from akp_core.recipe import Recipe
from akp_core.store import Store
from akp_core.stress import Stress
from akp_core.tree import grow

CPU = torch.device("cpu")
REGISTER = (register_activation, register_loss, register_disturbance)


def study(**changes: object) -> Study:
    plain = Study(
        load("digits"),
        stresses=(Stress("activation", "tanh"),),
        onsets=(0.5,),
        members=2,
        network=Network(width=4, depth=2),
        recipe=Recipe(epochs=2, batch=128),
    )
    return replace(plain, **changes)


def bits(one: Study, store: Path) -> dict[str, torch.Tensor]:
    tree, shelf = grow(one, CPU), Store(store)
    out = {}
    for key in tree.segments:
        out |= {f"{key}/{name}": t for name, t in shelf.state(key).tensors.items()}
        out |= {f"{key}/{name}": t for name, t in shelf.record(key).items()}
    return out


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


HALF = """
import json, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_schedule import CPU, study
from akp_core.population import _lay_out
from akp_core.schedule import complete
from akp_core.store import Store
from akp_core.tree import grow
if __name__ == "__main__":
    one, shelf, steps = study(members={members}), Store({store!r}), []
    file = _lay_out(one.data, shelf)
    print("ready", flush=True)
    sys.stdin.readline()
    complete(grow(one, CPU), shelf, file, CPU, None, processes=1, tick=steps.append)
    print(sum(steps))
"""


def test_two_processes_share_one_study_without_doing_anything_twice(tmp_path: Path) -> None:
    whole = study(members=8)
    code = HALF.format(tests=str(Path(__file__).parent), store=str(tmp_path / "both"), members=8)
    start = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    pair = [subprocess.Popen([sys.executable, "-c", code], **start) for _ in range(2)]
    for process in pair:
        assert process.stdout.readline() == "ready\n"
    for process in pair:
        process.stdin.write("go\n")
        process.stdin.flush()
    steps = [int(process.communicate(timeout=240)[0]) for process in pair]
    assert min(steps) > 0, "one of them did all the work"
    assert sum(steps) == sum(s.steps for s in grow(whole, CPU).segments.values())
    run(whole, store=tmp_path / "alone", progress=False)
    assert same(bits(whole, tmp_path / "both"), bits(whole, tmp_path / "alone"))
    assert not list((tmp_path / "both" / "partial").glob("*"))


POOL = """
import sys
sys.path.insert(0, {tests!r})
from test_schedule import CPU, study
from akp_core.population import _lay_out
from akp_core.schedule import complete
from akp_core.store import Store
from akp_core.tree import grow
if __name__ == "__main__":
    one, shelf = study(members=12), Store({store!r})
    complete(grow(one, CPU), shelf, _lay_out(one.data, shelf), CPU, None, processes=2, tick=lambda _: None)
"""


def test_a_killed_worker_of_our_own_is_replaced_and_costs_nothing_finished(tmp_path: Path) -> None:
    code = POOL.format(tests=str(Path(__file__).parent), store=str(tmp_path / "struck"))
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not (done := list((tmp_path / "struck").glob("segments/*/*/manifest.json"))):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        workers = psutil.Process(process.pid).children(recursive=True)
        busy = [w for w in workers if any("LokyProcess" in word for word in w.cmdline())]
        assert busy, [w.cmdline() for w in workers]
        os.kill(busy[0].pid, signal.SIGKILL)
        finished = {file: file.stat().st_mtime_ns for file in done}
        assert process.wait(timeout=240) == 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert {file: file.stat().st_mtime_ns for file in done} == finished, "what was finished was trained again"
    run(study(members=12), store=tmp_path / "whole", progress=False)
    assert same(bits(study(members=12), tmp_path / "struck"), bits(study(members=12), tmp_path / "whole"))


@pytest.mark.parametrize("processes", [1, 2])
def test_a_damaged_parent_is_trained_again_in_the_same_run(tmp_path: Path, processes: int) -> None:
    one = study(members=1, stresses=())
    run(one, store=tmp_path, progress=False)
    more = study(members=1, onsets=(0.25, 0.5))
    trunk = [k for k, s in grow(one, CPU).segments.items() if s.phase.stop == 7]
    for key in trunk:
        state = next(tmp_path.glob(f"segments/*/{key}/state.safetensors"))
        state.write_bytes(state.read_bytes()[:-1] + b"?")
    ticks: list[int] = []
    schedule.complete(
        grow(more, CPU),
        Store(tmp_path),
        population._lay_out(one.data, Store(tmp_path)),
        CPU,
        None,
        processes=processes,
        tick=ticks.append,
    )
    assert len(list(tmp_path.glob("damaged/*"))) == 1
    run(more, store=tmp_path / "whole", progress=False)
    assert same(bits(more, tmp_path), bits(more, tmp_path / "whole"))


def test_members_that_do_not_fit_the_memory_together_are_trained_in_halves(
    tmp_path: Path, monkeypatch
) -> None:
    """What a GPU says when it is full is said here by a limit of two members."""
    plain, sizes = shard.train, []

    def limited(network, recipe, data, seeds, phase, **how):
        sizes.append(len(seeds))
        if len(seeds) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(network, recipe, data, seeds, phase, **how)

    one = study(members=5, stresses=())
    run(one, store=tmp_path / "whole", engine="graphed", progress=False)
    monkeypatch.setattr(shard, "train", limited)
    run(one, store=tmp_path / "halves", engine="graphed", progress=False)
    assert {5, 3, 2, 1} == set(sizes)
    tree = grow(one, CPU, "graphed")
    for key in tree.segments:
        two = [Store(tmp_path / name).state(key).tensors for name in ("whole", "halves")]
        assert all(torch.equal(two[1][name], value) for name, value in two[0].items())
    monkeypatch.setattr(shard, "train", _full)
    with pytest.raises(AkpError, match="the memory of cpu is too small for one member; use a smaller batch"):
        run(one, store=tmp_path / "none", engine="graphed", progress=False)


def _full(*_: object, **__: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cda", "unknown device 'cda': did you mean 'cuda'"),
        ("meta", "unknown device 'meta'.*valid: cpu, cuda"),
        ("cuda", "expected a device of this machine to train on, got cuda; pass an executor whose workers"),
    ],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a GPU that is not there")
def test_a_device_that_is_not_there_is_named(tmp_path: Path, device: str, message: str) -> None:
    with pytest.raises(AkpError, match=message):
        run(study(), store=tmp_path, device=device, progress=False)


def test_a_store_below_a_file_is_named_before_data_are_laid_out(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(AkpError, match=r"a file lies where the store .* needs a folder"):
        run(study(), store=tmp_path, progress=False)


def test_functions_that_cannot_be_sent_are_named(tmp_path: Path) -> None:
    own = Own(lambda: nn.Sequential(nn.Flatten(), nn.Linear(256, 4), nn.ReLU(), nn.Linear(4, 10)))
    one = study(network=own, taps=None, stresses=())
    with (
        futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool,
        pytest.raises(AkpError, match="the study cannot be sent to this executor's workers"),
    ):
        run(one, store=tmp_path, executor=pool, progress=False)


def test_the_number_of_classes_is_part_of_the_key() -> None:
    one = study()
    data = replace(one.data, class_names=(*one.data.class_names, "eleventh"))
    assert data.fingerprint == one.data.fingerprint
    assert not set(grow(one, CPU).segments) & set(grow(replace(one, data=data), CPU).segments)


def test_a_segment_that_another_process_trains_is_left_to_it_and_waited_for(tmp_path: Path) -> None:
    one, shelf = study(members=1), Store(tmp_path)
    first = next(iter(grow(one, CPU).segments))
    finished = threading.Event()

    def wait_for_it() -> None:
        run(one, store=tmp_path, progress=False)
        finished.set()

    with shelf.lock(first) as ours:
        assert ours
        waiting = threading.Thread(target=wait_for_it)
        waiting.start()
        assert not finished.wait(3 * schedule.PATIENCE)
        assert first not in shelf
    waiting.join(timeout=60)
    assert finished.is_set()
    assert first in shelf


def test_workers_killed_again_and_again_end_in_one_line(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(schedule, "train_shard", _die)
    one = study(members=1)
    with pytest.raises(AkpError, match=r"a worker process was killed .* what is finished is in the store"):
        schedule.complete(
            grow(one, CPU), Store(tmp_path), tmp_path / "data", CPU, None, processes=2, tick=lambda _: None
        )


def _die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def registered():
    entries = (
        Activation("cube", lambda x: x**3, False, True, "x^3"),
        Loss("absolute", lambda z, y: (z - one_hot(y, z.shape[1])).abs().mean(1), False, "|z - e_y|"),
        Disturbance("dimmed", "images", lambda x, d, _: x * (1 - d), 0.0, 0.0, 1.0, "darker", "x(1 - d)"),
    )
    for entry, register in zip(entries, REGISTER, strict=True):
        register(entry)
    yield entries
    for entry, registry in zip(entries, (ACTIVATIONS, LOSSES, DISTURBANCES), strict=True):
        registry.pop(entry.name)


def test_what_a_user_registers_is_known_to_the_workers(registered, tmp_path: Path) -> None:
    stresses = (Stress("activation", "cube"), Stress("loss", "absolute"), Stress("dimmed", dose=0.5))
    one = study(members=1, stresses=stresses)
    assert vocabulary.added() == registered
    with ProcessPoolExecutor(2) as pool:
        run(one, store=tmp_path / "there", executor=pool, progress=False)
    run(one, store=tmp_path / "here", progress=False)
    assert same(bits(one, tmp_path / "there"), bits(one, tmp_path / "here"))
    other = replace(registered[0], function=lambda x: -x)
    with pytest.raises(AkpError, match="the activation 'cube' is another function here than where the study"):
        vocabulary.learn([other])
    vocabulary.learn(registered)


def test_parts_are_disjoint_and_together_they_are_the_study(tmp_path: Path) -> None:
    one = study(members=5)
    segments = [set(grow(one, CPU, "loop", range(part, 5, 3)).segments) for part in range(3)]
    assert set.union(*segments) == set(grow(one, CPU).segments)
    assert sum(map(len, segments)) == len(grow(one, CPU).segments)
    for part in (2, 0):
        train_part(one, part, 3, store=tmp_path, progress=False)
    assert set(Store(tmp_path).keys()) == segments[0] | segments[2]
    train_part(one, 1, 3, store=tmp_path, progress=False)
    assert cost(one, tmp_path).steps == 0


@pytest.mark.parametrize(
    ("part", "parts", "message"),
    [
        (3, 3, "expected part as a whole number from 0 to 2, got 3"),
        (0, 0, "expected parts as a whole number of at least 1, got 0"),
    ],
)
def test_parts_out_of_range_are_named(tmp_path: Path, part: int, parts: int, message: str) -> None:
    with pytest.raises(AkpError, match=message):
        train_part(study(), part, parts, store=tmp_path, progress=False)


def test_the_manifest_tells_the_true_cost(tmp_path: Path) -> None:
    one = study(members=1, stresses=())
    population = run(one, store=tmp_path, progress=False)
    for key, segment in population.tree.segments.items():
        manifest = json.loads(json.dumps(population.store.manifest(key)))
        assert manifest["steps"] == segment.steps
        assert 0 < manifest["seconds"] < 60
        assert manifest["machine"]
        assert manifest["finished"].endswith("+00:00")


def test_time_spent_before_a_kill_is_not_forgotten(tmp_path: Path) -> None:
    one = study(members=1, stresses=(), recipe=Recipe(epochs=16, batch=128))
    tree, shelf = grow(one, CPU), Store(tmp_path)
    key = next(k for k, s in tree.segments.items() if s.steps > 7)
    run(one, store=tmp_path / "whole", progress=False)
    state, record = (getattr(Store(tmp_path / "whole"), part)(key) for part in ("state", "record"))
    middle = tree.segments[key].phase.start + 7
    shelf.checkpoint(key, replace(state, step=middle), record, 1000.0)
    assert shelf.spent(key) == 1000.0
    assert shelf.spent("ab" * 32) == 0.0
    run(one, store=tmp_path, progress=False)
    assert 1000.0 < shelf.manifest(key)["seconds"] < 1060.0


def test_cost_first_and_the_true_cost_after(tmp_path: Path, capfd) -> None:
    run(study(members=1, stresses=()), store=tmp_path)
    said = capfd.readouterr().err
    assert re.search(r"8 segments, 0 in the store; 14 steps to train, about [0-9.]+ s with 1 worker", said)
    assert re.search(r"took [0-9.]+ s, estimated [0-9.]+ s", said)
    run(study(members=1, stresses=()), store=tmp_path)
    assert "8 segments, 8 in the store; nothing to train" in capfd.readouterr().err
