"""What each activation and loss declares of itself is true of its function."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from akp_core import palette
from akp_core.errors import AkpError

X = torch.linspace(-60, 60, 200_001, dtype=torch.float64)


@pytest.mark.parametrize("name", sorted(palette.ACTIVATIONS))
def test_activation_keeps_its_word(name: str) -> None:
    entry = palette.activation(name)
    before = X.clone()
    y = entry.function(X)
    assert torch.equal(X, before), "works in place"
    assert y.shape == X.shape
    assert torch.isfinite(y).all()
    assert entry.monotone == bool((y.diff() >= -1e-12).all())
    grows = entry.function(torch.tensor([-1e6, 1e6], dtype=torch.float64)).abs().max() > 100
    assert entry.bounded == (not grows)


def test_activation_values_against_closed_forms() -> None:
    x = np.linspace(-3, 3, 13)
    known = {
        "relu": np.maximum(x, 0),
        "leaky_relu": np.where(x > 0, x, 0.01 * x),
        "silu": x / (1 + np.exp(-x)),
        "tanh": np.tanh(x),
        "sigmoid": 1 / (1 + np.exp(-x)),
        "softplus": np.log1p(np.exp(x)),
        "sine": np.sin(x),
        "identity": x,
        "square": x * x,
    }
    for name, value in known.items():
        np.testing.assert_allclose(
            palette.activation(name).function(torch.from_numpy(x)).numpy(), value, atol=1e-12
        )


@pytest.mark.parametrize("name", sorted(palette.LOSSES))
def test_loss_is_per_example_finite_and_trainable(name: str) -> None:
    logits = torch.randn(7, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0])
    value = palette.loss(name).function(logits, labels)
    assert value.shape == (7,)
    value.mean().backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad.abs().max() > 0


@pytest.mark.parametrize("name", sorted(palette.LOSSES))
def test_loss_is_proper_exactly_when_it_says_so(name: str) -> None:
    """Minimise the expected loss for a known posterior and see whether the output is that posterior."""
    posterior = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    z = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([z], max_iter=500, tolerance_grad=1e-12, line_search_fn="strong_wolfe")
    function = palette.loss(name).function

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        expected = (posterior * function(z.expand(3, 3), torch.arange(3))).sum()
        expected.backward()
        return expected

    optimizer.step(closure)
    z = z.detach()
    off = min((F.softmax(z, 0) - posterior).abs().max(), (z - posterior).abs().max())
    assert palette.loss(name).proper == (float(off) < 1e-4)


def test_unknown_names_say_what_is_valid() -> None:
    with pytest.raises(AkpError, match=r"unknown activation 'rleu': did you mean 'relu'\? valid: gelu"):
        palette.activation("rleu")
    with pytest.raises(AkpError, match=r"unknown loss 'hinj': did you mean 'hinge'\?"):
        palette.loss("hinj")


def test_a_name_is_registered_once() -> None:
    with pytest.raises(AkpError, match="'relu' is already registered"):
        palette.register_activation(palette.activation("relu"))
    with pytest.raises(AkpError, match="'hinge' is already registered"):
        palette.register_loss(palette.loss("hinge"))


def test_identity_tells_functions_apart() -> None:
    every = [*palette.ACTIVATIONS.values(), *palette.LOSSES.values()]
    assert len({entry.identity for entry in every}) == len(every)
