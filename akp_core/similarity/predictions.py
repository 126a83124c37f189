"""Disagreement of predictions, and how much of it the errors alone allow."""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64, Int

from akp_core.errors import expected
from akp_core.similarity.arrays import A, as_float64, like


def prediction_disagreement(predictions: Int[A, "M n"]) -> Float64[A, "M M"]:
    """The share of examples on which two models predict different classes.

    Parameters
    ----------
    predictions : (M, n) integer array, NumPy or torch
        The predicted class of each example, one row per model.

    Returns
    -------
    (M, M) float64 array of the kind that came
        In [0, 1]; symmetric, exactly 0 on the diagonal.

    Raises
    ------
    AkpError
        If the array is not (models, examples) or not of integers.

    Notes
    -----
    Two models with errors e1 and e2 can disagree on at most e1 + e2 of the examples
    (`disagreement_bound`): good models agree by force, whatever their insides look like.

    Cost: :math:`2M^2n` operations per class.
    """
    values, _ = as_float64(predictions, "predictions")
    if values.ndim != 2 or values.numel() == 0:
        raise expected("predictions as (models, examples)", f"shape {tuple(values.shape)}")
    if not bool((values == values.round()).all()):
        raise expected(
            "predictions as class numbers", "fractional values", "take the argmax of probabilities first"
        )
    examples = values.shape[1]
    agreements = torch.zeros(len(values), len(values), dtype=torch.float64, device=values.device)
    for label in torch.unique(values):
        chosen = (values == label).to(torch.float64)
        agreements += chosen @ chosen.T
    return like((examples - agreements) / examples, predictions)


def disagreement_bound(errors: Float[A, " M"]) -> Float64[A, "M M"]:
    """The most that two models with given errors can disagree, ``min(1, e_i + e_j)``.

    Parameters
    ----------
    errors : (M,) array, NumPy or torch
        Share of examples that each model gets wrong, in [0, 1], on the examples of the predictions.

    Returns
    -------
    (M, M) float64 array of the kind that came
        In [0, 1], exactly 0 on the diagonal: a model agrees with itself.

    Raises
    ------
    AkpError
        If the errors are not one number from 0 to 1 per model.
    """
    values, _ = as_float64(errors, "errors")
    if values.ndim != 1:
        raise expected("one error per model", f"shape {tuple(values.shape)}")
    if not bool(((values >= 0) & (values <= 1)).all()):
        raise expected("errors as shares from 0 to 1", "values outside", "divide percentages by 100")
    bound = (values[:, None] + values[None, :]).clamp_(max=1)
    return like(bound.fill_diagonal_(0), errors)
