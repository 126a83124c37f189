"""Every benchmark runs to its last line, and its instruments measure what they say."""

import json
import math
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from torch.nn.functional import cross_entropy

from akp_core.datasets import load
from akp_core.errors import AkpError
from akp_core.networks import Network
from akp_core.population import run
from akp_core.recipe import Recipe
from akp_core.stress import unstressed
from benchmarks import kill_chain, kills, machine, measuring, warm
from benchmarks.__main__ import NAMES, NOT_HERE
from benchmarks.arithmetic import step_of
from benchmarks.forking import chain, identical
from benchmarks.machine import CPU
from benchmarks.measuring import (
    Options,
    Result,
    in_fresh_process,
    interleave,
    interquartile,
    peak_bytes,
    watched,
)
from benchmarks.training import Eager, Ours, noise

KEYS = {
    "name": str,
    "ratio": float,
    "goal": float,
    "floor": (float, type(None)),
    "device": str,
    "median_s": float,
    "spread": float,
    "versions": dict,
    "better": str,
    "met": bool,
}


def benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=measuring.ROOT, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_runs_and_ends_with_its_figures(name: str) -> None:
    done = benchmarks(name, "--tiny")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["name"] == name
    for key, kind in KEYS.items():
        assert isinstance(found[key], kind), key
    assert found["median_s"] > 0
    assert found["spread"] >= 0
    assert found["better"] in ("higher", "lower")
    assert {"python", "torch"} <= found["versions"].keys()
    HOLDS_AT_ANY_SIZE[name](found)


def _population(found: dict) -> None:
    assert found["cases"]["book"]["samples"].keys() == {"plain", "float32", "bfloat16"}
    assert found["ratio_bf16"] > 0


def _population_gpu(found: dict) -> None:
    for table in found["candidates"].values():
        assert {row["engine"] for row in table.values()} == {"loop", "graphed", "vectorised"}
        assert {row["precision"] for row in table.values()} >= {"float32", "bfloat16"}
        for name, row in table.items():
            assert "failed" not in row, (name, row)
            assert row["floor"] > 0


def _forking(found: dict) -> None:
    assert found["bit_equal"]
    assert 0 < found["ratio_steps"] < 1


def _warm(found: dict) -> None:
    assert found["ratio"] == found["steps"] == 0
    assert found["steps_cold"] > 0


def _scale(found: dict) -> None:
    assert found["ratio"] < 1.05
    assert len(set(found["disk_bytes_per_network"].values())) == 1, "the disk does not grow linearly"
    assert 0.9 < found["disk_written_over_predicted"] < 1.1


def _kills(found: dict) -> None:
    assert found["points"] == found["resumed"] == found["equal"] == 4
    assert found["before"] + found["during"] + found["after"] == 4
    assert found["before"] + found["during"] > 0, "no kill came in time"
    assert found["faults"] == []


def _cka_matrix(found: dict) -> None:
    for row in found["sizes"].values():
        assert row["samples"].keys() == {"biased", "unbiased", "both"}
        assert row["ratio"] == pytest.approx(row["seconds"] / row["floor"], rel=1e-3)
        assert row["grown_bytes"] >= 0


def _cka_pair(found: dict) -> None:
    assert all(len(row["samples"]) == 8 and "peers" not in row for row in found["shapes"].values())


def _cka_stream(found: dict) -> None:
    assert found["ratio"] == pytest.approx(found["median_s"] / found["floor"], rel=1e-3)


def _cka_layers(found: dict) -> None:
    assert found["layers"] == [75, 75]


def _streaming_dispersion(found: dict) -> None:
    assert found["besides"]["the same verdict as from the matrix of distances"]
    assert len(found["seconds"]) == 2


def _permdisp(found: dict) -> None:
    assert found["besides"] == {"permdisp: the same statistic": True, "permanova: the same statistic": True}


def _deformation(found: dict) -> None:
    assert len(found["cases"]) == 4
    assert all(row["ratio"] > 0 and "reference" not in row for row in found["cases"].values())


def _clones(found: dict) -> None:
    assert found["besides"]["the same R^2 as a ridge a chunk"]


HOLDS_AT_ANY_SIZE = {
    "deformation": _deformation,
    "clones": _clones,
    "population": _population,
    "population_gpu": _population_gpu,
    "forking": _forking,
    "warm": _warm,
    "scale": _scale,
    "kills": _kills,
    "cka_matrix": _cka_matrix,
    "cka_pair": _cka_pair,
    "cka_stream": _cka_stream,
    "cka_layers": _cka_layers,
    "streaming_dispersion": _streaming_dispersion,
    "permdisp": _permdisp,
}


def test_an_unknown_name_gives_one_line_with_the_valid_ones() -> None:
    done = benchmarks("populaton")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "unknown benchmark 'populaton': did you mean 'population'" in done.stderr
    assert all(name in done.stderr for name in NAMES)


