"""Networks with named *slots*, where an activation can be swapped, and named *taps*, where one can look in.

A slot is a module that applies whichever activation it currently holds; a swap replaces what it holds
and touches no weight. A tap is any named part of the network whose output is read while a context is
open. ``Network`` names one of our architectures, ``Own`` any network of the user's; a study needs no
more of either than ``Architecture`` says.
"""

from __future__ import annotations

from akp_core.networks.architectures import BLUEPRINTS, Blueprint
from akp_core.networks.own import Own
from akp_core.networks.slot import Slot, slots, swap
from akp_core.networks.specification import Architecture, Network
from akp_core.networks.tap import continued, evaluating, representations, tapped

__all__ = [
    "BLUEPRINTS",
    "Architecture",
    "Blueprint",
    "Network",
    "Own",
    "Slot",
    "continued",
    "evaluating",
    "representations",
    "slots",
    "swap",
    "tapped",
]
