"""What must hold of chunk curves for any layer."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from akp_core import clones

LAYERS = st.tuples(
    st.integers(1, 12), st.integers(1, 6), st.integers(0, 2**32 - 1), st.sampled_from([1e-3, 1.0, 1e3])
)


def layer(width: int, rank: int, seed: int, scale: float, images: int = 60) -> np.ndarray:
    rng = np.random.default_rng(seed)
    low = rng.standard_normal((images, rank)) @ rng.standard_normal((rank, width))
    return scale * (low + 0.1 * rng.standard_normal((images, width)) + rng.standard_normal(width))


@settings(max_examples=60, deadline=None)
@given(LAYERS)
def test_chunks_tell_more_the_larger_they_are_and_all_at_last(given_: tuple[int, int, int, float]) -> None:
    x = layer(*given_)
    found = clones.chunk_regression(x, chunks=3, generator=np.random.default_rng(given_[2]))
    assert (np.diff(found.r_squared) >= -1e-9).all()
    assert abs(found.r_squared[-1] - 1) < 1e-6
    assert (found.out_of_sample <= 1 + 1e-9).all()
    assert ((found.correlation >= 0) & (found.correlation <= 1)).all()
    assert found.correlation[-1] == 0


@settings(max_examples=40, deadline=None)
@given(LAYERS, st.integers(0, 2**32 - 1))
def test_the_order_of_images_and_a_rotation_of_none_of_the_units_change_nothing(
    given_: tuple[int, int, int, float], seed: int
) -> None:
    x = layer(*given_)
    shuffled = x[np.random.default_rng(seed).permutation(len(x))]
    pair = [
        clones.chunk_regression(y, chunks=2, held_out=False, generator=np.random.default_rng(1))
        for y in (x, shuffled)
    ]
    np.testing.assert_allclose(pair[0].r_squared, pair[1].r_squared, atol=1e-6)
    np.testing.assert_allclose(pair[0].correlation, pair[1].correlation, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_nested_chunks_are_permutations_and_sizes_end_at_the_width(width: int, seed: int) -> None:
    orders = clones.nested_chunks(width, 3, np.random.default_rng(seed))
    assert (np.sort(orders, axis=1) == np.arange(width)).all()
    sizes = clones.chunk_sizes(width)
    assert sizes[0] == 1
    assert sizes[-1] == width
    assert list(sizes) == sorted(set(sizes))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(1, 8), st.floats(0.01, 4), st.data())
def test_planted_r_squared_lies_between_the_share_of_units_and_one(
    base: int, copies: int, noise: float, data: st.DataObject
) -> None:
    size = data.draw(st.integers(1, base * copies))
    told = clones.planted_r_squared(base, copies, noise, size)
    assert size / (base * copies) - 1e-9 <= told <= 1 + 1e-9
