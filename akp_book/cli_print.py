"""The commands ``akp notebook`` and ``akp pdf``: a page for papermill, and the book for paper."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import click

from akp_book.profiles import DEFAULT
from akp_book.root import find_root

OUT = click.option(
    "--out", type=click.Path(path_type=Path), default=None, help="Build folder  [default: _build]"
)


@click.command()
@click.argument("page")
@click.option("--profile", default=DEFAULT, show_default=True, help="Set of values to start from.")
@click.option("-p", "options", multiple=True, metavar="NAME=VALUE", help="Set a parameter (YAML).")
@click.option("--to", type=click.Path(path_type=Path), default=None, help="File  [default: ./PAGE.ipynb]")
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
def notebook(page: str, profile: str, options: tuple[str, ...], to: Path | None, force: bool) -> None:
    """Write PAGE as a plain notebook that papermill's own command runs, from any folder."""
    from akp_book import export, pages, profiles
    from akp_book.commands import chosen, written

    here = Path.cwd()
    root = find_root()
    project = pages.load(root)
    asked = project.page(page)
    values = profiles.settle(project, profile, profiles.typed(options), only=asked.name)[asked.name]
    target = to if to is not None else here / f"{asked.name.rsplit('/', 1)[-1]}.ipynb"
    path = export.save(export.notebook(asked, values, root), target.absolute(), force=force)
    tool = Path(sys.executable).with_name("papermill")
    papermill = _near(tool, here) if tool.is_file() else "papermill"
    shown, result = _near(path, here), _near(path.with_suffix(".out.ipynb"), here)
    example = chosen(asked.parameters)
    option = f" -p {example[0].name} {shlex.quote(written(example[1]))}" if example else ""
    click.echo(f"wrote {shown}\nwhat it takes:  {papermill} --help-notebook {shown}")
    click.echo(f"run it:         {papermill} {shown} {result}{option}")


def _near(path: Path, here: Path) -> str:
    """Write a path as one would type it in a folder."""
    return shlex.quote(os.path.relpath(path, here) if path.is_relative_to(here) else str(path))


@click.command()
@OUT
@click.option("--to", type=click.Path(path_type=Path), default=None, help="The PDF  [default: OUT/book.pdf]")
@click.option(
    "--chromium", default=None, help="Chromium or Chrome to print with  [default: the one on the path]"
)
def pdf(out: Path | None, to: Path | None, chromium: str | None) -> None:
    """Print the last book as one PDF, with contents, page numbers, charts and maths."""
    from akp_book import pages
    from akp_book.pdf import print_pdf

    root = find_root()
    build = (root / "_build") if out is None else out.resolve()
    target = build / "book.pdf" if to is None else to.resolve()
    printed = print_pdf(pages.load(root), build, target, chromium)
    click.echo(f"{printed.pages} pages, {printed.seconds:.0f} s: {target}")
