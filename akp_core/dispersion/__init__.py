"""The Anna Karenina test: do unhappy models spread more widely around their centre than happy ones?

``anna_karenina_test`` compares the spread of two families and gives a verdict. ``location_test`` asks the
other question, whether families sit in different places (PERMANOVA). ``distance_to_centroid`` is the
contribution of every single model. All work from a matrix of distances between models, such as
`akp_core.similarity.chordal_distance` of pairwise similarities, and the replicate is the model: models are
permuted, models are left out, never pairs.
"""

from __future__ import annotations

from akp_core.dispersion.anna_karenina import AnnaKarenina, PerFamily, anna_karenina_test
from akp_core.dispersion.geometry import distance_to_centroid
from akp_core.dispersion.location import LocationTest, location_test

__all__ = [
    "AnnaKarenina",
    "LocationTest",
    "PerFamily",
    "anna_karenina_test",
    "distance_to_centroid",
    "location_test",
]
