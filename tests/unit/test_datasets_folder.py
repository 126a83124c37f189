"""A folder of picture files: how it may be laid out, and what is refused in one clear line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from akp_core.datasets import load
from akp_core.errors import AkpError

CLASSES = ("normal", "tumour")
PATIENTS, EACH = 8, 3


def picture(number: int, size: tuple[int, int] = (12, 12), channels: int = 3) -> Image.Image:
    """A picture of one grey level that is its number."""
    shape = (size[1], size[0], 3) if channels == 3 else (size[1], size[0])
    return Image.fromarray(np.full(shape, number, dtype=np.uint8))


def flat(root: Path, suffix: str = "png", **how: Any) -> Path:
    """Eight patients a class with three pictures each, named p00_0.png; patient and class tell the level."""
    for label, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for k in range(PATIENTS * EACH):
            patient = label * PATIENTS + k // EACH
            picture(patient * 10 + k % EACH, **how).save(root / name / f"p{patient:02d}_{k % EACH}.{suffix}")
    return root


def nested(root: Path) -> Path:
    """The same with a sub-folder a patient."""
    for file in sorted(flat(root).glob("*/*.png")):
        home = file.parent / file.name[:3]
        home.mkdir(exist_ok=True)
        file.rename(home / file.name)
    return root


def parted(root: Path, names: tuple[str, ...] = ("train", "val", "test")) -> Path:
    number = 0
    for part in names:
        for name in CLASSES:
            (root / part / name).mkdir(parents=True)
            for k in range(12):
                picture(number).save(root / part / name / f"p{number:03d}_{k}.png")
                number += 1
    return root


def levels(images: torch.Tensor) -> list[int]:
    assert (images == images[:, :1, :1, :1]).all()
    return (images[:, 0, 0, 0] * 255).round().long().tolist()


class TestLayouts:
    def test_one_folder_a_class(self, tmp_path: Path) -> None:
        data = load("folder", path=flat(tmp_path / "tiles"))
        assert data.shape == (3, 12, 12)
        assert data.class_names == CLASSES
        assert data.describe()["images"].sum() == 2 * PATIENTS * EACH
        for split in data.splits.values():
            assert torch.equal(torch.tensor(levels(split.images)) // 10 // PATIENTS, split.labels)
        assert "No groups are given" in data.notice
        assert "not for clinical use" in data.notice
        assert load("folder", path=str(tmp_path / "tiles")).fingerprint == data.fingerprint

    @pytest.mark.parametrize("how", ["pattern", "sub-folders"])
    def test_groups(self, tmp_path: Path, how: str) -> None:
        if how == "pattern":
            data = load("folder", path=flat(tmp_path / "tiles"), groups=r"(p\d+)_")
        else:
            data = load("folder", path=nested(tmp_path / "tiles"))
        assert "No groups" not in data.notice
        for split in data.splits.values():
            assert [level // 10 for level in levels(split.images)] == split.groups.tolist()
        kept = data.describe().set_index("split").loc[["train", "validation", "test"]]
        assert (kept["images"] == EACH * kept["groups"]).all()

    def test_a_patient_of_one_name_in_two_classes_is_one_group(self, tmp_path: Path) -> None:
        root = flat(tmp_path / "tiles")
        for file in sorted((root / "tumour").iterdir())[:3]:
            file.rename(file.with_name("p00" + file.name[3:]))
        data = load("folder", path=root, groups=r"(p\d+)_")
        home = [name for name, split in data.splits.items() if 0 in split.groups.tolist()]
        assert len(home) == 1

    def test_given_parts_are_kept(self, tmp_path: Path) -> None:
        data = load("folder", path=parted(tmp_path / "tiles", ("Train", "valid", "test")), probe=4)
        assert data.describe()["images"].tolist() == [20, 24, 24, 4]
        assert levels(data.test.images) == list(range(48, 72))
        assert levels(data.validation.images) == list(range(24, 48))

    def test_a_group_in_two_parts(self, tmp_path: Path) -> None:
        root = parted(tmp_path / "tiles")
        with pytest.raises(
            AkpError, match=r"12 groups of tiles are in more than one part .* \(0, 1, 10, \.\.\.\)"
        ):
            load("folder", path=root, groups=r"_(\d+)")

    def test_limit_opens_only_what_is_used(self, tmp_path: Path) -> None:
        root = flat(tmp_path / "tiles")
        data = load("folder", path=root, limit=2, probe=4)
        assert torch.bincount(data.train.labels).tolist() == [2, 2]
        used = {level for split in data.splits.values() for level in levels(split.images)}
        for file in root.glob("*/*.png"):
            with Image.open(file) as image:
                level = image.getpixel((0, 0))[0]
            if level not in used:
                file.write_bytes(b"not a picture")
        assert load("folder", path=root, limit=2, probe=4).fingerprint == data.fingerprint

    def test_classes(self, tmp_path: Path) -> None:
        root = flat(tmp_path / "tiles")
        (root / "other").mkdir()
        for k in range(9):
            picture(200 + k).save(root / "other" / f"{k}.png")
        data = load("folder", path=root, classes=["tumour", "normal+other"])
        assert data.class_names == ("tumour", "normal+other")
        seen = [level for split in data.splits.values() for level in levels(split.images[split.labels == 1])]
        assert any(level >= 200 for level in seen)
        assert all(level < 80 or level >= 200 for level in seen)

    def test_a_relative_path_is_found_under_the_root(self, tmp_path: Path) -> None:
        flat(tmp_path / "tiles")
        assert load("folder", path="tiles", root=tmp_path).shape == (3, 12, 12)

    def test_hidden_and_other_files_are_passed_over(self, tmp_path: Path) -> None:
        root = flat(tmp_path / "tiles")
        before = load("folder", path=root).fingerprint
        (root / "normal" / ".DS_Store").write_bytes(b"x")
        (root / "normal" / "notes.txt").write_text("x")
        (root / ".cache").mkdir()
        assert load("folder", path=root).fingerprint == before


class TestPictures:
    @pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "TIFF"])
    def test_formats_give_the_same_bits(self, tmp_path: Path, suffix: str) -> None:
        plain = load("folder", path=flat(tmp_path / "png"))
        assert load("folder", path=flat(tmp_path / "other", suffix)).fingerprint == plain.fingerprint

    def test_jpeg_is_close(self, tmp_path: Path) -> None:
        plain, jpeg = (load("folder", path=flat(tmp_path / s, s)) for s in ("png", "jpg"))
        assert torch.allclose(plain.train.images, jpeg.train.images, atol=2 / 255)

    def test_grey_stays_grey_and_one_in_colour_makes_all_so(self, tmp_path: Path) -> None:
        root = flat(tmp_path / "tiles", channels=1)
        assert load("folder", path=root).shape == (1, 12, 12)
        picture(7).save(root / "normal" / "p00_0.png")
        assert load("folder", path=root).shape == (3, 12, 12)

    def test_sixteen_bits(self, tmp_path: Path) -> None:
        root = flat(tmp_path / "tiles", channels=1)
        for file in root.glob("*/*.png"):
            Image.fromarray(np.full((12, 12), 13107, dtype=np.uint16)).save(file)
        data = load("folder", path=root)
        assert data.train.images.unique().tolist() == pytest.approx([0.2])

    def test_a_palette_and_an_alpha_channel(self, tmp_path: Path) -> None:
        root = flat(tmp_path / "tiles")
        plain = load("folder", path=root).fingerprint
        for k, file in enumerate(sorted(root.glob("*/*.png"))):
            with Image.open(file) as image:
                changed = (
                    image.convert("RGBA") if k % 2 else image.convert("P", palette=Image.Palette.ADAPTIVE)
                )
            changed.save(file)
        assert load("folder", path=root).fingerprint == plain

    def test_oblong_pictures_are_cut_at_both_ends_alike(self, tmp_path: Path) -> None:
        root = flat(tmp_path / "tiles", size=(32, 16))
        wide = np.zeros((16, 32, 3), dtype=np.uint8)
        wide[:, 8:24] = 255
        for file in root.glob("*/*.png"):
            Image.fromarray(wide).save(file)
        data = load("folder", path=root, side=8)
        assert data.shape == (3, 8, 8)
        assert (data.train.images == 1).all()
        assert load("folder", path=root).shape == (3, 16, 32)

    def test_sizes_that_differ_need_a_side(self, tmp_path: Path) -> None:
        root = flat(tmp_path / "tiles")
        picture(3, (20, 10)).save(root / "normal" / "p00_0.png")
        with pytest.raises(AkpError, match=r"images of one size, got .*20 x 10 in p00_0.png.*; give a side"):
            load("folder", path=root)
        assert load("folder", path=root, side=10).shape == (3, 10, 10)


class TestRefused:
    def test_folders(self, tmp_path: Path) -> None:
        with pytest.raises(AkpError, match="expected path, the folder to load, got None"):
            load("folder")
        with pytest.raises(
            AkpError, match=r"expected a folder of images, got no folder at .*none; check path"
        ):
            load("folder", path=tmp_path / "none")
        (tmp_path / "a.png").write_bytes(b"")
        with pytest.raises(AkpError, match=r"a folder of images, got a file at .*a.png"):
            load("folder", path=tmp_path / "a.png")
        with pytest.raises(AkpError, match=r"sub-folders in .*, one a class, got none; put the images"):
            load("folder", path=tmp_path)
        (tmp_path / "only").mkdir()
        with pytest.raises(AkpError, match=r"sub-folders of at least two classes in .*, got only"):
            load("folder", path=tmp_path)

    def test_a_class_without_pictures(self, tmp_path: Path) -> None:
        root = flat(tmp_path / "tiles")
        (root / "slides").mkdir()
        (root / "slides" / "a.svs").write_bytes(b"")
        with pytest.raises(AkpError, match=r"images in .*slides \(.png, .*\), got 1 of .svs; convert"):
            load("folder", path=root)

    def test_parts_beside_classes(self, tmp_path: Path) -> None:
        root = parted(tmp_path / "tiles", ("train", "test", "tset"))
        with pytest.raises(AkpError, match=r"unknown part in .*, beside test, 'tset': did you mean 'test'"):
            load("folder", path=root)

    def test_a_part_that_is_missing(self, tmp_path: Path) -> None:
        with pytest.raises(AkpError, match=r"'test' in the split of tiles, got train, validation"):
            load("folder", path=parted(tmp_path / "tiles", ("train", "val")))

    def test_too_few_groups(self, tmp_path: Path) -> None:
        with pytest.raises(AkpError, match=r"at least 5 groups that are mostly 'normal' in tiles, .* got 1"):
            load("folder", path=flat(tmp_path / "tiles"), groups=r"(p)\d")

    @pytest.mark.parametrize(
        ("groups", "message"),
        [
            ("p[", r"groups as a regular expression, got 'p\[' \("),
            (3, r"groups as a regular expression, got 3 \("),
            (r"p\d+", r"one pair of parentheses in groups, got 0 in"),
            (r"(slide\d+)", r"to find a group in every file name, got none in p00_0.png"),
        ],
    )
    def test_bad_patterns(self, tmp_path: Path, groups: Any, message: str) -> None:
        with pytest.raises(AkpError, match=message):
            load("folder", path=flat(tmp_path / "tiles"), groups=groups)

    def test_sub_folders_beside_pictures(self, tmp_path: Path) -> None:
        root = nested(tmp_path / "tiles")
        picture(1).save(root / "tumour" / "loose.png")
        with pytest.raises(
            AkpError, match=r"every image in a sub-folder of its class, .* got .*loose.png; put it"
        ):
            load("folder", path=root)

    @pytest.mark.parametrize("keep", [0, 20, 60])
    def test_a_damaged_picture_is_named(self, tmp_path: Path, keep: int) -> None:
        root = flat(tmp_path / "tiles", size=(40, 40))
        for file in root.glob("*/*.png"):
            file.write_bytes(file.read_bytes()[:keep])
        with pytest.raises(
            AkpError, match=r"expected .*p\d\d_\d.png as a picture, got .*; repair or remove it"
        ):
            load("folder", path=root)

    def test_depths_and_pages(self, tmp_path: Path) -> None:
        root = flat(tmp_path / "tiles", "tif", channels=1)
        files = sorted(root.glob("*/*.tif"))
        for file in files:
            Image.fromarray(np.zeros((12, 12), dtype=np.float32)).save(file)
        with pytest.raises(AkpError, match=r"with 8 bits a colour, or 16 in grey, got mode F; convert it"):
            load("folder", path=root)
        for file in files:
            picture(1).save(file, save_all=True, append_images=[picture(2)])
        with pytest.raises(AkpError, match=r"one picture in .*tif, got 2; save each as a file"):
            load("folder", path=root)

    def test_a_picture_too_large_to_be_true(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
        with pytest.raises(
            AkpError, match=r"as a picture, got Image size \(144 pixels\) exceeds limit of 100"
        ):
            load("folder", path=flat(tmp_path / "tiles"))

    def test_more_than_the_memory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("akp_core.datasets.pixels.os.sysconf", lambda _: 100)
        with pytest.raises(
            AkpError, match=r"images that fit into 10 kB of memory, got .* of them; give a limit"
        ):
            load("folder", path=flat(tmp_path / "tiles"))
