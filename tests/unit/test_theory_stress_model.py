"""The Ornstein-Uhlenbeck model of stress: closed forms, exact draws, the fit, and where the model ends."""

from math import inf

import numpy as np
import pytest
import vl_convert
from scipy import stats
from scipy.integrate import solve_ivp

from akp_core.charts import theory_stress as charts
from akp_core.errors import AkpError
from akp_core.theory.ornstein_uhlenbeck import Regime, Scenario
from akp_core.theory.ornstein_uhlenbeck_fit import fit
from akp_core.theory.relaxation import relaxation
from akp_core.theory.stress_limits import FOLD, descend, descent, rolled, two_valleys
from akp_core.theory.stress_limits_measured import aftermath, recovered, strides, unsettled
from akp_core.theory.stress_measured import beside, discrepancy, measure, regions
from akp_core.theory.stress_mechanisms import CONTROL, MECHANISMS, bands, stressed
from akp_core.theory.stress_verdicts import recovery, verdict

TIMES = np.array([0.2, 0.5, 1.5, 2.0, 4.0])
SCENARIOS = {
    "press": Scenario(Regime(1.0, 0.5, 1.2), Regime(0.4, 2.0, 2.0)),
    "pulse": Scenario(Regime(1.0, 0.5, 1.2), Regime(0.4, 2.0, 2.0), end=1.2),
    "shared noise": Scenario(Regime(1.0, 0.0, 1.2), Regime(2.0, -1.0, 0.7), end=1.5, shared=0.6),
    "no return": Scenario(Regime(1.0, 0.0, 1.2), Regime(0.0, 3.0, 0.9), end=2.5, shared=-0.5),
    "driven apart": Scenario(Regime(1.0, 0.0, 1.2), Regime(-0.3, 1.0, 0.9)),
    "unsettled": Scenario(Regime(1.0, 0.0, 1.2), Regime(0.4, 2.0, 2.0), variance=9.0, location=-3.0),
}


def moments(scenario: Scenario, times: np.ndarray) -> np.ndarray:
    """The same moments by integrating their differential equations: another road to the law."""
    c = scenario.control

    def slope(t: float, y: np.ndarray) -> list[float]:
        s = scenario.stressed if t < scenario.end else c
        return [
            -c.theta * (y[0] - c.mu),
            -s.theta * (y[1] - s.mu),
            c.sigma**2 - 2 * c.theta * y[2],
            s.sigma**2 - 2 * s.theta * y[3],
            scenario.shared * c.sigma * s.sigma - (c.theta + s.theta) * y[4],
        ]

    m = c.mu if scenario.location is None else scenario.location
    v = c.sigma**2 / (2 * c.theta) if scenario.variance is None else scenario.variance
    y0 = [m, m, v, v, v]
    return solve_ivp(slope, (0, times[-1]), y0, t_eval=times, max_step=0.005, rtol=1e-9, atol=1e-11).y


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_law_solves_the_equations_of_its_moments(name: str) -> None:
    law = SCENARIOS[name].law(TIMES)
    np.testing.assert_allclose(np.stack(law[1:]), moments(SCENARIOS[name], TIMES), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("name", SCENARIOS)
def test_draws_have_the_law(name: str) -> None:
    members = 40_000
    law = SCENARIOS[name].law(TIMES)
    control, changed = SCENARIOS[name].draw(TIMES, members, 2, np.random.default_rng(5))
    for drawn, place, variance in (
        (control, law.control, law.control_variance),
        (changed, law.stressed, law.stressed_variance),
    ):
        assert np.all(np.abs(drawn.mean(axis=0)[:, 0] - place) < 4.5 * np.sqrt(variance / members))
        assert np.all(np.abs(drawn.mean(axis=0)[:, 1]) < 4.5 * np.sqrt(variance / members))
        ratio = drawn.var(axis=0, ddof=1) / variance[:, None]
        assert np.all(np.abs(ratio - 1) < 4.5 * np.sqrt(2 / members))
    deviations = (control - control.mean(axis=0)) * (changed - changed.mean(axis=0))
    error = np.sqrt((law.control_variance * law.stressed_variance + law.covariance**2) / members)
    assert np.all(np.abs(deviations.mean(axis=0) - law.covariance[:, None]) < 4.5 * error[:, None])


def test_draws_do_not_depend_on_how_finely_time_is_cut() -> None:
    scenario = SCENARIOS["pulse"]
    rough = scenario.draw([4.0], 20_000, 1, np.random.default_rng(0))[1][:, -1, 0]
    fine = scenario.draw(np.linspace(0.1, 4, 40), 20_000, 1, np.random.default_rng(1))[1][:, -1, 0]
    assert stats.ks_2samp(rough, fine).pvalue > 1e-3


def test_twins_are_one_until_the_fork() -> None:
    control, changed = SCENARIOS["press"].draw([0.0, 1.0], 5, 3, np.random.default_rng(0))
    assert np.array_equal(control[:, 0], changed[:, 0])
    assert not np.array_equal(control[:, 1], changed[:, 1])


def test_twins_that_share_all_noise_differ_by_the_shift_alone() -> None:
    scenario = Scenario(CONTROL, stressed("shift", 3.0), shared=1.0)
    control, changed = scenario.draw(TIMES, 6, 2, np.random.default_rng(0))
    np.testing.assert_allclose(
        changed - control, np.broadcast_to(np.c_[2 * -np.expm1(-TIMES), 0 * TIMES], control.shape), atol=1e-12
    )
    np.testing.assert_allclose(scenario.law(TIMES).paired_variance, 0, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "due", "moves"),
    [
        (Regime(0.5, 0.0, 1.0), "AKP", False),
        (Regime(1.0, 0.0, 1.5), "AKP", False),
        (Regime(0.0, 4.0, 1.0), "AKP", False),
        (Regime(-0.1, 1.0, 0.0), "AKP", True),
        (Regime(2.0, 0.0, 1.0), "anti-AKP", False),
        (Regime(1.0, 0.0, 0.0), "anti-AKP", False),
        (Regime(1.0, 3.0, 1.0), "none", True),
        (Regime(4.0, 3.0, 2.0), "none", True),
        (Regime(0.0, 3.0, 0.0), "none", False),
    ],
)
def test_the_constants_fix_the_verdict_at_every_time(change: Regime, due: str, moves: bool) -> None:
    control = Regime(1.0, 0.0, 1.0)
    found = verdict(control, change)
    assert (found.verdict, found.moves) == (due, moves)
    for end in (inf, 1.0):
        law = Scenario(control, change, end=end).law(np.geomspace(1e-3, 10, 30))
        sign = {"AKP": 1, "none": 0, "anti-AKP": -1}[due]
        difference = law.stressed_variance - law.control_variance
        assert np.all(np.sign(np.where(np.abs(difference) < 1e-13, 0, difference)) == sign)
        assert np.any(np.abs(law.stressed - law.control) > 1e-9) == moves


