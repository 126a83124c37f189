"""What is said of the stability of a population is what its networks do, on the same images for all."""

import numpy as np
import pytest
import torch
import vl_convert
from torch import nn

from akp_core import deformation
from akp_core.charts import stability as charts
from akp_core.charts.stability_error import error_against
from akp_core.datasets import load
from akp_core.errors import AkpError
from akp_core.lenses.channel_shuffle import channel_shuffle, over_copies
from akp_core.lenses.rectified import rectified_noise
from akp_core.lenses.stability import measured, stability, trial
from akp_core.lenses.stability_architectures import across_architectures, with_errors
from akp_core.lenses.stability_error import error_laws
from akp_core.lenses.stability_filters import learnt_spatial_pooling
from akp_core.lenses.stability_pooling import channel_tests, filter_tests, noise_tests
from akp_core.lenses.stability_settings import under_other_settings
from akp_core.lenses.stability_signatures import averaged, signatures
from akp_core.networks import Network, representations
from akp_core.population import Study, run
from akp_core.probes import standardise
from akp_core.recipe import Recipe
from akp_core.stress import Stress

MEMBERS, QUICK = 3, {"images": 24, "resamples": 0}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def population(store):
    net = Network("cnn", width=4, depth=2)
    study = Study(
        load("digits"), (Stress("activation", "tanh"),), (0.5,), MEMBERS, net, Recipe(epochs=2, batch=128)
    )
    return run(study, store=store, progress=False)


def by_hand(clean, bent, noisy):
    clean, bent, noisy = (x.double().flatten(1) for x in (clean, bent, noisy))
    pairs = (clean[:, None] - clean[None]).square().sum(dim=2).mean()
    d, g = ((x - clean).square().sum(dim=1).mean() / pairs for x in (bent, noisy))
    return float(d), float(g), float(d / g)


def test_rows_are_those_of_the_population_and_the_numbers_those_of_its_networks(population) -> None:
    table = stability(population, images=24)
    taps = population.study.taps
    assert list(zip(table["family"], table["member"], strict=True)) == [
        r for r in population.rows for _ in taps
    ]
    shown = trial(population.study.data, images=24)
    model = population.network("tanh @ 50%", 1)
    for tap in taps:
        row = table.query("family == 'tanh @ 50%' and member == 1 and tap == @tap").iloc[0]
        seen = [
            representations(model, x, [tap])[tap] for x in (shown.clean, shown.deformed[0], shown.noisy[0])
        ]
        assert tuple(row[["D", "G", "R"]]) == pytest.approx(by_hand(*seen), rel=1e-5)
        assert row["R_low"] < row["R"] < row["R_high"]
        assert row["why"] == ""


def test_noise_has_the_norm_of_each_deformation_and_draws_are_averaged(population) -> None:
    shown = trial(population.study.data, images=10, draws=3)
    changes = [(x - shown.clean).flatten(2).norm(dim=2) for x in (shown.deformed, shown.noisy)]
    torch.testing.assert_close(*changes, rtol=1e-4, atol=1e-5)
    assert not torch.equal(shown.deformed[0], shown.deformed[1])
    model = population.network("control", 0)
    row = next(measured(model, ["logits"], shown))
    with torch.no_grad():
        alone = [
            by_hand(model(shown.clean), model(b), model(n))
            for b, n in zip(shown.deformed, shown.noisy, strict=True)
        ]
    assert row["D"] == pytest.approx(np.mean([one[0] for one in alone]), rel=1e-5)
    assert row["G"] == pytest.approx(np.mean([one[1] for one in alone]), rel=1e-5)
    assert row["images"] == 10


def test_bending_commutes_with_standardising_whatever_the_channels() -> None:
    data = load("digits")
    raw = data.test.images[:6]
    fields = deformation.fields(
        6, raw.shape[2:], cutoff=3, temperature=0.002, generator=torch.Generator().manual_seed(0)
    )
    first = standardise(data, deformation.warp(raw, fields))
    then = deformation.warp(standardise(data, raw).contiguous(), fields)
    torch.testing.assert_close(first, then, rtol=1e-4, atol=1e-4)


def test_images_are_spread_over_the_test_images_and_stay_when_the_seed_changes() -> None:
    data = load("digits")
    one, two = trial(data, images=16), trial(data, images=16, seed=1)
    assert torch.equal(one.clean, two.clean)
    assert not torch.equal(one.deformed, two.deformed)
    assert not torch.equal(one.noisy, two.noisy)
    assert torch.equal(one.clean[-1], standardise(data, data.test.images[-1:])[0])
    assert len(trial(data, images=None).clean) == len(data.test)


def test_untrained_and_kept_networks_are_measured_as_they_were(population) -> None:
    table = stability(population, families=["control"], steps=population.kept(), taps=["logits"], **QUICK)
    assert list(table["step"][: len(population.kept())]) == list(population.kept())
    assert table["epoch"].max() == pytest.approx(2)
    untrained = next(
        measured(
            population.network("control", 2, step=0), ["logits"], trial(population.study.data, images=24)
        )
    )
    assert table.query("member == 2 and step == 0")["R"].iloc[0] == pytest.approx(untrained["R"])


def test_what_is_not_there_is_refused_in_one_line(population) -> None:
    with pytest.raises(AkpError, match="unknown family 'contrl': did you mean 'control'"):
        stability(population, families=["contrl"], **QUICK)
    with pytest.raises(AkpError, match="families as a list"):
        stability(population, families="control", **QUICK)
    with pytest.raises(AkpError, match="unknown tap 'logit'"):
        stability(population, taps=["logit"], **QUICK)
    with pytest.raises(AkpError, match="a step at which the weights"):
        stability(population, steps=[1], **QUICK)
    with pytest.raises(AkpError, match="at least one step"):
        stability(population, steps=[], **QUICK)
    with pytest.raises(AkpError, match="images as a whole number of at least 4"):
        stability(population, images=2)


