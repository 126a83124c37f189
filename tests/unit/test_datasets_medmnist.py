"""MedMNIST, from tiny files in its own format and an entry for them in the package's own table."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from akp_core.datasets import fetch, load, medmnist, overview
from akp_core.datasets.files import digest
from akp_core.errors import AkpError

SAMPLES = {"train": 90, "val": 21, "test": 30}
KINDS = {"0": "basophil", "1": "eosinophil", "2": "platelet"}


def entry(name: str, **changes: Any) -> dict[str, Any]:
    """An entry of the package's table, with its keys."""
    return {
        "python_class": name,
        "url": "https://example.invalid/28",
        "url_64": "https://example.invalid/64",
        "MD5": "",
        "MD5_64": "",
        "task": "multi-class",
        "label": dict(KINDS),
        "n_channels": 3,
        "n_samples": dict(SAMPLES),
        "license": "CC BY 4.0",
        **changes,
    }


def write(file: Path, side: int, channels: int = 3, **changes: np.ndarray) -> str:
    """A set in the publisher's layout, classes in turn; returns its checksum."""
    rng = np.random.default_rng(side)
    content = {}
    for part, count in SAMPLES.items():
        shape = (count, side, side, 3) if channels == 3 else (count, side, side)
        content[f"{part}_images"] = rng.integers(0, 256, shape, dtype=np.uint8)
        content[f"{part}_labels"] = (np.arange(count) % 3).astype(np.uint8)[:, None]
    file.parent.mkdir(exist_ok=True)
    np.savez_compressed(file, **{**content, **changes})
    return digest(file)


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """A table in place of the package's, with the checksums of tiny files, once these are written."""
    entries = {
        "bloodmnist": entry("BloodMNIST"),
        "breastmnist": entry("BreastMNIST", n_channels=1),
        "chestmnist": entry("ChestMNIST", task="multi-label, binary-class"),
        "organmnist3d": entry("OrganMNIST3D"),
    }
    package = ModuleType("medmnist")
    package.INFO = entries  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "medmnist", package)
    return entries


def written(
    root: Path, table: dict[str, dict[str, Any]], name: str = "bloodmnist", side: int = 28, **how: Any
) -> Path:
    end = "" if side == 28 else f"_{side}"
    file = root / "medmnist" / f"{name}{end}.npz"
    table[name][f"MD5{end}"] = write(file, side, table[name]["n_channels"], **how)
    return file


def test_official_parts_pixels_and_labels(tmp_path: Path, table: dict[str, dict[str, Any]]) -> None:
    content = np.load(written(tmp_path, table))
    data = load("medmnist:bloodmnist", root=tmp_path, probe=12)
    assert data.name == "medmnist:bloodmnist"
    assert data.class_names == tuple(KINDS.values())
    assert data.describe()["images"].tolist() == [78, 21, 30, 12]
    starts = {"train": 0, "probe": 0, "validation": 90, "test": 111}
    keys = {"train": "train", "probe": "train", "validation": "val", "test": "test"}
    for name, split in data.splits.items():
        rows = split.groups.numpy() - starts[name]
        pixels = (split.images * 255).round().to(torch.uint8).movedim(1, -1).numpy()
        assert np.array_equal(pixels, content[f"{keys[name]}_images"][rows])
        assert np.array_equal(split.labels.numpy(), content[f"{keys[name]}_labels"][rows, 0])
    assert "Not for clinical use" in data.notice
    assert "MD5 checksum verified" in data.provenance
    assert data.licence == "CC BY 4.0"


def test_grey_limit_and_classes(tmp_path: Path, table: dict[str, dict[str, Any]]) -> None:
    written(tmp_path, table, "breastmnist")
    data = load(
        "medmnist:breastmnist", root=tmp_path, limit=4, probe=6, classes=["platelet", "basophil+eosinophil"]
    )
    assert data.shape == (1, 28, 28)
    assert torch.bincount(data.train.labels).tolist() == [4, 4]
    assert data.class_names == ("platelet", "basophil+eosinophil")


@pytest.mark.parametrize(("side", "size"), [(16, 28), (28, 28), (29, 64), (48, 64), (64, 64)])
def test_the_smallest_file_that_is_no_smaller(
    tmp_path: Path, table: dict[str, dict[str, Any]], side: int, size: int
) -> None:
    written(tmp_path, table, side=size)
    data = load("medmnist:bloodmnist", root=tmp_path, side=side, limit=2, probe=6)
    assert data.shape == (3, side, side)