def test_the_effect_of_a_press_tends_to_the_one_said() -> None:
    change = Regime(0.25, 1.0, 2.0)
    limit = verdict(CONTROL, change).effect
    assert Scenario(CONTROL, change).law([60.0]).effect[0] == pytest.approx(limit, abs=1e-9)
    assert verdict(CONTROL, Regime(0.0, 0.0, 1.0)).effect == inf


@pytest.mark.parametrize("mechanism", ["shift", "weaker return", "more noise", "stronger return"])
def test_a_pulse_is_forgotten_at_the_rates_of_the_control(mechanism: str) -> None:
    control = Regime(0.7, 0.0, 1.0)
    scenario = Scenario(control, stressed(mechanism, 3.0), end=2.0)
    time = recovery(control)
    now, later, half = (scenario.law([2.0 + t]) for t in (0.0, time.location, time.dispersion))
    excess = now.stressed_variance - now.control_variance
    assert half.stressed_variance - half.control_variance == pytest.approx(excess / np.e)
    assert later.stressed - later.control == pytest.approx((now.stressed - now.control) / np.e)
    assert time.location == 2 * time.dispersion == pytest.approx(1 / 0.7)


def test_intervals_over_members_hold_the_closed_forms_as_often_as_they_say() -> None:
    scenario = Scenario(CONTROL, Regime(0.5, 2.0, 2.0), end=1.0)
    shown, covered = beside(
        scenario, np.array([0.3, 1.0, 2.0]), members=10, dims=3, families=300, rng=np.random.default_rng(3)
    )
    assert len(shown) == len(covered) == 12
    assert ((covered["low"] <= 0.97) & (covered["high"] >= 0.93)).all()
    log_ratio = covered[covered["quantity"] == "log ratio"]
    # The mean log ratio is exact for every number of members, whatever twins share.
    due = scenario.law(log_ratio["time"].to_numpy()).effect
    assert (np.abs(log_ratio["mean"] - due) < 2 * log_ratio["margin"]).all()


