r"""What the constants of a stress fix: the verdict on dispersion, a move, and the time of recovery."""

from __future__ import annotations

from math import inf
from typing import Literal, NamedTuple

import numpy as np

from akp_core.errors import expected
from akp_core.theory.ornstein_uhlenbeck import Regime, Scenario, number

Verdict = Literal["AKP", "none", "anti-AKP"]


class Expected(NamedTuple):
    """What a stress does in the long run of a press, and the verdict that its constants fix."""

    verdict: Verdict
    moves: bool
    effect: float
    """Log ratio of the dispersions in the limit; infinite where the stressed family never settles."""


def verdict(control: Regime, stressed: Regime, *, tolerance: float = 1e-12) -> Expected:
    r"""The verdict of a stress on a family that has settled: the same at every time after the fork.

    .. math:: \operatorname{sign}\,(V_s(t) - V_c(t)) =
              \operatorname{sign}\Bigl(\frac{\sigma_s^2}{\sigma_c^2} - \frac{\theta_s}{\theta_c}\Bigr)

    Parameters
    ----------
    control : Regime
        With theta and sigma above 0.
    stressed : Regime
    tolerance : float
        The two ratios count as equal when they differ by no more than this share of the larger.

    Returns
    -------
    Expected
        AKP, none or anti-AKP; whether the family moves; the log ratio of dispersions in the limit.

    Raises
    ------
    AkpError
        For a control without a stationary law.

    Notes
    -----
    Invariances: unit of time and of space. The shift of mu has no part in the sign.
    """
    Scenario(control, stressed)
    noise, pull = (stressed.sigma / control.sigma) ** 2, stressed.theta / control.theta
    excess = noise - pull
    if abs(excess) <= tolerance * max(noise, abs(pull)):
        excess = 0.0
    found: Verdict = "AKP" if excess > 0 else "anti-AKP" if excess < 0 else "none"
    moves = stressed.theta != 0 and stressed.mu != control.mu
    if excess == 0:
        return Expected(found, moves, 0.0)
    limit = stressed.stationary / control.stationary
    return Expected(found, moves, 0.5 * float(np.log(limit)) if limit > 0 else -inf)


class Recovery(NamedTuple):
    """Time after the end of a pulse until only a share of what it did is left."""

    location: float
    dispersion: float
    """Of the excess of the squared dispersion."""


def recovery(control: Regime, share: float = float(np.exp(-1))) -> Recovery:
    r"""How long a family takes to recover from a pulse, whatever the pulse was.

    .. math:: t_{\text{location}} = \frac{\log(1 / q)}{\theta_c}, \qquad
              t_{\text{dispersion}} = \frac{\log(1 / q)}{2\,\theta_c}

    Parameters
    ----------
    control : Regime
        The law that the family returns to.
    share : float
        q, above 0 and at most 1: how much of the displacement, or of the excess variance, is left.

    Returns
    -------
    Recovery
        In units of time, 0 or more.

    Raises
    ------
    AkpError
        For a control without a stationary law, or a share out of its range.
    """
    Scenario(control, control)
    if not number("share", share, 0.0, 1.0) > 0:
        raise expected("share above 0", repr(share))
    time = float(np.log(1 / share)) / control.theta
    return Recovery(time, time / 2)
