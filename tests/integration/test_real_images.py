"""Real images, where this machine has any: set ``AKP_DATA`` to the folder that holds them.

Looked for are ``oral_oscc_400x_64.npz`` (tiles of oral epithelium, normal or carcinoma),
``cifar10_jpeg_12k.npz`` (photographs), and the public sets in the folders where ``akp data fetch`` puts them.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torchvision.utils import save_image

from akp_book import pages, profiles, verdicts
from akp_book.execute import execute
from akp_book.parameters import Typed
from akp_book.root import find_root
from akp_core.datasets import Dataset, load, overview

ROOT = Path(os.environ.get("AKP_DATA", ""))
TILES, PHOTOGRAPHS = "oral_oscc_400x_64.npz", "cifar10_jpeg_12k.npz"


def needs(name: str) -> pytest.MarkDecorator:
    there = "AKP_DATA" in os.environ and (ROOT / name).is_file()
    return pytest.mark.skipif(not there, reason=f"AKP_DATA names no folder with {name}")


@pytest.fixture(scope="module")
def tiles() -> Dataset:
    return load("arrays", path=TILES, root=ROOT, side=32)


@needs(TILES)
class TestTiles:
    def test_parts(self, tiles: Dataset) -> None:
        table = tiles.describe().set_index("split")
        assert table["images"].to_dict() == {"train": 1616, "validation": 272, "test": 536, "probe": 256}
        assert tiles.class_names == ("normal", "oscc")
        assert tiles.shape == (3, 32, 32)
        assert table.loc["probe", "share oscc"] == 0.5
        # Four tiles a field, and no field in two parts.
        assert table["groups"].to_dict() == {"train": 404, "validation": 68, "test": 134, "probe": 64}

    def test_a_limit_is_of_the_same_tiles(self, tiles: Dataset) -> None:
        few = load("arrays", path=TILES, root=ROOT, side=32, limit=50)
        assert few.describe()["images"].tolist() == [100, 100, 100, 256]
        assert torch.equal(few.probe.images, tiles.probe.images)
        whole = {image.numpy().tobytes() for image in tiles.train.images}
        assert all(image.numpy().tobytes() in whole for image in few.train.images)

    def test_the_same_tiles_from_a_folder(self, tmp_path: Path) -> None:
        native = load("arrays", path=TILES, root=ROOT, limit=40)
        for part, split in native.splits.items():
            for k, (image, label, group) in enumerate(
                zip(split.images, split.labels.tolist(), split.groups.tolist(), strict=True)
            ):
                home = tmp_path / part / native.class_names[label]
                home.mkdir(parents=True, exist_ok=True)
                save_image(image, home / f"{k:03d}_field{group}.png")
        again = load("folder", path=tmp_path, groups=r"field(\d+)")
        for name, split in native.splits.items():
            by_class = split.labels.argsort(stable=True)
            other = again.splits[name]
            assert torch.equal(other.labels, split.labels[by_class])
            assert torch.equal(other.images, split.images[by_class])

    @pytest.mark.slow
    def test_a_study_through_the_press(self, tmp_path: Path) -> None:
        project = pages.load(find_root())
        page = project.page("book/experiments/other-data")
        asked = {
            "dataset": "arrays",
            "path": str(ROOT / TILES),
            "side": "16",
            "limit": "80",
            "members": "4",
            "epochs": "1",
            "activations": "[tanh]",
            "losses": "[hinge]",
        }
        options = {name: Typed(value) for name, value in asked.items()}
        values = profiles.settle(project, "smoke", options, only=page.name)[page.name]
        outcome = execute(page, values, project.root, tmp_path)
        (card,) = verdicts.of_notebook(outcome.notebook)
        assert card.claim == "C2"
        assert card.statement.endswith(f"on {TILES}")
        assert card.verdict in ("AKP", "none", "anti-AKP", "no prediction")
        text = "\n".join(
            str(output.get("data", {}).get("text/markdown", ""))
            for cell in outcome.notebook.cells
            for output in cell.get("outputs", ())
        )
        assert "not for clinical use" in text
        assert "3 families of 4 networks" in text


@needs(PHOTOGRAPHS)
def test_photographs() -> None:
    data = load("arrays", path=PHOTOGRAPHS, root=ROOT, limit=30, probe=100)
    assert data.shape == (3, 32, 32)
    assert data.describe()["images"].tolist() == [300, 300, 300, 100]
    assert {"cat", "dog", "ship"} <= set(data.class_names)
    pair = load("arrays", path=PHOTOGRAPHS, root=ROOT, classes=["cat", "dog"], limit=30, probe=100)
    assert torch.bincount(pair.train.labels).tolist() == [30, 30]
    assert pair.class_names == ("cat", "dog")


@pytest.mark.parametrize("name", ["cifar10", "pcam"])
def test_public_sets_with_their_own_checksums(name: str) -> None:
    if "AKP_DATA" not in os.environ or overview(ROOT).set_index("name").loc[name, "here"] != "here":
        pytest.skip(f"AKP_DATA names no folder with the files of {name}")
    data = load(name, root=ROOT, side=32, limit=20)
    assert data.shape == (3, 32, 32)
    assert (torch.bincount(data.train.labels) == 20).all()