def test_the_mean_log_ratio_is_exact_for_few_members_that_share_noise() -> None:
    scenario = Scenario(CONTROL, Regime(0.5, 0.0, 2.0), shared=0.9)
    rng = np.random.default_rng(0)
    drawn = [measure(*scenario.draw([0.7], 4, 1, rng))["log ratio"][0, 0] for _ in range(500)]
    error = np.std(drawn) / len(drawn) ** 0.5
    assert abs(np.mean(drawn) - scenario.law([0.7]).effect[0]) < 3.5 * error


def test_the_test_of_dispersion_finds_the_regions_that_are_proved() -> None:
    table = regions(
        [0.25, 1, 4],
        [0.25, 1, 4],
        members=24,
        dims=8,
        time=1.5,
        permutations=199,
        rng=np.random.default_rng(0),
    )
    clear = table[table["proved"].abs() > 0.3]
    assert len(clear) == 6
    assert (clear["due"] == clear["found"]).all()
    assert (table.loc[table["return"] == table["noise"], "due"] == "none").all()


def test_a_family_that_has_not_settled_may_change_its_verdict() -> None:
    scenario = Scenario(Regime(1.0, 0.0, 1.0), Regime(2.0, 0.0, 2.0), variance=10.0)
    assert verdict(scenario.control, scenario.stressed).verdict == "AKP"
    table = unsettled(scenario, np.array([0.3, 5.0]), members=40, dims=4, rng=np.random.default_rng(0))
    assert table["verdict"].tolist() == ["anti-AKP", "AKP"]


def test_the_fit_recovers_the_truth() -> None:
    scenario = Scenario(CONTROL, Regime(0.5, 2.0, 1.0), location=-3.0)
    times = np.array([0.0, 0.2, 0.5, 1.5, 2.0, 3.0])
    found = fit(
        times,
        scenario.draw(times, 400, 3, np.random.default_rng(0))[1],
        draws=99,
        rng=np.random.default_rng(1),
    )
    for interval, truth in ((found.theta, 0.5), (found.sigma, 1.0), (found.variance, 1.0)):
        assert interval.low < truth < interval.high
        assert interval.value == pytest.approx(truth, rel=0.1)
        assert interval.high - interval.low < 0.3 * truth
    assert np.all((found.mu_low < [2, 0, 0]) & (found.mu_high > [2, 0, 0]))
    assert (found.members, found.steps, found.dims) == (400, 5, 3)


def test_intervals_of_the_fit_hold_the_truth_for_a_dozen_members() -> None:
    scenario = Scenario(CONTROL, Regime(0.5, 2.0, 1.0), location=-3.0)
    times, rng, held = np.array([0.0, 0.5, 1.5, 3.0]), np.random.default_rng(2), np.zeros(3)
    for _ in range(25):
        found = fit(times, scenario.draw(times, 12, 3, rng)[1], draws=99, rng=rng)
        pairs = ((found.theta, 0.5), (found.sigma, 1.0), (found.variance, 1.0))
        held += [i.low <= truth <= i.high for i, truth in pairs]
    assert (held >= 19).all(), "92 % expected"


def test_the_fit_does_not_depend_on_axes_units_or_empty_coordinates() -> None:
    rng = np.random.default_rng(0)
    times = np.array([0.0, 0.4, 1.0, 2.5])
    x = SCENARIOS["press"].draw(times, 20, 3, rng)[1]
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    first = fit(times, x, draws=99, rng=np.random.default_rng(1))
    again = fit(times * 60, 7 * x @ turn + 100, draws=99, rng=np.random.default_rng(1))
    wide = fit(times, np.concatenate([x, np.zeros_like(x)], axis=2), draws=99, rng=np.random.default_rng(1))
    assert again.theta == pytest.approx(np.array(first.theta) / 60, rel=1e-3)
    assert wide.theta == pytest.approx(first.theta, rel=1e-4)
    np.testing.assert_allclose(again.mu, 7 * first.mu @ turn + 100, rtol=1e-3)


def test_the_fit_says_when_times_are_too_far_apart_and_when_nothing_pulls() -> None:
    rng = np.random.default_rng(0)
    apart = Scenario(CONTROL, CONTROL).draw([0, 50, 100], 30, 2, rng)[0]
    far = fit([0, 50, 100], apart, draws=99, rng=rng)
    assert far.theta.high == inf
    assert far.variance.value == pytest.approx(1, rel=0.4)
    free = Scenario(CONTROL, Regime(0.0, 0.0, 1.0)).draw(TIMES, 200, 2, rng)[1]
    theta = fit(TIMES, free, draws=99, rng=rng).theta
    assert theta.low < 0 < theta.high


