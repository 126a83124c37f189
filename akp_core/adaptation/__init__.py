"""What becomes of networks after a stress: where they stand, whether they recover, and if it mattered when.

`end_states` says whom stressed networks returned to, `timeline` follows them, `error_curves` and `recoveries`
tell how error and representation came back; `critical_periods` and `dose_response` compare onsets after equal
time. All read a finished population whose study was looked at along the way (``Study(..., looks=8)``).
"""

from __future__ import annotations

from akp_core.adaptation.courses import courses
from akp_core.adaptation.critical import critical_periods
from akp_core.adaptation.dose_response import dose_response
from akp_core.adaptation.half_life import half_life
from akp_core.adaptation.onset_dependence import dependence
from akp_core.adaptation.places import place
from akp_core.adaptation.recovery import error_curves, recoveries
from akp_core.adaptation.states import STATES, end_states, timeline
from akp_core.adaptation.summary import majority, tally
from akp_core.adaptation.twins import apart

__all__ = [
    "STATES",
    "apart",
    "courses",
    "critical_periods",
    "dependence",
    "dose_response",
    "end_states",
    "error_curves",
    "half_life",
    "majority",
    "place",
    "recoveries",
    "tally",
    "timeline",
]
