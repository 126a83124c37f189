"""Do networks agree on what they learn first? True-positive agreement, learning times and their orders.

A lens: pure functions of a correctness cube (networks x looks x images) and of images::

    agreement.true_positive_agreement(correct, size=5, classes=labels).corrected
    times = agreement.learning_times(correct, steps).time
    agreement.order_agreement(times, classes=labels, rng=rng).value
"""

from __future__ import annotations

from akp_core.agreement.cube import Matched, accuracy, at_accuracy
from akp_core.agreement.image_order import Follows, follows
from akp_core.agreement.image_statistics import NAMES, image_statistics
from akp_core.agreement.intervals import Interval, agreement_intervals
from akp_core.agreement.learning_time import LearningTimes, learning_times
from akp_core.agreement.orders import (
    OrderAgreement,
    OrdersBetween,
    has_order,
    order_agreement,
    orders_between,
)
from akp_core.agreement.true_positive import Agreement, Null, permutation_null, true_positive_agreement

__all__ = [
    "NAMES",
    "Agreement",
    "Follows",
    "Interval",
    "LearningTimes",
    "Matched",
    "Null",
    "OrderAgreement",
    "OrdersBetween",
    "accuracy",
    "agreement_intervals",
    "at_accuracy",
    "follows",
    "has_order",
    "image_statistics",
    "learning_times",
    "order_agreement",
    "orders_between",
    "permutation_null",
    "true_positive_agreement",
]
