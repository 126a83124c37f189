"""Every chart is valid, drawn without complaint, and says in words what it shows."""

import io
import itertools
import re

import numpy as np
import pandas as pd
import pytest
import vl_convert

from akp_core import charts
from akp_core.charts.clones import chunk_curves
from akp_core.charts.size import reach
from akp_core.charts.spread import which_spread
from akp_core.charts.stability import course
from akp_core.charts.tables import as_lines
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

CHUNKS = pd.DataFrame(
    [
        (q, "linear", "decay", w, s, 0.5, 0.4, 0.6)
        for q in ("out_of_sample", "train_error")
        for w in (4, 8)
        for s in (2, 4)
    ],
    columns=["quantity", "layer", "condition", "width", "size", "value", "low", "high"],
)
PUBLISHED = pd.DataFrame({"size": [16, 32], "train_error": [0.2, 0.1]})
COURSE = pd.DataFrame(
    [(e, t, q, 1 + e, 0.5, 3.0) for e in (0, 1) for t in TAPS for q in ("R", "D", "G")],
    columns=["epoch", "tap", "quantity", "value", "low", "high"],
)
POWER = pd.DataFrame(
    [
        (p, r, d, m, min(1.0, r * m / 10 - 0.2 * (not p)))
        for p in (False, True)
        for r in (1.0, 2.0)
        for d in (2, 5)
        for m in (4, 6, 8)
    ],
    columns=["paired", "ratio", "dimension", "members", "power"],
).assign(low=0.0, high=1.0)

MAKERS = {
    "histories": lambda: charts.histories(HISTORY, "test_error", "test error", onset=1.5),
    "heatmap": lambda: charts.heatmap(np.eye(3), list("abc"), list("def"), title="CKA"),
    "dispersions": lambda: charts.dispersions(CELLS),
    "explorer": lambda: charts.explorer(NETWORKS, CELLS),
    "which spread": lambda: which_spread(CELLS, level=0.05),
    "chunks": lambda: chunk_curves(CHUNKS, PUBLISHED),
    "course": lambda: course(COURSE),
    "reach": lambda: reach(POWER, aim=0.8),
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
    (text,) = spec["datasets"].values()
    rows = pd.read_csv(io.StringIO(text)).to_dict("records")
    assert {(r["row"], r["column"]): r["value"] for r in rows} == {
        ("a", "c"): 1.0, ("a", "d"): 0.25, ("b", "c"): 0.5, ("b", "d"): 0.75,
    }  # fmt: skip


def test_bad_tables_say_what_is_missing() -> None:
    with pytest.raises(AkpError, match=r"expected a table with the columns .* missing: epoch"):
        charts.histories(HISTORY.drop(columns="epoch"), "test_error", "test error")
    with pytest.raises(AkpError, match=r"expected 2 x 2 values to match the names, got \(3, 3\)"):
        charts.heatmap(np.eye(3), ["a", "b"], ["c", "d"], title="CKA")
    with pytest.raises(AkpError, match="at least one family with a finite ratio"):
        which_spread(CELLS.assign(ratio=np.inf), level=0.05)


def texts(spec: dict) -> list[str]:
    """All words of a chart as it is drawn."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", vl_convert.vegalite_to_svg(spec))


def test_the_most_spread_stress_stands_on_top_and_is_told_by_the_test() -> None:
    ratios, p = [0.5, 1.0, 2.0, 4.0, 0.7, 3.0, 1.0, 0.6], [0.01, 0.01, 0.2, 0.01, 0.01, 0.2, 0.01, 0.01]
    cells = CELLS.assign(ratio=ratios, p_value=p)
    spec = which_spread(cells, level=0.05).to_dict()
    params = {param["name"]: param for param in spec["params"]}
    assert params["spread_tap"]["value"] == "features"
    for onset, order, numbers in (
        (0.25, ["sine", "tanh"], {"3.00", "1.00"}),
        (0.5, ["tanh", "sine"], {"4.00", "0.60"}),
    ):
        params["spread_onset"]["value"] = onset
        shown = texts(spec)
        assert [word for word in shown if word in order] == order
        assert numbers <= set(shown)
    drawn = pd.read_csv(
        io.StringIO(max((t for t in spec["datasets"].values() if isinstance(t, str)), key=len))
    )
    told = drawn.set_index(["stress", "onset", "tap"])["found"].sort_index()
    assert told["tanh", 0.25, "block1"] == told["sine", 0.5, "features"] == "gathered"
    assert told["tanh", 0.5, "features"] == "spread"
    assert told["sine", 0.25, "features"] == told["tanh", 0.5, "block1"] == "cannot be told"


def test_the_first_number_that_reaches_the_aim_is_written_at_its_line() -> None:
    spec = reach(POWER, aim=0.8).to_dict()
    params = {p["name"]: p for p in spec["params"]}
    for paired, numbers in ((False, ["6"]), (True, ["8", "4"])):
        params["paired"]["value"] = paired
        bold = re.findall(r'font-weight="bold"[^>]*>(\d+)<', vl_convert.vegalite_to_svg(spec))
        assert sorted(bold) == sorted(numbers)


def test_axes_that_may_be_of_nothing_have_ends_of_their_own() -> None:
    """Not every quantity was published, and Vega complains in the browser of an axis without ends."""
    vega = vl_convert.vegalite_to_vega(chunk_curves(CHUNKS, PUBLISHED).to_dict())
    domains = {scale["name"]: scale["domain"] for scale in vega["scales"]}
    assert domains["x"] == [2, 32]


def test_a_table_comes_back_from_its_lines() -> None:
    table = pd.DataFrame(
        {
            "name": ["a, b", "c\nd"],
            "x": [0.125, np.nan],
            "n": [1, 2],
            "yes": [True, False],
            "far": [np.inf, 1.0],
        }
    )
    lines = as_lines(table).to_dict()
    back = pd.read_csv(io.StringIO(lines["values"]))
    assert lines["format"]["parse"] == {"x": "number", "n": "number", "yes": "boolean", "far": "number"}
    assert back["name"].tolist() == table["name"].tolist()
    assert back["yes"].tolist() == [1, 0]
    assert back["far"].isna().tolist() == [True, False]
    assert back["x"].iloc[0] == 0.125


def test_a_column_of_nothing_is_read_as_numbers() -> None:
    lines = as_lines(pd.DataFrame({"x": [1.0, 2.0], "low": [None, None]}))
    assert lines.to_dict()["format"]["parse"] == {"x": "number", "low": "number"}
