"""An exercise of the book, done as a student does it: the command copied, the answer found in the edition."""

from __future__ import annotations

import html
import itertools
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from akp_book import pages, profiles
from akp_book.exercises import exercises

ROOT = Path(__file__).parents[2]
PAGE = "book/instruments/permdisp"


@pytest.mark.slow
def test_the_answer_of_an_exercise_stands_in_the_edition_that_its_command_makes(tmp_path: Path) -> None:
    page = pages.load(ROOT).page(PAGE)
    (one,) = [found for found in exercises(page.name, page.text) if found.commands]
    (words,) = one.commands
    given = profiles.typed([word for before, word in itertools.pairwise(words) if before == "-p"])
    few, many = int(given["few"]), int(given["many"])
    shorter = 1 - np.sqrt((1 - 1 / few) / (1 - 1 / many))
    assert f"{100 * shorter:.1f}\\ \\%" in one.answer

    command = [sys.executable, "-m", "akp_book.cli", *words, "--profile", "smoke", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    (home,) = (tmp_path / "editions").iterdir()
    edition = html.unescape((home / "html" / f"{PAGE}.html").read_text("utf8"))
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", edition))
    assert f"In a family of {few} distances are {shorter:.1%} shorter than in one of {many}" in text
    assert f"{few}-many-{many}" in home.name