def test_missing_file_says_what_to_run(tmp_path: Path, table: dict[str, dict[str, Any]]) -> None:  # noqa: ARG001
    line = (
        r"bloodmnist_64.npz in .*medmnist, got no such file; "
        r'run "akp data fetch medmnist:bloodmnist --side 64" '
        r"\(some MB to some GB\), or put it there from https://example.invalid/64"
    )
    with pytest.raises(AkpError, match=line):
        load("medmnist:bloodmnist", root=tmp_path, side=60)
    assert list(tmp_path.iterdir()) == []


def test_damaged(tmp_path: Path, table: dict[str, dict[str, Any]]) -> None:
    file = written(tmp_path, table)
    content = file.read_bytes()
    file.write_bytes(content[:-1] + b"!")
    with pytest.raises(AkpError, match=r"bloodmnist.npz with MD5 \w{32}, got MD5 \w{32}, so it is damaged"):
        load("medmnist:bloodmnist", root=tmp_path)
    file.write_bytes(content[: len(content) // 2])
    table["bloodmnist"]["MD5"] = digest(file)
    with pytest.raises(
        AkpError, match=r"train_labels in .*bloodmnist.npz, got BadZipFile.*delete it and fetch"
    ):
        load("medmnist:bloodmnist", root=tmp_path)
    written(tmp_path, table, val_labels=np.zeros((20, 1), np.uint8))
    with pytest.raises(AkpError, match=r"labels of shape \(21, 1\) in validation of .*, got \(20, 1\)"):
        load("medmnist:bloodmnist", root=tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("medmnist", "expected a set of MedMNIST after a colon, got 'medmnist'; such as medmnist:bloodmnist"),
        ("medmnist:", "unknown data set 'medmnist:': did you mean 'medmnist'"),
        ("medmnist:bloodmist", "one-label set of MedMNIST 'bloodmist': did you mean 'bloodmnist'"),
        ("medmnist:chestmnist", "unknown two-dimensional one-label set of MedMNIST 'chestmnist'"),
        ("medmnist:organmnist3d", "unknown two-dimensional one-label set of MedMNIST 'organmnist3d'"),
        ("digits:eight", "'digits' without a colon, as it has no subsets, got 'digits:eight'"),
    ],
)
def test_names(tmp_path: Path, table: dict[str, dict[str, Any]], name: str, message: str) -> None:  # noqa: ARG001
    with pytest.raises(AkpError, match=message):
        load(name, root=tmp_path)


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "medmnist", None)
    line = "medmnist needs the package of that name for its checksums; pip install medmnist"
    with pytest.raises(AkpError, match=line):
        load("medmnist:bloodmnist", root=tmp_path)
    with pytest.raises(AkpError, match=line):
        fetch("medmnist:bloodmnist", tmp_path)


def test_fetch_says_why_not(tmp_path: Path, table: dict[str, dict[str, Any]]) -> None:
    table["bloodmnist"]["url_64"] = "http://127.0.0.1:9/nothing"
    with pytest.raises(
        AkpError, match=r"could not fetch medmnist:bloodmnist: .*; put its files into .*medmnist from"
    ):
        fetch("medmnist:bloodmnist", tmp_path, side=50)
    with pytest.raises(AkpError, match="side as a whole number from 8 to 224, got 500"):
        fetch("medmnist:bloodmnist", tmp_path, side=500)


def test_overview_names_what_is_there(tmp_path: Path, table: dict[str, dict[str, Any]]) -> None:
    written(tmp_path, table)
    assert overview(tmp_path).set_index("name")["here"]["medmnist"] == "bloodmnist"


@pytest.mark.skipif(
    importlib.util.find_spec("medmnist") is None, reason="the package medmnist is not installed"
)
def test_the_package_has_the_table_that_is_read() -> None:
    sets = medmnist.usable()
    assert {"bloodmnist", "pathmnist", "breastmnist"} <= set(sets)
    assert "chestmnist" not in sets
    for name, info in sets.items():
        assert set(entry(name)) <= set(info)
        for size in medmnist.SIZES:
            end = "" if size == 28 else f"_{size}"
            assert len(info[f"MD5{end}"]) == 32
            assert info[f"url{end}"].startswith("https://")
        assert set(info["n_samples"]) == set(SAMPLES)
        assert sorted(info["label"], key=int) == [str(k) for k in range(len(info["label"]))]