def test_relaxation_recovers_an_exact_exponential_and_the_rates_of_drawn_families() -> None:
    times = np.linspace(1, 5, 9)
    values = (2 + 3 * np.exp(-1.3 * (times - 1))) * np.linspace(0.9, 1.1, 7)[:, None]
    found = relaxation(times, values, rng=np.random.default_rng(0))
    assert [v.value for v in found] == pytest.approx([1.3, 2, 3], rel=1e-3)
    table = recovered(strength=6, length=1, members=400, dims=5, draws=199, rng=np.random.default_rng(4))
    assert ((table["low"] < table["proved"]) & (table["proved"] < table["high"])).all()
    assert table["proved"].tolist() == [1, 2, 2]


def test_two_valleys_do_not_forget_a_pulse() -> None:
    start = np.array([-1.4, -0.2, 0.0, 0.3])
    flow = solve_ivp(lambda _, x: x - x**3, (0, 2), start, rtol=1e-10, atol=1e-12).y[:, -1]
    np.testing.assert_allclose(rolled(start, [0.0, 2.0]), np.c_[start, flow], atol=1e-8)
    assert rolled([1.3, -1e-6], [100.0])[:, 0] == pytest.approx([1, -1])
    rng, at = np.random.default_rng(0), [20.0]
    weak, strong = (two_valleys(f, 10.0, at, 200, rng, noise=0.02)[:, 0] for f in (0.8 * FOLD, 1.3 * FOLD))
    assert np.all(weak < -0.9)
    assert np.all(strong > 0.9)


def test_the_aftermath_is_bimodal_between() -> None:
    table = aftermath([0.0, 0.6, 2.0], length=3.0, noise=0.15, members=300, rng=np.random.default_rng(0))
    two = table[table["landscape"] == "two valleys"].pivot(index="push", columns="quantity", values="value")
    assert two["share beyond the barrier"].tolist() == pytest.approx([0, 0.5, 1], abs=0.15)
    assert two["squared dispersion"][0.6] > 50
    assert 0.7 < two["squared dispersion"][0.0] < 1.5
    assert two["displacement"][2.0] == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("rate", [0.05, 0.5, 1.0, 1.5, 1.9])
def test_gradient_descent_on_a_parabola_has_the_variance_said(rate: float) -> None:
    due = descent(rate, 1.0, 0.7)
    last = descend(rate, 1.0, 0.7, 400, 20_000, np.random.default_rng(0))[:, -1]
    assert last.var() == pytest.approx(due.variance, rel=0.05)
    assert due.variance / due.approximation == pytest.approx(1 / (1 - rate / 2))
    assert due.kind == ("converges" if rate < 1 else "forgets" if rate == 1 else "alternates")
    if due.regime is not None:
        assert due.regime.stationary == pytest.approx(due.variance)
        assert np.exp(-due.regime.theta) == pytest.approx(1 - rate)


def test_gradient_descent_diverges_from_a_stride_of_two() -> None:
    table = strides(
        [0.1, 2.0, 2.1], curvature=1.0, noise=1.0, members=2000, steps=200, rng=np.random.default_rng(0)
    )
    assert table["kind"].tolist() == ["converges", "diverges", "diverges"]
    assert table["measured"].iloc[2] > 1e6
    assert table["exact"].iloc[1] == inf


def test_the_fit_reads_the_rate_of_gradient_descent() -> None:
    path = descend(0.2, 1.0, 1.0, 60, 200, np.random.default_rng(0))[:, 20:]
    found = fit(np.arange(40), path[..., None], draws=99, rng=np.random.default_rng(1))
    assert found.theta.low < -np.log(0.8) < found.theta.high


def test_the_fit_refuses_to_see_a_return_where_steps_alternate() -> None:
    path = descend(1.5, 1.0, 1.0, 60, 100, np.random.default_rng(0))[:, 20:]
    found = fit(np.arange(40), path[..., None], draws=99, rng=np.random.default_rng(1))
    assert found.theta.value == inf


def test_a_wrong_closed_form_is_found_out() -> None:
    scenario, rng = SCENARIOS["press"], np.random.default_rng(0)
    shown, covered = beside(scenario, TIMES[:2], members=8, dims=3, families=100, rng=rng)
    assert discrepancy(shown, covered) > 0.01
    assert discrepancy(shown.assign(proved=shown["proved"] * 1.2), covered) < 1e-6


