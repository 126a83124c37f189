"""What the forked classroom study costs, over training each of its families from scratch.

From scratch, a family is one chain of phases from step 0, looked at after the same steps; nothing is stored.
The forked side is charged with all that a user pays: the estimate, the checkpoints and the store. The ratio
does not depend on the members, so two of them, all families, are measured unless ``--full``.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import torch
from torch import Tensor

from akp_core.family import State, train
from akp_core.outcome import Population
from akp_core.population import Study, run
from akp_core.stress import Phase
from akp_core.tree import Tree, grow
from benchmarks import classroom
from benchmarks.machine import CPU, device_name
from benchmarks.measuring import Options, Result, interleave, interquartile, say
from benchmarks.training import Ours

GOAL = 0.6
Tensors = dict[str, Tensor]


def measure(options: Options) -> Result:
    """Train both ways, member by member, by turns; compare the ends bit for bit."""
    whole = classroom.study(options)
    members = 1 if options.tiny else whole.members
    say(f"{members} of the {whole.members} members, {len(whole.families)} families, {whole.steps} steps each")
    Ours(whole.network, whole.recipe, whole.data, [0]).train(1)  # what torch imports at its first step
    seconds: dict[str, list[float]] = {"forked": [], "from scratch": []}
    unequal: list[str] = []
    for member in range(members):
        tree, samples, different = both(replace(whole, members=1, seed=whole.seed + member))
        for side in seconds:
            seconds[side] += samples[side]
        unequal += different
    steps = sum(s.steps for s in tree.segments.values()) / (whole.steps * len(whole.families))
    median = {side: statistics.median(samples) for side, samples in seconds.items()}
    say(
        f"steps: {steps:.3f} of from scratch; "
        + (f"NOT THE SAME BITS: {unequal}" if unequal else "same bits")
    )
    return Result(
        "forking",
        median["forked"] / median["from scratch"],
        GOAL,
        "lower",
        steps * median["from scratch"],
        device_name(),
        median["forked"],
        interquartile(seconds["forked"]),
        {
            "ratio_steps": steps,
            "bit_equal": not unequal,
            "unequal": unequal,
            "families": len(whole.families),
            "members_measured": members,
            "samples": seconds,
        },
        {"forked ends have the bits of those trained from scratch": not unequal},
    )


def both(study: Study) -> tuple[Tree, dict[str, list[float]], list[str]]:
    """Train a study of one member both ways: tree, seconds of each side, families whose ends differ."""
    ends: dict[str, tuple[State, Tensors]] = {}
    with tempfile.TemporaryDirectory() as store, ThreadPoolExecutor(1) as here:
        tree = grow(study, CPU)

        def forked() -> None:
            run(study, store=store, executor=here, device=CPU, progress=False)

        def scratch() -> None:
            for family in study.families:
                ends[family.name] = here.submit(from_scratch, study, tree, family.name).result()

        samples = interleave({"forked": forked, "from scratch": scratch}, 1)
        population = run(study, store=store, device=CPU, progress=False)
        return tree, samples, [name for name, end in ends.items() if not same_end(population, name, end)]


def from_scratch(study: Study, tree: Tree, family: str) -> tuple[State, Tensors]:
    """Train one family of a study of one member from step 0; returns its end and its last record."""
    path = list(tree.path(tree.leaves[family, 0]))
    looks = sorted({step for segment in path for step in segment.probe_steps})
    state: State | None = None
    record: Tensors = {}
    for phase in chain([segment.phase for segment in path]):
        state, record = train(
            study.network,
            study.recipe,
            study.data,
            [study.member_seed(0)],
            phase,
            taps=study.taps or (),
            probe_steps=looks,
            device=CPU,
            parent=state,
        )
    assert state is not None
    return state, record


def chain(phases: list[Phase]) -> Iterator[Phase]:
    """Join neighbouring phases that differ in nothing but their place."""
    current = phases[0]
    for phase in phases[1:]:
        if replace(phase, start=current.start, stop=current.stop) == replace(current, reset_optimizer=False):
            current = replace(current, stop=phase.stop)
        else:
            yield current
            current = phase
    yield current


def same_end(population: Population, family: str, end: tuple[State, Tensors]) -> bool:
    """Whether a family's stored end and last look have the bits of another training of it."""
    key = population.tree.leaves[family, 0]
    state, record = end
    stored = population.store.record(key)
    looks = [name for name in stored if name.startswith("probe/") and name != "probe/step"]
    return identical(population.store.state(key).tensors, state.tensors) and identical(
        {name: stored[name][:, -1] for name in looks}, {name: record[name][:, -1] for name in looks}
    )


def identical(a: Tensors, b: Tensors) -> bool:
    """Whether two sets of tensors have the same names, types, shapes and bytes; equal NaNs are equal."""
    return a.keys() == b.keys() and all(
        a[name].dtype == b[name].dtype
        and a[name].shape == b[name].shape
        and torch.equal(_bytes(a[name]), _bytes(b[name]))
        for name in a
    )


def _bytes(tensor: Tensor) -> Tensor:
    # a single element is contiguous whatever its stride, and then cannot be viewed as bytes
    return tensor.flatten().clone(memory_format=torch.contiguous_format).view(torch.uint8)
