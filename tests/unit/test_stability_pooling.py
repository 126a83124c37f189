"""Exchanged channels, even filters and rectified noise: known answers on modules made by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from akp_core.errors import AkpError
from akp_core.lenses.channel_shuffle import shuffled_channels
from akp_core.lenses.rectified import rectified, without_rectification
from akp_core.lenses.stability_filters import mode_shares, spatial_pooling
from akp_core.networks import Network


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def built(kind: str = "cnn", width: int = 8, depth: int = 2, channels: int = 1) -> nn.Module:
    return Network(kind, width, depth).build((channels, 16, 16), 3, stream()).eval()


def test_exchange_keeps_the_filters_of_every_output_and_the_first_convolution() -> None:
    model = built(depth=3, channels=3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    copied = shuffled_channels(model, generator=stream())
    after = copied.state_dict()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    for name, value in before.items():
        if name in ("block2.conv.weight", "block3.conv.weight"):
            assert not torch.equal(after[name], value)
            old, new = (
                value.flatten(2).sum(2).sort(dim=1).values,
                after[name].flatten(2).sum(2).sort(dim=1).values,
            )
            assert torch.equal(old, new)
        else:
            assert torch.equal(after[name], value)


def test_each_output_channel_has_its_own_order() -> None:
    model = nn.Sequential(nn.Conv2d(1, 6, 3), nn.Conv2d(6, 5, 1))
    with torch.no_grad():
        model[1].weight.copy_(torch.arange(6.0).expand(5, 6)[:, :, None, None])
    rows = shuffled_channels(model, generator=stream())[1].weight.flatten(1)
    assert len({tuple(row) for row in rows.tolist()}) > 1
    assert all(sorted(row) == list(range(6)) for row in rows.tolist())


def test_a_network_that_sums_copies_loses_its_channel_pooling_and_one_of_equal_channels_does_not() -> None:
    """w = (1, 1) over a shifted pair pools; exchanging equal weights changes nothing, signed ones all."""
    pair = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.Conv2d(2, 8, 1, bias=False))
    with torch.no_grad():
        pair[1].weight.fill_(1.0)
    x = torch.randn(4, 1, 8, 8, generator=stream(1))
    assert torch.equal(pair(x), shuffled_channels(pair, generator=stream())(x))
    with torch.no_grad():
        pair[1].weight[:, 1] = -1.0
    changed = shuffled_channels(pair, generator=stream())(x)
    same, turned = (changed - pair(x)).abs().amax((0, 2, 3)), (changed + pair(x)).abs().amax((0, 2, 3))
    assert bool(((same < 1e-6) | (turned < 1e-6)).all())
    assert bool((turned < 1e-6).any())


def test_exchange_works_on_any_module_with_two_convolutions_and_says_what_it_needs() -> None:
    shuffled_channels(built("resnet18", 4, 1), generator=stream())
    grouped = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3, groups=4))
    for poor in (built("mlp"), nn.Conv2d(3, 4, 3), grouped):
        with pytest.raises(AkpError, match="a second convolution with channels to exchange"):
            shuffled_channels(poor, generator=stream())


@pytest.mark.parametrize("size", [(3, 3), (2, 5), (7, 7)])
def test_shares_are_squared_projections_on_the_eigenvectors_of_the_grid(size: tuple[int, int]) -> None:
    def path(n: int) -> np.ndarray:
        laplacian = np.diag([1.0, *[2.0] * (n - 2), 1.0]) if n > 2 else np.eye(2)
        return laplacian - np.eye(n, k=1) - np.eye(n, k=-1)

    f, g = size
    laplacian = np.kron(path(f), np.eye(g)) + np.kron(np.eye(f), path(g))
    weight = torch.randn(4, 3, f, g, generator=stream(), dtype=torch.float64)
    shares = mode_shares(weight)
    assert shares.shape == (12, f, g)
    np.testing.assert_allclose(shares.sum(axis=(1, 2)), 1)
    values = 4 * np.sin(np.pi * np.arange(f) / (2 * f))[:, None] ** 2
    values = values + 4 * np.sin(np.pi * np.arange(g) / (2 * g)) ** 2
    rows = weight.flatten(0, 1).flatten(1).numpy()
    energy = np.einsum("ni,ij,nj->n", rows, laplacian, rows) / (rows**2).sum(axis=1)
    np.testing.assert_allclose((shares * values).sum(axis=(1, 2)), energy)


def test_an_even_filter_is_all_in_the_lowest_mode_and_random_ones_have_their_null() -> None:
    assert mode_shares(torch.full((2, 2, 3, 3), -0.3))[:, 0, 0] == pytest.approx(1.0)
    drawn = mode_shares(torch.randn(200, 100, 3, 3, generator=stream()))
    np.testing.assert_allclose(drawn.mean(axis=0), 1 / 9, atol=0.005)


def test_filters_of_one_pixel_are_left_out_and_lost_layers_say_why() -> None:
    table = spatial_pooling(built("resnet18", 4, 1))
    assert not table["layer"].str.contains("shortcut").any()
    model = built()
    with torch.no_grad():
        model.block1.conv.weight.fill_(float("nan"))
        model.block2.conv.weight.zero_()
    lost = spatial_pooling(model)
    assert lost["why"].tolist() == ["diverged", "collapsed"]
    assert lost["even"].isna().all()
    with pytest.raises(AkpError, match="convolutions of more than one pixel"):
        spatial_pooling(built("mlp"))
    for wrong, said in ((torch.ones(3, 3), "o, c, f, g"), (torch.zeros(1, 1, 3, 3), "not all zero")):
        with pytest.raises(AkpError, match=said):
            mode_shares(wrong)


def test_rectified_noise_is_positive_of_the_same_norm_and_has_the_mean_of_half_a_normal() -> None:
    noise = torch.randn(5, 3, 40, 40, generator=stream(), dtype=torch.float64)
    found = rectified(noise)
    assert bool((found >= 0).all())
    torch.testing.assert_close(found.flatten(1).norm(dim=1), noise.flatten(1).norm(dim=1))
    assert float(found.mean()) == pytest.approx(1 / np.sqrt(np.pi), rel=0.03)
    assert not rectified(torch.zeros(2, 1, 4, 4)).any()
    with pytest.raises(AkpError, match="a positive entry"):
        rectified(-torch.ones(2, 1, 4, 4))


def test_a_network_in_which_nothing_rectifies_is_affine_and_the_network_is_not_touched() -> None:
    model = built(depth=3)
    bare = without_rectification(model)
    x, y, zero = torch.randn(3, 4, 1, 16, 16, generator=stream())
    zero = torch.zeros_like(zero)
    torch.testing.assert_close(
        bare(x + y) - bare(zero), bare(x) + bare(y) - 2 * bare(zero), atol=1e-4, rtol=1e-4
    )
    assert not torch.allclose(model(x + y) - model(zero), model(x) + model(y) - 2 * model(zero), atol=1e-2)
    with pytest.raises(AkpError, match="a network with slots"):
        without_rectification(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()))
