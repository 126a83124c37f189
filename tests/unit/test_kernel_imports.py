"""What every page's kernel imports before it does anything: of the press no more than it needs."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
from akp_book import page, verdicts
page.begin()
print(*sorted({"jupytext", "nbformat", "papermill", "lark", "sphinx", "torch"} & set(sys.modules)))
"""


def test_a_kernel_is_not_kept_waiting_by_the_press() -> None:
    """Each of these takes up to two seconds; a book has about forty kernels."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
