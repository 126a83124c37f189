"""The door of the data: what is loaded, saved and split, and what is refused in one clear line."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from akp_core.datasets import Dataset, Split, digits, load, names, register
from akp_core.datasets.splitting import carve_probe, group_labels, split_groups
from akp_core.errors import AkpError

PER_GROUP, GROUPS_OF_CLASS = 4, 20


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def digit() -> Dataset:
    return digits.load(side=8)


def example(**changes: Any) -> dict[str, Any]:
    """160 pictures of 12 x 12 x 3, two classes, forty patients of four pictures; None removes a key."""
    rng = np.random.default_rng(0)
    n = 2 * GROUPS_OF_CLASS * PER_GROUP
    content: dict[str, Any] = {
        "images": rng.integers(0, 256, (n, 12, 12, 3), dtype=np.uint8),
        "labels": np.repeat([0, 1], n // 2),
        "groups": np.array([f"p{i // PER_GROUP:02d}" for i in range(n)]),
    }
    content.update(changes)
    return {key: value for key, value in content.items() if value is not None}


def written(folder: Path, **changes: Any) -> Path:
    path = folder / "mine.npz"
    np.savez_compressed(path, **example(**changes))
    return path


def given_split(*parts: str) -> np.ndarray:
    """Whole patients in turn to each of the named parts."""
    return np.array([parts[i // PER_GROUP % len(parts)] for i in range(2 * GROUPS_OF_CLASS * PER_GROUP)])


class TestDataset:
    def test_fingerprint_changes_with_any_bit(self, digit: Dataset) -> None:
        for part, split in digit.splits.items():
            for field in ("images", "labels", "groups"):
                tensor = getattr(split, field).clone()
                bits = tensor.view(torch.int32 if field == "images" else torch.int64).view(-1)
                # Digit labels stay labels, and a new group id stays out of the other parts.
                bits[-1] ^= 1 << 20 if field == "groups" else 1
                other = replace(digit, **{part: replace(split, **{field: tensor})})
                assert other.fingerprint != digit.fingerprint, (part, field)

    def test_fingerprint_covers_shape_and_place(self, digit: Dataset) -> None:
        reshaped = {name: replace(s, images=s.images.view(-1, 1, 4, 16)) for name, s in digit.splits.items()}
        assert replace(digit, **reshaped).fingerprint != digit.fingerprint
        swapped = replace(digit, train=digit.test, test=digit.train)
        assert swapped.fingerprint != digit.fingerprint
        assert replace(digit, name="other").fingerprint == digit.fingerprint

    def test_moments_are_those_of_train(self, digit: Dataset) -> None:
        pixels = digit.train.images.double().numpy()
        assert digit.channel_mean.dtype == torch.float32
        assert float(digit.channel_mean) == pytest.approx(pixels.mean(), abs=1e-6)
        assert float(digit.channel_std) == pytest.approx(pixels.std(), abs=1e-6)

    def test_a_constant_channel_has_a_std_that_can_be_divided_by(self, digit: Dataset) -> None:
        flat = {name: replace(s, images=torch.full_like(s.images, 0.3)) for name, s in digit.splits.items()}
        assert float(replace(digit, **flat).channel_std) == pytest.approx(1 / 255)

    def test_describe(self, digit: Dataset) -> None:
        table = digit.describe()
        assert table["split"].tolist() == ["train", "validation", "test", "probe"]
        assert table["images"].sum() == 1797
        assert table.filter(like="share ").sum(axis=1).tolist() == pytest.approx([1.0] * 4)

    def test_to_keeps_the_bits(self, digit: Dataset) -> None:
        assert digit.to("cpu").fingerprint == digit.fingerprint

    def test_a_group_in_two_parts_is_refused(self, digit: Dataset) -> None:
        leaking = replace(digit.test, groups=digit.test.groups.clone())
        leaking.groups[0] = digit.train.groups[0]
        with pytest.raises(AkpError, match="is in train and in test: keep each group in one part"):
            replace(digit, test=leaking)

    def test_wrong_tensors_are_refused(self, digit: Dataset) -> None:
        split = digit.probe
        with pytest.raises(AkpError, match=r"images as float32 \(n, c, h, w\).*float64"):
            Split(split.images.double(), split.labels, split.groups)
        with pytest.raises(AkpError, match=r"labels as int64 of shape \(256,\)"):
            Split(split.images, split.labels[:-1], split.groups)
        with pytest.raises(AkpError, match=r"labels from 0 to 1 in train, got 0 to 9"):
            replace(digit, class_names=("a", "b"))
        with pytest.raises(AkpError, match="at least two classes, got 1: a"):
            replace(digit, class_names=("a",))
        with pytest.raises(AkpError, match=r"images of shape \(1, 8, 8\) in probe"):
            replace(digit, probe=replace(split, images=split.images[:, :, :4]))


class TestFile:
    def test_round_trip_is_bit_equal(self, digit: Dataset, tmp_path: Path) -> None:
        digit.save(tmp_path / "new" / "digits.safetensors")
        back = Dataset.read(tmp_path / "new" / "digits.safetensors")
        assert back.fingerprint == digit.fingerprint
        for name, split in digit.splits.items():
            for field in ("images", "labels", "groups"):
                assert torch.equal(getattr(split, field), getattr(back.splits[name], field))
        for field in ("name", "class_names", "licence", "provenance", "notice", "options"):
            assert getattr(back, field) == getattr(digit, field)
        assert [path.name for path in (tmp_path / "new").iterdir()] == ["digits.safetensors"]

    def test_the_same_data_set_is_the_same_file(self, digit: Dataset, tmp_path: Path) -> None:
        for name in ("a", "b"):
            digit.save(tmp_path / name)
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()

    def test_a_failed_save_leaves_the_old_file_and_no_rest(
        self, digit: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "digits.safetensors"
        digit.save(path)
        before = path.read_bytes()

        def full(_: int) -> None:
            raise OSError("no space left on device")

        monkeypatch.setattr("akp_core.datasets.dataset.os.fsync", full)
        with pytest.raises(OSError, match="no space left"):
            replace(digit, train=digit.test, test=digit.train).save(path)
        assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize("keep", [0, 4, 100, 5000, -1])
    def test_truncated(self, digit: Dataset, tmp_path: Path, keep: int) -> None:
        path = tmp_path / "digits.safetensors"
        digit.save(path)
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(
            AkpError, match=r"expected a whole data set file at .*delete it and save it again"
        ):
            Dataset.read(path)

    def test_one_changed_byte(self, digit: Dataset, tmp_path: Path) -> None:
        path = tmp_path / "digits.safetensors"
        digit.save(path)
        content = bytearray(path.read_bytes())
        content[-3000] ^= 1
        path.write_bytes(content)
        with pytest.raises(
            AkpError, match=r"expected an unchanged data set file at .*delete it and save it again"
        ):
            Dataset.read(path)

    def test_other_files(self, tmp_path: Path) -> None:
        from safetensors.torch import save_file

        with pytest.raises(AkpError, match="expected a saved data set, got no file at"):
            Dataset.read(tmp_path / "none")
        save_file({"weight": torch.zeros(2)}, tmp_path / "weights")
        with pytest.raises(AkpError, match=r"expected a whole data set file at .*weights"):
            Dataset.read(tmp_path / "weights")


class TestSplitting:
    @pytest.mark.parametrize("seed", range(3))
    def test_groups_are_stratified_and_used_once(self, seed: int) -> None:
        labels = torch.cat([torch.zeros(300), torch.ones(100), torch.full((10,), 2)]).long()
        parts = split_groups(labels, {"a": 0.6, "b": 0.1, "c": 0.3}, generator(seed))
        assert torch.cat(list(parts.values())).sort().values.tolist() == list(range(410))
        counts = {name: torch.bincount(labels[index]).tolist() for name, index in parts.items()}
        assert counts == {"a": [180, 60, 6], "b": [30, 10, 1], "c": [90, 30, 3]}

    def test_every_part_gets_a_group_of_every_class(self) -> None:
        labels = torch.tensor([0] * 50 + [1] * 3)
        parts = split_groups(labels, {"a": 0.9, "b": 0.05, "c": 0.05}, generator())
        assert all(set(labels[index].tolist()) == {0, 1} for index in parts.values())

    def test_order_comes_from_the_generator(self) -> None:
        labels = torch.zeros(100, dtype=torch.int64)
        first, again, other = (
            split_groups(labels, {"a": 0.5, "b": 0.5}, generator(s))["a"] for s in (0, 0, 1)
        )
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

    def test_too_few_groups(self) -> None:
        with pytest.raises(AkpError, match="at least 3 groups of class 1 to divide among a, b, c, got 2"):
            split_groups(torch.tensor([0, 0, 0, 1, 1]), {"a": 1.0, "b": 1.0, "c": 1.0}, generator())

    def test_probe_is_balanced_and_reserves_whole_groups(self) -> None:
        groups = torch.arange(400) // 5
        labels = (groups >= 60).long()
        chosen, reserved = carve_probe(labels, groups, 31, generator())
        assert torch.bincount(labels[chosen]).tolist() == [16, 15]
        touched = set(groups[chosen].tolist())
        assert set(groups[reserved].tolist()) == touched
        assert not touched & set(groups[~reserved].tolist())

    def test_probe_leaves_half_of_the_groups_of_a_class(self) -> None:
        groups = torch.arange(400) // 5
        labels = (groups >= 60).long()
        with pytest.raises(
            AkpError, match=r"51 images of each class .*probe of 101, got 50; ask for probe=100 at"
        ):
            carve_probe(labels, groups, 101, generator())
        chosen, _ = carve_probe(labels, groups, 1000, generator(), exact=False)
        assert torch.bincount(labels[chosen]).tolist() == [50, 50]
        with pytest.raises(AkpError, match="at least two groups of each class, for a probe"):
            carve_probe(torch.tensor([0, 0, 1]), torch.arange(3), 2, generator())

    def test_label_of_a_mixed_group_is_the_most_frequent(self) -> None:
        names_, labels = group_labels(torch.tensor([0, 1, 1, 2, 0]), torch.tensor([9, 9, 9, 4, 4]))
        assert (names_.tolist(), labels.tolist()) == ([4, 9], [0, 1])


class TestDigits:
    def test_sizes_classes_and_probe(self, digit: Dataset) -> None:
        assert digit.shape == (1, 8, 8)
        assert digit.classes == 10
        assert len(digit.probe) == 256
        assert sorted(torch.bincount(digit.probe.labels).tolist()) == [25] * 4 + [26] * 6
        assert sum(len(split) for split in digit.splits.values()) == 1797

    def test_default_is_16_and_in_range(self) -> None:
        data = load("digits")
        assert data.shape == (1, 16, 16)
        assert float(data.train.images.min()) >= 0
        assert float(data.train.images.max()) <= 1
        assert data.options == {"side": 16, "seed": 0, "probe": None, "limit": None, "classes": None}

    def test_the_bits_are_those_of_every_version_so_far(self, digit: Dataset) -> None:
        # Without interpolation, so that they are the same on every processor.
        assert digit.fingerprint[:16] == "7af34e51b19195fd"

    def test_two_digits_and_a_limit(self) -> None:
        data = load("digits", classes=["8", "3"], limit=20, probe=30)
        assert data.class_names == ("8", "3")
        assert torch.bincount(data.train.labels).tolist() == [20, 20]
        assert torch.bincount(data.probe.labels).tolist() == [15, 15]
        with pytest.raises(AkpError, match=r"unknown class of digits 'eight': .*valid: 0, 1, 2"):
            load("digits", classes=["3", "eight"])

    def test_seed(self, digit: Dataset) -> None:
        assert digits.load(side=8).fingerprint == digit.fingerprint
        assert digits.load(side=8, seed=1).fingerprint != digit.fingerprint

    @pytest.mark.parametrize("side", [7, 33, "16", True])
    def test_bad_side(self, side: object) -> None:
        with pytest.raises(AkpError, match="expected side as a whole number from 8 to 32"):
            load("digits", side=side)  # type: ignore[arg-type]


class TestArrays:
    def test_without_split_divides_whole_groups(self, tmp_path: Path) -> None:
        data = load("arrays", path=written(tmp_path))
        table = data.describe().set_index("split")
        assert data.shape == (3, 12, 12)
        assert table.loc["probe", "images"] == 40
        assert table.loc["probe", "share 0"] == 0.5
        # Forty patients, ten in the probe: no image of a kept patient is lost.
        assert table["groups"].sum() == 40
        assert table["images"].sum() == 160
        assert "not for clinical use" in data.notice
        assert load("arrays", path=written(tmp_path)).fingerprint == data.fingerprint
        assert load("arrays", path=written(tmp_path), seed=1).fingerprint != data.fingerprint

    def test_pixels_and_labels_are_those_of_the_file(self, tmp_path: Path) -> None:
        content = example()
        data = load("arrays", path=str(written(tmp_path)), probe=16)
        pixels = {picture.tobytes(): i for i, picture in enumerate(content["images"])}
        patients = sorted(set(content["groups"].tolist()))
        for split in data.splits.values():
            for image, label, group in zip(split.images, split.labels, split.groups, strict=True):
                row = pixels[(image.movedim(0, -1) * 255).round().to(torch.uint8).numpy().tobytes()]
                assert int(label) == content["labels"][row]
                assert patients[int(group)] == content["groups"][row]

    def test_given_split_is_kept_and_probe_comes_from_train(self, tmp_path: Path) -> None:
        split = given_split("train", "train", "train", "val", "test")
        data = load("arrays", path=written(tmp_path, split=split), probe=14)
        content = example()
        patients = sorted(set(content["groups"].tolist()))
        for part, name in (("test", "test"), ("validation", "val")):
            want = set(content["groups"][split == name].tolist())
            assert {patients[g] for g in data.splits[part].groups.tolist()} == want
            assert len(data.splits[part]) == (split == name).sum()
        assert torch.bincount(data.probe.labels).tolist() == [7, 7]
        # Two whole patients of each class, of four pictures, are set aside for seven.
        assert len(data.train) == (split == "train").sum() - 16

    def test_limit_classes_and_root(self, tmp_path: Path) -> None:
        path = written(tmp_path, labels=np.repeat(["a", "b", "c", "d"], 40))
        whole = load("arrays", path=path, probe=16)
        few = load("arrays", path=path.name, root=tmp_path, probe=16, limit=4)
        assert torch.bincount(few.train.labels).tolist() == [4] * 4
        assert torch.bincount(few.test.labels).tolist() == [4] * 4
        assert torch.equal(few.probe.images, whole.probe.images)
        assert set(few.train.groups.tolist()) <= set(whole.train.groups.tolist())
        two = load("arrays", path=path, probe=8, classes=["c", "b+a"])
        assert two.class_names == ("c", "b+a")
        assert two.describe()["images"].sum() == 120
        with pytest.raises(AkpError, match=r"unknown class of mine.npz 'e': .*valid: a, b, c, d"):
            load("arrays", path=path, classes=["a", "e"])

    def test_given_split_without_validation_carves_a_tenth_of_train(self, tmp_path: Path) -> None:
        split = given_split("train", "train", "train", "test", "probe")
        data = load("arrays", path=written(tmp_path, split=split))
        assert data.describe()["groups"].tolist() == [22, 2, 8, 8]

    def test_source_and_patient_are_groups_and_none_is_said(self, tmp_path: Path) -> None:
        whole = load("arrays", path=written(tmp_path))
        groups = example()["groups"]
        for key in ("source", "patient"):
            data = load("arrays", path=written(tmp_path, groups=None, **{key: groups}))
            assert data.fingerprint == whole.fingerprint
        alone = load("arrays", path=written(tmp_path, groups=None))
        assert "No groups are given" in alone.notice
        assert alone.describe()["groups"].sum() == 160

    def test_string_labels_class_names_and_terms(self, tmp_path: Path) -> None:
        text = np.repeat(["tumour", "normal"], 80)
        assert load("arrays", path=written(tmp_path, labels=text)).class_names == ("normal", "tumour")
        named = load(
            "arrays", path=written(tmp_path, labels=text, class_names=["tumour", "normal"], licence="CC0")
        )
        assert named.class_names == ("tumour", "normal")
        # Patients are numbered by name: the first twenty are the tumours.
        assert torch.equal(named.train.labels, (named.train.groups >= 20).long())
        assert named.licence == "CC0"
        assert "states no provenance" in named.provenance
        encoded = load("arrays", path=written(tmp_path, labels=text.astype("S")))
        assert encoded.class_names == ("normal", "tumour")

    def test_grey_float_images_and_resizing(self, tmp_path: Path) -> None:
        ramp = np.tile(np.linspace(0, 1, 12, dtype=np.float32), (160, 12, 1))
        path = written(tmp_path, images=ramp)
        assert load("arrays", path=path).shape == (1, 12, 12)
        small = load("arrays", path=path, side=8)
        assert small.shape == (1, 8, 8)
        assert small.train.images.mean() == pytest.approx(0.5, abs=1e-4)
        assert (small.train.images.diff(dim=-1) > 0).all()

    def test_fine_stripes_are_averaged_not_skipped(self, tmp_path: Path) -> None:
        stripes = np.tile(np.float32([1, 0, 0, 0]), (160, 32, 8))
        assert load(
            "arrays", path=written(tmp_path, images=stripes), side=8
        ).train.images.mean() == pytest.approx(0.25, abs=0.03)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            (
                {"images": None},
                r"expected the keys images and labels in mine.npz, got labels, groups; add images",
            ),
            ({"labels": None, "label": [0]}, "has the key 'label', which is not read: did you mean 'labels'"),
            ({"groups": None, "group": [0]}, "has the key 'group', which is not read: did you mean 'groups'"),
            ({"images": np.zeros((160, 12))}, r"images of shape \(N, H, W\) or .* got \(160, 12\)"),
            ({"images": np.zeros((0, 4, 4))}, r"images of shape .* got \(0, 4, 4\)"),
            ({"images": np.zeros((160, 3, 12, 12))}, r"looks like \(N, C, H, W\); move the channels last"),
            ({"images": np.zeros((160, 12, 12, 30))}, "at most 16 channels, last"),
            ({"images": np.zeros((160, 8, 8), dtype=np.int32)}, "images as uint8, or float .* got int32"),
            (
                {"images": np.full((160, 8, 8), 200.0)},
                r"float images in \[0, 1\] in mine.npz, got 200 to 200",
            ),
            ({"images": np.full((160, 8, 8), -0.5)}, "got -0.5 to -0.5; scale them"),
            (
                {"images": np.full((160, 8, 8), np.nan)},
                "finite pixels in mine.npz, got NaN or infinity in 160",
            ),
            ({"labels": np.zeros(159, dtype=int)}, r"labels of shape \(160,\), one for each .* got \(159,\)"),
            ({"labels": np.zeros((160, 1), dtype=int)}, r"labels of shape .* got \(160, 1\)"),
            ({"labels": np.zeros(160, dtype=int)}, "labels of at least two classes in mine.npz, got one: 0"),
            ({"labels": np.linspace(0, 1, 160)}, "labels as whole numbers or strings .* got float64"),
            (
                {"labels": np.array([None, 1] * 80)},
                "plain arrays in mine.npz, got pickled Python objects in labels",
            ),
            ({"groups": np.zeros(3, dtype=int)}, r"groups of shape \(160,\)"),
            ({"class_names": ["a"]}, "labels from 0 to 0, for the 1 class_names of mine.npz, got 0 to 1"),
            ({"class_names": ["a", "a"]}, "distinct class_names"),
            ({"class_names": ["a", "b", "c"]}, "at least 5 groups that are mostly 'c' in mine.npz, .* got 0"),
            (
                {"labels": np.repeat(["normal", "oscc"], 80), "class_names": ["normal", "oscx"]},
                "unknown label in mine.npz 'oscc': did you mean 'oscx'",
            ),
            ({"labels": np.repeat([0, 1], [144, 16])}, "at least 5 groups that are mostly '1' .* got 4; add"),
            (
                {"split": given_split("train", "tset")},
                "unknown split in mine.npz 'tset': did you mean 'test'",
            ),
            ({"split": np.repeat([0, 1], 80)}, "split as strings"),
            (
                {"split": given_split("train", "val")},
                "'test' in the split of mine.npz, got train, validation",
            ),
            (
                {"split": np.array(["train", "test"] * 80)},
                r"40 groups of mine.npz .* \(p00, p01, p02, \.\.\.\)",
            ),
            (
                {"split": np.repeat(["train", "test"], 80)},
                "at least 3 groups that are mostly '1' in the train part",
            ),
            (
                {"split": np.repeat(["train", "test", "train"], [72, 4, 84])},
                "images of each class in test, got none of '1'",
            ),
        ],
    )
    def test_bad_content(self, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(AkpError, match=message):
            load("arrays", path=written(tmp_path, **changes))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({}, r"expected path, the .npz file to load, got None; for example load\("),
            ({"path": ""}, r"expected path, the .npz file to load, got ''; for example load\("),
            ({"path": 3}, "expected path, the .npz file to load, got 3"),
            ({"path": "none.npz"}, "expected an .npz file, got no file at none.npz"),
            (
                {"path": ".", "fields": 2},
                "'arrays' takes no option 'fields'; it takes: path, side, seed, probe",
            ),
            ({"path": "."}, "expected an .npz file, got no file at"),
            ({"path": "x", "probe": 1}, "expected probe as a whole number from 2 to"),
            ({"path": "x", "side": 4}, "expected side as a whole number from 8 to 512"),
        ],
    )
    def test_bad_options(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(AkpError, match=message):
            load("arrays", **options)

    def test_probe_that_cannot_be_had(self, tmp_path: Path) -> None:
        with pytest.raises(
            AkpError, match=r"60 images of each class .* got 40; ask for probe=80 at the most"
        ):
            load("arrays", path=written(tmp_path), probe=120)
        split = given_split("train", "test", "probe", "val")
        with pytest.raises(AkpError, match=r"mine.npz marks its own probe images: leave out probe=8"):
            load("arrays", path=written(tmp_path, split=split), probe=8)

    def test_oblong_images_are_not_squeezed(self, tmp_path: Path) -> None:
        path = written(tmp_path, images=np.zeros((160, 10, 12)))
        assert load("arrays", path=path).shape == (1, 10, 12)
        with pytest.raises(AkpError, match="square images to resize with side, got 10 x 12; crop them first"):
            load("arrays", path=path, side=8)

    @pytest.mark.parametrize("content", [b"", b"not an archive at all", b"PK\x03\x04" + bytes(200)])
    def test_not_an_archive(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "mine.npz"
        path.write_bytes(content)
        with pytest.raises(AkpError, match=r"expected mine.npz to be an .npz file"):
            load("arrays", path=path)

    def test_truncated_and_damaged(self, tmp_path: Path) -> None:
        content = written(tmp_path).read_bytes()
        path = tmp_path / "cut.npz"
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(AkpError, match=r"expected cut.npz to be an .npz file .*cut short"):
            load("arrays", path=path)
        path.write_bytes(content[:3000] + bytes(b ^ 255 for b in content[3000:3100]) + content[3100:])
        with pytest.raises(AkpError, match=r"expected cut.npz to be a whole .npz file, got .*copy it again"):
            load("arrays", path=path)

    def test_an_archive_of_other_things(self, tmp_path: Path) -> None:
        path = tmp_path / "notes.zip"
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("images", "hello")
            file.writestr("labels", "hello")
        with pytest.raises(AkpError, match=r"images of shape \(N, H, W\) or .* in notes.zip, got \(\)"):
            load("arrays", path=path)

    def test_a_single_array_file(self, tmp_path: Path) -> None:
        path = tmp_path / "images.npy"
        np.save(path, np.zeros(3))
        with pytest.raises(AkpError, match=r"expected images.npy to be an .npz file"):
            load("arrays", path=path)


class TestRegistry:
    def test_names(self) -> None:
        assert {"arrays", "digits", "nuclei"} <= set(names())

    @pytest.mark.parametrize("name", ["nuclie", "Nuclei"])
    def test_unknown_name(self, name: str) -> None:
        with pytest.raises(
            AkpError, match=rf"unknown data set '{name}': did you mean 'nuclei'\? valid: arrays, "
        ):
            load(name)

    @pytest.mark.parametrize("name", [None, 3, ["nuclei"]])
    def test_a_name_that_is_no_name(self, name: object) -> None:
        with pytest.raises(AkpError, match="unknown data set"):
            load(name)  # type: ignore[arg-type]

    def test_a_new_data_set_is_one_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("akp_core.datasets._LOADERS", {})

        def small(*, side: int = 8) -> Dataset:
            return digits.load(side=side)

        register("small", small)
        assert names() == ("small",)
        assert load("small", side=9).shape == (1, 9, 9)
        with pytest.raises(AkpError, match="'small' takes no option 'fields'; it takes: side"):
            load("small", fields=2)
        register("small", small)
        with pytest.raises(AkpError, match="expected a new name for a data set, got 'digits'"):
            register("digits", small)

    def test_a_loader_that_load_cannot_call(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("akp_core.datasets._LOADERS", {})

        def positional(side: int = 8) -> Dataset:
            return digits.load(side=side)

        def foreign(*, colour: bool = True) -> Dataset:
            return digits.load(side=8 + colour)

        with pytest.raises(
            AkpError, match="keyword-only options with defaults in the loader of 'a', got side"
        ):
            register("a", positional)
        with pytest.raises(AkpError, match="unknown option of the loader of 'b' 'colour'"):
            register("b", foreign)


def test_importing_the_package_does_not_import_scikit_learn() -> None:
    code = "import sys, akp_core.datasets; sys.exit('sklearn' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
