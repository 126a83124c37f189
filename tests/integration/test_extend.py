"""Each page of *Extend it* is taken at its word: its block runs as a script, and a broken one is refused."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from loky import ProcessPoolExecutor

from akp_core import admission, datasets, vocabulary
from akp_core.disturbances import DISTURBANCES
from akp_core.errors import AkpError
from akp_core.palette import ACTIVATIONS, LOSSES
from akp_core.population import run
from akp_core.similarity import MEASURES, measures
from akp_core.similarity.admission import admit
from akp_core.study import Study
from akp_core.tree import Tree, grow

PAGES = Path(__file__).parents[2] / "book" / "extend"
NAMES = ("activation", "loss", "stress", "network", "data-set", "measure")
TRAINS = "population = run(study)\n"
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def registries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder of the reader's own; what a page registers is gone after its test."""
    monkeypatch.chdir(tmp_path)
    every: list[dict[str, Any]] = [ACTIVATIONS, LOSSES, DISTURBANCES, datasets._LOADERS, measures._BY_NAME]
    before = [dict(registry) for registry in every]
    yield
    for registry, entries in zip(every, before, strict=True):
        registry.clear()
        registry.update(entries)


def block(name: str) -> str:
    """The one visible code cell of a page."""
    text = (PAGES / f"{name}.md").read_text("utf8")
    cells = re.findall(r"^```\{code-cell\} python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    shown = [cell for cell in cells if not cell.startswith(":tags:")]
    assert len(shown) == 1, f"{name} shows {len(shown)} blocks"
    return shown[0]


def changed(text: str, *pairs: tuple[str, str]) -> str:
    for old, new in pairs:
        assert old in text, f"{old!r} is not in the block"
        text = text.replace(old, new)
    return text


def ran(text: str, folder: Path, name: str = "script") -> dict[str, Any]:
    """Run a text as a reader does: as a script, in a folder of their own."""
    script = folder / f"{name}.py"
    script.write_text(text)
    return runpy.run_path(str(script))


def laid_out(text: str, folder: Path, name: str) -> tuple[Study, Tree]:
    """The study of a block, and its tree; nothing is trained."""
    study = ran(text[: text.index(TRAINS)], folder, name)["study"]
    return study, grow(study, CPU)


@pytest.mark.parametrize("name", NAMES)
def test_a_block_is_short_and_complete(name: str) -> None:
    text = block(name)
    assert len(text.splitlines()) <= 30
    assert max(map(len, text.splitlines())) <= 110
    compile(text, name, "exec")
    assert TRAINS in text


@pytest.mark.parametrize("name", NAMES)
def test_a_block_trains_and_ends_in_a_verdict(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = ran(changed(block(name), ("members=6", "members=4"), ("epochs=3", "epochs=2")), tmp_path)
    said = capsys.readouterr().out
    assert "verdict" in said.splitlines()[0]
    assert re.search(r"\b(AKP|anti-AKP|none|no prediction)$", said.rstrip())
    population = made["population"]
    inside = population.fingerprints(population.study.taps[-2])
    assert bool(torch.isfinite(inside[:4]).all())
    assert not torch.equal(inside[:4], inside[4:]), "the stressed family is the control"
    if name == "network":
        assert type(population.network("control", 0)).__name__ == "Patches"
        assert population.study.network.held == (("gate", "gelu"), ("bend", "gelu"))
    if name == "data-set":
        assert population.study.data.class_names == ("lying", "upright")
        assert population.members["test_error"][:4].mean() < 0.4, "the stripes cannot be learnt"
    if name == "measure":
        assert list(made["found"]["measure"]) == ["cka", "same_distances"]
        ratios = made["found"]["ratio"].tolist()
        assert ratios[0] != ratios[1], "the new measure is CKA"
    if name in ("activation", "loss", "stress"):
        assert {entry.name for entry in vocabulary.added()} <= {"ripple", "wrong_mass", "uneven_light"}
        assert len(vocabulary.added()) == 1


@pytest.mark.parametrize(
    ("name", "change", "shared"),
    [
        ("activation", ("3 * x", "5 * x"), True),
        ("loss", ("return 1 -", "return 2 -"), True),
        ("stress", ("1 - dose *", "1 + dose *"), True),
        ("network", ("mixed.mean(dim=2)", "mixed.amax(dim=2)"), False),
        ("data-set", ("0.25 * wave", "0.3 * wave"), False),
    ],
)
def test_what_is_changed_is_trained_again_and_nothing_else(
    name: str, change: tuple[str, str], shared: bool, tmp_path: Path
) -> None:
    text = block(name)
    first, again = (laid_out(text, tmp_path, f"same{k}")[1] for k in range(2))
    other = laid_out(changed(text, change), tmp_path, "other")[1]
    assert set(first.segments) == set(again.segments), "the same block has other keys the second time"
    assert set(first.segments) != set(other.segments), "a changed function keeps its key"
    assert bool(set(first.segments) & set(other.segments)) == shared
    if shared:
        calm = {at for at in first.leaves if at[0] == "control"}
        assert all(first.leaves[at] == other.leaves[at] for at in calm), "the control is trained again"
        struck = [{tree.leaves[at] for at in tree.leaves.keys() - calm} for tree in (first, other)]
        assert not struck[0] & struck[1], "a stressed network is not trained again"


@pytest.mark.parametrize("read", ["PITCH * x", "sum(PITCH * x for _ in range(1))"])
def test_a_constant_that_a_function_reads_is_part_of_the_key(tmp_path: Path, read: str) -> None:
    text = changed(block("activation"), ("def ripple", "PITCH = 3\ndef ripple"), ("3 * x", read))
    one = laid_out(text, tmp_path, "one")[1]
    other = laid_out(changed(text, ("PITCH = 3", "PITCH = 4")), tmp_path, "other")[1]
    assert set(one.segments) != set(other.segments)


def test_a_network_is_never_rebuilt_with_another_function_than_it_was_trained_with(tmp_path: Path) -> None:
    text = changed(block("activation"), ("members=6", "members=1"), ("epochs=3", "epochs=1"))
    study, _ = laid_out(text, tmp_path, "first")
    population = run(study, progress=False)
    family = study.families[1].name
    population.network(family, 0)
    laid_out(changed(text, ("3 * x", "5 * x")), tmp_path, "second")
    with pytest.raises(AkpError, match=r"others, registered since under their names; run the study again"):
        population.network(family, 0)
    population.network("control", 0)


def test_a_function_of_a_script_trains_in_other_processes_to_the_same_bits(tmp_path: Path) -> None:
    text = changed(block("activation"), ("members=6", "members=2"), ("epochs=3", "epochs=1"))
    study = replace(laid_out(text, tmp_path, "script")[0], taps=("features",))
    with ProcessPoolExecutor(1) as pool:
        there = run(study, store=tmp_path / "there", executor=pool, progress=False)
    here = run(study, store=tmp_path / "here", progress=False)
    assert torch.equal(there.fingerprints("features"), here.fingerprints("features"))


def test_what_is_registered_before_the_engines_are_imported_is_sent_too() -> None:
    code = (
        "from akp_core.palette import Activation, register_activation\n"
        "register_activation(Activation('half', lambda x: x / 2, False, True, 'x/2'))\n"
        "from akp_core import vocabulary\n"
        "print([entry.name for entry in vocabulary.added()])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "['half']"


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "activation",
            ("torch.relu(x) +", "torch.softmax(x, -1) +"),
            "expected activation 'ripple' to treat each number by itself, got other values for shape",
        ),
        (
            "activation",
            ("torch.relu(x) +", "x.relu_() +"),
            "expected activation 'ripple' to leave its input as it is, got one that works in place",
        ),
        (
            "activation",
            ("torch.sin(3 * x)", "torch.rand_like(x)"),
            "expected activation 'ripple' to give the same numbers for the same input, got others the second",
        ),
        ("activation", ("torch.relu(x) + torch.sin(3 * x)", "torch.sign(x)"), "got 0 everywhere"),
        ("activation", ("torch.relu(x) + torch.sin(3 * x)", "x.sum()"), "got float32 ()"),
        ("activation", ("torch.relu(x) +", "torch.relu(x) / 0 +"), "expected finite numbers of activation"),
        ("activation", ("torch.sin(3 * x)", "torch.sin(x @ x)"), "cannot be used: "),
        ("activation", ("monotone=False", "monotone=True"), "to be monotone, as declared, got one that decr"),
        ("activation", ("bounded=False", "bounded=True"), "to be bounded, as declared, got 1e+12"),
        (
            "activation",
            ('Activation("ripple"', 'Activation("relu"'),
            "activation 'relu' is already registered",
        ),
        (
            "loss",
            ("[:, 0]\n", "[:, 0].mean()\n"),
            "to give one number an example, (6,) for 6, got float32 ()",
        ),
        (
            "loss",
            ("return 1 -", "return chances.std() -"),
            "'wrong_mass' of an example to depend on it alone",
        ),
        ("loss", ("F.softmax(logits, dim=1)", "F.softmax(logits, dim=1).detach()"), "got 0 everywhere"),
        ("loss", ('Loss("wrong_mass"', 'Loss("hinge"'), "loss 'hinge' is already registered"),
        (
            "stress",
            (", generator=generator)", ")"),
            "to give the same numbers for the same input, got others",
        ),
        (
            "stress",
            ("1 - dose * lost", "0.5 - dose * lost"),
            "to change nothing at its neutral dose, got other",
        ),
        (
            "stress",
            ('"images", uneven', '"image", uneven'),
            "unknown target of a disturbance 'image': did you",
        ),
        ("stress", ("dose=0.9", "dose=1.9"), "expected a dose of uneven_light from 0 to 1, got 1.9"),
        ("network", ("= nn.GELU()", "= nn.functional.gelu"), "expected activation modules to make slots of"),
        (
            "network",
            ("nn.Linear(24, 10)", "nn.Linear(24, 9)"),
            "expected floating logits of shape (n, classes)",
        ),
        ("network", ("lambda: Patches()", "Patches()"), "expected a factory without arguments"),
        (
            "data-set",
            ("*, side: int", "side: int"),
            "expected keyword-only options with defaults in the load",
        ),
        (
            "data-set",
            ("[:, None], Draw", "[:, None].double(), Draw"),
            "expected images as float32 (n, c, h, w)",
        ),
        (
            "data-set",
            ('("lying", "upright")', '("lying",)'),
            "expected labels of stripes from 0 to 0, one class name each, got 0 to 1",
        ),
        (
            "data-set",
            ('return Dataset("stripes"', 'return dict(name="stripes"'),
            "expected a Dataset from the loader of 'stripes', got",
        ),
        (
            "measure",
            ('"translation", ', '"translation", "per-feature scaling", '),
            "expected measure 'same_distances' to ignore per-feature scaling, as declared, got",
        ),
        (
            "measure",
            ("return float(", "return 2 * float("),
            "measure 'same_distances' from -1 to 1, as declar",
        ),
        (
            "measure",
            ("return float(", "return 0.9 * float("),
            "to be 1 of a representation with itself, got 0.9",
        ),
        (
            "measure",
            ("return float(", "return str("),
            "expected one number (float) of measure 'same_distances'",
        ),
        ("measure", ('    "same_distances",', '    "rsa",'), "measure 'rsa' is already registered"),
    ],
)
def test_a_broken_version_is_refused_in_one_line_before_anything_is_trained(
    name: str, change: tuple[str, str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(AkpError, match=re.escape(message)) as refused:
        laid_out(changed(block(name), change), tmp_path, "broken")
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.glob("akp-store"))


def test_every_entry_of_our_own_passes_the_door() -> None:
    for entry in ACTIVATIONS.values():
        admission.admit_activation(entry.name, entry.function, bounded=entry.bounded, monotone=entry.monotone)
    for loss in LOSSES.values():
        admission.admit_loss(loss.name, loss.function)
    for one in DISTURBANCES.values():
        admission.admit_disturbance(
            one.name, one.target, one.function, neutral=one.neutral, other=one.other_dose
        )
    for measure in MEASURES.values():
        admit(measure)