def test_the_list_names_all() -> None:
    done = benchmarks("--list")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(NAMES)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_its_benchmark_declines_in_one_line() -> None:
    done = benchmarks("population_gpu")
    assert done.returncode == NOT_HERE
    assert done.stdout == ""
    assert "needs a CUDA GPU, and this machine has none; --tiny" in done.stderr.splitlines()[-1]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_one_that_declines_does_not_stop_the_others() -> None:
    done = benchmarks("population_gpu", "population_gpu")
    assert done.returncode == 0
    assert done.stderr.count("needs a CUDA GPU") == 2


def test_what_no_longer_fits_into_the_budget_is_skipped() -> None:
    done = benchmarks("population_gpu", "--tiny", "--budget", "0")
    assert done.returncode == 1
    assert done.stderr.endswith("expected a float32 candidate that runs, got skipped\n")


def test_running_again_counts_its_steps(tmp_path: Path) -> None:
    tiny = Options(tiny=True)
    first = warm.again(tmp_path, tiny)
    assert first["steps"] > 100
    second = warm.again(tmp_path, tiny)
    assert second["steps"] == 0
    assert second["seconds"] < first["seconds"]


def test_sides_take_turns_and_may_say_which_seconds_count() -> None:
    order: list[str] = []

    def slow() -> None:
        order.append("slow")
        time.sleep(0.02)

    def told() -> float:
        order.append("told")
        return 7.0

    samples = interleave({"slow": slow, "told": told}, 3)
    assert order == ["slow", "told"] * 3
    assert samples["told"] == [7.0] * 3
    assert all(0.02 <= s < 2 for s in samples["slow"])


def test_the_spread_is_the_interquartile_range() -> None:
    assert interquartile([4.0, 1.0, 3.0, 2.0, 5.0]) == 2.0
    assert interquartile([1.0]) == 0.0


SPIN = "import time\nwhile time.process_time() < {}: pass"


def test_what_children_compute_is_our_own_and_what_strangers_compute_is_not() -> None:
    before = measuring._own()
    subprocess.run([sys.executable, "-c", SPIN.format(0.6)], check=True)
    assert measuring._own() - before > 0.5, "a child that has ended"
    before = measuring._own()
    with subprocess.Popen([sys.executable, "-c", SPIN.format(60)]) as child:
        while psutil.Process(child.pid).cpu_times().user < 0.5:
            time.sleep(0.02)
        assert measuring._own() - before > 0.4, "a child at work"
        child.kill()
    # what a process leaves behind when it ends is nobody's child here
    leave = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SPIN.format(1.5)!r}])"
    subprocess.run([sys.executable, "-c", leave], check=True)
    before, busy = measuring._own(), measuring._busy()
    with watched("strangers") as load:
        time.sleep(1.0)
    assert measuring._own() - before < 0.3
    assert measuring._busy() - busy > 0.3
    assert load["cores"] > 0.3
    assert measuring.FOREIGN.pop() == ("strangers", load["cores"])


@pytest.mark.parametrize(("better", "ratio", "met"), [("higher", 2.0, True), ("lower", 2.0, False)])
def test_a_goal_knows_its_direction_and_the_line_is_json(better: str, ratio: float, met: bool) -> None:
    result = Result("x", ratio, 1.0, better, None, "here", 1 / 3, 0.0, {"extra": [1 / 3, None]})
    line = result.line()
    assert "\n" not in line
    found = json.loads(line)
    assert found["met"] is met
    assert found["median_s"] == 0.33333
    assert found["extra"] == [0.33333, None]


def test_the_peak_is_this_process_own_and_counts_what_was_freed(tmp_path: Path) -> None:
    code = tmp_path / "peak_of_a_child.py"
    code.write_text(
        "import json\nfrom benchmarks.measuring import peak_bytes\n"
        "low = peak_bytes(); x = bytearray(100_000_000); del x\nprint(json.dumps([low, peak_bytes()]))\n"
    )
    ballast = torch.ones(200_000_000)  # a child must not inherit the 800 MB of its parent's peak
    assert peak_bytes() > 800_000_000
    del ballast
    done = subprocess.run(
        [sys.executable, str(code)], env={"PYTHONPATH": str(measuring.ROOT)}, capture_output=True, check=True
    )
    low, high = json.loads(done.stdout)
    assert 80_000_000 < high - low < 150_000_000


def test_settings_of_torch_are_put_back() -> None:
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = torch.get_num_threads(), products.allow_tf32, convolutions.allow_tf32
    with machine.threads(before[0] + 1), machine.tf32(not before[1]):
        assert torch.get_num_threads() == before[0] + 1
        assert products.allow_tf32 is convolutions.allow_tf32 is not before[1]
    assert (torch.get_num_threads(), products.allow_tf32, convolutions.allow_tf32) == before


def test_a_fresh_process_that_fails_says_its_last_words() -> None:
    with pytest.raises(AkpError, match=r"benchmarks.nothing to end well, got exit code 1: .*nothing"):
        in_fresh_process("benchmarks.nothing")


