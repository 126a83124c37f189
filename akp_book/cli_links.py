"""The command ``akp links``: ask every address outside that the book names whether it still answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click

from akp_book.root import find_root
from akp_core.errors import AkpError, expected

GONE = ("broken", "timeout")


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=None, help="Build folder  [default: _build]")
def links(out: Path | None) -> None:
    """Check the links of the last book that lead outside (needs the internet)."""
    folder = (find_root() / "_build") if out is None else out.resolve()
    answers = asked(folder)
    for answer in answers:
        if answer["status"] in GONE:
            said = " ".join(str(answer["info"]).split())[:160]
            where = f"{answer['filename']}:{answer['lineno']}"
            click.echo(f"{where}: {answer['uri']} is {answer['status']}: {said}")
    gone = sum(answer["status"] in GONE for answer in answers)
    outside = sum(answer["status"] not in ("local", "unchecked", "ignored") for answer in answers)
    if gone:
        raise AkpError(f"{gone} of {outside} links that lead outside do not answer")
    click.echo(f"all {outside} links that lead outside answer")


def asked(folder: Path) -> list[dict[str, str]]:
    """Let Sphinx's ``linkcheck`` ask for every link of the pages as they were printed last.

    Parameters
    ----------
    folder : Path
        The build folder.

    Returns
    -------
    list of dict
        One answer a link: ``filename``, ``lineno``, ``uri``, ``status`` and ``info``, as Sphinx writes them.

    Raises
    ------
    AkpError
        Without a book, or if Sphinx gives no answer at all.
    """
    src = folder / "src"
    if not (src / "_toc.yml").is_file():
        raise expected(f"a printed book in {folder}", "none", "run: akp book")
    answers = folder / "links" / "_build" / "html" / "output.json"
    answers.unlink(missing_ok=True)
    main = "import sys; from jupyter_book.cli.main import main; sys.exit(main())"
    options = ["build", "--builder", "linkcheck", "--path-output", str(folder / "links"), str(src)]
    environment = {**os.environ, "NO_COLOR": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", main, *options], capture_output=True, text=True, env=environment, check=False
    )
    if not answers.is_file():
        raise AkpError(f"the links could not be checked: {(done.stderr or done.stdout).strip()[-300:]}")
    return [json.loads(line) for line in answers.read_text("utf8").splitlines()]
