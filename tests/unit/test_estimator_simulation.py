"""The estimator laboratory knows the truth it draws from, and its numbers are what the library says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import vl_convert

from akp_core.charts.estimators import how_biased, laboratory
from akp_core.errors import AkpError
from akp_core.similarity import MEASURES, MinibatchCKA, StreamedCKA, cka, procrustes
from akp_core.simulation.bandwidths import RELATIONS, bandwidths
from akp_core.simulation.estimators import ESTIMATORS, OF_CKA, estimates
from akp_core.simulation.flaws import flawed_cka
from akp_core.simulation.gaussian import GaussianPair, population_cka
from akp_core.simulation.precision import coverage, summary
from akp_core.simulation.sweeps import against_chance, sweep

TRUTHS = {"independent": 0.0, "half": 0.5}
AT = {"examples": 32, "width": 8, "batch": 8}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def small_sweep(names: object = tuple(OF_CKA), **changed: object) -> pd.DataFrame:
    given = {"along": {"examples": [16, 32], "batch": [4, 8]}, "at": AT, "truths": TRUTHS, "repeats": 20}
    return sweep(names, **{**given, "rng": rng(), **changed})  # type: ignore[arg-type]


# ---------------------------------------------------------------- the truth


def test_the_formula_is_the_limit_of_the_estimate() -> None:
    """Two representations with loadings on shared causes, and very many examples."""
    draw = rng(1)
    a, b = draw.standard_normal((3, 6)), draw.standard_normal((3, 4))
    z, own = draw.standard_normal((100_000, 3)), 0.7
    x, y = (z @ w + own * draw.standard_normal((100_000, w.shape[1])) for w in (a, b))
    known = population_cka(a.T @ a + own**2 * np.eye(6), b.T @ b + own**2 * np.eye(4), a.T @ b)
    assert 0.1 < known < 0.9
    assert cka(x, y) == pytest.approx(known, abs=0.01)
    assert population_cka(1e150 * np.eye(3), 1e-150 * np.eye(3), np.eye(3)) == pytest.approx(1)


@pytest.mark.parametrize(
    ("asked", "decay", "width"), [(0.0, 0.5, 6), (0.5, 0.0, 3), (0.9, 1.5, 12), (1.0, 0.5, 2)]
)
def test_a_pair_has_the_similarity_asked_for(asked: float, decay: float, width: int) -> None:
    pair = GaussianPair(width, asked, decay)
    assert population_cka(*pair.covariances()) == pytest.approx(asked)
    assert pair.known("cka", 10) == pytest.approx(asked)
    x, y = pair.draw(40_000, rng(2))
    stream = StreamedCKA()
    stream.add([x, y])
    assert float(stream.result()[0, 1]) == pytest.approx(asked, abs=0.02)
    for name in ("procrustes", "svcca", "pwcca"):
        assert MEASURES[name].function(x, y) == pytest.approx(pair.known(name, len(x)), abs=0.03), name
    both = np.cov(x, y, rowvar=False)
    assert np.allclose(both, np.block(blocks(pair)), atol=0.05)


def blocks(pair: GaussianPair) -> list[list[np.ndarray]]:
    xx, yy, xy = pair.covariances()
    return [[xx, xy], [xy.T, yy]]


@pytest.mark.parametrize("name", ["mutual_neighbours", "rsa"])
def test_chance_is_known_exactly_without_relation(name: str) -> None:
    pair = GaussianPair(5, 0.0)
    found = estimates(pair, [name], examples=24, batch=24, repeats=150, rng=rng(3))[name]
    error = found.std(ddof=1) / len(found) ** 0.5
    assert abs(found.mean() - pair.known(name, 24)) < 4 * error  # type: ignore[operator]
    assert GaussianPair(5, 0.5).known(name, 24) is None


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: GaussianPair(0, 0.5), "width as a whole number of at least 1"),
        (lambda: GaussianPair(4, 1.5), "cka as a number from 0 to 1, got 1.5"),
        (lambda: GaussianPair(4, float("nan")), "cka as a number from 0 to 1, got nan"),
        (lambda: GaussianPair(4, True), "cka as a number from 0 to 1, got True"),
        (lambda: GaussianPair(4, 0.5, -1), "decay as a number of at least 0"),
        (lambda: GaussianPair(4, 0.5, float("inf")), "decay as a number of at least 0"),
        (lambda: GaussianPair(4, 0.5).draw(0, rng()), "examples as a whole number"),
        (lambda: GaussianPair(4, 0.5).draw(5, 3), "rng as a numpy.random.Generator, got int"),
        (lambda: GaussianPair(4, 0.5).known("cca", 5), "unknown measure 'cca'"),
        (lambda: GaussianPair(4, 0.5).biased_cka(1), "examples as a whole number"),
        (lambda: population_cka(np.eye(2), np.eye(3), np.eye(2)), r"shapes \(p, p\), \(q, q\) and \(p, q\)"),
        (lambda: population_cka(np.eye(2), np.eye(2), np.full((2, 2), np.nan)), "finite covariances"),
        (lambda: population_cka(np.eye(2), np.zeros((2, 2)), np.eye(2)), "representations that vary"),
    ],
)
def test_an_impossible_truth_is_refused(call: Callable[[], object], said: str) -> None:
    with pytest.raises(AkpError, match=said):
        call()


# ---------------------------------------------------------------- estimates


def test_estimates_are_what_the_library_says_of_the_same_draws() -> None:
    pair, draw = GaussianPair(5, 0.5), rng(4)
    found = estimates(pair, ESTIMATORS, examples=18, batch=8, repeats=3, rng=rng(4))
    assert list(found) == list(ESTIMATORS)
    for i in range(3):
        x, y = pair.draw(18, draw)
        sums, parts = MinibatchCKA(), [(x[:8], y[:8]), (x[8:16], y[8:16])]
        for part in parts:
            sums.add(list(part))
        ratios = {e: [cka(*part, estimator=e) for part in parts] for e in ("biased", "unbiased")}
        expected = {
            "unbiased": cka(x, y),
            "biased": cka(x, y, estimator="biased"),
            "minibatch": sums.result()[0, 1],
            "mean_of_ratios": np.mean(ratios["unbiased"]),
            "mean_of_biased_ratios": np.mean(ratios["biased"]),
            "last_batch": ratios["unbiased"][-1],
            "procrustes": procrustes(x, y),
        }
        for name, value in expected.items():
            assert found[name][i] == pytest.approx(value, abs=1e-12), name


def test_a_batch_larger_than_the_data_is_all_of_them() -> None:
    found = estimates(GaussianPair(5, 0.5), OF_CKA, examples=12, batch=100, repeats=5, rng=rng())
    for name in ("minibatch", "mean_of_ratios", "last_batch"):
        assert np.allclose(found[name], found["unbiased"], atol=1e-12)
    assert np.allclose(found["mean_of_biased_ratios"], found["biased"], atol=1e-12)


def test_the_same_seed_gives_the_same_draws_to_every_estimator() -> None:
    how = {"examples": 12, "batch": 4, "repeats": 4}
    one, two, other = (
        estimates(GaussianPair(3, 0.5), names, **how, rng=rng(seed))  # type: ignore[arg-type]
        for names, seed in ((["unbiased"], 0), (["rsa", "unbiased"], 0), (["unbiased"], 1))
    )
    assert np.array_equal(one["unbiased"], two["unbiased"])
    assert not np.array_equal(one["unbiased"], other["unbiased"])


@pytest.mark.parametrize("cka_", [0.0, 0.5, 0.9])
def test_the_right_estimators_are_right_and_the_wrong_ones_are_found_wrong(cka_: float) -> None:
    pair = GaussianPair(32, cka_)
    found = estimates(pair, OF_CKA, examples=32, batch=4, repeats=100, rng=rng(5))
    away = {n: abs(v.mean() - cka_) / (v.std(ddof=1) / len(v) ** 0.5) for n, v in found.items()}
    assert away["unbiased"] < 3.5
    assert away["minibatch"] < 3.5
    assert min(away["biased"], away["mean_of_biased_ratios"]) > 10
    if cka_ > 0:
        assert away["mean_of_ratios"] > 3.5
    assert found["last_batch"].std() > 2 * found["minibatch"].std()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"names": ["unbaised"]}, "unknown estimator 'unbaised': did you mean 'unbiased'"),
        ({"names": []}, "at least one estimator"),
        ({"examples": 3}, "examples as a whole number of at least 4, got 3"),
        ({"batch": 3}, "batch as a whole number of at least 4, got 3"),
        ({"repeats": 1}, "repeats as a whole number of at least 2, got 1"),
        ({"rng": None}, "rng as a numpy.random.Generator"),
        ({"names": ["pwcca"], "examples": 5}, "fewer directions than the 4"),
    ],
)
def test_estimates_refuse_what_cannot_be(changed: dict[str, object], said: str) -> None:
    given = {"names": ["unbiased"], "examples": 8, "batch": 8, "repeats": 2, "rng": rng(), **changed}
    with pytest.raises(AkpError, match=said):
        estimates(GaussianPair(4, 0.5), **given)  # type: ignore[arg-type]


# ---------------------------------------------------------------- precision and sweeps


def test_the_summary_is_mean_spread_and_error_with_honest_intervals() -> None:
    draw = rng(6)
    held = {"mean": 0, "sd": 0, "rmse": 0}
    for _ in range(300):
        values = draw.gamma(4, 0.5, size=200)
        table = summary(values, 1.8).set_index("quantity")
        truth = {"mean": 2.0, "sd": 1.0, "rmse": (1 + 0.2**2) ** 0.5}
        for name, true in truth.items():
            held[name] += bool(table.loc[name, "low"] <= true <= table.loc[name, "high"])
    assert table.loc["mean", "value"] == pytest.approx(values.mean())
    assert table.loc["sd", "value"] == pytest.approx(values.std(ddof=1))
    assert table.loc["rmse", "value"] == pytest.approx(((values - 1.8) ** 2).mean() ** 0.5)
    assert all(265 <= count <= 298 for count in held.values()), held
    normal = summary(draw.normal(size=20_000)).set_index("quantity").loc["sd"]
    assert (normal["high"] - normal["value"]) / 1.96 == pytest.approx((2 * 20_000) ** -0.5, rel=0.05)
    same = summary(np.full(5, 0.5), 0.5)
    assert same["value"].tolist() == [0.5, 0, 0]
    assert same["low"].tolist() == same["high"].tolist() == [0.5, 0, 0]
    assert summary(values)["quantity"].tolist() == ["mean", "sd"]
    for bad in (np.array([1.0]), np.array([1.0, np.nan]), np.ones((2, 2))):
        with pytest.raises(AkpError, match="at least 2 finite estimates"):
            summary(bad)


def test_a_sweep_has_every_setting_and_no_other_axis_moves_it() -> None:
    table = small_sweep()
    assert len(table) == len(OF_CKA) * 2 * 4 * 3
    assert set(table["quantity"]) == {"mean", "sd", "rmse"}
    assert (table["refused"] == "").all()
    assert np.allclose(table["true"], table["cka"], atol=1e-12)
    assert (table["low"] <= table["value"]).all()
    assert (table["value"] <= table["high"]).all()
    pd.testing.assert_frame_equal(table, small_sweep())
    fewer = small_sweep(["unbiased", "biased"], along={"examples": [16, 32]})
    kept = table[table["axis"].eq("examples") & table["estimator"].isin(["unbiased", "biased"])]
    pd.testing.assert_frame_equal(kept.reset_index(drop=True), fewer)


def test_a_measure_that_refuses_a_setting_says_why_and_hinders_no_other() -> None:
    table = small_sweep(["unbiased", "pwcca"], along={"width": [4, 64]})
    refused = table[table["refused"] != ""]
    assert set(zip(refused["estimator"], refused["at"], strict=True)) == {("pwcca", 64)}
    assert refused["refused"].str.contains("every canonical correlation with it is 1").all()
    assert refused["value"].isna().all()
    assert table[table["refused"] == ""]["value"].notna().all()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"along": {"height": [3]}}, "unknown axis 'height'"),
        ({"along": {}}, "at least one value of an axis and one truth"),
        ({"truths": {}}, "at least one value of an axis and one truth"),
        ({"truths": {"too much": 2.0}}, "cka as a number from 0 to 1"),
        ({"at": {"examples": 32, "width": 8}}, "no batch"),
        ({"along": {"width": [0]}}, "width as a whole number"),
        ({"along": {"examples": [16, 3]}}, "examples as a whole number"),
        ({"rng": 0}, "rng as a numpy.random.Generator"),
        ({"repeats": 0}, "repeats as a whole number"),
    ],
)
def test_a_sweep_refuses_what_cannot_be(changed: dict[str, object], said: str) -> None:
    with pytest.raises(AkpError, match=said):
        small_sweep(**changed)


def test_coverage_tells_the_right_estimators_from_the_wrong() -> None:
    along = {"examples": [16, 32], "width": [8, 32]}
    held = coverage(small_sweep(along=along, truths={**TRUTHS, "strong": 0.9}, repeats=40))
    assert list(held.index) == list(OF_CKA)
    assert (held["settings"] == 12).all()
    assert held.loc[["unbiased", "minibatch"], "plausible"].all()
    assert not held.loc[["biased", "mean_of_biased_ratios"], "plausible"].any()
    assert held.loc["biased", "bias"] > 0.2 > held.loc["biased", "margin"]
    unknown = small_sweep(["rsa"], along={"examples": [16]}, truths={"half": 0.5})
    with pytest.raises(AkpError, match="something is known"):
        coverage(unknown)


def test_calibration_puts_every_measure_at_zero_without_relation() -> None:
    how = {"examples": 24, "width": 4, "repeats": 12, "permutations": 19}
    table = against_chance(TRUTHS, **how, rng=rng(7))  # type: ignore[arg-type]
    assert table["measure"].tolist() == list(MEASURES) * 2
    none, half = (table[table["truth"] == label] for label in TRUTHS)
    assert none["above"].max() <= 0.34
    assert none["raw"].max() > 0.2
    assert np.allclose(none["raw"], none["chance"], atol=0.1)
    assert half["above"].min() > 0.5
    for changed, said in (
        ({"permutations": 5}, "permutations as a whole number"),
        ({"repeats": 1}, "repeats as a whole number"),
        ({"examples": 5}, "at least 12|5 centred|examples"),
    ):
        with pytest.raises(AkpError, match=said):
            against_chance(TRUTHS, **{**how, **changed}, rng=rng())  # type: ignore[arg-type]
    with pytest.raises(AkpError, match="at least one truth"):
        against_chance({}, **how, rng=rng())  # type: ignore[arg-type]


def test_bandwidths_run_from_every_example_alone_to_the_linear_kernel() -> None:
    table = bandwidths((0.05, 1, 100), examples=32, width=2, repeats=25, rng=rng(8))
    assert len(table) == 4 * 2 * 3
    k = table.fillna({"fraction": 0}).set_index(["kernel", "fraction", "estimator", "relation"])["value"]
    for relation in RELATIONS:
        for estimator in ("biased", "unbiased"):
            wide, linear = k["rbf", 100, estimator, relation], k["linear", 0, estimator, relation]
            assert wide == pytest.approx(linear, abs=1e-3)
    assert k["rbf", 0.05, "biased", "independent"] > 0.9
    assert k["rbf", 1, "unbiased", "square"] > 0.1 > k["linear", 0, "unbiased", "square"]
    for given, said in (((), "at least one fraction"), ((0.0,), "fraction as a number above 0")):
        with pytest.raises(AkpError, match=said):
            bandwidths(given, examples=8, width=2, repeats=2, rng=rng())


# ---------------------------------------------------------------- flaws


def test_the_textbook_formula_is_right_as_algebra_and_wrong_as_arithmetic() -> None:
    x, y = (np.maximum(z, 0) for z in GaussianPair(64, 0.5).draw(256, rng(9)))
    assert flawed_cka(x, y) == pytest.approx(cka(x, y), abs=1e-9)
    far = [np.float32(z + 100) for z in (x, y)]
    assert not abs(flawed_cka(*far) - cka(x, y)) < 0.1
    assert cka(*far) == pytest.approx(cka(x, y), abs=1e-4)


def test_each_flaw_does_what_it_is_said_to_do() -> None:
    x, y = GaussianPair(16, 0.5).draw(40, rng(10))
    small = 0.01 * x
    assert flawed_cka(small, small) == pytest.approx(1)
    assert flawed_cka(small, small, epsilon=1e-4) < 0.01
    assert flawed_cka(small, small, root=False) > 1e3
    assert np.isnan(flawed_cka(x[:3], y[:3]))
    assert np.isnan(flawed_cka(x[:3], y[:3], clamp=True))
    draws = [GaussianPair(16, 0.0).draw(16, rng(seed)) for seed in range(40)]
    values, cut = ([flawed_cka(*d, clamp=clamp) for d in draws] for clamp in (False, True))
    assert min(values) < 0 == min(cut)
    assert np.allclose(np.clip(values, 0, 1), cut)
    with pytest.raises(AkpError, match=r"x as a floating \(examples, features\) array"):
        flawed_cka(np.ones((4, 2), dtype=int), y)
    with pytest.raises(AkpError, match="as many examples in y"):
        flawed_cka(x, y[:-1])


# ---------------------------------------------------------------- the chart


def test_the_chart_shows_what_is_chosen_and_says_what_it_shows() -> None:
    table = small_sweep()
    spec = laboratory(table, OF_CKA).to_dict()
    assert len(spec["description"]) > 40
    menus = {p["name"]: p for p in spec["params"]}
    assert [p["bind"]["options"] for p in menus.values()] == [
        ["examples", "batch"],
        ["independent", "half"],
        ["mean", "sd", "rmse"],
    ]
    seen = set()
    for axis in ("examples", "batch"):
        for quantity in ("mean", "sd", "rmse"):
            menus["axis"]["value"], menus["quantity"]["value"] = axis, quantity
            svg = vl_convert.vegalite_to_svg(spec)
            assert svg.count('aria-roledescription="point"') == len(OF_CKA) * 2
            assert "NaN" not in svg
            assert "undefined" not in svg
            seen.add(svg)
    assert len(seen) == 6
    assert "Root mean square error against examples in a batch" in svg


@pytest.mark.parametrize("truth", [0.0, 0.3, 0.9])
@pytest.mark.parametrize(("examples", "width", "decay"), [(16, 64, 0.0), (64, 16, 0.5), (128, 128, 1.0)])
def test_the_bias_of_cka_is_what_the_formula_says(
    truth: float, examples: int, width: int, decay: float
) -> None:
    pair = GaussianPair(width, truth, decay)
    drawn = estimates(pair, ["biased"], examples=examples, batch=8, repeats=200, rng=rng())["biased"]
    assert drawn.mean() == pytest.approx(pair.biased_cka(examples), abs=0.02)
    assert pair.directions == pytest.approx(width if decay == 0 else pair.directions)
    assert pair.biased_cka(10**9) == pytest.approx(truth, abs=1e-5)


def test_the_chart_of_the_bias_says_what_the_formula_says() -> None:
    spec = how_biased().to_dict()
    sliders = {p["name"]: p for p in spec["params"]}
    assert all(p["bind"]["input"] == "range" for p in sliders.values())
    for examples, width, truth in ((64, 64, 0.0), (1000, 16, 0.5)):
        sliders["examples"]["value"], sliders["directions"]["value"] = examples, width
        sliders["truth"]["value"] = truth
        said = GaussianPair(width, truth, 0).biased_cka(examples)
        words = f"Where {truth:.2f} is true, the biased one says {said:.2f}"
        assert words in vl_convert.vegalite_to_svg(spec)


def test_the_chart_leaves_out_what_has_no_value() -> None:
    table = small_sweep(["unbiased", "pwcca"], along={"width": [64]})
    spec = laboratory(table, {"unbiased": "CKA", "pwcca": "PWCCA"}).to_dict()
    assert "PWCCA" not in spec["description"]
    assert "NaN" not in vl_convert.vegalite_to_svg(spec)
    with pytest.raises(AkpError, match="at least one value"):
        laboratory(table[table["estimator"] == "pwcca"], {})
    with pytest.raises(AkpError, match="missing: true"):
        laboratory(table.drop(columns="true"), {})
