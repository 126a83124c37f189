"""Which value every parameter of every page takes: profile, then command line, then checks.

A profile is a plain YAML file: ``shared`` values go to every page that declares the name, ``pages`` values to
one page. A name that no page declares is an error, for a misspelt setting must not pass for a default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from akp_book.pages import Project, declaring
from akp_book.parameters import Typed, Value, check_all
from akp_core.errors import AkpError, expected, unknown_name

FOLDER = Path(__file__).with_name("profiles")
DEFAULT = "classroom"


def names() -> list[str]:
    """Return the profiles that come with the press."""
    return sorted(path.stem for path in FOLDER.glob("*.yml"))


def load(profile: str) -> dict[str, Any]:
    """Read a profile by its name, or from a file of one's own ending in ``.yml``.

    Raises
    ------
    AkpError
        If there is no such profile, or it holds anything but ``shared`` and ``pages``.
    """
    path = Path(profile) if profile.endswith((".yml", ".yaml")) else FOLDER / f"{profile}.yml"
    if not path.is_file():
        raise unknown_name("profile", profile, names())
    content = yaml.safe_load(path.read_text("utf8")) or {}
    for key in content if isinstance(content, dict) else ():
        if key not in ("shared", "pages"):
            raise unknown_name(f"section of profile {profile!r},", key, ("shared", "pages"))
    if not isinstance(content, dict) or not all(isinstance(v or {}, dict) for v in content.values()):
        raise expected(f"profile {profile!r} to hold 'shared:' and 'pages:' tables", type(content).__name__)
    return {"shared": content.get("shared") or {}, "pages": content.get("pages") or {}}


def typed(options: Sequence[str]) -> dict[str, Typed]:
    """Split ``name=value`` options.

    Raises
    ------
    AkpError
        If one holds no ``=``, or a name comes twice.
    """
    given: dict[str, Typed] = {}
    for option in options:
        name, sign, value = option.partition("=")
        if not sign or not name.strip():
            raise expected("-p name=value", repr(option))
        if name.strip() in given:
            raise expected(f"parameter {name.strip()!r} once", "it twice")
        given[name.strip()] = Typed(value.strip())
    return given


def settle(
    project: Project, profile: str, options: Mapping[str, Typed], only: str | None = None
) -> dict[str, dict[str, Value]]:
    """Give every parameter of every page its value, checked.

    Parameters
    ----------
    project : Project
        The book.
    profile : str
        Name of a profile, or a file.
    options : mapping of str to Typed
        Values from the command line; they go to every page that declares the name.
    only : str, optional
        The one page to which the options go.

    Returns
    -------
    dict of str to dict
        For each notebook, all its parameters.

    Raises
    ------
    AkpError
        One line for each unknown name or unfit value.
    """
    content = load(profile)
    wrong: list[str] = []
    every = {parameter.name for page in project.pages for parameter in page.parameters}
    for name in content["shared"]:
        if not declaring(project.pages, name):
            wrong.append(f"profile {profile!r}: {unknown_name('shared parameter', name, every)}")
    own: dict[str, Mapping[str, object]] = {}
    for name, values in content["pages"].items():
        try:
            own[project.page(name).name] = values or {}
        except AkpError as error:
            wrong.append(f"profile {profile!r}: {error}")
    if only is None:
        wrong += [
            str(unknown_name("parameter", n, every)) for n in options if not declaring(project.pages, n)
        ]
    settled: dict[str, dict[str, Value]] = {}
    for page in project.pages:
        declares = {parameter.name for parameter in page.parameters}
        given: dict[str, object] = {n: v for n, v in content["shared"].items() if n in declares}
        given |= own.get(page.name, {})
        given |= {n: v for n, v in options.items() if page.name == only or (only is None and n in declares)}
        try:
            settled[page.name] = check_all(page.parameters, given, page.name)
        except AkpError as error:
            wrong.append(str(error))
    if wrong:
        raise AkpError("\n".join(wrong))
    return settled
