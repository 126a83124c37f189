"""How the tests share a machine when several processes run them (``make test``)."""

from __future__ import annotations

import os

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported: more threads than cores wait by spinning
    share = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, share)))


class Together(LoadScopeScheduling):
    """Keeps each file on one process, and all that read the printed book: what they share is dear to make."""

    def _split_scope(self, nodeid: str) -> str:
        return "book" if nodeid.startswith("tests/book/") else nodeid.split("::", 1)[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Together:
    """Deal the tests out that way, whatever ``--dist`` says."""
    return Together(config, log)
