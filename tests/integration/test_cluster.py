"""A study on a real Dask cluster has the same bits as at home, though a worker is killed in mid-training."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from distributed import Client

from akp_core.datasets import load
from akp_core.networks import Network
from akp_core.population import Population, Study, run
from akp_core.recipe import Recipe
from akp_core.store import Store
from akp_core.stress import Stress

LEDGER = """
import json, os
from akp_core.store import Store

def noted(name, step_of):
    plain = getattr(Store, name)
    if plain.__module__ != Store.__module__:
        return  # dask runs a preloaded file three times
    def method(self, key, *rest):
        got = plain(self, key, *rest)
        line = json.dumps([os.getpid(), str(self.root), name, key, step_of(got, *rest)])
        with open({file!r}, "ab", buffering=0) as ledger:
            ledger.write(line.encode() + b"\\n")
        return got
    setattr(Store, name, method)

noted("resume", lambda got: got and got[0].step)
noted("checkpoint", lambda got, state, *rest: state.step)
noted("write", lambda got, state, *rest: state.step)
"""


@dataclass(frozen=True)
class Entry:
    """A worker's own word on what it did with one segment: ``resume``, ``checkpoint`` or ``write``."""

    pid: int
    store: str
    deed: str
    key: str
    step: int | None


@dataclass
class Cluster:
    """A scheduler and workers as processes of their own, on loopback, that keep a ledger of their work."""

    folder: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, *words: str) -> None:
        command = [sys.executable, "-m", "dask", *words, "--scheduler-file", str(self.folder / "scheduler")]
        quiet = ["--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
        log = (self.folder / f"{name}.log").open("wb")
        with log:
            self.processes[name] = subprocess.Popen(
                [*command, *quiet], cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )

    def start_worker(self, name: str) -> None:
        alone = ["--no-nanny", "--nthreads", "1", "--memory-limit", "0"]
        places = ["--local-directory", str(self.folder), "--preload", str(self.folder / "ledger.py")]
        self.start(name, "worker", "--name", name, "--host", "127.0.0.1", *alone, *places)

    def ledger(self, store: Path) -> list[Entry]:
        file = self.folder / "ledger"
        written = file.read_text() if file.exists() else ""
        lines = written[: written.rfind("\n") + 1].splitlines()  # a line may be half written just now
        return [entry for entry in (Entry(*json.loads(line)) for line in lines) if entry.store == str(store)]

    def logs(self) -> str:
        return "\n".join(f"{path.name}\n{path.read_text()}" for path in sorted(self.folder.glob("*.log")))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    (cluster.folder / "ledger.py").write_text(LEDGER.format(file=str(cluster.folder / "ledger")))
    try:
        cluster.start("scheduler", "scheduler", "--host", "127.0.0.1", "--port", "0")
        for k in range(3):
            cluster.start_worker(f"worker-{k}")
        yield cluster
    finally:
        for process in cluster.processes.values():
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def client(cluster: Cluster) -> Iterator[Client]:
    with Client(scheduler_file=str(cluster.folder / "scheduler"), timeout=60) as client:
        client.wait_for_workers(3, timeout=120)
        yield client


def study() -> Study:
    return Study(
        load("digits"),
        stresses=(Stress("activation", "tanh"),),
        onsets=(0.5,),
        members=3,
        network=Network(width=4, depth=2),
        recipe=Recipe(epochs=96, batch=128),
    )


@pytest.fixture(scope="module")
def at_home(tmp_path_factory) -> Population:
    return run(study(), store=tmp_path_factory.mktemp("home"), progress=False)


def same_bits(one: Population, other: Population) -> bool:
    assert one.tree.segments.keys() == other.tree.segments.keys()
    for key in one.tree.segments:
        pairs = [(p.store.state(key).tensors, p.store.record(key)) for p in (one, other)]
        for mine, theirs in zip(*pairs, strict=True):
            if mine.keys() != theirs.keys() or not all(torch.equal(mine[k], theirs[k]) for k in mine):
                return False
    return True


def test_a_cluster_gives_the_bits_of_a_local_run(
    cluster: Cluster, client: Client, at_home: Population, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is named from here, and the workers live in another folder."""
    monkeypatch.chdir(tmp_path)
    there = run(study(), store="store", executor=client.get_executor(pure=False), progress=False)
    assert same_bits(there, at_home)
    written = [e for e in cluster.ledger(tmp_path / "store") if e.deed == "write"]
    assert sorted(e.key for e in written) == sorted(at_home.tree.segments), "each segment trained once, there"
    workers = {process.pid for name, process in cluster.processes.items() if name != "scheduler"}
    assert {e.pid for e in written} <= workers
    assert len({e.pid for e in written}) > 1, "one worker did everything"


def test_a_worker_killed_in_mid_training_loses_nothing(
    cluster: Cluster, client: Client, at_home: Population, tmp_path: Path
) -> None:
    cluster.start_worker("worker-spare")
    client.wait_for_workers(len(cluster.processes) - 1, timeout=120)
    executor = client.get_executor(pure=False)
    with ThreadPoolExecutor(1) as background:
        coming = background.submit(run, study(), store=tmp_path, executor=executor, progress=False)
        victim = _in_mid_training(cluster, at_home, tmp_path)
        (killed,) = (p for p in cluster.processes.values() if p.pid == victim.pid)
        killed.send_signal(signal.SIGKILL)
        assert killed.wait() == -signal.SIGKILL
        before = cluster.ledger(tmp_path)
        left = Store(tmp_path).resume(victim.key)
        there = coming.result(timeout=120)
    after = cluster.ledger(tmp_path)[len(before) :]

    done = {e.key for e in before if e.deed == "write"}
    assert victim.key not in done, "the kill came too late to show anything"
    assert done, "the kill came too early to show anything"
    assert left is not None
    retried = next(e for e in after if e.key == victim.key)
    assert (retried.deed, retried.step) == ("resume", left[0].step), cluster.logs()
    assert victim.pid not in {e.pid for e in after}

    assert same_bits(there, at_home)
    assert not {e.key for e in after if e.deed != "resume"} & done, "a finished segment was trained again"
    deeds = Counter((e.deed, e.key, e.step) for e in before + after if e.deed != "resume")
    assert set(deeds.values()) == {1}, "an epoch that was kept was trained again"
    assert {e.key for e in before + after if e.deed == "write"} == at_home.tree.segments.keys()


def _in_mid_training(cluster: Cluster, at_home: Population, store: Path) -> Entry:
    """Wait for a worker that is in a long segment, with some of it done and most of it to come."""
    segments, epoch = at_home.tree.segments, at_home.study.steps // at_home.study.recipe.epochs
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for entry in reversed(cluster.ledger(store)):
            phase = segments[entry.key].phase
            if (
                entry.deed == "checkpoint"
                and phase.stop - (entry.step or 0) > 16 * epoch < entry.step - phase.start
            ):
                return entry
        time.sleep(0.01)
    raise AssertionError(f"no long segment was begun\n{cluster.logs()}")
