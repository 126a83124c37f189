"""The store under everything that happens to a disk: damage, full disks, kills, and other processes."""

import errno
import fcntl
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from akp_core.errors import AkpError
from akp_core.family import State
from akp_core.store import MAKER, Store, digest

HERE = Path(__file__).parent
LINUX = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")


def key_of(number: int) -> str:
    return digest({"number": number})


def content(number: int, floats: int = 500) -> tuple[State, dict[str, torch.Tensor], dict]:
    """A segment whose every bit follows from its number."""
    generator = torch.Generator().manual_seed(number)
    state = {"model/w": torch.randn(1, floats, generator=generator), "diverged": torch.tensor([-1])}
    record = {"probe/step": torch.tensor([0, 9]), "curve/loss": torch.randn(1, 2, generator=generator)}
    return State(9, state), record, {"spec": {"number": number}, "seconds": 0.5, "machine": "here"}


def put(store: Store, number: int, floats: int = 500) -> str:
    store.write(key_of(number), *content(number, floats))
    return key_of(number)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def left_over(store: Store) -> list[Path]:
    return [p for name in ("scratch", "locks", "damaged", "partial") for p in (store.root / name).glob("*")]


def script(code: str, *words: object, under: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, with this module's functions at hand."""
    return subprocess.run([*under, *_command(code, *words)], capture_output=True, text=True, check=False)


def start(code: str, *words: object) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(_command(code, *words), stdin=pipe, stdout=pipe, text=True)


def _command(code: str, *words: object) -> list[str]:
    begin = f"import sys; sys.path.insert(0, {str(HERE)!r}); from test_store import *\n"
    return [sys.executable, "-c", begin + code, *map(str, words)]


# -- reading


def test_what_is_written_is_read_back_and_named_tensors_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    key = put(store, 1)
    state, record, _ = content(1)
    assert store.state(key).step == 9
    assert same(store.state(key).tensors, state.tensors)
    assert same(store.record(key), record)
    assert same(store.record(key, ["curve/loss"]), {"curve/loss": record["curve/loss"]})
    assert store.record(key, []) == {}
    assert left_over(store) == []


def test_a_tensor_that_is_not_there_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    key = put(store, 1)
    message = rf"unknown tensor in record.safetensors of segment {key[:12]} 'curve/los': did you mean 'curve"
    with pytest.raises(AkpError, match=message):
        store.record(key, ["curve/los"])
    with pytest.raises(AkpError, match="expected a list of names of tensors, got 'curve/loss'; write"):
        store.record(key, "curve/loss")
    assert key in store


@LINUX
def test_memory_for_named_tensors_does_not_depend_on_the_others(tmp_path: Path) -> None:
    big = 128 * 2**20
    record = {"big": torch.zeros(big // 4), "small": torch.arange(10.0)}
    Store(tmp_path).write(key_of(1), content(1)[0], record, content(1)[2])
    code = """
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
store, before = Store(sys.argv[1]), peak()
small = store.record(key_of(1), ["small"])["small"]
named = peak() - before
size = small.untyped_storage().nbytes()
print(json.dumps([named, size, store.record(key_of(1))["big"].numel(), peak() - before]))
"""
    named, storage, _, whole = json.loads(script(code, tmp_path).stdout)
    assert named < big / 8, "the rest of the file was loaded"
    assert storage == 40
    assert whole > big / 2, "the measurement sees nothing"


@LINUX
def test_a_file_is_read_against_its_checksum_once_and_again_when_it_changed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    key = put(store, 1, floats=10**6)
    file = store.folder(key) / "state.safetensors"

    def read_by(action) -> int:
        begin = _read_so_far()
        action()
        return _read_so_far() - begin

    size = file.stat().st_size
    assert read_by(lambda: store.state(key)) >= size
    assert read_by(lambda: store.state(key)) < size / 10, "hashed twice, or not read through a mapping"
    assert read_by(lambda: Store(tmp_path).state(key)) < size / 10, "another Store of the same process"
    assert read_by(lambda: store.verify(key)) >= size, "verify trusts nothing"
    blob = bytearray(file.read_bytes())
    blob[-1] ^= 1
    file.write_bytes(bytes(blob))
    with pytest.raises(AkpError, match=rf"state.safetensors of segment {key[:12]} is damaged; it was set as"):
        store.state(key)
    assert key not in store


def _read_so_far() -> int:
    return next(int(line.split()[1]) for line in Path("/proc/self/io").read_text().splitlines())


def test_keys_are_sorted_and_are_what_is_in_the_store(tmp_path: Path) -> None:
    store = Store(tmp_path / "none")
    assert list(store.keys()) == []
    keys = [put(store, number) for number in range(20)]
    (store.folder(keys[3]) / "manifest.json").unlink()
    assert list(store.keys()) == sorted(set(keys) - {keys[3]})
    assert all(key in store for key in store.keys())  # noqa: SIM118


# -- damage


def damage(file: Path, rng: random.Random) -> None:
    blob = bytearray(file.read_bytes())
    if rng.random() < 0.5:
        blob[rng.randrange(len(blob))] ^= 1 << rng.randrange(8)
    else:
        del blob[rng.randrange(len(blob)) :]
    file.write_bytes(bytes(blob))


@pytest.mark.parametrize("name", ["state.safetensors", "record.safetensors"])
def test_damage_anywhere_is_found_named_set_aside_and_healed(tmp_path: Path, name: str) -> None:
    store, rng = Store(tmp_path), random.Random(name)
    state, record, _ = content(1)
    for round_ in range(24):
        key = put(store, 1)
        damage(store.folder(key) / name, rng)
        with pytest.raises(AkpError, match=rf"^{name} of segment {key[:12]} is damaged; it was set aside as"):
            store.verify(key) if round_ % 3 == 0 else (store.state(key), store.record(key, ["curve/loss"]))
        assert key not in store
        assert len(list(tmp_path.glob("damaged/*"))) == round_ + 1
    key = put(store, 1)
    assert same(store.state(key).tensors, state.tensors)
    assert same(store.record(key), record)


def test_a_damaged_manifest_never_says_anything_else(tmp_path: Path) -> None:
    store, rng = Store(tmp_path), random.Random(2)
    key = put(store, 1)
    good, found = store.manifest(key), 0
    for _ in range(150):
        damage(store.folder(key) / "manifest.json", rng)
        said = ""
        try:
            manifest = store.manifest(key)
        except AkpError as error:
            said = str(error)
        if said:
            assert f"manifest.json of segment {key[:12]} is damaged; it was set aside" in said
            found += 1
        else:
            assert manifest == good  # as a flip of 5e-1 to 5E-1 leaves it
            shutil.rmtree(store.folder(key))
        assert key not in store
        put(store, 1)
    assert found > 140


@pytest.mark.parametrize("change", ["other key", "missing", "list", "old, cut short"])
def test_a_foreign_manifest_is_set_aside(tmp_path: Path, change: str) -> None:
    store = Store(tmp_path)
    key, other = put(store, 1), put(store, 2)
    file = store.folder(key) / "manifest.json"
    if change == "missing":
        file.unlink()
    elif change == "other key":
        shutil.copy(store.folder(other) / "manifest.json", file)
    elif change == "list":
        file.write_text("[1]")
    else:
        file.write_text(json.dumps({"key": key, "stop": 9, "seconds": 1, "sha256": {}, "bytes": 1}))
    with pytest.raises(AkpError, match=f"manifest.json of segment {key[:12]} is damaged; it was set aside"):
        store.manifest(key)
    with pytest.raises(AkpError, match=f"segment {key[:12]} is not in the store"):
        store.manifest(key)
    put(store, 1)
    assert store.manifest(key)["key"] == key


def test_a_manifest_without_a_checksum_of_its_own_is_still_read(tmp_path: Path) -> None:
    """As engines up to 2 wrote it."""
    store = Store(tmp_path)
    key = put(store, 1)
    manifest = store.manifest(key)
    del manifest["sha256"]["manifest.json"]
    (store.folder(key) / "manifest.json").write_text(json.dumps(manifest))
    assert store.state(key).step == 9


def test_a_damaged_checkpoint_is_never_resumed(tmp_path: Path) -> None:
    store, rng = Store(tmp_path), random.Random(3)
    state, record, _ = content(1)
    for _ in range(100):
        store.checkpoint(key_of(1), state, record)
        damage(tmp_path / "partial" / key_of(1), rng)
        assert store.resume(key_of(1)) is None
        assert [key for key, _ in store.unfinished()] == [key_of(1)], "its header may be damaged too"
    store.checkpoint(key_of(1), state, record)
    step, again = store.resume(key_of(1))
    assert step.step == 9
    assert same(step.tensors, state.tensors)
    assert same(again, record)
    assert list(store.unfinished()) == [(key_of(1), {"step": "9", "seconds": "0.0", **MAKER})]


# -- a disk that refuses


def refused(act: Callable[[], object]) -> list[str]:
    """What was said, or nothing where nothing was refused."""
    try:
        act()
    except AkpError as error:
        return [str(error)]
    return []


def writers(store: Store) -> list[Callable[[], object]]:
    return [
        lambda: put(store, 50),
        lambda: store.checkpoint(key_of(50), *content(50)[:2]),
        lambda: store.lock("k").__enter__(),
    ]


REFUSED = """
import resource
store = Store(sys.argv[1])
key, other = put(store, 1), key_of(2)
store.checkpoint(other, *content(2)[:2])
resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, resource.RLIM_INFINITY))
said = []
said += refused(lambda: store.checkpoint(other, *content(3, 10**5)[:2]))
said += refused(lambda: store.write(other, *content(2, 10**5)))
state, record = store.resume(other)
store.verify(key)
print(json.dumps([said, same(state.tensors, content(2)[0].tensors), other in store, len(left_over(store))]))
"""


def test_a_file_size_limit_stops_in_one_line_and_loses_nothing(tmp_path: Path) -> None:
    said, whole, written, left = json.loads(script(REFUSED, tmp_path).stdout)
    assert len(said) == 2
    for line in said:
        assert line.startswith(f"a file is too large for the store {tmp_path}: 400,")
        assert line.endswith(
            "bytes were to be written; what is finished is safe; raise the limit on file sizes (ulimit -f) "
            "and run again"
        )
    assert whole, "the earlier checkpoint was touched"
    assert not written
    assert left == 1, "something is left besides the earlier checkpoint"


FULL = """
root = Path(sys.argv[1])
def sh(*words):
    subprocess.run(words, check=True)
try:
    sh("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(root))
except (OSError, subprocess.CalledProcessError):
    sys.exit(77)
store, said, count = Store(root / "store"), [], 0
store.checkpoint(key_of(99), *content(99)[:2])
while not said:
    said = refused(lambda: put(store, count, 20_000))
    count += not said
said += refused(lambda: store.checkpoint(key_of(99), *content(98, 10**6)[:2]))
whole = same(store.resume(key_of(99))[0].tensors, content(99)[0].tensors)
left = len(left_over(store))
for number in range(count):
    store.verify(key_of(number))
store.remove(key_of(0))
again = put(store, count, 20_000) in store
sh("mount", "-o", "remount,ro", str(root))
for act in writers(store):
    said += refused(act)
print(json.dumps([count, said, whole, left, again, len(list(store.keys()))]))
"""


def test_a_full_and_then_a_read_only_disk_stop_in_one_line_and_lose_nothing(tmp_path: Path) -> None:
    own_mounts = ("unshare", "--mount", "--map-root-user")
    try:
        out = script(FULL, tmp_path, under=own_mounts)
    except FileNotFoundError:
        pytest.skip("no unshare on this machine")
    if out.returncode == 77 or "unshare" in out.stderr:
        pytest.skip("this machine lets nobody mount a disk")
    assert out.returncode == 0, out.stderr
    count, said, whole, left, again, held = json.loads(out.stdout)
    store = tmp_path / "store"
    assert count > 5
    begin, end = f"no space left in the store {store}: ", "free some space and run again"
    for line, bytes_ in zip(said, ("80,3", "4,000,"), strict=False):
        assert line.startswith(begin + bytes_), line
        assert line.endswith(f"bytes were to be written; what is finished is safe; {end}"), line
    assert whole
    assert left == 1
    assert again, "room was made, and it was not used"
    assert held == count
    assert [line.split(";")[0].split(":")[0] for line in said[2:]] == [f"the store {store} is read-only"] * 3


NO_RIGHT = """
import tempfile
with tempfile.TemporaryDirectory() as folder:
    os.chmod(folder, 0o555)
    child = os.fork()
    if child == 0:
        if os.getuid() == 0:
            os.setuid(65534)
        store = Store(Path(folder) / "store")
        for act in writers(store):
            print(*refused(act), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


def test_no_right_to_write_is_said(tmp_path: Path) -> None:
    out = script(NO_RIGHT, tmp_path)
    lines = out.stdout.splitlines()
    assert len(lines) == 3, out.stderr
    for line in lines:
        assert line.startswith("no right to write in the store /")
        assert line.endswith("what is finished is safe; ask for it or choose another place and run again")


def test_a_store_below_a_file_and_a_file_in_its_way_are_said(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    with pytest.raises(
        AkpError, match=rf"expected a folder for the store, got the file {file}; choose anoth"
    ):
        Store(file / "store" / "deeper")
    for place in ("segments", "scratch"):
        root = tmp_path / place
        root.mkdir()
        (root / place).write_text("in the way")
        store = Store(root)
        with pytest.raises(AkpError, match=rf"a file lies where the store {root} needs a folder: 2,.*choose"):
            put(store, 1)
        assert (root / place).read_text() == "in the way"
        assert not list(root.glob("scratch/*"))


def test_names_and_bytes_are_on_the_disk_before_a_segment_appears(tmp_path: Path, monkeypatch) -> None:
    """The order of the calls is all that decides what a power cut leaves; they are watched, and made."""
    if not Path("/proc/self/fd").exists():
        pytest.skip("reads /proc")
    seen: list[tuple[str, str]] = []
    fsync, rename = os.fsync, Path.rename

    def watched_fsync(handle: int) -> None:
        seen.append(("sync", Path(f"/proc/self/fd/{handle}").readlink().name))
        fsync(handle)

    def watched_rename(self: Path, target: Path) -> Path:
        seen.append(("rename", self.name))
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "rename", watched_rename)
    key = put(Store(tmp_path / "store"), 1)
    at = next(i for i, (what, _) in enumerate(seen) if what == "rename")
    before, after = [name for _, name in seen[:at]], [name for _, name in seen[at + 1 :]]
    files = ["state.safetensors", "record.safetensors", "manifest.json"]
    assert [name for name in before if name in files] == files
    assert seen[at][1] in before, "the folder that is renamed"
    assert {tmp_path.name, "store", "segments"} <= set(before), "the folders that were made"
    assert after == [key[:2]]


# -- other processes


def test_a_lock_has_one_holder_and_leaves_no_file(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.lock("a") as first, Store(tmp_path).lock("a") as second, store.lock("b") as other:
        assert (first, second, other) == (True, False, True)
        assert store.locked("a")
    assert not store.locked("a")
    with pytest.raises(RuntimeError, match="in the work"), store.lock("a"):
        raise RuntimeError("in the work")
    with store.lock("a") as again:
        assert again
    assert left_over(store) == []


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    code = "with Store(sys.argv[1]).lock('a') as held: print(held, flush=True); sys.stdin.read()"
    store, holder = Store(tmp_path), start(code, tmp_path)
    assert holder.stdout.readline().strip() == "True"
    with store.lock("a") as held:
        assert not held
    assert store.locked("a")
    holder.kill()
    holder.communicate()
    assert not store.locked("a")
    with store.lock("a") as held:
        assert held
    assert left_over(store) == []


@pytest.mark.parametrize("reason", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_where_the_file_system_has_no_locks_everybody_goes_on(tmp_path: Path, monkeypatch, reason) -> None:
    def no_flock(*_: object) -> None:
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(fcntl, "flock", no_flock)  # no such file system is at hand
    store = Store(tmp_path)
    with store.lock("a") as first, store.lock("a") as second:
        assert first
        assert second
    assert left_over(store) == []


def meet(root: Path, number: int, others: int) -> None:
    """Wait until all processes have started."""
    (root / f"ready{number}").touch()
    while len(list(root.glob("ready*"))) < others:
        time.sleep(0.01)


ONE_AT_A_TIME = """
root, number = Path(sys.argv[1]), int(sys.argv[2])
store, held = Store(root), 0
meet(root, number, 3)
for _ in range(200):
    with store.lock("a") as mine:
        if mine:
            inside = os.open(root / "inside", os.O_CREAT | os.O_EXCL)
            os.close(inside)
            held += 1
            (root / "inside").unlink()
print(held)
"""


def test_removing_lock_files_never_lets_two_in(tmp_path: Path) -> None:
    processes = [start(ONE_AT_A_TIME, tmp_path, number) for number in range(3)]
    held = [int(p.communicate(timeout=120)[0]) for p in processes]
    assert [p.returncode for p in processes] == [0, 0, 0], "two were inside at once"
    assert sum(held) > 200
    assert left_over(Store(tmp_path)) == []


HAMMER = """
root, seed, locked = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "locked"
store, rng = Store(root), random.Random(seed)
meet(root, seed, 3)
def train(number):
    key = key_of(number)
    state, record, manifest = content(number)
    store.checkpoint(key, state, record)
    kept = store.resume(key)  # None once the other has finished
    assert kept is None or same(kept[0].tensors, state.tensors)
    with open(root / "trained", "a") as file:
        file.write(f"{number}\\n")
    store.write(key, state, record, manifest)
while len(list(store.keys())) < 24:
    numbers = [n for n in range(24) if key_of(n) not in store] if locked else list(range(24))
    for number in rng.sample(numbers, len(numbers)):
        if not locked:
            train(number)
            continue
        with store.lock(key_of(number)) as mine:
            if mine and key_of(number) not in store:
                train(number)
    for key in store.keys():
        store.verify(key)
for number in range(24):
    assert same(store.state(key_of(number)).tensors, content(number)[0].tensors)
    assert same(store.record(key_of(number)), content(number)[1])
"""


@pytest.mark.parametrize("mode", ["locked", "unlocked"])
def test_processes_hammering_one_store_with_the_same_keys_all_succeed(tmp_path: Path, mode: str) -> None:
    tmp_path.joinpath("trained").touch()
    processes = [start(HAMMER, tmp_path, seed, mode) for seed in range(3)]
    assert [(p.communicate(timeout=300), p.returncode)[1] for p in processes] == [0, 0, 0]
    store = Store(tmp_path)
    assert len(list(store.keys())) == 24
    trained = [int(line) for line in (tmp_path / "trained").read_text().splitlines()]
    if mode == "locked":
        assert sorted(trained) == list(range(24)), "something was trained twice"
    else:
        assert len(trained) > 24, "they never met"
    late = {p.name for p in tmp_path.glob("partial/*")} if mode == "unlocked" else set()
    assert late <= set(store.keys()), "a checkpoint may come after the other's segment, and only then"
    assert [p for p in left_over(store) if p.name not in late] == []


KILLS = """
store, rng = Store(sys.argv[1]), random.Random(5)
met = 0
for kill in range(40):
    child = os.fork()
    if child == 0:
        with store.lock("a") as mine:
            assert mine
            for number in range(10**6):
                store.checkpoint(key_of(-1), *content(number % 3)[:2])
                put(store, kill * 1000 + number)
    time.sleep(rng.uniform(0.01, 0.2))
    os.kill(child, 9)
    os.waitpid(child, 0)
    met += len(list(Path(sys.argv[1], "scratch").glob("*")))
    shutil.rmtree(Path(sys.argv[1], "scratch"), ignore_errors=True)
    for folder in Path(sys.argv[1]).glob("segments/*/*"):
        store.verify(folder.name)  # also raises for a folder that has no manifest yet
    kept = store.resume(key_of(-1))
    assert kept is None or any(same(kept[0].tensors, content(n)[0].tensors) for n in range(3))
    with store.lock("a") as free:
        assert free
print(met, len(list(store.keys())))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_kill_at_any_moment_leaves_whole_segments_and_a_whole_checkpoint(tmp_path: Path) -> None:
    out = script(KILLS, tmp_path)
    assert out.returncode == 0, out.stderr
    met, held = map(int, out.stdout.split())
    assert met > 5, "no kill fell into a write"
    assert held > 40
    assert list(Store(tmp_path).root.glob("damaged/*")) == []
