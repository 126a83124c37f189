"""The command ``akp``: print the book, run one page with one's own parameters, list what may be chosen."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from akp_book.cli_compare import compare
from akp_book.cli_data import data
from akp_book.cli_links import links
from akp_book.cli_live import live
from akp_book.cli_print import notebook, pdf
from akp_book.cli_store import store
from akp_book.profiles import DEFAULT
from akp_book.root import find_root
from akp_core.errors import AkpError, expected


class Friendly(click.Group):
    """A command group that answers bad input with one line a fault on stderr, and no traceback."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run a command; exit with 2 for a bad command line, 1 for anything else that cannot be done."""
        options["standalone_mode"] = False
        try:
            sys.exit(super().main(*args, **options) or 0)
        except click.exceptions.Exit as error:
            sys.exit(error.exit_code)
        except click.UsageError as error:
            _complain(error.format_message())
            sys.exit(2)
        except (AkpError, click.ClickException) as error:
            _complain(error.format_message() if isinstance(error, click.ClickException) else str(error))
            sys.exit(1)
        except (click.Abort, KeyboardInterrupt):
            _complain("interrupted; the earlier book is as it was, finished pages are kept")
            sys.exit(130)


def _complain(message: str) -> None:
    for line in message.splitlines():
        click.echo(line if line.startswith(" ") else f"akp: {line}", err=True)


PARAMETER = click.option("-p", "options", multiple=True, metavar="NAME=VALUE", help="Set a parameter (YAML).")
PROFILE = click.option("--profile", default=DEFAULT, show_default=True, help="Set of values to start from.")
OUT = click.option(
    "--out", type=click.Path(path_type=Path), default=None, help="Build folder  [default: _build]"
)


@click.group(cls=Friendly, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Run the pages of the book with parameters of your choice, and print them."""


@main.command()
@PROFILE
@PARAMETER
@OUT
@click.option("--jobs", type=int, default=None, help="Pages run side by side  [default: 2 where they fit]")
@click.option("--install-seconds", type=float, envvar="AKP_INSTALL_SECONDS", hidden=True)
def book(
    profile: str,
    options: tuple[str, ...],
    out: Path | None,
    jobs: int | None,
    install_seconds: float | None,
) -> None:
    """Run every page that changed and print the whole book."""
    from akp_book import build, pages, profiles

    root = find_root()
    report = build.build_book(
        pages.load(root), profile, profiles.typed(options), _folder(root, out), install_seconds, jobs
    )
    click.echo("\n".join(report.lines()))


@main.command()
@click.argument("page")
@PROFILE
@PARAMETER
@OUT
@click.option("--name", default=None, help="Name of the edition  [default: from page and parameters]")
def run(page: str, profile: str, options: tuple[str, ...], out: Path | None, name: str | None) -> None:
    """Run one PAGE and print it alone, beside the book."""
    from akp_book import build, pages, profiles

    root = find_root()
    project = pages.load(root)
    report = build.build_edition(
        project, project.page(page), profile, profiles.typed(options), _folder(root, out), name
    )
    click.echo("\n".join(report.lines()))


@main.command()
@click.argument("page", required=False)
@PROFILE
def parameters(page: str | None, profile: str) -> None:
    """List the parameters of one PAGE, or of all: value, meaning, what is allowed."""
    from akp_book import pages, profiles
    from akp_book.parameters import show

    project = pages.load(find_root())
    settled = profiles.settle(project, profile, {})
    chosen = [project.page(page)] if page else [one for one in project.pages if one.parameters]
    for one in chosen:
        click.echo(one.name if one.parameters else f"{one.name}: no parameters")
        width = max((len(f"{p.name}: {p.type}") for p in one.parameters), default=0)
        for p in one.parameters:
            allowed = f"; {p.allowed}" if p.allowed else ""
            value = settled[one.name][p.name]
            note = "" if value == p.default else f" (default {show(p.default)})"
            click.echo(f"  {f'{p.name}: {p.type}':<{width}} = {show(value)}{note}  # {p.help}{allowed}")


@main.command()
@OUT
def readme(out: Path | None) -> None:
    """Put the results of the last book into README.md (for maintainers)."""
    from akp_book.readme import write

    root = find_root()
    click.echo(f"wrote {write(root, _folder(root, out))}")


main.add_command(compare)
main.add_command(notebook)
main.add_command(pdf)
main.add_command(store)
main.add_command(data)
main.add_command(live)
main.add_command(links)


def _folder(root: Path, out: Path | None) -> Path:
    folder = (root / "_build") if out is None else out.resolve()
    if folder.exists() and not folder.is_dir():
        raise expected("a folder to build in", f"the file {folder}", "give --out another name")
    return folder


if __name__ == "__main__":
    main()
