"""Where the project is; apart from its pages, as a kernel asks for it and needs nothing else of them."""

from __future__ import annotations

from pathlib import Path

from akp_core.errors import expected


def find_root(start: Path | None = None) -> Path:
    """Return the nearest folder at or above `start` (default: here) with a book's two settings files."""
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "_config.yml").is_file() and (folder / "_toc.yml").is_file():
            return folder
    raise expected("a folder with _config.yml and _toc.yml", str(here), "change to the book's folder")
