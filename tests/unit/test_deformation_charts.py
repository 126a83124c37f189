"""What the reader bends without a kernel is what the library bends; and the tables of the page."""

import re

import numpy as np
import pytest
import torch
import vl_convert

from akp_core.charts.deformation import bend_an_image, bendable, folding_shares
from akp_core.deformation import fields, folds, measured, temperature_for, warp
from akp_core.errors import AkpError

SIDE = 16


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


TABLE = bendable(SIDE, [2, 3], 2, stream())
PICTURES = {
    "one": torch.rand(SIDE, SIDE, generator=stream(1)),
    "two": torch.rand(SIDE, SIDE, generator=stream(2)),
}


def shown(**values: object) -> tuple[np.ndarray, str]:
    """The greys of the three panels and all the text, as Vega draws them with the controls so set."""
    spec = bend_an_image(PICTURES, TABLE).to_dict()
    for param in spec["params"]:
        param["value"] = values.get(param["name"], param["value"])
    drawn = vl_convert.vegalite_to_svg(spec)
    greys = np.array([int(g) for g in re.findall(r'fill="rgb\((\d+),', drawn)])
    return greys.reshape(3, SIDE, SIDE), " ".join(re.findall(r">([^<>]+)</t", drawn))


@pytest.mark.parametrize(
    ("picture", "move", "cutoff", "draw"), [("one", 1.0, 3, 1), ("two", 3.2, 2, 2), ("one", 0.0, 2, 1)]
)
def test_the_chart_bends_as_warp_does(picture: str, move: float, cutoff: int, draw: int) -> None:
    original, bent, noisy = shown(picture=picture, move=move, cutoff=str(cutoff), field=str(draw))[0]
    image = (255 * PICTURES[picture]).round().double()
    field = np.stack([TABLE[f"{name}{cutoff}_{draw}"].to_numpy().reshape(SIDE, SIDE) for name in "vh"])
    wanted = warp(image[None, None], move * torch.from_numpy(field)[None])[0, 0].numpy()
    np.testing.assert_array_equal(original, image.numpy())
    assert np.abs(bent - wanted).max() <= 0.51
    size = np.linalg.norm(wanted - image.numpy())
    noise = TABLE["noise"].to_numpy().reshape(SIDE, SIDE)
    assert np.abs(noisy - np.clip(image.numpy() + size * noise, 0, 255)).max() <= 0.6


def test_the_chart_says_when_it_folds_and_how_warm_it_is() -> None:
    onset = float(TABLE["f3_1"].min())
    assert "no fold" in shown(move=onset - 0.05)[1]
    assert "FOLDED" in shown(move=onset + 0.05)[1]
    assert f"folds from {onset:.2f} px" in shown()[1]
    ratio = (np.pi * 3 * 1.5 / SIDE) ** 2
    assert f"{ratio:.2f} T_max" in shown(move=1.5)[1]


def test_the_table_holds_fields_of_one_pixel_and_where_they_fold() -> None:
    draw = stream()
    torch.randn(SIDE, SIDE, generator=draw, dtype=torch.float64)
    field = fields(2, (SIDE, SIDE), cutoff=2, temperature=temperature_for(1, 2, SIDE), generator=draw)
    np.testing.assert_allclose(TABLE["h2_2"], field[1, 1].ravel(), atol=0.006)
    for draw_, onset in enumerate((TABLE["f2_1"].min(), TABLE["f2_2"].min())):
        one = field[draw_ : draw_ + 1]
        assert not folds((onset - 0.02) * one)
        assert folds((onset + 0.02) * one)
    assert np.linalg.norm(TABLE["noise"]) == pytest.approx(1, abs=1e-3)


def test_a_picture_of_another_size_is_refused() -> None:
    with pytest.raises(AkpError, match="expected pictures of 16 x 16 pixels, got wrong of shape"):
        bend_an_image({"wrong": torch.zeros(8, 8)}, TABLE)
    with pytest.raises(AkpError, match="missing: cutoff, ratio"):
        folding_shares(
            measured.folding([16], [3], [1.0], draws=5, generator=stream()).drop(columns=["cutoff", "ratio"])
        )


def test_measured_displacements_agree_with_their_law_and_other_laws_are_noticed(monkeypatch) -> None:
    settings = {"displacement": 1.0, "draws": 400}
    right = measured.displacements([16, 20], [2, 5], generator=stream(3), **settings)
    assert right["p_value"].min() > 1e-3
    assert ((right["low"] <= right["drawn"]) & (right["drawn"] <= right["high"])).all()
    true = measured.fields
    monkeypatch.setattr(measured, "fields", lambda *a, **k: 1.1 * true(*a, **k))
    wrong = measured.displacements([16, 20], [2, 5], generator=stream(3), **settings)
    assert wrong["p_value"].max() < 0.01


def test_measured_folds_grow_with_temperature_and_are_shares() -> None:
    found = measured.folding([16, 24], [3, 5], [0.1, 0.5, 1, 3], draws=150, generator=stream())
    for _, rows in found.groupby(["side", "cutoff"]):
        assert rows["share"].is_monotonic_increasing
        assert rows["share"].iloc[-1] > 0.5
    assert (found["low"] <= found["share"]).all()
    assert (found["share"] <= found["high"]).all()
    assert vl_convert.vegalite_to_svg(folding_shares(found).to_dict()).startswith("<svg")


def test_measured_linear_networks_have_their_exact_stability() -> None:
    found = measured.linear_stability(16, cutoff=3, displacement=0.5, images=400, generator=stream())
    assert found["p_value"].min() > 1e-3
    rows = found.set_index("network")
    assert rows.loc["mean of all pixels", "exact"] > 10
    assert rows.loc["difference of neighbours", "exact"] < 0.1
    assert rows.loc["eight random weights a pixel", "exact"] == pytest.approx(1, abs=1)
