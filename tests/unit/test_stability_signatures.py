"""Verdicts on stability say what planted numbers say, and nothing more than they can."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from akp_core.errors import AkpError
from akp_core.lenses import stability_contrast as contrasts
from akp_core.lenses import stability_error as error
from akp_core.lenses import stability_signatures as signs
from akp_core.lenses.stability_architectures import architecture, titled

TAPS = ("block1", "block2", "logits")


def planted(members: int = 8, *, fall: float = 0.2, spread: float = 0.1, seed: int = 0) -> pd.DataFrame:
    """D falls by half and G doubles from tap to tap after training; before it all are about 1."""
    rng, rows = np.random.default_rng(seed), []
    for member in range(members):
        for step in (0, 5, 10):
            for k, tap in enumerate(TAPS):
                trained = step / 10
                d, g = 2.0 ** (-k * trained), 2.0 ** (k * trained)
                d *= np.exp(spread * rng.standard_normal()) * (fall if step == 10 else 1.0)
                rows.append(("control", member, step, tap, d, g, d / g))
    return pd.DataFrame(rows, columns=["family", "member", "step", "tap", "D", "G", "R"])


def test_a_contrast_is_the_geometric_mean_with_the_exact_p_of_sign_exchanges() -> None:
    logs = np.log([2.0, 2.0, 4.0, 1.5, 3.0])
    found = contrasts.contrast(logs, level=0.05, seed=0)
    assert found.factor == pytest.approx(np.exp(logs.mean()))
    assert found.low < found.factor < found.high
    assert found.p_value == pytest.approx(2 / 2**5)
    assert found.smallest_p == pytest.approx(2 / 2**5)
    assert found.networks == 5


def test_the_interval_of_a_contrast_covers_as_it_says() -> None:
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(200):
        found = contrasts.contrast(0.3 + rng.standard_normal(6), level=0.1, seed=0)
        inside += np.log(found.low) <= 0.3 <= np.log(found.high)
    assert 166 <= inside <= 193


@pytest.mark.parametrize("logs", [[0.1], [0.1, float("nan")], []])
def test_a_contrast_of_fewer_than_two_networks_is_refused(logs: list[float]) -> None:
    with pytest.raises(AkpError, match="finite factors of at least 2 networks"):
        contrasts.contrast(logs, level=0.05, seed=0)


def test_planted_signatures_are_found_and_counted() -> None:
    found = signs.signatures(planted()).set_index("statement")
    assert (found["verdict"] == "reproduced").all()
    fall = found.loc["R at logits falls in training"]
    assert fall["factor"] == pytest.approx(0.2 / 16, rel=0.2)
    assert found.loc["after training G rises with depth, a tap", "factor"] == pytest.approx(2.0)
    assert found.loc["after training D falls with depth, a tap", "factor"] == pytest.approx(0.5, rel=0.1)
    assert contrasts.said(found.reset_index()).startswith("**Of 6 statements: 6 reproduced.**")


def test_the_opposite_is_not_reproduced_and_noise_is_undecided() -> None:
    wrong = planted()
    wrong["R"] = np.where(wrong["step"] > 0, 30 / wrong["R"], 30)
    found = signs.signatures(wrong)
    assert found["verdict"].iloc[0] == "not reproduced"
    assert found["verdict"].iloc[1] == "not reproduced"
    flat = planted(fall=16, spread=1.0, seed=3)
    assert signs.signatures(flat)["verdict"].iloc[1] == "undecided"


def test_three_networks_decide_nothing_by_a_p_value_and_this_is_said() -> None:
    found = signs.signatures(planted(3))
    assert set(found["verdict"].iloc[1:]) == {"undecided"}
    assert "take more" in contrasts.said(found)


def test_what_is_said_of_few_networks_follows_the_level() -> None:
    found = signs.signatures(planted(members=6), level=0.01)
    assert "cannot give a p-value below 0.01" in contrasts.said(found, level=0.01)
    assert "cannot give a p-value" not in contrasts.said(found, level=0.05)


def test_lost_networks_leave_their_row_and_a_row_without_networks_is_undecided() -> None:
    table = planted()
    table.loc[(table["member"] == 0) & (table["step"] == 10), ["D", "G", "R"]] = np.nan
    assert signs.signatures(table)["networks"].tolist() == [8, 7, 7, 7, 7, 7]
    table.loc[table["step"] == 10, ["D", "G", "R"]] = np.nan
    found = signs.signatures(table)
    assert found["verdict"].iloc[1] == "undecided"
    assert contrasts.card(found.iloc[1])["value"] is None


def test_an_identity_among_the_taps_counts_once() -> None:
    table = planted()
    twin = table[table["tap"] == "block2"].assign(tap="features")
    doubled = pd.concat([table[table["tap"] != "logits"], twin, table[table["tap"] == "logits"]])
    assert signs.depth_slopes(doubled, "G").equals(signs.depth_slopes(table, "G"))


def test_signatures_want_one_family_and_an_untrained_network() -> None:
    with pytest.raises(AkpError, match="one family"):
        signs.signatures(pd.concat([planted(), planted().assign(family="other")]))
    with pytest.raises(AkpError, match="the untrained networks and a later step"):
        signs.signatures(planted().query("step > 0"))
    with pytest.raises(AkpError, match="unknown tap 'logit': did you mean 'logits'"):
        signs.signatures(planted(), output="logit")
    with pytest.raises(AkpError, match="at least two taps"):
        signs.signatures(planted().query("tap == 'logits'"))


def test_averages_are_geometric_and_count_the_lost() -> None:
    table = planted(4).assign(R=[2.0, 8.0] * 18)
    table.loc[0, "R"] = np.nan
    found = signs.averaged(table, by=["family"], quantities=["R"]).iloc[0]
    assert found["networks"] == 35
    assert found["lost"] == 1
    assert found["value"] == pytest.approx(np.exp((17 * np.log(2) + 18 * np.log(8)) / 35))


def family_table(exponent: float, *, groups: int = 12, spread: float = 0.05, seed: int = 0) -> pd.DataFrame:
    rng, rows = np.random.default_rng(seed), []
    for g in range(groups):
        r = 10 ** (-3 * g / groups)
        for _ in range(5):
            noise = np.exp(spread * rng.standard_normal(2))
            rows.append((f"g{g}", r * noise[0], 0.2 * r**exponent * noise[1]))
    return pd.DataFrame(rows, columns=["family", "R", "test_error"])


@pytest.mark.parametrize(
    ("exponent", "verdict"),
    [(0.5, error.REPRODUCED), (0.0, error.REFUTED), (0.2, error.OTHER), (-0.3, error.REFUTED)],
)
def test_a_planted_law_is_found_again(exponent: float, verdict: str) -> None:
    law = error.error_law(family_table(exponent), smallest=1e-4, rng=np.random.default_rng(0))
    assert law.low <= exponent <= law.high
    assert law.exponent == pytest.approx(exponent, abs=0.05)
    assert law.prefactor == pytest.approx(0.2, rel=0.1)
    assert law.verdict == verdict
    assert law.decades == pytest.approx(3 * 11 / 12, abs=0.1)
    means = family_table(exponent).groupby("family", sort=False).mean()
    assert law.correlation == pytest.approx(spearmanr(means["R"], means["test_error"]).statistic, abs=0.03)
    assert (law.p_value < 0.01) == bool(exponent)


def test_a_range_too_short_is_undecided() -> None:
    table = family_table(0.5, groups=6)
    table["R"] = table["R"] ** 0.05
    table["test_error"] = 0.2 * np.repeat(np.exp(0.3 * np.random.default_rng(1).standard_normal(6)), 5)
    law = error.error_law(table, smallest=1e-4, rng=np.random.default_rng(0))
    assert law.verdict == error.UNDECIDED


def test_lost_networks_and_errors_of_zero_are_counted_not_dropped_unsaid() -> None:
    table = family_table(0.5)
    table.loc[table["family"] == "g3", "R"] = np.nan
    table.loc[table["family"] == "g11", "test_error"] = 0.0
    law = error.error_law(table, smallest=1e-3, rng=np.random.default_rng(0))
    assert (law.lost, law.absent, law.groups) == (5, ("g3",), 11)
    assert np.isfinite([law.exponent, law.low, law.high]).all()


def test_too_few_groups_are_refused_or_said() -> None:
    table = family_table(0.5, groups=3)
    with pytest.raises(AkpError, match="at least 4 groups"):
        error.error_law(table, smallest=1e-3, rng=np.random.default_rng(0))
    row = error.error_laws({"x": (table, "family")}, smallest=1e-3, rng=np.random.default_rng(0)).iloc[0]
    assert row["verdict"] == error.UNDECIDED
    assert "at least 4 groups" in error.sentence(row)
    assert error.card(row)["tone"] == "open"
    with pytest.raises(AkpError, match="half an image"):
        error.error_law(family_table(0.5), smallest=0.0, rng=np.random.default_rng(0))
    with pytest.raises(AkpError, match="columns family, R and test_error"):
        error.error_law(table.drop(columns="R"), smallest=1e-3, rng=np.random.default_rng(0))


def test_an_architecture_is_read_as_it_is_titled() -> None:
    assert titled(architecture(" cnn  8x2")) == "cnn 8x2"
    with pytest.raises(AkpError, match="KIND WIDTHxDEPTH"):
        architecture("cnn 8")
    with pytest.raises(AkpError, match="unknown network 'cn'"):
        architecture("cn 8x2")
