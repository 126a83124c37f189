"""The Anna Karenina test: do unhappy models spread more widely around their centre than happy ones?

``anna_karenina_test`` compares the spread of two families and gives a verdict; ``streamed_test`` does so for
thousands of models without a matrix of their distances. ``location_test`` asks the other question, whether
families sit in different places (PERMANOVA); ``own_way`` whether unhappy models went there together or each
in its own direction. ``matched_comparison`` and ``three_causes`` ask whether stress, error or training
explains a spread, ``two_way_interval`` how sure it is over models and images, and ``members_needed`` how many
models it takes. ``distance_to_centroid`` is the contribution of every single model. All work from distances
between models, such as `akp_core.similarity.chordal_distance` of pairwise similarities, and the replicate is
the model: models are permuted, models are left out, never pairs.
"""

from __future__ import annotations

from akp_core.dispersion.anna_karenina import anna_karenina_test
from akp_core.dispersion.bootstrap import BootstrapEffect, bootstrap_effect
from akp_core.dispersion.causes import Cause, ThreeCauses, three_causes
from akp_core.dispersion.centroid import Centroid
from akp_core.dispersion.geometry import distance_to_centroid
from akp_core.dispersion.inference import AnnaKarenina, PerFamily
from akp_core.dispersion.location import LocationTest, location_test
from akp_core.dispersion.matching import MatchedComparison, matched_comparison
from akp_core.dispersion.own_way import OwnWay, own_way
from akp_core.dispersion.permdisp import PermDisp, permdisp
from akp_core.dispersion.power import Power, effective_dimension, members_needed, power
from akp_core.dispersion.streamed import streamed_test
from akp_core.dispersion.uncertainty import TwoWay, two_way_interval

__all__ = [
    "AnnaKarenina",
    "BootstrapEffect",
    "Cause",
    "Centroid",
    "LocationTest",
    "MatchedComparison",
    "OwnWay",
    "PerFamily",
    "PermDisp",
    "Power",
    "ThreeCauses",
    "TwoWay",
    "anna_karenina_test",
    "bootstrap_effect",
    "distance_to_centroid",
    "effective_dimension",
    "location_test",
    "matched_comparison",
    "members_needed",
    "own_way",
    "permdisp",
    "power",
    "streamed_test",
    "three_causes",
    "two_way_interval",
]
