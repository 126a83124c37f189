"""Specification curves: one question asked of the same networks in every reasonable way.

``specifications`` tests every combination of measure, tap, network, data set, definition of happiness, stress
and onset; ``joint`` tests them all as one, with whole seeds as the replicates; ``by_level`` and ``ways`` hold
choices fixed; ``variance_shares`` says which choice matters; ``survival`` whether an answer survives.
"""

from __future__ import annotations

from akp_core.specifications.curve import FACTORS, VERDICTS, Curve, Outcomes, happier_by, specifications
from akp_core.specifications.inference import Joint, joint
from akp_core.specifications.measures import RULERS, Ruler
from akp_core.specifications.survival import WAYS, Survival, by_level, survival, variance_shares, ways
from akp_core.specifications.within import within_families

__all__ = [
    "FACTORS",
    "RULERS",
    "VERDICTS",
    "WAYS",
    "Curve",
    "Joint",
    "Outcomes",
    "Ruler",
    "Survival",
    "by_level",
    "happier_by",
    "joint",
    "specifications",
    "survival",
    "variance_shares",
    "ways",
    "within_families",
]
