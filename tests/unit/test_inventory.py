"""What a store holds, told in a table, a tree and a few lines."""

import json
import os
import re
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from akp_book.cli import main
from akp_core.amounts import clock, quantity, size
from akp_core.datasets import load
from akp_core.family import State
from akp_core.inventory import listing, prune, tree, verify
from akp_core.inventory.listing import COLUMNS
from akp_core.inventory.wording import network_words, phase_words
from akp_core.networks import Network
from akp_core.recipe import Recipe
from akp_core.store import MAKER, Store, digest
from akp_core.stress import Stress
from akp_core.study import Study
from akp_core.tree import grow

RELU, TANH = [["relu", 1.0]], [["tanh", 1.0]]
CROSS = [["cross_entropy", 1.0]]
NETWORK = {"kind": "cnn", "width": 16, "depth": 2, "activation": "relu"}
SETTING = {"data": "1a2b3c4d" + "0" * 56, "network": NETWORK, "recipe": {"epochs": 8, "optimizer": "adam"}}


def phase(start: int, stop: int, held: list = RELU, **more: object) -> dict:
    slots = [["block1.slot", held], ["block2.slot", RELU if more.pop("first_only", False) else held]]
    plain = {"disturbances": [], "loss": CROSS, "reset_optimizer": False}
    return {"start": start, "stop": stop, "activations": slots} | plain | more


def put(store: Store, spec: dict, seconds: float = 1.0) -> str:
    key = digest(spec)
    state = State(spec["phase"]["stop"], {"w": torch.zeros(200)})
    record = {"probe/step": torch.tensor([9])}
    store.write(key, state, record, {"spec": spec, "seconds": seconds, "machine": "epyc"})
    return key


