"""What a store holds: lists it, verifies it, tidies it up and draws its tree.

Segments that another engine or another torch has made are never asked for again (`akp_core.store.MAKER`);
they are shown as not usable, and `prune` takes them out. A specification that is not in today's words, such
as that of an older engine, is shown as far as it can be read.
"""

from akp_core.inventory.drawing import tree
from akp_core.inventory.listing import listing
from akp_core.inventory.upkeep import Verification, prune, verify

__all__ = ["Verification", "listing", "prune", "tree", "verify"]
