"""The learning rate follows the declared schedule, and a recipe that cannot be is refused."""

import pytest

from akp_core.errors import AkpError
from akp_core.recipe import Recipe


def test_the_constant_schedule_is_constant() -> None:
    recipe = Recipe(learning_rate=0.3)
    assert [recipe.rate(step, 10) for step in (0, 5, 9)] == [0.3, 0.3, 0.3]


def test_the_cosine_schedule_falls_from_the_rate_through_half_to_nothing() -> None:
    recipe = Recipe(learning_rate=0.4, schedule="cosine")
    assert recipe.rate(0, 100) == 0.4
    assert recipe.rate(50, 100) == pytest.approx(0.2)
    assert recipe.rate(25, 100) == pytest.approx(0.4 * (1 + 2**-0.5) / 2)
    assert recipe.rate(100, 100) == pytest.approx(0, abs=1e-12)


def test_an_epoch_is_as_many_full_batches_as_there_are() -> None:
    assert Recipe(batch=64).steps_per_epoch(640) == 10
    assert Recipe(batch=64).steps_per_epoch(703) == 10
    with pytest.raises(AkpError, match="expected at least one batch of 64 training images, got 63"):
        Recipe(batch=64).steps_per_epoch(63)


def test_a_negative_weight_decay_is_refused() -> None:
    with pytest.raises(AkpError, match=r"expected a weight decay of at least 0, got -0\.1"):
        Recipe(weight_decay=-0.1)