def test_charts_are_described_and_drawn() -> None:
    plane = regions(
        [0.5, 2], [0.5, 2], members=6, dims=2, time=1.0, permutations=99, rng=np.random.default_rng(0)
    )
    left = aftermath([0.1, 1.0], length=1.0, noise=0.1, members=10, rng=np.random.default_rng(0))
    for chart in (
        charts.bands(bands([1.0, 4.0], 1.0, np.linspace(0, 4, 9))),
        charts.plane(plane),
        charts.valleys(left),
    ):
        spec = chart.to_dict()
        svg = vl_convert.vegalite_to_svg(spec)
        assert len(spec["description"]) > 60
        assert "NaN" not in svg
        assert svg.count("<path") > 5


def test_the_chart_says_the_verdict_of_what_is_chosen() -> None:
    spec = charts.bands(bands([1.0, 4.0], 1.0, np.linspace(0, 4, 9))).to_dict()
    params = {p["name"]: p for p in spec["params"]}
    assert set(params) == {"mechanism", "strength", "kind"}
    for mechanism, word in (("shift", "none, and the family moves"), ("more noise", ">AKP<")):
        params["mechanism"]["value"] = mechanism
        assert word in vl_convert.vegalite_to_svg(spec)
    assert set(MECHANISMS) == set(params["mechanism"]["bind"]["options"])


RNG = np.random.default_rng(0)
GOOD = SCENARIOS["press"].draw(TIMES, 6, 2, np.random.default_rng(0))[0]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: Regime(np.nan), "expected theta as a finite number, got nan"),
        (lambda: Regime(1.0, 0.0, -1.0), "expected sigma as a finite number from 0 to inf, got -1.0"),
        (lambda: Scenario(Regime(0.0), CONTROL), "expected a control with theta and sigma above 0"),
        (lambda: Scenario(CONTROL, CONTROL, end=0), "expected end of the stress above 0"),
        (lambda: Scenario(CONTROL, CONTROL, shared=1.5), "expected shared as a finite number from -1 to 1"),
        (lambda: Scenario(CONTROL, CONTROL, variance=0), "expected variance at the fork above 0"),
        (lambda: SCENARIOS["press"].law([-1.0]), "expected finite times of at least 0"),
        (lambda: SCENARIOS["press"].draw([1, 1], 3, 1, RNG), "expected times that rise"),
        (lambda: SCENARIOS["driven apart"].law([5000.0]), "expected times at which the law is finite"),
        (lambda: recovery(CONTROL, 0.0), "expected share above 0"),
        (lambda: fit(TIMES, GOOD[:, :3], rng=RNG), r"expected positions as members x 5 times x dims"),
        (lambda: fit(TIMES, GOOD[:3], rng=RNG), "expected at least 4 members, got 3"),
        (lambda: fit(TIMES, np.where(GOOD > 0, np.nan, GOOD), rng=RNG), "drop diverged members"),
        (lambda: fit(TIMES, np.ones((5, 5, 2)), rng=RNG), "expected positions that change over time"),
        (lambda: fit(TIMES, GOOD, draws=5, rng=RNG), "expected draws as a whole number of at least 99"),
        (lambda: fit(TIMES, GOOD, level=1.0, rng=RNG), "expected level between 0 and 1"),
        (lambda: relaxation([0, 1], GOOD[:, :2, 0], rng=RNG), "expected at least 3 times, got 2"),
        (lambda: stressed("shft", 2), "did you mean 'shift'"),
        (lambda: stressed("shift", 0.5), "expected strength as a finite number from 1 to 1000"),
        (lambda: measure(GOOD, GOOD[:, :2]), "expected two arrays of at least 3 members x times x dims"),
        (lambda: descent(0.0, 1, 1), "expected rate above 0"),
        (lambda: descend(9.0, 1, 1, 1000, 2, RNG), "expected steps that stay finite"),
        (lambda: aftermath([1.0], length=1, noise=0, members=5, rng=RNG), "expected noise above 0"),
        (lambda: rolled([np.inf], [1.0]), "expected finite places"),
        (lambda: charts.bands(bands([1.0], 1.0, TIMES).iloc[:0]), "expected at least one stress"),
    ],
)
def test_bad_input_gets_one_line(wrong: object, words: str) -> None:
    with pytest.raises(AkpError, match=words) as caught:
        wrong()  # type: ignore[operator]
    assert "\n" not in str(caught.value)
