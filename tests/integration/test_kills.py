"""Killed at random moments, a run goes on to the same bits; `python -m benchmarks kills` has 500 of them."""

from pathlib import Path

import pytest

from benchmarks.kills import kill_points


@pytest.mark.slow
def test_twenty_random_kills_lose_nothing(tmp_path: Path) -> None:
    summary = kill_points(20, 1, tmp_path)
    assert summary.points == 20
    assert summary.equal == summary.points, summary.faults
