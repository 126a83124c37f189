"""Families trained where the law is known, measured beside the bounds on their outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float64, Int64
from scipy.stats import t as student

from akp_core.errors import expected
from akp_core.similarity import disagreement_bound, pairwise, prediction_disagreement
from akp_core.simulation.known_law import KnownLaw, Trained, mixture, train
from akp_core.theory.outputs import cka_floor, excess_risk, root_mean_square_bound, total_variation_bound
from akp_core.theory.probabilities import output_distances
from akp_core.theory.targets import read_out


@dataclass(frozen=True, eq=False)
class Case:
    """A law, items drawn from it with their labels, and a family looked at on them.

    Attributes
    ----------
    law : KnownLaw
    items : (n, d) float64
    labels : (n,) int64
    trained : Trained
    """

    law: KnownLaw
    items: Float64[np.ndarray, "n d"]
    labels: Int64[np.ndarray, " n"]
    trained: Trained

    @property
    def truth(self) -> Float64[np.ndarray, "n K"]:
        """Class probabilities of the items."""
        return self.law.posterior(self.items)

    @property
    def errors(self) -> Float64[np.ndarray, " M"]:
        """Share of the items that each network gets wrong at the end of training."""
        return np.asarray((self.trained.logits[-1].argmax(axis=-1) != self.labels).mean(axis=1))


def pair_mean(pairs: Float[np.ndarray, "M M"]) -> tuple[float, float, float]:
    r"""The mean over pairs of models, with its 95 % jackknife interval over models.

    .. math:: \bar d = \frac{1}{M(M-1)}\sum_{i \ne j} d_{ij}, \qquad
              s^2 = \frac{M-1}{M}\sum_i(\bar d_{-i} - \bar d_{-\cdot})^2

    Parameters
    ----------
    pairs : (M, M) float
        Symmetric; the diagonal is not read. M > 2.

    Returns
    -------
    tuple of three float
        Mean, and the ends of the interval by Student's t with M - 1 degrees of freedom.

    Raises
    ------
    AkpError
        If it is not a square table of finite numbers for three models or more.
    """
    values = np.asarray(pairs, dtype=np.float64)
    if values.ndim != 2 or len(values) < 3 or values.shape[0] != values.shape[1]:
        raise expected("pairs as (models, models) of three models or more", f"shape {values.shape}")
    members, rows = len(values), (values - np.diag(np.diag(values))).sum(axis=1)
    if not np.isfinite(rows).all():
        raise expected("finite numbers for every pair", "others", "leave diverged models out, count them")
    mean = rows.sum() / (members * (members - 1))
    left = (rows.sum() - 2 * rows) / ((members - 1) * (members - 2))
    margin = np.sqrt((members - 1) / members * np.square(left - left.mean()).sum())
    margin *= student.ppf(0.975, members - 1)
    return float(mean), float(mean - margin), float(mean + margin)


def measured(
    truth: Float[np.ndarray, "n K"], labels: Int64[np.ndarray, " n"], trained: Trained
) -> pd.DataFrame:
    """Measure a family at every look beside what its excess risk allows.

    Parameters
    ----------
    truth : (n, K) float
        Class probabilities of the items that the networks were looked at on.
    labels : (n,) int64
        Labels drawn from them.
    trained : Trained
        By cross-entropy.

    Returns
    -------
    DataFrame
        A row a look and quantity. ``excess`` is the largest of the family, in nats; ``value`` the mean over
        pairs with its interval ``low`` to ``high`` over models; ``worst`` the pair that comes nearest to its
        bound, or passes it; ``bound`` that pair's own; ``allowed`` the bound for two models of the family's
        largest excess; ``kept`` the share of pairs within their bounds. For CKA bounds are floors, and
        ``near`` is the mean floor from the true distances; for other quantities it is ``allowed``.
    """
    rows = []
    upper = np.triu_indices(trained.logits.shape[1], 1)
    for step, logits in zip(trained.steps, trained.logits, strict=True):
        outputs = read_out("cross_entropy", logits)
        excess = excess_risk(truth, outputs)
        errors = (logits.argmax(axis=-1) != labels).mean(axis=1)
        apart = np.sqrt(np.square(outputs - truth).sum(axis=-1).mean(axis=-1))
        top = float(excess.max())
        each: list[np.ndarray] = list(outputs)
        first, second = np.broadcast_arrays(excess[:, None], excess[None, :])
        near = cka_floor_or_none(truth, apart)
        tables = {
            "total variation": (
                output_distances(outputs, "total_variation"),
                total_variation_bound(first, second),
                total_variation_bound(top, top),
            ),
            "root mean square": (
                output_distances(outputs),
                root_mean_square_bound(first, second),
                root_mean_square_bound(top, top),
            ),
            "disagreement": (
                prediction_disagreement(logits.argmax(axis=-1)),
                disagreement_bound(errors),
                min(1.0, 2 * errors.max()),
            ),
        }
        if near is not None:
            floors = cka_floor(truth, np.sqrt(first), np.sqrt(second))
            tables["CKA"] = (pairwise(each), floors, cka_floor(truth, np.sqrt(top), np.sqrt(top)))
        for name, (value, bound, allowed) in tables.items():
            room = (value - bound if name == "CKA" else bound - value)[upper]
            least = int(room.argmin())
            mean, low, high = pair_mean(value)
            rows.append(
                {
                    "step": step,
                    "quantity": name,
                    "excess": top,
                    "value": mean,
                    "low": low,
                    "high": high,
                    "worst": float(value[upper][least]),
                    "bound": float(bound[upper][least]),
                    "allowed": float(allowed),
                    "near": float(near[upper].mean())
                    if name == "CKA" and near is not None
                    else float(allowed),
                    "kept": float((room >= -1e-9).mean()),
                }
            )
    return pd.DataFrame(rows)


def cka_floor_or_none(
    truth: Float[np.ndarray, "n K"], distances: Float[np.ndarray, " M"]
) -> Float64[np.ndarray, "M M"] | None:
    """Floors of CKA for every pair from their distances to the truth; None where the law is constant."""
    if np.ptp(truth, axis=0).max() < 1e-6:
        return None
    return cka_floor(truth, distances[:, None], distances[None, :])


def families(
    classes: list[int], *, members: int, steps: int, examples: int, noise: float, seed: int
) -> tuple[pd.DataFrame, dict[int, Case]]:
    """Train a family for each number of classes, and measure it.

    Parameters
    ----------
    classes : list of int
    members, steps, examples : int
        Networks in a family, steps of training, and items to train on; 512 fresh ones are looked at.
    noise : float
        Share of labels without a cause.
    seed : int

    Returns
    -------
    DataFrame
        As `measured`, with a column ``classes``.
    dict
        For each number of classes the `Case`.
    """
    tables, kept = [], {}
    for count in classes:
        rng = np.random.default_rng([seed, count])
        law = mixture(count, rng, noise=noise)
        x, y = law.draw(examples, rng)
        look, labels = law.draw(512, rng)
        generator = torch.Generator().manual_seed(seed * 1000 + count)
        trained = train(x, y, look, generator=generator, members=members, schedule=[("cross_entropy", steps)])
        tables.append(measured(law.posterior(look), labels, trained).assign(classes=count))
        kept[count] = Case(law, look, labels, trained)
    return pd.concat(tables, ignore_index=True), kept


def three_laws(*, members: int, steps: int, examples: int, noise: float, seed: int) -> pd.DataFrame:
    """Train three families of three classes: labels that follow the input partly, not at all, and wholly.

    Parameters
    ----------
    members, steps, examples, noise, seed
        As for `families`; the noise of the first law.

    Returns
    -------
    DataFrame
        A row a law: ``law``, ``excess`` (largest), mean ``total_variation`` over pairs and its ``bound``,
        ``linear`` (twice the largest excess, a bound for certain labels alone, else missing), mean ``cka``
        with ``low`` and ``high`` over models.
    """
    rng = np.random.default_rng([seed, 3])
    law = mixture(3, rng, noise=noise)
    x, y = law.draw(examples, rng)
    look, _ = law.draw(512, rng)

    def sure(items: Float[np.ndarray, "n d"]) -> Float64[np.ndarray, "n K"]:
        return np.eye(3)[law.posterior(items).argmax(axis=1)]

    cases: dict[str, tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]] = {
        "partly": (law.posterior, y),
        "not at all": (lambda items: np.full((len(items), 3), 1 / 3), rng.integers(3, size=examples)),
        "wholly": (sure, sure(x).argmax(axis=1)),
    }
    rows = []
    for name, (truth, labels) in cases.items():
        generator = torch.Generator().manual_seed(seed * 1000 + 3)
        trained = train(
            x, labels, look, generator=generator, members=members, schedule=[("cross_entropy", steps)]
        )
        outputs = read_out("cross_entropy", trained.logits[-1])
        each: list[np.ndarray] = list(outputs)
        excess = float(excess_risk(truth(look), outputs).max())
        cka, low, high = pair_mean(pairwise(each))
        apart = pair_mean(output_distances(outputs, "total_variation"))[0]
        rows.append(
            {
                "law": name,
                "excess": excess,
                "total_variation": apart,
                "bound": float(total_variation_bound(excess, excess)),
                "linear": 2 * excess if name == "wholly" else np.nan,
                "cka": cka,
                "low": low,
                "high": high,
            }
        )
    return pd.DataFrame(rows)