def test_lost_networks_keep_their_row_and_say_why(population) -> None:
    def spoilt(value: float):
        def change(model: nn.Module) -> nn.Module:
            with torch.no_grad():
                model.logits.weight.fill_(value)
            return model

        return change

    for value, why in ((float("nan"), "not finite"), (0.0, "same for all")):
        table = stability(population, change=spoilt(value), **QUICK).set_index("tap")
        assert table.loc["logits", ["D", "G", "R"]].isna().all().all()
        assert table.loc["logits", "why"].str.contains(why).all()
        assert table.loc["block1", ["D", "G", "R"]].notna().all().all()
        assert len(table.loc["logits"]) == len(population.rows)


def test_exchanged_channels_leave_what_comes_before_them_and_change_what_comes_after(population) -> None:
    table = channel_shuffle(population, copies=2, **QUICK)
    wide = over_copies(table).pivot(index=["member", "step", "tap"], columns="shuffled", values="D")
    first = wide.xs("block1", level="tap")
    np.testing.assert_allclose(first[True], first[False], rtol=1e-6)
    assert (wide.xs("block2", level="tap")[True] != wide.xs("block2", level="tap")[False]).all()
    assert set(table["copy"]) == {0, 1, 2}
    found = channel_tests(table)
    assert found["networks"].eq(MEMBERS).all()
    assert found["statement"].iloc[0].endswith("at features")
    means = averaged(over_copies(table), by=["step", "shuffled", "tap"])
    assert vl_convert.vegalite_to_svg(charts.exchanged(means).to_dict())


def test_noise_as_it_is_gives_the_g_of_the_population_and_piles_up_only_when_rectified(population) -> None:
    noise = rectified_noise(population, **QUICK)
    plain = stability(population, families=["control"], steps=(0, population.study.steps), **QUICK)
    own = noise.query("activation == 'its own' and noise == 'as it is'").reset_index(drop=True)
    np.testing.assert_allclose(own["G"], plain["G"], rtol=1e-6)
    found = noise_tests(noise)
    gains = found[found["statement"].str.contains("rectified noise gains")]
    assert (gains["factor"] > 1.2).all()
    means = averaged(noise, by=["step", "activation", "noise", "tap"], quantities=["G"])
    assert vl_convert.vegalite_to_svg(charts.piled_up(means).to_dict())
    with pytest.raises(AkpError, match="activations from"):
        rectified_noise(population, activations=["relu"], **QUICK)
    with pytest.raises(AkpError, match="both activations and both noises"):
        noise_tests(noise[noise["activation"] == "none"])


def test_filters_are_read_before_and_after_training(population) -> None:
    table = learnt_spatial_pooling(population)
    assert list(dict.fromkeys(table["layer"])) == ["block1.conv", "block2.conv"]
    assert set(table["step"]) == {0, population.study.steps}
    assert table["null"].eq(1 / 9).all()
    assert len(filter_tests(table)) == 4
    over = table.assign(over=table["even"] / table["null"], when=table["step"].map(str))
    means = averaged(over, by=["layer", "when"], quantities=["over"])
    assert vl_convert.vegalite_to_svg(charts.evenness(means).to_dict())


def test_architectures_stresses_signatures_and_settings_meet_in_their_charts(population, store) -> None:
    data, recipe = population.study.data, population.study.recipe
    some = [Network("mlp", 8, 1), Network("mlp", 16, 1), Network("cnn", 4, 1), Network("cnn", 2, 2)]
    small = across_architectures(data, some, members=2, recipe=recipe, store=store, progress=False, **QUICK)
    assert len(small) == 8
    assert small["R"].notna().all()
    stressed = with_errors(population, stability(population, taps=["logits"], **QUICK))
    assert len(stressed) == len(population.rows)
    views = {"architectures": (small, "architecture"), "stresses": (stressed, "family")}
    laws = error_laws(views, smallest=0.5 / len(data.test), draws=99, rng=np.random.default_rng(0))
    assert laws["why"].tolist()[0] == ""
    assert "at least 4 groups" in laws["why"].tolist()[1]
    points = small.assign(view="architectures", group=small["architecture"])
    picture = error_against(points, laws[laws["why"] == ""], published=(0.5, 0.2))
    assert vl_convert.vegalite_to_svg(picture.to_dict())
    course = stability(population, steps=(0, population.study.steps), families=["control"], **QUICK)
    assert len(signatures(course)) == 6
    assert vl_convert.vegalite_to_svg(charts.course(averaged(course, by=["epoch", "tap"])).to_dict())
    everything = averaged(stability(population, **QUICK), by=["family", "step", "tap"])
    assert vl_convert.vegalite_to_svg(charts.depth(everything).to_dict())
    tried = under_other_settings(population, tap="logits", images=24)
    assert tried["setting"].tolist()[0] == "as on this page"
    direct = course[(course["tap"] == "logits") & (course["step"] == 0)]["R"]
    assert tried["before"].iloc[0] == pytest.approx(np.exp(np.log(direct).mean()))
    with pytest.raises(AkpError, match="each once"):
        across_architectures(data, [some[0]] * 2, members=2, recipe=recipe, store=store, progress=False)


def test_r_of_any_module_in_under_ten_lines() -> None:
    data = load("digits")
    images = standardise(data, data.test.images[:32]).contiguous()
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten()).eval()
    found = deformation.stability_of(module, images, generator=torch.Generator().manual_seed(0))
    assert 0 < found.r_f.low < found.r_f.value < found.r_f.high
