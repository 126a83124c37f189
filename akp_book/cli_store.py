"""The commands ``akp store ...``: what a store holds, whether it is whole, and what may go."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from akp_core.errors import AkpError

if TYPE_CHECKING:
    from akp_core.store import Store

PATH = click.argument("path", required=False, type=click.Path(path_type=Path))


@click.group()
def store() -> None:
    """List, verify, prune or draw the trained segments in PATH (the book's own, unless given)."""


@store.command("list")
@PATH
def list_segments(path: Path | None) -> None:
    """List every finished segment: whose, which steps, what was in force, and what it cost."""
    from akp_core.amounts import clock, quantity, size
    from akp_core.inventory import listing

    shelf = _open(path)
    table = listing(shelf)
    if table.empty:
        click.echo(f"the store {shelf.root} holds no finished segment")
        return
    found = table.to_dict("records")
    whole = [row for row in found if isinstance(row["data"], str)]
    rows = [
        (
            row["key"][:12],
            row["data"],
            row["network"],
            " ".join(map(str, row["seeds"])),
            f"{row['start']:.0f}-{row['stop']:.0f}",
            row["holds"],
            size(int(row["bytes"])),
            clock(row["seconds"]),
            "" if row["usable"] else f"engine {row['engine']}, torch {row['torch']}",
        )
        for row in whole
    ]
    titles = ("key", "data", "network", "member seed", "steps", "holds", "bytes", "seconds", "not usable")
    if rows:
        _show([titles, *rows], right={6, 7})
    for row in found:
        if row not in whole:
            click.echo(row["holds"])
    bytes_, seconds = (sum(row[name] for row in whole) for name in ("bytes", "seconds"))
    outdated = sum(not row["usable"] for row in whole)
    half_done = sum(key not in shelf for key, _ in shelf.unfinished())
    click.echo(
        f"{quantity(len(rows), 'segment')}, {size(int(bytes_))}, {clock(seconds)} of training; "
        f"{outdated} not usable by this engine and torch; {half_done} half done"
    )


@store.command()
@PATH
def verify(path: Path | None) -> None:
    """Read every byte against its checksum; exit with 1 if something was damaged."""
    from akp_core.amounts import quantity, size
    from akp_core.inventory import verify as read_all

    shelf = _open(path)
    found = read_all(shelf)
    for line in found.damaged:
        click.echo(line)
    for key in found.orphans:
        click.echo(f"segment {key[:12]} is whole, but what it grew from is not in the store")
    orphans = f", {len(found.orphans)} of them without a parent" if found.orphans else ""
    whole = f"{quantity(found.whole, 'segment')} whole ({size(found.bytes)}){orphans}"
    click.echo(f"{whole}; {len(found.damaged)} damaged")
    if found.damaged:
        raise click.exceptions.Exit(1)


@store.command()
@PATH
@click.option("--yes", is_flag=True, help="Remove it; without this, only say what would go.")
def prune(path: Path | None, yes: bool) -> None:
    """Remove what nobody will ask for: rests of killed runs, damaged and outdated segments."""
    from akp_core.amounts import quantity, size
    from akp_core.inventory import prune as tidy

    shelf = _open(path)
    table = tidy(shelf, dry_run=not yes)
    in_use = int(table["in use"].sum())
    rows = [(reason, f"{row['items']:,}", size(int(row["bytes"]))) for reason, row in table.iterrows()]
    total = ("total", f"{table['items'].sum():,}", size(int(table["bytes"].sum())))
    _show([("what", "items", "bytes"), *((str(r), i, b) for r, i, b in rows), total], right={1, 2})
    if in_use:
        click.echo(f"{quantity(in_use, 'item')} left alone: being trained just now")
    if not yes and table["items"].sum():
        click.echo("nothing was removed; add --yes to remove it")


@store.command()
@PATH
def tree(path: Path | None) -> None:
    """Draw the tree of segments; equal segments of several members stand in one line."""
    from akp_core.inventory import tree as draw

    shelf = _open(path)
    click.echo(draw(shelf) or f"the store {shelf.root} holds no finished segment")


def _open(path: Path | None) -> Store:
    from akp_book.page import build_folder
    from akp_core.store import Store

    root = build_folder() / "store" if path is None else path
    if not root.exists():
        raise AkpError(f"there is no store at {root}; run a study first, or give the path of its store")
    return Store(root)


def _show(rows: Sequence[Sequence[str]], right: set[int]) -> None:
    """Print rows in columns; those in ``right`` are flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ]
        click.echo("  ".join(cells).rstrip())
