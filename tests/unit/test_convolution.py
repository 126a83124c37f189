"""Feature maps become representations by a policy that has a name."""

import numpy as np
import pytest
import torch

from akp_core.errors import AkpError
from akp_core.similarity import cka
from akp_core.similarity.convolution import as_features

POLICIES = ("flatten", "mean", "each")


def maps(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape or (6, 3, 4, 5))


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_each_policy_puts_every_number_where_it_says(kind) -> None:
    x = maps()
    flat, mean, each = (as_features(kind(x), positions=p) for p in POLICIES)
    assert type(flat) is type(mean) is type(each) is type(kind(x))
    assert (flat.shape, mean.shape, each.shape) == ((6, 60), (6, 3), (120, 3))
    for i, c, h, w in np.ndindex(x.shape):
        assert flat[i, c * 20 + h * 5 + w] == each[i * 20 + h * 5 + w, c] == x[i, c, h, w]
    np.testing.assert_allclose(np.asarray(mean), x.mean(axis=(2, 3)), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("policy", POLICIES)
def test_numpy_and_torch_and_any_layout_in_memory_agree(policy: str) -> None:
    x = maps()
    want = as_features(x, positions=policy)
    last = torch.from_numpy(x).contiguous(memory_format=torch.channels_last)
    for other in (as_features(torch.from_numpy(x), positions=policy), as_features(last, positions=policy)):
        np.testing.assert_allclose(other.numpy(), want, rtol=1e-12, atol=1e-15)
    tokens = np.moveaxis(x.reshape(6, 3, 20), 1, 2)
    np.testing.assert_allclose(
        as_features(tokens, positions=policy, channels=2), want, rtol=1e-12, atol=1e-15
    )


@pytest.mark.parametrize("policy", POLICIES)
def test_features_pass_unchanged(policy: str) -> None:
    x = maps(6, 3)
    assert as_features(x, positions=policy) is x


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("shape", [(6, 3, 4), (6, 3, 2, 2, 2)])
def test_sequences_and_volumes_are_maps_too(policy: str, shape: tuple[int, ...]) -> None:
    want = {"flatten": (6, np.prod(shape[1:])), "mean": (6, 3), "each": (6 * np.prod(shape[2:]), 3)}
    assert as_features(maps(*shape), positions=policy).shape == want[policy]


def test_what_each_policy_ignores_and_does_not() -> None:
    x = maps(40, 3, 4, 5)
    shuffled = x.reshape(40, 3, 20)[:, :, np.random.default_rng(1).permutation(20)].reshape(x.shape)
    own = np.stack([np.roll(image, k % 5, axis=2) for k, image in enumerate(x)])

    def alike(y: np.ndarray, policy: str) -> float:
        return cka(as_features(x, positions=policy), as_features(y, positions=policy))

    assert alike(shuffled, "flatten") == pytest.approx(1), "one order of positions for all images"
    assert alike(shuffled, "each") < 0.5
    assert alike(own, "mean") == pytest.approx(1), "where in the image it is"
    assert alike(own, "flatten") < 0.5


def test_means_of_whole_numbers_keep_their_fraction() -> None:
    x = np.array([[[0, 1]], [[1, 1]]])
    for given in (x, torch.from_numpy(x)):
        assert np.asarray(as_features(given, positions="mean")).tolist() == [[0.5], [1.0]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: as_features(maps(), positions="maen"),
            "unknown policy for positions 'maen': did you mean 'mean'",
        ),
        (lambda: as_features(maps(6, 3), positions="max"), "unknown policy for positions 'max'"),
        (lambda: as_features([[1.0]]), "expected x as a NumPy array or a torch tensor, got list"),
        (lambda: as_features(maps(6)), r"expected feature maps \(n, c, h, w\).*got shape \(6,\)"),
        (lambda: as_features(maps(6, 3, 0, 2)), r"none of them empty, got shape \(6, 3, 0, 2\)"),
        (lambda: as_features(maps(), channels=0), "the axis of the channels, as a whole number from 1 to 3"),
        (lambda: as_features(maps(), channels=4), "the axis of the channels, as a whole number from 1 to 3"),
    ],
)
def test_bad_requests_say_what_to_do(make, message: str) -> None:
    with pytest.raises(AkpError, match=message):
        make()
