"""Names beside points: no two cover one another where there is room."""

import re

import numpy as np
import pandas as pd
import vl_convert

from akp_core.charts.labels import PLACES, places
from akp_core.charts.stability_error import error_against

SIZE = {"width": 480, "height": 320, "font": 11}


def box(x: float, y: float, name: str, place: int) -> tuple[float, float, float, float]:
    align, dx, dy = PLACES[place]
    long = 0.58 * 11 * len(name)
    left = x + dx - {"left": 0, "center": long / 2, "right": long}[align]
    return left, y + dy - 6.05, left + long, y + dy + 6.05


def overlap(one: tuple[float, ...], two: tuple[float, ...]) -> bool:
    return all(min(one[k + 2], two[k + 2]) - max(one[k], two[k]) > 1e-9 for k in (0, 1))


def test_names_of_near_points_stand_apart() -> None:
    x, y = np.array([240.0, 250.0, 236.0, 252.0]), np.array([160.0, 166.0, 172.0, 150.0])
    names = ["resnet18 8x1", "mlp 128x3", "mlp 32x1", "cnn 16x1"]
    got = places(x, y, names, **SIZE)
    boxes = [box(*of) for of in zip(x, y, names, got, strict=True)]
    assert not [(i, j) for i in range(4) for j in range(i) if overlap(boxes[i], boxes[j])]
    first = [box(*of, 0) for of in zip(x, y, names, strict=True)]
    assert any(overlap(first[i], first[j]) for i in range(4) for j in range(i)), (
        "else there was nothing to do"
    )


def test_a_lone_name_has_the_first_place_and_one_at_the_edge_stays_inside() -> None:
    assert places(np.array([100.0]), np.array([100.0]), ["cnn"], **SIZE)[0] == 0
    corner = places(np.array([470.0]), np.array([12.0]), ["resnet18 8x1"], **SIZE)[0]
    left, top, right, bottom = box(470, 12, "resnet18 8x1", corner)
    assert left >= 0
    assert top >= 0
    assert right <= 480
    assert bottom <= 320


def test_groups_may_be_numbers_and_every_name_is_drawn_once() -> None:
    networks = pd.DataFrame(
        [
            {"view": view, "group": group, "R": 0.1 * (k + 1), "test_error": 0.2 + 0.01 * k}
            for view, groups in (("members", [0, 1, 2]), ("stresses", ["tanh", "sine"]))
            for k, group in enumerate(groups)
        ]
    )
    laws = pd.DataFrame({"view": ["members"], "exponent": [0.5], "prefactor": [0.2]})
    svg = vl_convert.vegalite_to_svg(error_against(networks, laws, published=(0.5, 0.2)).to_dict())
    assert sorted(re.findall(r">([012])</text>", svg)) == ["0", "1", "2"]
