"""Parts of a study, each run by one command line, add up to the study."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from akp_core.__main__ import load_study, main
from akp_core.errors import AkpError
from akp_core.population import Population, Study, cost, run
from akp_core.store import Store
from akp_core.tree import grow

CPU = torch.device("cpu")
SCRIPT = """
import sizes  # lies beside this script
from akp_core.datasets import load
from akp_core.networks import Network
from akp_core.population import Study
from akp_core.recipe import Recipe
from akp_core.stress import Stress

study = Study(
    load("digits"),
    stresses=(Stress("activation", "tanh"),),
    onsets=(0.5,),
    members=sizes.MEMBERS,
    network=Network(width=4, depth=2),
    recipe=Recipe(epochs=2, batch=128),
)
if __name__ == "__main__":
    raise SystemExit("what stands under the guard was run")
"""


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "sizes.py").write_text("MEMBERS = 5\n")
    path = tmp_path / "study.py"
    path.write_text(SCRIPT)
    return path


def same_bits(one: Population, other: Population) -> bool:
    assert one.tree.segments.keys() == other.tree.segments.keys()
    return all(
        torch.equal(mine[name], theirs[name])
        for key in one.tree.segments
        for mine, theirs in (
            (one.store.state(key).tensors, other.store.state(key).tensors),
            (one.store.record(key), other.store.record(key)),
        )
        for name in mine.keys() | theirs.keys()
    )


def stored(store: Path, study: Study) -> set[str]:
    return {key for key in grow(study, CPU).segments if key in Store(store)}


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "akp_core", *map(str, words)]


def test_two_parts_at_once_are_the_whole_study(script: Path, tmp_path: Path) -> None:
    store, study = tmp_path / "store", load_study(script)
    lines = [
        command(script, "--part", k, "--of", 2, "--store", store, "--device", "cpu", "--quiet")
        for k in (0, 1)
    ]
    shards = [subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for line in lines]
    assert [(*shard.communicate(timeout=120), shard.returncode) for shard in shards] == [(b"", None, 0)] * 2
    assert cost(study, store, device=CPU).steps == 0
    together = run(study, store=store, device=CPU, progress=False)
    alone = run(study, store=tmp_path / "alone", device=CPU, progress=False)
    assert same_bits(together, alone)


def test_a_part_trains_its_own_members_and_no_other(script: Path, tmp_path: Path) -> None:
    store, study = tmp_path / "store", load_study(script)
    asked = [str(script), "--of", "3", "--store", str(store), "--device", "cpu", "--quiet", "--part"]
    tree = grow(study, CPU)
    owner = {segment.key: member for (_, member), leaf in tree.leaves.items() for segment in tree.path(leaf)}
    assert owner.keys() == tree.segments.keys()
    there = set[str]()
    for part in (2, 0, 1):
        assert main([*asked, str(part)]) == 0
        there |= {key for key, member in owner.items() if member % 3 == part}
        assert stored(store, study) == there
    assert there == owner.keys()


def test_more_parts_than_members_leave_the_last_with_nothing_to_do(script: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    asked = [str(script), "--part", "7", "--of", "8", "--store", str(store), "--device", "cpu", "--quiet"]
    assert main(asked) == 0
    assert not stored(store, load_study(script))


def test_without_a_part_the_cost_is_said_and_all_is_trained(
    script: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, study = tmp_path / "store", load_study(script)
    assert main([str(script), "--store", str(store), "--device", "cpu", "--cost"]) == 0
    estimated = capsys.readouterr().out
    assert not store.exists(), "asking for the cost trained something"
    steps = cost(study, store, device=CPU).steps
    assert f"{steps:,} steps to train, about " in estimated
    assert main([str(script), "--store", str(store), "--device", "cpu"]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert f"{steps:,} steps to train, about " in said.err
    assert stored(store, study) == grow(study, CPU).segments.keys()
    assert main([str(script), "--store", str(store), "--device", "cpu", "--cost"]) == 0
    assert "nothing to train" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the following arguments are required: script, --store"),
        (["nowhere.py"], "argument script: expected a Python file, got 'nowhere.py', which is not there"),
        (["{script}"], "the following arguments are required: --store"),
        (["{script}", "--store", "s", "--part", "0"], "expected --part and --of together, got one of them"),
        (["{script}", "--store", "s", "--of", "2"], "expected --part and --of together, got one of them"),
        (
            ["{script}", "--store", "s", "--part", "8", "--of", "8"],
            "expected --part from 0 to 7, as --of is 8, got 8",
        ),
        (["{script}", "--store", "s", "--part", "-1", "--of", "8"], "expected --part from 0 to 7"),
        (["{script}", "--store", "s", "--part", "a", "--of", "8"], "argument --part: invalid int value: 'a'"),
        (
            ["{script}", "--store", "s", "--part", "0", "--of", "0"],
            "argument --of: expected a whole number of at least 1, got '0'",
        ),
        (
            ["{script}", "--store", "s", "--device", "cpi"],
            "argument --device: unknown device 'cpi': did you mean 'cpu'? valid: cpu, cuda",
        ),
        (
            ["{script}", "--store", "s", "--device", "cuda:99"],
            "expected a --device of this machine, got cuda:99; it has",
        ),
        (
            ["{script}", "--store", "s", "--engine", "loops"],
            "argument --engine: unknown engine 'loops': did you mean 'loop'? valid: graphed, loop,",
        ),
        (["{script}", "--stor", "s"], "the following arguments are required: --store"),
    ],
)
def test_a_bad_command_line_is_one_line_and_exit_code_2(
    script: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([word.format(script=script) for word in words])
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"akp_core: {message}")
    assert line.endswith("(python -m akp_core --help)")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "to define a variable 'study', got no names"),
        ("studdy, sizes = 1, 2", "to define a variable 'study', got only sizes, studdy"),
        ("study = 'nuclei'", "to be a Study, got str; study = Study(data, ...)"),
        (SCRIPT.replace("'tanh'", "tahn").replace('"tanh"', '"tahn"'), "unknown activation 'tahn'"),
    ],
)
def test_a_script_without_a_study_is_one_line_and_exit_code_1(
    script: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    script.write_text(text)
    assert main([str(script), "--store", str(tmp_path / "store")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("akp_core: ")
    assert message in line


def test_the_cost_on_a_gpu_may_be_asked_for_where_there_is_none(
    script: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(script), "--store", str(tmp_path / "s"), "--device", "cuda", "--cost"]) == 0
    assert "steps to train" in capsys.readouterr().out


def test_what_a_script_raises_is_not_hidden(script: Path) -> None:
    script.write_text("1 / 0")
    with pytest.raises(ZeroDivisionError):
        load_study(script)


def test_a_full_process_ends_with_the_exit_code(script: Path, tmp_path: Path) -> None:
    script.write_text("study = None")
    for words, code in (((script, "--store", tmp_path / "s"), 1), ((script,), 2), (("--help",), 0)):
        ended = subprocess.run(command(*words), capture_output=True, text=True)
        assert ended.returncode == code, ended.stderr


def test_a_store_that_is_a_file_is_said_so(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(script), "--store", str(script)]) == 1
    assert "expected a folder for the store, got the file" in capsys.readouterr().err
    with pytest.raises(AkpError, match="expected a folder"):
        Store(script)
