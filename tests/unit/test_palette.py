"""What each activation and loss declares of itself is true of its function, and mixtures are its means."""

import functools
import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from akp_core import palette
from akp_core.errors import AkpError
from akp_core.identity import identity_of
from akp_core.palette import mixed_activation, mixed_loss

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


def test_loss_values_against_closed_forms_and_torch() -> None:
    z = torch.randn(40, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = torch.arange(40) % 5
    p = F.softmax(z, 1)
    own = p[torch.arange(40), y]
    known = {
        "cross_entropy": -own.log(),
        "squared_error": (z - F.one_hot(y, 5)).square().mean(1),
        "hinge": F.multi_margin_loss(z, y, reduction="none"),
        "focal": -((1 - own) ** 2) * own.log(),
        "label_smoothing": -0.9 * own.log() - 0.1 * p.log().mean(1),
    }
    for name, value in known.items():
        torch.testing.assert_close(palette.loss(name).function(z, y), value)


def test_hinge_has_torchs_gradient_also_on_its_corners() -> None:
    z = torch.randint(-2, 3, (60, 4), generator=torch.Generator().manual_seed(1)).float()
    y = torch.arange(60) % 4
    ours, theirs = z.clone().requires_grad_(), z.clone().requires_grad_()
    palette.loss("hinge").function(ours, y).sum().backward()
    F.multi_margin_loss(theirs, y, reduction="sum").backward()
    assert torch.equal(ours.grad, theirs.grad)


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


def test_identity_sees_what_is_filled_in_or_closed_over() -> None:
    def steep(slope: float) -> palette.Elementwise:
        return lambda x: torch.tanh(slope * x)

    one, same, other = (identity_of(steep(slope)) for slope in (1.0, 1.0, 2.0))
    assert one == same != other

    def elu() -> Callable[..., torch.Tensor]:
        return lambda x, alpha: F.elu(x, alpha)

    filled = [functools.partial(elu(), alpha=alpha) for alpha in (1.0, 1.0, 2.0)]
    one, same, other = map(identity_of, filled)
    assert one == same != other


MEMBERS, IMAGES = 3, 7
ACTIVATION_MIXTURES = [((name, 1.0),) for name in sorted(palette.ACTIVATIONS)] + [
    (("relu", 0.7), (name, 0.3)) for name in sorted(palette.ACTIVATIONS) if name != "relu"
]
LOSS_MIXTURES = [((name, 1.0),) for name in sorted(palette.LOSSES)] + [
    (("cross_entropy", 0.7), (name, 0.3)) for name in sorted(palette.LOSSES) if name != "cross_entropy"
]


@pytest.mark.parametrize("mixture", ACTIVATION_MIXTURES, ids=str)
def test_activations_have_a_member_axis(mixture: palette.Mixture) -> None:
    """Under vmap of grad every member has the gradient that it has alone, to rounding and unwarned."""
    function = mixed_activation(mixture).function
    slope = torch.func.grad(lambda x: function(x).sum())
    x = torch.randn(MEMBERS, 4, 5, generator=torch.Generator().manual_seed(0))
    alone = torch.stack([slope(member) for member in x])
    torch.testing.assert_close(torch.func.vmap(slope)(x), alone, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("mixture", LOSS_MIXTURES, ids=str)
def test_losses_have_a_member_axis(mixture: palette.Mixture) -> None:
    slope = torch.func.grad(lambda z, y: mixed_loss(mixture)(z, y).mean())
    stream = torch.Generator().manual_seed(0)
    z, y = (
        torch.randn(MEMBERS, IMAGES, 4, generator=stream),
        torch.randint(4, (MEMBERS, IMAGES), generator=stream),
    )
    alone = torch.stack([slope(*member) for member in zip(z, y, strict=True)])
    torch.testing.assert_close(torch.func.vmap(slope)(z, y), alone, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("mixture", [*ACTIVATION_MIXTURES, *LOSS_MIXTURES], ids=str)
def test_no_value_is_read_on_the_host(mixture: palette.Mixture) -> None:
    """A captured graph cannot branch on values; a tensor without values cannot either, on any machine."""
    z = torch.zeros(IMAGES, 4, device="meta", requires_grad=True)
    if mixture in LOSS_MIXTURES:
        y = torch.zeros(IMAGES, dtype=torch.int64, device="meta")
        mixed_loss(mixture)(z, y).mean().backward()
    else:
        mixed_activation(mixture).function(z).sum().backward()
    assert z.grad.shape == z.shape


@pytest.mark.parametrize("mixture", ACTIVATION_MIXTURES, ids=str)
def test_activations_train_under_bf16_autocast(mixture: palette.Mixture) -> None:
    x = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    weight = torch.randn(6, 5, generator=torch.Generator().manual_seed(1), requires_grad=True)
    function = mixed_activation(mixture).function
    with torch.autocast("cpu", torch.bfloat16):
        y = function(F.linear(x, weight))
    torch.testing.assert_close(y.float(), function(F.linear(x, weight)), rtol=0.05, atol=0.05)
    y.float().sum().backward()
    assert torch.isfinite(weight.grad).all()


@pytest.mark.parametrize("mixture", LOSS_MIXTURES, ids=str)
def test_losses_stay_in_float32_under_bf16_autocast(mixture: palette.Mixture) -> None:
    z = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        value = mixed_loss(mixture)(z, torch.arange(8) % 5)
    assert value.dtype == torch.float32
    assert torch.equal(value, mixed_loss(mixture)(z, torch.arange(8) % 5))


def test_one_name_alone_is_that_very_function() -> None:
    for name, entry in palette.ACTIVATIONS.items():
        assert mixed_activation(((name, 1.0),)) is entry
    for name, entry in palette.LOSSES.items():
        assert mixed_loss(((name, 1.0),)) is entry.function


def test_a_mixture_is_the_weighted_mean() -> None:
    mixture = (("relu", 0.5), ("tanh", 0.3), ("square", 0.2))
    got = mixed_activation(mixture)
    torch.testing.assert_close(got.function(X), 0.5 * X.relu() + 0.3 * X.tanh() + 0.2 * X.square())
    assert (got.name, got.bounded, got.monotone) == ("0.5 relu + 0.3 tanh + 0.2 square", False, False)
    z, y = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3
    wanted = 0.25 * F.cross_entropy(z, y, reduction="none") + 0.75 * palette.loss("hinge").function(z, y)
    torch.testing.assert_close(mixed_loss((("cross_entropy", 0.25), ("hinge", 0.75)))(z, y), wanted)


def test_what_a_mixture_declares_is_true() -> None:
    for one, two in itertools.combinations(sorted(palette.ACTIVATIONS), 2):
        got = mixed_activation(((one, 0.4), (two, 0.6)))
        y = got.function(X)
        assert not got.monotone or bool((y.diff() >= -1e-12).all())
        assert not got.bounded or float(y.abs().max()) <= 1


def test_mixtures_are_told_apart_by_what_they_compute() -> None:
    shares = [mixed_activation((("relu", 1 - d), ("tanh", d))) for d in (0.25, 0.5)]
    others = [mixed_activation((("relu", 0.5), ("sine", 0.5))), palette.activation("relu")]
    assert len({entry.identity for entry in shares + others}) == 4
    again = mixed_activation((("relu", 0.5), ("tanh", 0.5)))
    assert again == shares[1]
    assert again.identity == shares[1].identity


@pytest.mark.parametrize(
    ("mixture", "message"),
    [
        ((), r"expected a mixture of one activation or more as pairs of a name and a weight, got \(\)"),
        ("relu", "expected a mixture of one activation or more .*, got 'relu'"),
        ((("rleu", 1.0),), "unknown activation 'rleu': did you mean 'relu'"),
        (
            (("relu", 0.5), ("relu", 0.5)),
            "expected each activation of a mixture once, got relu, relu; add up the weights",
        ),
        ((("relu", 1.0), ("tanh", 0)), "expected the weight of 'tanh' above 0 and at most 1, got 0"),
        ((("relu", 1.5), ("tanh", -0.5)), r"expected the weight of 'relu' above 0 and at most 1, got 1\.5"),
        ((("relu", True),), "expected the weight of 'relu' above 0 and at most 1, got True"),
        ((("relu", float("nan")),), "expected the weight of 'relu' above 0 and at most 1, got nan"),
        ((("relu", 0.5), ("tanh", 0.4)), r"expected the weights of a mixture to sum to 1, got 0\.9"),
        ((("relu", 0.5),), r"expected the weights of a mixture to sum to 1, got 0\.5"),
    ],
)
def test_what_is_no_mixture_says_why(mixture: palette.Mixture, message: str) -> None:
    with pytest.raises(AkpError, match=message):
        mixed_activation(mixture)


def test_a_mixture_of_losses_is_checked_as_well() -> None:
    with pytest.raises(AkpError, match="unknown loss 'higne': did you mean 'hinge'"):
        mixed_loss((("higne", 1.0),))
    with pytest.raises(AkpError, match=r"weights of a mixture to sum to 1, got 0\.9"):
        mixed_loss((("hinge", 0.5), ("focal", 0.4)))
