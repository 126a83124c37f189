"""The commands ``akp data ...``: which images there are, and the only way to download any."""

from __future__ import annotations

from pathlib import Path

import click

ROOT = click.option(
    "--root",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder of public data sets  [default: $AKP_DATA, else data]",
)


@click.group()
def data() -> None:
    """List the data sets, or download one."""


@data.command("list")
@ROOT
def list_sets(root: Path | None) -> None:
    """List every data set: what it holds and needs, and whether it is here."""
    from akp_book.page import data_root
    from akp_core.datasets import overview

    where = data_root() if root is None else root
    for row in overview(where).to_dict("records"):
        click.echo(
            f"{row['name']:<10} [{row['here']}] {row['holds']}; needs {row['needs']}; {row['licence']}"
        )
    click.echo(f"public data sets are looked for in {where}")


@data.command()
@click.argument("name")
@ROOT
@click.option("--side", type=int, default=None, help="Pixels along a side, for medmnist.")
def fetch(name: str, root: Path | None, side: int | None) -> None:
    """Download the public data set NAME (pcam, cifar10, medmnist:bloodmnist, ...) and check it."""
    from akp_book.page import data_root
    from akp_core.datasets import fetch as download

    place = download(name, data_root() if root is None else root, side=side)
    click.echo(f"{name} is in {place}")