def grown(store: Store, seed: int, parent: str | None, its: dict, **more: object) -> str:
    spec = {"seeds": [seed], "parent": parent, "phase": its, "setting": SETTING} | MAKER
    return put(store, spec | more)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Three members with a trunk in two parts; two of them forked to tanh."""
    shelf = Store(tmp_path / "store")
    for seed in (5, 6, 7):
        trunk = grown(shelf, seed, None, phase(0, 10))
        grown(shelf, seed, trunk, phase(10, 40))
        if seed < 7:
            grown(shelf, seed, trunk, phase(10, 40, TANH, reset_optimizer=True))
    return shelf


def akp(*words: object) -> Result:
    return CliRunner().invoke(main, ["store", *map(str, words)])


# -- list


def test_the_listing_has_one_row_a_segment_with_all_that_was_asked(store: Store) -> None:
    table = listing(store)
    assert list(table.columns) == COLUMNS
    assert sorted(table["key"]) == list(store.keys())
    forked = table[table["holds"] == "tanh, cross_entropy, optimiser reset"]
    assert list(forked["seeds"]) == [(5,), (6,)] or list(forked["seeds"]) == [(6,), (5,)]
    row = forked.iloc[0]
    assert (row["start"], row["stop"], row["steps"], row["seconds"]) == (10, 40, 30, 1.0)
    assert (row["data"], row["network"], row["machine"]) == ("data 1a2b3c4d", "cnn 16 x 2", "epyc")
    assert row["parent"] in store
    assert (row["engine"], row["torch"], row["usable"]) == (*MAKER.values(), True)
    files = [p.stat().st_size for p in store.folder(row["key"]).glob("*.safetensors")]
    assert row["bytes"] == sum(files) > 800
    assert table["parent"].isna().sum() == 3


def test_other_makers_and_damage_show_in_the_listing(store: Store) -> None:
    old = grown(store, 8, None, phase(0, 10, "relu", loss="cross_entropy"), engine="0")
    foreign = put(store, {"phase": {"stop": 3, "activations": 5}, "engine": MAKER["engine"]})
    broken = next(key for key in store.keys() if key not in (old, foreign))  # noqa: SIM118
    (store.folder(broken) / "manifest.json").write_text("{")
    table = listing(store).set_index("key")
    assert table.loc[old, ["holds", "engine", "usable"]].tolist() == ["relu, cross_entropy", "0", False]
    assert table.loc[foreign, ["data", "network", "holds"]].tolist() == ["?", "?", "?"]
    assert not table.loc[foreign, "usable"]
    assert "manifest.json of segment" in table.loc[broken, "holds"]
    assert not table.loc[broken, "usable"]
    assert broken not in listing(store)["key"].tolist(), "it was set aside"


def test_an_empty_store_is_an_empty_table_and_tree(tmp_path: Path) -> None:
    nothing = Store(tmp_path / "none")
    assert listing(nothing).empty
    assert list(listing(nothing).columns) == COLUMNS
    assert tree(nothing) == ""
    assert verify(nothing).whole == 0
    assert prune(nothing, dry_run=True).to_numpy().sum() == 0
    assert not nothing.root.exists(), "looking made it"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (phase(0, 1, [["relu", 0.7], ["tanh", 0.3]]), "0.7 relu + 0.3 tanh, cross_entropy"),
        (phase(0, 1, TANH, first_only=True), "tanh in block1, relu in block2, cross_entropy"),
        (
            phase(0, 1, loss=[["hinge", 0.25], ["focal", 0.75]], disturbances=[["label_noise", 0.2]]),
            "relu, 0.25 hinge + 0.75 focal, label_noise 0.2",
        ),
        ({}, "?"),
        (None, "?"),
    ],
)
def test_phases_in_words(given: dict, words: str) -> None:
    assert phase_words(given) == words


def test_networks_in_words() -> None:
    assert network_words({"kind": "resnet18", "width": 64}) == "resnet18 64"
    assert network_words({"kind": "own", "structure": "Net(\n  (a): ReLU()\n)"}) == "own Net"
    assert network_words({"kind": "own"}) == "own"
    assert network_words(Network("mlp").spec) == "mlp 128 x 3"


def test_sizes_and_times_in_words() -> None:
    given = (0, 812, 999, 1000, 99_400, 99_600, 3_141_592, 999_600, 210e6, 2.5e9, 3e15)
    said = [
        "0 B",
        "812 B",
        "999 B",
        "1 kB",
        "99 kB",
        "100 kB",
        "3.1 MB",
        "1 MB",
        "210 MB",
        "2.5 GB",
        "3000 TB",
    ]
    assert [size(int(count)) for count in given] == said
    assert [clock(s) for s in (0.04, 9.94, 9.96, 89.9, 90, 7200)] == [
        *("0.0 s", "9.9 s", "10 s", "90 s", "1.5 min", "2.0 h")
    ]
    assert [quantity(n, "member") for n in (1, 1000)] == ["1 member", "1,000 members"]


# -- tree


def test_the_tree_folds_the_members_of_equal_segments(store: Store) -> None:
    grown(store, 5, "f" * 64, phase(40, 50))
    table = listing(store)
    for end in [row.key for row in table.itertuples() if (row.stop, row.seeds) == (40, (5,))]:
        grown(store, 5, end, phase(40, 50))
    last = "40-50 relu, cross_entropy (1 member, 952 B, 1.0 s)"
    assert tree(store).splitlines() == [
        "data 1a2b3c4d, cnn 16 x 2, adam, 8 epochs",
        "|- 0-10 relu, cross_entropy (3 members, 2.9 kB, 3.0 s)",
        "|  |- 10-40 relu, cross_entropy (3 members, 2.9 kB, 3.0 s)",
        f"|  |  |- {last}",
        "|  |- 10-40 tanh, cross_entropy, optimiser reset (2 members, 1.9 kB, 2.0 s)",
        f"|  |  |- {last}",
        f"|- ... {last}",
    ]


def test_settings_stand_apart_and_are_told_apart(store: Store) -> None:
    faster = SETTING | {"recipe": SETTING["recipe"] | {"learning_rate": 0.01}, "device": "cuda"}
    grown(store, 5, None, phase(0, 10), setting=faster)
    grown(store, 5, None, phase(0, 10), setting=faster | {"device": "cpu"})
    grown(store, 5, None, phase(0, 10), engine="0")
    titles = [line for line in tree(store).splitlines() if not line.startswith("|")]
    same = "data 1a2b3c4d, cnn 16 x 2, adam, 8 epochs"
    assert titles == [
        same,
        f"{same}, device cpu, learning_rate 0.01",
        f"{same}, device cuda, learning_rate 0.01",
        f"{same}, not usable: engine 0, torch {torch.__version__}",
    ]


def test_a_real_study_is_drawn_in_its_own_words(tmp_path: Path) -> None:
    """The words fit what studies write today: their specifications, without the training."""
    store, data = Store(tmp_path), load("digits")
    data.save(tmp_path / "data" / f"{data.fingerprint}.safetensors")
    stresses = (Stress("activation", "tanh", dose=0.25, slots=("block1.slot",)), Stress("loss", "hinge"))
    study = Study(data, stresses, (0.5,), 3, Network("cnn", 4, 2), Recipe(epochs=2, batch=128))
    planned = grow(study, torch.device("cpu"))
    for segment in planned.segments.values():
        put(store, json.loads(json.dumps(segment.spec)))
    lines = tree(store).splitlines()
    assert lines[0] == f"digits {data.fingerprint[:8]}, cnn 4 x 2, adam, 2 epochs"
    assert all("(3 members, " in line for line in lines[1:])
    assert sum(" relu, cross_entropy (" in line for line in lines) >= 2
    mixed = "0.75 relu + 0.25 tanh in block1, relu in block2, cross_entropy ("
    assert sum(mixed in line for line in lines) == 1
    assert sum(" relu, hinge (" in line for line in lines) == 1
    assert len(lines) - 1 == len(planned.segments) / 3
    table = listing(store)
    assert table["usable"].all()
    assert not table.isin(["?"]).any().any()
    assert prune(store, dry_run=True, keep=planned.segments)["items"].sum() == 0
    assert verify(store).orphans == ()


# -- verify


def test_verify_names_damage_and_orphans_and_a_second_time_all_is_whole(store: Store) -> None:
    forked = listing(store).query("holds.str.startswith('tanh')")
    parent, other = forked["parent"].tolist()
    file = store.folder(parent) / "record.safetensors"
    blob = bytearray(file.read_bytes())
    blob[-1] ^= 4
    file.write_bytes(bytes(blob))
    (store.folder(other) / "manifest.json").unlink()
    found = verify(store)
    assert found.whole == 6
    assert sorted(found.damaged) == sorted(
        f"{name} of segment {key[:12]} is damaged; it was set aside as {aside}; run the study again"
        for name, key in (("record.safetensors", parent), ("manifest.json", other))
        for aside in store.root.glob(f"damaged/{key}-*")
    )
    assert len(found.orphans) == 4
    assert set(forked["key"]) <= set(found.orphans)
    assert found.bytes == listing(store)["bytes"].sum()
    again = verify(store)
    assert (again.whole, again.damaged, again.orphans) == (6, (), found.orphans)


# -- prune


def litter(store: Store) -> dict[str, list[Path]]:
    """Put something of every kind into a store; returns what should go, by reason."""
    state, record = State(3, {"w": torch.zeros(9)}), {"probe/step": torch.tensor([3])}
    finished = list(store.keys())
    partial = store.root / "partial"
    store.checkpoint(finished[0], state, record)
    store.checkpoint("a" * 64, state, record)  # half done: stays
    store.checkpoint("b" * 64, state, record)
    blob = (partial / ("b" * 64)).read_bytes()
    mark = json.dumps(MAKER["torch"]).encode()
    (partial / ("b" * 64)).write_bytes(blob.replace(mark, b'"' + b"0" * (len(mark) - 2) + b'"'))
    scratch = store.root / "scratch"
    old, young, stranger = scratch / ("1" * 32), scratch / ("2" * 32), scratch / "thesis.tex"
    for folder in (old, young):
        folder.mkdir()
        (folder / "state.safetensors").write_bytes(b"x" * 1000)
    stranger.write_text("mine")
    for path in (old, stranger):
        os.utime(path, (time.time() - 4000,) * 2)
    lock = store.root / "locks" / ("c" * 64)
    lock.parent.mkdir()
    lock.touch()
    hurt = grown(store, 90, None, phase(0, 10))
    (store.folder(hurt) / "manifest.json").write_text("")
    listing(store)
    aside = next(store.root.glob("damaged/*"))
    (store.root / "damaged" / "notes").write_text("mine")
    rest = grown(store, 91, None, phase(0, 10))
    (store.folder(rest) / "manifest.json").unlink()
    outdated = [
        grown(store, 92, None, phase(0, 10), engine="0"),
        grown(store, 93, None, phase(0, 10), torch="0.1"),
    ]
    return {
        "left by killed runs": [old, lock],
        "damaged": [aside, store.folder(rest)],
        "checkpoints of finished segments": [partial / finished[0]],
        "of another engine or torch": [partial / ("b" * 64), *map(store.folder, outdated)],
    }


def everything(store: Store) -> set[Path]:
    return set(store.root.rglob("*"))


def test_prune_counts_first_and_takes_out_each_kind_and_nothing_else(store: Store) -> None:
    useful = set(store.keys())
    expected = litter(store)
    before = everything(store)
    bytes_ = {
        why: sum(f.stat().st_size for p in paths for f in [p, *p.rglob("*")] if f.is_file())
        for why, paths in expected.items()
    }
    counted = prune(store, dry_run=True)
    assert everything(store) == before, "a dry run changed something"
    assert counted["items"].to_dict() == {k: len(v) for k, v in expected.items()} | {
        "of no study that is kept": 0
    }
    assert counted["bytes"].to_dict() == bytes_ | {"of no study that is kept": 0}
    assert bytes_["damaged"] > 1000
    assert (counted["in use"] == 0).all()
    done = prune(store, dry_run=False)
    assert done.equals(counted)
    gone = {p for paths in expected.values() for top in paths for p in before if p == top or top in p.parents}
    assert everything(store) == before - gone
    assert set(store.keys()) == useful
    assert store.resume("a" * 64) is not None
    assert prune(store, dry_run=False).to_numpy().sum() == 0


def test_prune_with_a_study_to_keep_takes_out_the_rest_but_not_what_it_grew_from(store: Store) -> None:
    table = listing(store).set_index("key")
    leaf = table.index[table["holds"].str.startswith("tanh")][0]
    for half_done in ("a" * 64, "b" * 64):
        store.checkpoint(half_done, State(1, {"w": torch.zeros(1)}), {})
    done = prune(store, dry_run=False, keep={leaf, "a" * 64})
    assert set(store.keys()) == {leaf, table.loc[leaf, "parent"]}
    assert done.loc["of no study that is kept", "items"] == 6 + 1
    assert [key for key, _ in store.unfinished()] == ["a" * 64]
    assert verify(store).orphans == ()


def test_prune_leaves_alone_what_somebody_trains(store: Store) -> None:
    expected = litter(store)
    busy = expected["of another engine or torch"]
    before = everything(store)
    with store.lock(busy[0].name) as one, store.lock(busy[1].name) as two:
        assert one
        assert two
        for dry_run in (True, False):
            table = prune(store, dry_run=dry_run)
            assert table["in use"].to_dict()["of another engine or torch"] == 2
            assert table.loc["of another engine or torch", "items"] == 1
            # their lock files are in use too
            assert table["in use"].sum() == 4
    assert set(busy[:2]) <= everything(store)
    assert busy[2] not in everything(store)
    assert busy[2] in before
    assert prune(store, dry_run=False).loc["of another engine or torch", "items"] == 2


# -- commands


def test_akp_store_list_prints_aligned_columns_and_totals(store: Store) -> None:
    grown(store, 8, None, phase(0, 10), engine="0")
    store.checkpoint("a" * 64, State(1, {"w": torch.zeros(1)}), {})
    result = akp("list", store.root)
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert re.split(r" {2,}", lines[0]) == [
        *("key", "data", "network", "member seed", "steps", "holds", "bytes", "seconds", "not usable")
    ]
    assert len(lines) == 1 + 9 + 1
    for title in ("data", "network", "member seed", "steps", "holds"):
        at = lines[0].index(title)
        assert all(line[at - 2 : at] == "  " and line[at] != " " for line in lines[1:-1]), title
    assert lines[-1] == (
        "9 segments, 8.6 kB, 9.0 s of training; 1 not usable by this engine and torch; 1 half done"
    )


def test_akp_store_verify_exits_with_1_when_something_was_damaged(store: Store) -> None:
    fine = akp("verify", store.root)
    assert (fine.exit_code, fine.stdout) == (0, "8 segments whole (7.6 kB); 0 damaged\n")
    key = next(iter(store.keys()))
    (store.folder(key) / "state.safetensors").write_bytes(b"")
    result = akp("verify", store.root)
    assert result.exit_code == 1
    assert f"state.safetensors of segment {key[:12]} is damaged; it was set aside as" in result.stdout
    assert "; 1 damaged" in result.stdout
    assert akp("verify", store.root).exit_code == 0


def test_akp_store_prune_removes_only_with_yes(store: Store) -> None:
    expected = litter(store)
    before = everything(store)
    shown = akp("prune", store.root)
    assert shown.exit_code == 0
    assert everything(store) == before
    assert shown.stdout.splitlines()[-1] == "nothing was removed; add --yes to remove it"
    with store.lock(expected["of another engine or torch"][1].name):
        assert "2 items left alone: being trained just now" in akp("prune", store.root, "--yes").stdout
    final = akp("prune", store.root, "--yes")
    assert final.stdout.splitlines()[-1].split() == ["total", "1", *final.stdout.split()[-2:]]
    assert not any(path.exists() for paths in expected.values() for path in paths)
    assert "--yes" not in akp("prune", store.root).stdout


def test_akp_store_tree_prints_the_tree(store: Store) -> None:
    assert akp("tree", store.root).stdout == tree(store) + "\n"


@pytest.mark.parametrize("command", ["list", "verify", "prune", "tree"])
def test_no_store_an_empty_store_and_a_file_are_one_clear_line(tmp_path: Path, command: str) -> None:
    missing = akp(command, tmp_path / "none")
    line = (
        f"akp: there is no store at {tmp_path / 'none'}; run a study first, or give the path of its store\n"
    )
    assert (missing.exit_code, missing.stderr, missing.stdout) == (1, line, "")
    file = tmp_path / "file"
    file.touch()
    assert akp(command, file).stderr.startswith(f"akp: expected a folder for the store, got the file {file}")
    empty = akp(command, tmp_path)
    assert empty.exit_code == 0
    if command in ("list", "tree"):
        assert empty.stdout == f"the store {tmp_path} holds no finished segment\n"


def test_the_books_own_store_is_taken_unless_given(store: Store, monkeypatch) -> None:
    monkeypatch.setenv("AKP_BUILD", str(store.root.parent))
    assert akp("verify").stdout == akp("verify", store.root).stdout != ""
