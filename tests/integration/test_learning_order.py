"""The lens of agreement on trained networks says what their own answers say."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from akp_core.agreement import learning_times, order_agreement, true_positive_agreement
from akp_core.agreement.conditions import at_equal_accuracy, orders_beside
from akp_core.datasets import Split, load
from akp_core.errors import AkpError
from akp_core.lenses.learning_order import courses, few_images, learning_order, random_labels
from akp_core.networks import Network
from akp_core.population import Study, run
from akp_core.recipe import Recipe
from akp_core.stress import Stress

MEMBERS, LOOKS = 4, 6


def study(data, *stresses: Stress) -> Study:
    recipe = Recipe(epochs=6, batch=16, learning_rate=3e-3)
    return Study(
        data,
        stresses,
        (0.5,),
        MEMBERS,
        Network("mlp", width=16, depth=1),
        recipe,
        taps=("logits",),
        looks=LOOKS,
    )


@pytest.fixture(scope="module")
def small():
    return few_images(load("digits"), 128)


@pytest.fixture(scope="module")
def population(small, tmp_path_factory):
    stresses = (Stress("activation", "tanh"), Stress(), Stress("learning_rate", dose=1e4))
    return run(study(small, *stresses), store=tmp_path_factory.mktemp("store"), progress=False)


def test_a_course_is_what_the_networks_answered(population, small) -> None:
    found = courses(population)
    control = found["control"]
    assert control.right.shape[::2] == (MEMBERS, len(small.train))
    assert control.steps[0] == 0
    assert control.steps[-1] == population.study.steps
    own = population.predictions("train")[:MEMBERS].numpy() == small.train.labels.numpy()
    assert (control.right[:, -1] == own).all()
    assert (control.kind, control.twins, control.since) == ("reference", False, 0)
    tanh = found["tanh @ 50%"]
    assert (tanh.kind, tanh.twins, tanh.since) == ("stress", True, population.study.steps / 2)
    before = tanh.steps <= tanh.since
    assert (tanh.right[:, before] == control.right[:, before]).all()
    blown = found["learning rate x 10000 @ 50%"]
    assert blown.lost + len(blown.right) == MEMBERS
    assert blown.lost > 0
    asked = {"draws": 99, "permutations": 19, "rng": np.random.default_rng(0)}
    both = {"control": control, "blown": blown}
    said = at_equal_accuracy(both, 0.5, size=3, **asked)["why"][1], orders_beside(both, **asked)["why"][0]
    assert all(isinstance(one, str) for one in said)
    named = courses(population, split="test", name="mlp", kind="recipe")
    assert "mlp, tanh @ 50%" in named
    assert (named["mlp"].kind, named["mlp"].twins) == ("recipe", True)
    with pytest.raises(AkpError, match="unknown split"):
        courses(population, split="probe")


def test_networks_agree_on_easy_images_and_a_no_op_keeps_the_order_exactly(population) -> None:
    found = courses(population)
    control, same = found["control"], found["no-op @ 50%"]
    assert (control.right == same.right).all()
    agreed = true_positive_agreement(control.right, classes=control.classes)
    assert agreed.corrected.max() > 0.02
    times = learning_times(control.right, control.steps).time
    order = order_agreement(
        times, classes=control.classes, rng=np.random.default_rng(0), draws=99, permutations=99
    )
    assert order.value > 0.2
    assert order.p_value == 0.01


def test_one_row_a_network_with_its_reason_where_it_is_lost(population) -> None:
    table = learning_order(population)
    assert table[["family", "member"]].apply(tuple, axis=1).tolist() == population.rows
    status = population.members["status"]
    lost = (status != "trained").to_numpy()
    assert table.loc[lost, "order"].isna().all()
    assert (table.loc[lost, "why"] == status[lost]).all()
    known = table[~lost]
    assert known["order"].between(-1, 1).all()
    assert known["deviation"].between(0, 1).all()
    assert known["disagreement"].between(0, 1).all()
    families = known.groupby("family")["order"].mean()
    assert families["no-op @ 50%"] == families["control"]
    twin = table[table["family"] == "no-op @ 50%"].drop(columns="family").reset_index(drop=True)
    assert twin.equals(table[table["family"] == "control"].drop(columns="family").reset_index(drop=True))
    with pytest.raises(AkpError, match="at least two members"):
        learning_order(replace(population, study=replace(population.study, members=1)))


def test_few_images_keep_every_part_and_are_spread_through_it(small) -> None:
    whole = load("digits")
    assert [len(small.splits[p]) for p in ("train", "test", "validation", "probe")] == [128, 128, 64, 64]
    assert torch.equal(small.train.images[[0, -1]], whole.train.images[[0, -1]])
    assert few_images(whole, len(whole.train)).fingerprint != small.fingerprint
    for wanted in (8, 10**6):
        with pytest.raises(AkpError, match="images to keep as a whole number from 16 to"):
            few_images(whole, wanted)


def test_random_labels_are_the_same_for_all_and_leave_the_test_alone(small) -> None:
    whole, half = random_labels(small, 1.0, seed=3), random_labels(small, 0.5, seed=3)
    assert torch.equal(random_labels(small, 1.0, seed=3).train.labels, whole.train.labels)
    assert not torch.equal(random_labels(small, 1.0, seed=4).train.labels, whole.train.labels)
    changed = [float((d.train.labels != small.train.labels).double().mean()) for d in (whole, half)]
    assert changed[0] == pytest.approx(0.9, abs=0.1)  # of ten classes one draw in ten is the old label
    assert changed[1] == pytest.approx(0.45, abs=0.13)
    assert torch.equal(whole.test.labels, small.test.labels)
    assert isinstance(whole.train, Split)
    for share in (0, 1.5, True):
        with pytest.raises(AkpError, match="a share of labels above 0 and at most 1"):
            random_labels(small, share)


def test_networks_learn_random_labels_as_they_were_taught(small, tmp_path) -> None:
    taught = random_labels(few_images(small, 16), 1.0)
    quick = Recipe(epochs=30, batch=16, learning_rate=3e-2)
    found = courses(run(replace(study(taught), recipe=quick, looks=2), store=tmp_path, progress=False))
    assert found["control"].right[:, -1].mean() > 0.7  # chance is 0.1
    assert (found["control"].classes == np.unique(taught.train.labels.numpy(), return_inverse=True)[1]).all()
