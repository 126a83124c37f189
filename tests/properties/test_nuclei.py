"""The rendered nuclei: the same bits from the same seed, and the measurements in the pixels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from akp_core.datasets import Dataset, load, nuclei, rendering
from akp_core.datasets.morphology import BEYOND_WORST, SLOTS, draw_scene
from akp_core.datasets.rendering import FIELD, GRAIN_NODES, LAST, Scene, render
from akp_core.errors import AkpError

MEASURED = 30


@pytest.fixture(scope="module")
def two_fields() -> Dataset:
    return load("nuclei", fields=2)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return draw_scene(nuclei._table(), np.random.default_rng(0))


def one_nucleus(radius: float, *, modes: dict[int, complex] | None = None, chromatin: float = 0.0) -> Scene:
    """One nucleus in the middle of an evenly lit field, in focus."""
    coefficients = torch.zeros(1, 1, LAST - 1, dtype=torch.complex64)
    for k, value in (modes or {}).items():
        coefficients[0, 0, k - 2] = value
    return Scene(
        x=torch.full((1, 1), FIELD / 2),
        y=torch.full((1, 1), FIELD / 2),
        radius=torch.full((1, 1), radius),
        modes_re=coefficients.real,
        modes_im=coefficients.imag,
        absorption=torch.full((1, 1), 0.5),
        chromatin=torch.full((1, 1), chromatin),
        grain=torch.randn(1, GRAIN_NODES, GRAIN_NODES, generator=torch.Generator().manual_seed(0)),
        light=torch.tensor([[0.9, 0.0, 0.0, 0.0]]),
        focus=torch.zeros(1),
    )


def picture(scene: Scene, side: int = 96) -> Tensor:
    return render(scene, torch.zeros(len(scene), side, side))[0]


class TestBits:
    def test_same_seed_same_bits(self, two_fields: Dataset) -> None:
        assert load("nuclei", fields=2).fingerprint == two_fields.fingerprint

    def test_another_seed_other_bits_and_another_split(self, two_fields: Dataset) -> None:
        other = load("nuclei", fields=2, seed=1)
        assert other.fingerprint != two_fields.fingerprint
        assert set(other.test.groups.tolist()) != set(two_fields.test.groups.tolist())

    @pytest.mark.parametrize("chunk", [1, 7, 569])
    @pytest.mark.parametrize("side", [17, 32])
    def test_chunk_size_does_not_matter(self, scene: Scene, side: int, chunk: int) -> None:
        noise = torch.randn(len(scene), side, side, generator=torch.Generator().manual_seed(1)) * 0.02
        part = slice(0, 60)
        want = render(scene[part], noise[part])
        assert torch.equal(render(scene[part], noise[part], chunk=chunk), want)

    def test_more_fields_leave_the_first_ones_as_they_are(self, two_fields: Dataset) -> None:
        one = load("nuclei", fields=1)
        for name, split in one.splits.items():
            assert torch.equal(split.images, two_fields.splits[name].images[0::2]), name

    def test_the_fields_of_a_patient_differ(self, two_fields: Dataset) -> None:
        first, second = two_fields.test.images[0::2], two_fields.test.images[1::2]
        assert torch.equal(two_fields.test.groups[0::2], two_fields.test.groups[1::2])
        alike = [np.corrcoef(a.flatten(), b.flatten())[0, 1] for a, b in zip(first, second, strict=True)]
        assert np.mean(alike) < 0.2

    def test_a_scene_is_the_same_at_every_side(self) -> None:
        coarse, fine = (load("nuclei", fields=1, side=side).test.images[:, 0] for side in (32, 96))
        pooled = torch.nn.functional.avg_pool2d(fine[:, None], 3)[:, 0]
        of_pairs = [np.corrcoef(a.flatten(), b.flatten())[0, 1] for a, b in zip(coarse, pooled, strict=True)]
        assert np.median(of_pairs) > 0.9

    def test_the_callers_threads_are_restored(self, scene: Scene) -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(2)
        try:
            render(scene[:2], torch.zeros(2, 16, 16))
            assert torch.get_num_threads() == 2
        finally:
            torch.set_num_threads(before)


class TestSplit:
    def test_parts_are_disjoint_by_patient_and_complete(self, two_fields: Dataset) -> None:
        groups = [set(split.groups.tolist()) for split in two_fields.splits.values()]
        assert sum(map(len, groups)) == len(set.union(*groups)) == 569

    def test_probe_is_balanced_and_has_256_images_at_the_defaults(self) -> None:
        probe = load("nuclei").probe
        assert len(probe) == 256
        assert torch.bincount(probe.labels).tolist() == [128, 128]
        assert torch.bincount(probe.groups).max() == 4

    def test_shares_and_strata(self, two_fields: Dataset) -> None:
        table = two_fields.describe().set_index("split")
        rest = table.drop(index="probe")
        assert (rest["groups"] / 569).round(2).to_dict() == {"train": 0.55, "validation": 0.10, "test": 0.24}
        assert rest["share malignant"].max() - rest["share malignant"].min() < 0.01

    def test_patients_table_has_the_split_and_labels_of_the_images(self, two_fields: Dataset) -> None:
        table = nuclei.patients(0).set_index("group")
        for name, split in two_fields.splits.items():
            rows = table[table["split"] == name]
            assert set(rows.index) == set(split.groups.tolist())
            assert (table.loc[split.groups.numpy(), "label"].to_numpy() == split.labels.numpy()).all()
        assert (table["diagnosis"] == np.where(table["label"] == 1, "malignant", "benign")).all()
        assert table["label"].sum() == 212

    def test_split_depends_on_the_seed_only(self, two_fields: Dataset) -> None:
        other = load("nuclei", fields=1, side=16)
        for name, split in other.splits.items():
            assert set(split.groups.tolist()) == set(two_fields.splits[name].groups.tolist())

    def test_measurements_of_unseen_patients_predict_the_diagnosis(self) -> None:
        table = nuclei.patients(0)
        features = table.columns[4:]
        assert len(features) == MEASURED
        train, test = table[table["split"] == "train"], table[table["split"] == "test"]
        ceiling = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        ceiling.fit(train[features], train["label"])
        assert ceiling.score(test[features], test["label"]) > 0.93


class TestPixels:
    @pytest.mark.parametrize("side", [16, 32, 96])
    def test_types_and_ranges(self, side: int) -> None:
        data = load("nuclei", side=side, fields=1)
        assert data.shape == (1, side, side)
        for split in data.splits.values():
            assert split.images.dtype == torch.float32
            assert split.images.min() >= 0
            assert split.images.max() <= 1
            assert torch.equal((split.images * 255).round() / 255, split.images)
        assert 0.5 < data.channel_mean < 0.9
        assert 0.1 < data.channel_std < 0.3
        assert "not for clinical use" in data.notice

    def test_dark_area_follows_the_measured_radius(self) -> None:
        data = load("nuclei", fields=6)
        dark = (data.train.images < 0.65).double().mean(dim=(1, 2, 3)).view(-1, 6).mean(dim=1)
        radius = nuclei.patients(0).set_index("group")["mean radius"]
        patients = data.train.groups.view(-1, 6)[:, 0].numpy()
        assert stats.spearmanr(dark, radius.loc[patients]).statistic > 0.6

    def test_malignant_fields_are_darker_and_more_varied(self, two_fields: Dataset) -> None:
        dark = (two_fields.train.images < 0.65).double().mean(dim=(1, 2, 3))
        benign, malignant = (dark[two_fields.train.labels == label] for label in (0, 1))
        assert malignant.mean() > 1.3 * benign.mean()
        assert stats.mannwhitneyu(malignant, benign, alternative="greater").pvalue < 1e-6
        assert malignant.std() > benign.std()

    def test_a_round_nucleus_has_the_area_of_its_radius(self) -> None:
        for radius in (8.0, 14.0, 28.0):
            # Half of the absorption at the rim: 0.9 (1 - 0.5 x 1.2 / 2).
            covered = float((picture(one_nucleus(radius)) < 0.63).sum())
            assert covered == pytest.approx(np.pi * radius**2, rel=0.04)

    def test_contour_modes_give_the_outline_of_the_formula(self) -> None:
        modes = {2: 0.15 + 0.05j, 5: 0.08j, 14: 0.02 + 0j}
        at = torch.arange(96) + 0.5 - FIELD / 2
        y, x = torch.meshgrid(at, at, indexing="ij")
        angle = torch.atan2(y, x)
        outline = 20 * (1 + sum((c * torch.exp(1j * k * angle)).real for k, c in modes.items()))
        inside = (x**2 + y**2).sqrt() < outline
        drawn = picture(one_nucleus(20.0, modes=modes)) < 0.63
        assert (inside != drawn).sum() <= 0.01 * inside.sum()

    def test_chromatin_has_the_asked_standard_deviation(self) -> None:
        def spread(chromatin: float) -> float:
            scene = one_nucleus(40.0, chromatin=chromatin)
            flat = picture(one_nucleus(40.0))
            core = slice(30, 66)
            return float(((picture(scene) - flat) / 0.9)[core, core].std())

        assert spread(0.08) == pytest.approx(0.08, rel=0.2)
        assert spread(0.16) == pytest.approx(2 * spread(0.08), rel=0.1)

    def test_blur_has_the_asked_variance(self) -> None:
        point = torch.zeros(1, 33, 33)
        point[0, 16, 16] = 1.0
        blurred = rendering._blur(point, torch.tensor([1.7]), 2.5)[0]
        at = torch.arange(33) - 16.0
        assert float(blurred.sum()) == pytest.approx(1.0, abs=1e-5)
        assert float((blurred.sum(0) * at**2).sum()) == pytest.approx(1.7**2, rel=1e-3)

    def test_overlapping_nuclei_are_darker_where_they_overlap(self) -> None:
        scene = one_nucleus(20.0)
        twice = Scene(
            **{
                name: value.repeat(1, 2, *[1] * (value.ndim - 2))
                if name not in ("grain", "light", "focus")
                else value
                for name, value in vars(scene).items()
            }
        )
        assert picture(twice)[48, 48] < 0.6 * picture(scene)[48, 48]


class TestMorphology:
    def test_nuclei_have_the_measured_mean_and_spread(self) -> None:
        table = nuclei._table()
        draws = [draw_scene(table, np.random.default_rng([7, i])).radius for i in range(30)]
        radius = torch.cat(draws, dim=1).double().numpy()
        assert np.median(radius.mean(axis=1) / table["mean radius"]) == pytest.approx(1.0, abs=0.01)
        spread = table["radius error"] * 4, (table["worst radius"] - table["mean radius"]) / 1.345
        assert stats.spearmanr(radius.std(axis=1), sum(spread)).statistic > 0.95
        assert np.median(radius.std(axis=1) / (sum(spread) / 2)) == pytest.approx(1.0, abs=0.1)
        assert (radius.max(axis=1) <= BEYOND_WORST * table["worst radius"] + 1e-4).all()

    def test_the_assumed_number_of_nuclei_explains_the_table(self) -> None:
        table = nuclei._table()
        for name in ("radius", "texture", "symmetry", "smoothness"):
            ratio = (table[f"worst {name}"] - table[f"mean {name}"]) / table[f"{name} error"]
            assert 5.0 < ratio.median() < 6.0
        rng = np.random.default_rng(0)
        top = np.sort(rng.standard_normal((50_000, 16)), axis=1)[:, -3:].mean()
        assert top == pytest.approx(1.345, abs=0.01)

    @pytest.mark.parametrize(
        ("quantity", "modes"),
        [("concavity", range(3, 8)), ("smoothness", range(8, 15)), ("compactness", [2])],
    )
    def test_a_larger_measurement_gives_larger_modes(self, quantity: str, modes: range) -> None:
        def power(factor: float) -> Tensor:
            table = nuclei._table().copy()
            for column in (f"mean {quantity}", f"{quantity} error", f"worst {quantity}"):
                table[column] *= factor
            scene = draw_scene(table, np.random.default_rng(0))
            index = torch.tensor(modes) - 2
            return (scene.modes_re[..., index] ** 2 + scene.modes_im[..., index] ** 2).sum(dim=-1)

        less, more = power(0.2), power(0.8)
        assert more.mean() > 1.5 * less.mean()

    def test_number_of_nuclei_does_not_depend_on_the_diagnosis(self, scene: Scene) -> None:
        count = (scene.absorption > 0).sum(dim=1).numpy()
        assert set(count) == {3, 4, 5, 6, 7}
        assert SLOTS == 7
        label = nuclei._table()["label"]
        assert stats.mannwhitneyu(count[label == 1], count[label == 0]).pvalue > 0.01

    def test_the_diagnosis_reaches_the_picture_only_through_the_measurements(self, scene: Scene) -> None:
        table: pd.DataFrame = nuclei._table().copy()
        table["label"] = 1 - table["label"]
        other = draw_scene(table, np.random.default_rng(0))
        assert all(torch.equal(value, getattr(other, name)) for name, value in vars(scene).items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"side": 15}, r"expected side as a whole number from 16 to 96, got 15"),
        ({"side": 97}, "from 16 to 96, got 97"),
        ({"side": 32.0}, r"side as a whole number.*got 32\.0"),
        ({"side": True}, "got True"),
        ({"fields": 0}, "expected fields as a whole number from 1 to 1000, got 0"),
        ({"seed": -1}, "expected seed as a whole number from 0 .*got -1"),
        ({"seed": None}, "got None"),
        ({"probe": 8}, "'nuclei' takes no option 'probe'; it takes: side, fields, seed"),
        ({"path": "x.npz"}, "takes no option 'path'"),
    ],
)
def test_bad_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(AkpError, match=message):
        load("nuclei", **options)  # type: ignore[arg-type]


def test_patients_refuses_a_seed_that_is_none() -> None:
    with pytest.raises(AkpError, match=r"expected seed as a whole number .*got 'a'"):
        nuclei.patients("a")  # type: ignore[arg-type]
