"""Every chart is valid, drawn without complaint, and says in words what it shows."""

import itertools

import numpy as np
import pandas as pd
import pytest
import vl_convert

from akp_core import charts
from akp_core.errors import AkpError

FAMILIES = ("control", "tanh @ 25%")
HISTORY = pd.DataFrame(
    [(f, m, e, 0.5 / (e + 1) + 0.01 * m) for f, m, e in itertools.product(FAMILIES, range(3), range(4))],
    columns=["family", "member", "epoch", "test_error"],
)
STRESSES = list(itertools.product(("tanh", "sine"), (0.25, 0.5)))
TAPS = ("block1", "features")
CELLS = pd.DataFrame(
    [
        (f"{s} @ {o:.0%}", s, o, t, f"Verdict: AKP|{s} {t}|third")
        for (s, o), t in itertools.product(STRESSES, TAPS)
    ],
    columns=["family", "stress", "onset", "tap", "sentence"],
).assign(
    ratio=[0.5, 1, 2, 4] * 2, low=[0.25, 0, 1, 2] * 2, high=[1, 2, 4, np.inf] * 2, p_value=0.01, verdict="AKP"
)
NETWORKS = pd.DataFrame(
    [
        (t, s, o, m, m / 3, -m / 2)
        for t, (s, o), m in itertools.product(TAPS, [("control", np.nan), *STRESSES], range(3))
    ],
    columns=["tap", "stress", "onset", "member", "x", "y"],
).assign(distance=0.1, test_error=0.2)

MAKERS = {
    "histories": lambda: charts.histories(HISTORY, "test_error", "test error", onset=1.5),
    "heatmap": lambda: charts.heatmap(np.eye(3), list("abc"), list("def"), title="CKA"),
    "dispersions": lambda: charts.dispersions(CELLS),
    "explorer": lambda: charts.explorer(NETWORKS, CELLS),
}


@pytest.mark.parametrize("name", MAKERS)
def test_a_chart_is_described_and_can_be_drawn(name: str) -> None:
    spec = MAKERS[name]().to_dict()
    assert len(spec["description"]) > 40
    svg = vl_convert.vegalite_to_svg(spec)
    assert svg.count("<path") > 3
    assert "NaN" not in svg
    assert "undefined" not in svg


def test_the_explorer_shows_only_the_chosen_family_and_the_control() -> None:
    spec = charts.explorer(NETWORKS, CELLS).to_dict()
    first = vl_convert.vegalite_to_svg(spec)
    params = {p["name"]: p for p in spec["params"]}
    assert set(params) == {"stress", "onset", "tap"}
    assert params["tap"]["value"] == "features"
    assert first.count('aria-roledescription="point"') == 6, "three control networks and three stressed ones"
    assert "tanh features" in first
    assert "sine" not in first
    params["tap"]["value"] = "block1"
    second = vl_convert.vegalite_to_svg(spec)
    assert "tanh block1" in second
    assert "tanh features" not in second


def test_heat_map_values_are_those_given() -> None:
    values = np.array([[1.0, 0.25], [0.5, 0.75]])
    spec = charts.heatmap(values, ["a", "b"], ["c", "d"], title="CKA").to_dict()
    (rows,) = spec["datasets"].values()
    assert {(r["row"], r["column"]): r["value"] for r in rows} == {
        ("a", "c"): 1.0, ("a", "d"): 0.25, ("b", "c"): 0.5, ("b", "d"): 0.75,
    }  # fmt: skip


def test_bad_tables_say_what_is_missing() -> None:
    with pytest.raises(AkpError, match=r"expected a table with the columns .* missing: epoch"):
        charts.histories(HISTORY.drop(columns="epoch"), "test_error", "test error")
    with pytest.raises(AkpError, match=r"expected 2 x 2 values to match the names, got \(3, 3\)"):
        charts.heatmap(np.eye(3), ["a", "b"], ["c", "d"], title="CKA")