def test_a_step_is_counted_as_by_hand() -> None:
    network, batch, side = Network("mlp", width=5, depth=1), 4, 3
    pixels = side * side
    step = step_of(network, (1, side, side), 10, batch, bf16=False)
    first, last = 2 * batch * pixels * 5, 2 * batch * 5 * 10
    assert step.flops == 2 * first + 3 * last, "the first layer needs no gradient of its input"
    weights = pixels * 5 + 5 + 5 * 10 + 10
    linear1 = 2 * (pixels + 5) * batch
    slot = (3 * 5 + 2 * 5) * batch
    linear2 = (3 * 5 + 2 * 10) * batch
    assert step.bytes == 4 * (linear1 + slot + linear2) + 4 * weights * 10
    assert step.floor({"float32": step.flops, "copy": step.bytes / 3}, "float32") == 3
    assert step.floor({"float32": step.flops / 2, "copy": step.bytes}, "float32") == 2


def test_half_precision_moves_less_and_computes_the_same() -> None:
    network, shape = Network(width=4, depth=2), (3, 8, 8)
    single, half = (step_of(network, shape, 10, 8, bf16=bf16) for bf16 in (False, True))
    assert half.flops == single.flops
    assert 0.4 < half.bytes / single.bytes < 0.8


def test_both_sides_of_the_population_learn() -> None:
    network, data = Network(width=4, depth=2), noise((3, 8, 8), 32)
    plain = Eager(network, data, 2, 32)
    ours = Ours(network, Recipe(batch=32, learning_rate=1e-3), data, [0, 1])

    def losses(models) -> list[float]:
        with torch.no_grad():
            return [float(cross_entropy(model(plain.images), plain.labels)) for model in models]

    before = losses(plain.models)
    threads = torch.get_num_threads()
    plain.train(30)
    ours.train(10)
    ours.train(20)
    assert ours.done == 30
    assert torch.get_num_threads() == threads
    ends = losses(plain.models), losses(ours.block.models())
    for end in ends:
        assert all(a < b for a, b in zip(end, before, strict=True))
    # one batch holds all images, so that their order is nothing: both took the same thirty steps of Adam
    assert ends[1] == pytest.approx(ends[0], abs=1e-3)


def test_phases_that_go_on_unchanged_are_one() -> None:
    network = Network(width=4, depth=2)
    calm = [unstressed(network, "cross_entropy", a, b) for a, b in ((0, 3), (3, 4))]
    press = unstressed(network, "hinge", 4, 9)
    joined = list(chain([*calm, press]))
    assert [(p.start, p.stop, p.loss) for p in joined] == [(0, 4, calm[0].loss), (4, 9, press.loss)]
    anew = replace(calm[1], reset_optimizer=True)
    assert list(chain([calm[0], anew])) == [calm[0], anew], "what resets the optimiser begins a phase"


def test_identical_means_names_types_shapes_and_bytes() -> None:
    nan = {"a": torch.tensor([1.0, math.nan])}
    assert identical(nan, {"a": nan["a"].clone()})
    assert identical({"a": torch.eye(3)[:, 1]}, {"a": torch.tensor([0.0, 1.0, 0.0])})
    assert identical({"a": torch.eye(3)[:1, 1]}, {"a": torch.zeros(1)}), "one element of a larger step"
    assert not identical({"a": torch.zeros(1)}, {"a": -torch.zeros(1)})
    assert not identical({"a": torch.zeros(2)}, {"a": torch.zeros(1, 2)})
    assert not identical({"a": torch.zeros(1)}, {"a": torch.zeros(1).int()})
    assert not identical({"a": torch.zeros(1)}, {"b": torch.zeros(1)})


def test_the_kills_would_notice_other_bits(tmp_path: Path) -> None:
    what = kill_chain.study()
    good = run(what, store=tmp_path / "good", device=CPU, progress=False)
    assert kill_chain._resume(what, tmp_path / "again", tmp_path / "good") == 0
    key = good.tree.leaves["control", 0]
    state, record = good.store.state(key), good.store.record(key)
    state.tensors["model/logits.bias"][0, 0] += 1e-7
    manifest = {"spec": good.tree.segments[key].spec, "seconds": 1.0, "steps": 1}
    good.store.remove(key)
    good.store.write(key, state, record, manifest)
    assert kill_chain._resume(what, tmp_path / "again", tmp_path / "good") == 1


def test_no_kill_point_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AkpError, match="expected points as a whole number of at least 1, got 0"):
        kills.kill_points(0, 0, tmp_path)


def test_noise_is_a_data_set_of_the_asked_size() -> None:
    data = noise((3, 8, 8), 20)
    assert len(data.train) == 20
    assert data.shape == (3, 8, 8)
    assert data.fingerprint == noise((3, 8, 8), 20).fingerprint != load("digits").fingerprint


def test_peers_that_are_not_there_are_said_in_one_line(tmp_path: Path) -> None:
    done = benchmarks("cka_pair", "--tiny", "--peers", str(tmp_path))
    assert done.returncode == NOT_HERE
    assert "python -m benchmarks.peers prepare" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
