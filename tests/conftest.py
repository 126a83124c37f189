"""How the tests share a machine when several processes run them (``make test``)."""

from __future__ import annotations

import os

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported: more threads than cores wait by spinning
    share = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, share)))


@pytest.hookimpl(tryfirst=True)  # xdist reads the marks in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep each file on one process, and all that read the printed book: what they share is dear to make."""
    for item in items:
        group = "book" if item.path.parent.name == "book" else item.path.name
        item.add_marker(pytest.mark.xdist_group(group))
