"""The command ``akp compare``: two editions of a page side by side."""

from __future__ import annotations

from pathlib import Path

import click

from akp_book.root import find_root


@click.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option("--out", type=click.Path(path_type=Path), default=None, help="Build folder  [default: _build]")
@click.option(
    "--to", type=click.Path(path_type=Path), default=None, help="The HTML file  [default: OUT/compare]"
)
def compare(first: str, second: str, out: Path | None, to: Path | None) -> None:
    """Set edition A and edition B of one page side by side.

    A and B are names of editions, or of a page for the book's own run of it, or folders. What differs is
    printed here, and written with the figures to one HTML file that needs no network.
    """
    from akp_book import pages
    from akp_book.compare import compare as compared
    from akp_book.compare_page import render
    from akp_book.compare_sources import file_name, pair
    from akp_book.compare_text import lines
    from akp_core.durable import refusals

    root = find_root()
    build = (root / "_build") if out is None else out.resolve()
    a, b = pair(pages.load(root), build, first, second)
    found = compared(a, b)
    file = (build / "compare" / file_name(a, b)) if to is None else to.resolve()
    with refusals(f"the file {file}"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(render(found, file), "utf8")
    click.echo("\n".join([*lines(found), "", f"side by side: {file}"]))
