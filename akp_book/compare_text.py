"""The comparison of two editions for a terminal: what differs, and how much is the same."""

from __future__ import annotations

from collections.abc import Sequence

from akp_book.compare import Comparison
from akp_book.compare_tables import difference
from akp_book.parameters import show
from akp_book.verdicts import Verdict

WIDTH = 60


def lines(found: Comparison) -> list[str]:
    """Return the lines to print."""
    told = [f"A  {found.a.name}", f"B  {found.b.name}", f"   of {found.a.page}"]
    changed = [choice for choice in found.parameters if not choice.same]
    told += ["", _count("parameters", changed, found.parameters)]
    if changed:
        rows = [[c.name, f"A {show(c.a)}", f"B {show(c.b)}", f"default {show(c.default)}"] for c in changed]
        told += _columns(rows)
    if found.same:
        return [*told, "", *_equal(found)]
    other = [one for one in found.made if not one.same]
    if not changed and other:
        told += [
            "only the making differs:",
            *_columns([[o.place, f"A {o.a or '-'}", f"B {o.b or '-'}"] for o in other]),
        ]
    for kind, pairs in found.shown.items():
        differing = [one for one in pairs if not one.same]
        if not pairs:
            continue
        told += ["", _count(kind, differing, pairs)]
        if kind == "verdicts":
            for one in differing:
                told += [
                    f"  {one.place}",
                    *(f"    {letter}  {_verdict(v)}" for letter, v in (("A", one.a), ("B", one.b))),
                ]
        elif kind == "numbers":
            rows = []
            for one in differing:
                a, b = one.a or "-", one.b or "-"
                rows.append([one.place, f"A {_short(a)}", f"B {_short(b)}", difference(a, b)])
            told += _columns(rows)
        else:
            told += [f"  {place}" for place in dict.fromkeys(one.place for one in differing)]
    return told


def _equal(found: Comparison) -> list[str]:
    counts = ", ".join(
        f"{len(pairs)} {_one(kind, len(pairs))}" for kind, pairs in found.shown.items() if pairs
    )
    same = "the very same run" if found.a.key == found.b.key else "the two show the same"
    return [f"{same}: {counts or 'nothing shown'}, all equal"]


def _one(kind: str, count: int) -> str:
    return kind.removesuffix("s") if count == 1 else kind


def _count(kind: str, differing: Sequence[object], all_: Sequence[object]) -> str:
    if not differing:
        return f"{kind}: {len(all_)}, all equal" if all_ else f"{kind}: none"
    return f"{kind}: {len(differing)} of {len(all_)} {'differs' if len(differing) == 1 else 'differ'}"


def _verdict(verdict: Verdict | None) -> str:
    return f"{verdict.verdict}. {verdict.figures}" if verdict else "(no such verdict)"


def _short(text: str) -> str:
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 3]}..."


def _columns(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]
