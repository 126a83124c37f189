from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

from akp_core.charts.verdict import by_measure
from akp_core.errors import AkpError

MODELS = pd.DataFrame(
    [
        (measure, family, f"m{k}", 3.0 * k, -1.0 * k, 0.1 * k)
        for measure in ("cka", "rsa")
        for family in ("happy", "unhappy")
        for k in range(4)
    ],
    columns=["measure", "family", "model", "x", "y", "distance"],
)
VERDICTS = pd.DataFrame({"measure": ["cka", "rsa"], "sentence": ["Verdict: AKP|a", "Verdict: none|b"]})


def drawn(spec: dict) -> pd.DataFrame:
    """The table of models that a chart holds."""
    (text,) = (table for table in spec["datasets"].values() if table.startswith("measure,family"))
    return pd.read_csv(io.StringIO(text))


def test_a_menu_chooses_among_the_measures() -> None:
    spec = by_measure(MODELS, VERDICTS, start="rsa").to_dict()
    (menu,) = spec["params"]
    assert menu["value"] == "rsa"
    assert menu["bind"]["options"] == ["cka", "rsa"]
    assert "2 measures" in spec["description"]
    table = drawn(spec)
    assert len(table) == 16
    assert table[["x", "y"]].abs().max().max() == 1


def test_models_without_a_place_are_kept_out_of_the_scale_not_of_the_chart() -> None:
    nowhere = MODELS.assign(x=np.nan, y=np.nan, distance=np.nan)
    spec = by_measure(nowhere, VERDICTS).to_dict()
    assert drawn(spec)["x"].isna().all()
    assert len(drawn(spec)) == 16


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(AkpError, match="missing: distance"):
        by_measure(MODELS.drop(columns="distance"), VERDICTS)
    with pytest.raises(AkpError, match="a verdict for every measure"):
        by_measure(MODELS, VERDICTS.iloc[:1])
    with pytest.raises(AkpError, match="a start among cka, rsa"):
        by_measure(MODELS, VERDICTS, start="ckaa")
