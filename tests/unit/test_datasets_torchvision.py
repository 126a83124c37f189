"""CIFAR-10 and PatchCamelyon, from tiny files in their own formats.

torchvision's tables of checksums are replaced by those of the tiny files, for nothing in our own interface
lets a checksum be passed over.
"""

from __future__ import annotations

import gzip
import pickle
import shutil
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from torchvision.datasets import CIFAR10, PCAM

import akp_core
from akp_book import page
from akp_book.cli import main
from akp_core.datasets import fetch, load, overview, pcam
from akp_core.datasets.files import digest
from akp_core.errors import AkpError

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
PER_BATCH = 60
PATCHES = {"train": 120, "validation": 30, "test": 40}


@pytest.fixture(scope="session")
def cifar_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six batches of 60 pictures, pickled as those of the publisher are."""
    root, rng = tmp_path_factory.mktemp("cifar"), np.random.default_rng(0)
    home = root / "cifar-10-batches-py"
    home.mkdir()
    for name in [f"data_batch_{k}" for k in range(1, 6)] + ["test_batch"]:
        batch = {
            "data": rng.integers(0, 256, (PER_BATCH, 3072), dtype=np.uint8),
            "labels": [k % 10 for k in range(PER_BATCH)],
        }
        (home / name).write_bytes(pickle.dumps(batch))
    (home / "batches.meta").write_bytes(pickle.dumps({"label_names": CLASSES}))
    return root


@pytest.fixture
def cifar(cifar_files: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = cifar_files / "cifar-10-batches-py"
    for table in ("train_list", "test_list"):
        mine = [[name, digest(home / name)] for name, _ in getattr(CIFAR10, table)]
        monkeypatch.setattr(CIFAR10, table, mine)
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": digest(home / "batches.meta")})
    return cifar_files


def pictures_of(root: Path, names: list[str]) -> dict[bytes, int]:
    found = {}
    for name in names:
        batch = pickle.loads((root / "cifar-10-batches-py" / name).read_bytes())
        found |= {row.tobytes(): label for row, label in zip(batch["data"], batch["labels"], strict=True)}
    return found


def as_bytes(image: torch.Tensor) -> bytes:
    return (image * 255).round().to(torch.uint8).numpy().tobytes()


class TestCifar:
    def test_official_parts_pixels_and_labels(self, cifar: Path) -> None:
        data = load("cifar10", root=cifar, probe=50)
        assert data.shape == (3, 32, 32)
        assert data.class_names == tuple(CLASSES)
        assert data.describe()["images"].tolist() == [230, 20, 60, 50]
        assert torch.bincount(data.probe.labels).tolist() == [5] * 10
        train = pictures_of(cifar, [f"data_batch_{k}" for k in range(1, 6)])
        test = pictures_of(cifar, ["test_batch"])
        for name, split in data.splits.items():
            known = test if name == "test" else train
            for image, label in zip(split.images, split.labels.tolist(), strict=True):
                assert known[as_bytes(image)] == label
        assert "Krizhevsky" in data.provenance
        assert load("cifar10", root=str(cifar), probe=50).fingerprint == data.fingerprint

    def test_two_classes_in_the_order_asked_for_and_joined(self, cifar: Path) -> None:
        pair = load("cifar10", root=cifar, classes=["dog", "cat"], probe=10)
        whole = {**pictures_of(cifar, [f"data_batch_{k}" for k in range(1, 6)])}
        assert pair.class_names == ("dog", "cat")
        for image, label in zip(pair.train.images, pair.train.labels.tolist(), strict=True):
            assert whole[as_bytes(image)] == (5 if label == 0 else 3)
        joined = load("cifar10", root=cifar, classes=["cat+dog", "ship+truck+airplane"], probe=10)
        assert torch.bincount(joined.test.labels).tolist() == [12, 18]

    def test_limit_is_a_class_and_a_smaller_one_is_within_a_larger(self, cifar: Path) -> None:
        small, large = (load("cifar10", root=cifar, probe=20, limit=n) for n in (3, 5))
        assert torch.bincount(small.train.labels).tolist() == [3] * 10
        assert torch.bincount(small.test.labels).tolist() == [3] * 10
        assert len(small.probe) == 20
        for name in ("train", "test", "probe"):
            assert set(small.splits[name].groups.tolist()) <= set(large.splits[name].groups.tolist())
        assert load("cifar10", root=cifar, probe=20, limit=3, seed=1).fingerprint != small.fingerprint

    def test_resized(self, cifar: Path) -> None:
        assert load("cifar10", root=cifar, side=16, limit=2, probe=10).shape == (3, 16, 16)

    def test_a_changed_file_is_not_opened(self, cifar: Path, tmp_path: Path) -> None:
        home = tmp_path / "cifar-10-batches-py"
        home.mkdir()
        for file in (cifar / "cifar-10-batches-py").iterdir():
            (home / file.name).write_bytes(file.read_bytes())
        evil = tmp_path / "opened"
        (home / "data_batch_3").write_bytes(
            b"cpathlib\nPath.touch\n(cpathlib\nPath\n(V" + str(evil).encode() + b"\ntRtR."
        )
        line = r"expected .*data_batch_3 with MD5 \w{32}, got MD5 \w{32}, so it is damaged .*; delete it"
        with pytest.raises(AkpError, match=line):
            load("cifar10", root=tmp_path)
        assert not evil.exists()

    def test_missing(self, tmp_path: Path) -> None:
        line = r'data_batch_1 in .*-batches-py, got no such file; run "akp data fetch cifar10" \(170 MB\)'
        with pytest.raises(AkpError, match=line):
            load("cifar10", root=tmp_path)
        assert list(tmp_path.iterdir()) == []
        with pytest.raises(
            AkpError, match=r"root, the folder that holds cifar-10-batches-py/, got None; for ex"
        ):
            load("cifar10")

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"classes": ["cat", "dgo"]}, "unknown class of cifar10 'dgo': did you mean 'dog'"),
            ({"classes": ["cat"]}, r"classes as a list of at least two, got \['cat'\]"),
            ({"classes": "cat"}, "classes as a list of at least two, got 'cat'"),
            ({"classes": ["cat", "dog+cat"]}, "each class once in classes, got 'cat' twice"),
            ({"limit": 0}, "limit as a whole number from 1 to"),
            ({"side": 4}, "side as a whole number from 8 to 512"),
            ({"path": "x"}, "'cifar10' takes no option 'path'"),
            ({"root": 3}, "root as a path, got 3"),
        ],
    )
    def test_bad_options(self, cifar: Path, options: dict, message: str) -> None:
        with pytest.raises(AkpError, match=message):
            load("cifar10", **{"root": cifar, **options})


@pytest.fixture(scope="session")
def pcam_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Patches of 96 x 96 in HDF5; each patch is of one colour that is its number."""
    root = tmp_path_factory.mktemp("pcam")
    (root / "pcam").mkdir()
    number = 0
    for part, count in PATCHES.items():
        stem = root / "pcam" / f"camelyonpatch_level_2_split_{pcam.PARTS[part]}"
        colour = np.arange(number, number + count, dtype=np.uint8)
        with h5py.File(f"{stem}_x.h5", "w") as file:
            file["x"] = np.broadcast_to(colour[:, None, None, None], (count, 96, 96, 3))
        with h5py.File(f"{stem}_y.h5", "w") as file:
            file["y"] = (np.arange(count, dtype=np.uint8) % 2).reshape(-1, 1, 1, 1)
        number += count
    return root


