"""Checking the options of a data set before anything is computed."""

from __future__ import annotations

import numpy as np

from akp_core.errors import expected


def whole_number(name: str, value: object, low: int, high: int) -> int:
    """Return an option that must be a whole number from `low` to `high`; a truth value is not one.

    Parameters
    ----------
    name : str
        The option, for the message.
    value : object
        What came.
    low, high : int
        The range, ends included.

    Returns
    -------
    int
        The value.

    Raises
    ------
    AkpError
        If it is anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not low <= value <= high:
        raise expected(f"{name} as a whole number from {low} to {high}", repr(value))
    return int(value)
