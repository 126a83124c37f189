"""Model stitching, the functional witness: can one network go on from what another has computed?

An affine map, fitted on images of its own, carries the sender's representation at a tap to the receiver's,
and the receiver finishes the work. What that costs in errors is the stitching penalty. It asks whether the
receiver *can use* what the sender holds, not whether the two hold the same: stitching succeeds between
networks that use different information, so it is a second witness beside similarity and never the judge.
"""

from __future__ import annotations

from akp_core.stitching.affine import AffineMap
from akp_core.stitching.stitched import Stitched, stitch

__all__ = ["AffineMap", "Stitched", "stitch"]