@pytest.fixture
def patches(pcam_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that may be damaged, with its own official numbers."""
    (tmp_path / "pcam").mkdir()
    for file in (pcam_files / "pcam").iterdir():
        (tmp_path / "pcam" / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(pcam, "IMAGES", PATCHES)
    return tmp_path


def with_slides(root: Path, **slides: list[str]) -> None:
    for part, count in PATCHES.items():
        wsi = slides.get(part) or [f"{part}_{k % 2}_{k // 12}" for k in range(count)]
        pd.DataFrame({"coord_x": 0, "wsi": wsi}).to_csv(
            root / "pcam" / f"camelyonpatch_level_2_split_{pcam.PARTS[part]}_meta.csv"
        )


def packed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The packed files beside, and their checksums in torchvision's table."""
    table = {}
    for part, own in zip(("train", "val", "test"), pcam.PARTS.values(), strict=True):
        row = {}
        for kind, letter in (("images", "x"), ("targets", "y")):
            file = root / "pcam" / f"camelyonpatch_level_2_split_{own}_{letter}.h5"
            beside = file.with_name(file.name + ".gz")
            beside.write_bytes(gzip.compress(file.read_bytes()))
            row[kind] = (file.name, "", digest(beside))
        table[part] = row
    monkeypatch.setattr(PCAM, "_FILES", table)


class TestPcam:
    def test_parts_pixels_and_labels(self, patches: Path) -> None:
        data = load("pcam", root=patches, side=96, probe=20)
        assert data.describe()["images"].tolist() == [100, 30, 40, 20]
        assert data.class_names == ("normal", "tumour")
        for split in data.splits.values():
            number = (split.images[:, 0, 5, 7] * 255).round().long()
            # Patches are numbered through all parts, and classes take turns in each.
            assert torch.equal(number, split.groups)
            assert torch.equal(number % 2, split.labels)
            assert (split.images == split.images[:, :1, :1, :1]).all()
        assert "not for clinical use" in data.notice.lower()
        assert "checksums not" in data.provenance

    def test_only_the_rows_asked_for_are_read(self, patches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        read: list[int] = []
        original = h5py.Dataset.__getitem__

        def counting(self: h5py.Dataset, rows: object, **more: object) -> np.ndarray:
            out = original(self, rows, **more)
            if self.name == "/x":
                read.append(len(out))
            return out

        monkeypatch.setattr(h5py.Dataset, "__getitem__", counting)
        data = load("pcam", root=patches, limit=5, probe=6)
        assert data.describe()["images"].tolist() == [10, 10, 10, 6]
        assert sum(read) == 36

    def test_slides_are_groups(self, patches: Path) -> None:
        with_slides(patches)
        data = load("pcam", root=patches, probe=8)
        assert "Slides are not given" not in data.notice
        assert not set(data.probe.groups.tolist()) & set(data.train.groups.tolist())
        # Eight probe patches touch whole slides of six, which leave training.
        assert len(data.train) % 6 == 0
        assert len(data.train) < 112

    def test_checksums_of_packed_files(self, patches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        packed(patches, monkeypatch)
        assert "MD5 checksums verified" in load("pcam", root=patches, limit=5, probe=6).provenance
        file = patches / "pcam" / "camelyonpatch_level_2_split_valid_x.h5"
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        with pytest.raises(
            AkpError, match=r"valid_x.h5 as it is in .*valid_x.h5.gz, got other bytes; gunzip -kf"
        ):
            load("pcam", root=patches, limit=5, probe=6)
        beside = file.with_name(file.name + ".gz")
        beside.write_bytes(beside.read_bytes()[:-1] + b"!")
        with pytest.raises(
            AkpError, match=r"valid_x.h5.gz with MD5 \w{32}, got MD5 \w{32}, so it is damaged"
        ):
            load("pcam", root=patches, limit=5, probe=6)

    def test_packed_only(self, patches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        packed(patches, monkeypatch)
        (patches / "pcam" / "camelyonpatch_level_2_split_test_x.h5").unlink()
        with pytest.raises(AkpError, match=r"got only camelyonpatch_level_2_split_test_x.h5.gz; gunzip -k /"):
            load("pcam", root=patches)

    def test_not_the_official_numbers(self, patches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pcam, "IMAGES", {**PATCHES, "test": 41})
        with pytest.raises(
            AkpError, match=r"\(41, 96, 96, 3\) bytes in .*test_x.h5, got \(40, 96, 96, 3\); fetch"
        ):
            load("pcam", root=patches)

    def test_damaged(self, patches: Path) -> None:
        file = patches / "pcam" / "camelyonpatch_level_2_split_train_x.h5"
        file.write_bytes(file.read_bytes()[:1000])
        with pytest.raises(
            AkpError, match=r"train_x.h5 as a whole HDF5 file, got .*; delete it and fetch it again"
        ):
            load("pcam", root=patches)

    def test_slides_that_do_not_fit(self, patches: Path) -> None:
        with_slides(patches, test=["validation_1_0"] * 40)
        with pytest.raises(
            AkpError, match=r"1 slides of pcam are in more than one part .*\(validation_1_0\): remove"
        ):
            load("pcam", root=patches)
        with_slides(patches, test=["a"] * 40, train=["b"] * 120)
        (patches / "pcam" / "camelyonpatch_level_2_split_test_meta.csv").write_text("wsi\nonly one\n")
        with pytest.raises(AkpError, match=r"40 rows in .*test_meta.csv, one for each patch, got 1"):
            load("pcam", root=patches)
        (patches / "pcam" / "camelyonpatch_level_2_split_test_meta.csv").write_text("slide\na\n")
        with pytest.raises(AkpError, match=r"a table with the column wsi in .*test_meta.csv"):
            load("pcam", root=patches)
        (patches / "pcam" / "camelyonpatch_level_2_split_test_meta.csv").unlink()
        with pytest.raises(
            AkpError, match=r"meta files of all three parts in .*, or none, got no camelyonpatch"
        ):
            load("pcam", root=patches)

    def test_missing(self, tmp_path: Path) -> None:
        line = (
            r'split_train_x.h5 in .*pcam, got no such file; run "akp data fetch pcam" \(8 GB, and 9 GB more'
        )
        with pytest.raises(AkpError, match=line):
            load("pcam", root=tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_without_h5py(self, patches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "h5py", None)
        with pytest.raises(AkpError, match="pcam needs the package h5py to read its files; pip install h5py"):
            load("pcam", root=patches)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and where this machine serves it."""
    folder = tmp_path / "served"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class TestFetch:
    def test_a_download_is_checked(
        self, tmp_path: Path, cifar: Path, served: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder, address = served
        archive = Path(shutil.make_archive(str(folder / "made"), "gztar", cifar, "cifar-10-batches-py"))
        monkeypatch.setattr(CIFAR10, "url", f"{address}/{archive.name}")
        monkeypatch.setattr(CIFAR10, "tgz_md5", digest(archive))
        assert fetch("cifar10", tmp_path / "new") == tmp_path / "new"
        assert load("cifar10", root=tmp_path / "new", limit=1, probe=10).classes == 10
        monkeypatch.setattr(CIFAR10, "tgz_md5", "0" * 32)
        with pytest.raises(AkpError, match=r"could not fetch cifar10: File not found or corrupted.; put its"):
            fetch("cifar10", tmp_path / "other")

    def test_not_served(
        self, tmp_path: Path, served: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(CIFAR10, "url", f"{served[1]}/nowhere.tar.gz")
        with pytest.raises(
            AkpError, match=r"could not fetch cifar10: .*404.*; put its files into .* from https"
        ):
            fetch("cifar10", tmp_path)

    @pytest.mark.parametrize("name", ["digits", "arrays"])
    def test_what_cannot_be_fetched(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(
            AkpError, match=f"can be fetched, got '{name}'; these can: cifar10, medmnist, pcam"
        ):
            fetch(name, tmp_path)

    def test_bad_calls(self, tmp_path: Path) -> None:
        with pytest.raises(AkpError, match="unknown data set 'pcan': did you mean 'pcam'"):
            fetch("pcan", tmp_path)
        with pytest.raises(AkpError, match="root as a path, got None"):
            fetch("pcam", None)  # type: ignore[arg-type]

    def test_overview_says_what_is_here(self, cifar: Path, patches: Path) -> None:
        here = overview(cifar).set_index("name")["here"]
        assert here["cifar10"] == "here"
        assert here["pcam"] == "not here"
        (patches / "pcam" / "camelyonpatch_level_2_split_train_x.h5").unlink()
        assert overview(patches).set_index("name")["here"]["pcam"] == "5 of 6 files"


class TestCommands:
    """``akp data``, and the one place where AKP_DATA is read."""

    @staticmethod
    def akp(*words: object) -> tuple[int, str]:
        done = CliRunner().invoke(main, ["data", *map(str, words)])
        return done.exit_code, done.output

    def test_list(self, cifar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AKP_DATA", str(cifar))
        code, told = self.akp("list")
        assert code == 0
        assert "cifar10    [here] 60,000 photographs" in told
        assert "pcam       [not here] 327,680 patches" in told
        assert f"looked for in {cifar}" in told
        assert "cifar10    [not here]" in self.akp("list", "--root", cifar / "none")[1]

    def test_fetch(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AKP_DATA", str(tmp_path / "mine"))
        monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/nothing")
        code, told = self.akp("fetch", "cifar10")
        assert code == 1
        assert told.startswith("akp: could not fetch cifar10: ")
        assert f"put its files into {tmp_path / 'mine' / 'cifar-10-batches-py'} from" in told
        assert told.count("\n") == 1
        code, told = self.akp("fetch", "cifar100")
        assert (code, told.count("\n")) == (1, 1)
        assert "did you mean 'cifar10'" in told

    def test_the_root(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("AKP_DATA", str(tmp_path))
        assert page.data_root() == tmp_path
        monkeypatch.setenv("AKP_DATA", "~/images")
        assert page.data_root() == Path.home() / "images"
        monkeypatch.delenv("AKP_DATA")
        assert page.data_root() == page.root() / "data"

    def test_the_core_reads_no_environment(self) -> None:
        core = Path(akp_core.__file__).parent
        assert not [file for file in core.rglob("*.py") if "AKP_DATA" in file.read_text("utf8")]


def test_torchvision_still_has_the_tables_that_are_read() -> None:
    assert [name for name, _ in CIFAR10.train_list] == [f"data_batch_{k}" for k in range(1, 6)]
    for part, own in zip(("train", "val", "test"), pcam.PARTS.values(), strict=True):
        for kind, letter in (("images", "x"), ("targets", "y")):
            name, _, md5 = PCAM._FILES[part][kind]
            assert name == f"camelyonpatch_level_2_split_{own}_{letter}.h5"
            assert len(md5) == 32
