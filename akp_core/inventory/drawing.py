"""Draws the tree of segments, with the members of equal segments in one line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from akp_core.amounts import clock, quantity, size
from akp_core.errors import AkpError
from akp_core.inventory.listing import manifests, usable
from akp_core.inventory.wording import DataNames, network_words, phase_words
from akp_core.store import MAKER, Store, digest


@dataclass
class _Node:
    """Segments that share all but their members' seeds."""

    manifest: dict[str, Any]
    above: str | None
    seeds: set[int] = field(default_factory=set)
    bytes: int = 0
    seconds: float = 0.0

    @property
    def line(self) -> str:
        phase = self.manifest["spec"].get("phase", {})
        count = quantity(len(self.seeds), "member")
        return (
            f"{phase.get('start', '?')}-{self.manifest['stop']} {phase_words(phase)} "
            f"({count}, {size(self.bytes)}, {clock(self.seconds)})"
        )


def tree(store: Store) -> str:
    """Draw what a store holds: one block a setting, one line a phase, what grew from it indented below.

    A phase whose parent is not in the store begins with ``...``. Segments of another engine or torch stand
    in blocks of their own, which say so. Cost: reads every manifest, and no tensor.

    Returns
    -------
    str
        Lines such as ``|- 0-117 relu, cross_entropy (10 members, 3.1 MB, 41 s)``; empty for an empty store.
    """
    held = {k: m for k, m in manifests(store) if not isinstance(m, AkpError) and "spec" in m}
    nodes = _folded(held)
    below: dict[str | None, list[str]] = {}
    for name, node in nodes.items():
        below.setdefault(node.above, []).append(name)
    roots: dict[str, list[str]] = {}
    for name, node in nodes.items():
        if node.above not in nodes:
            roots.setdefault(digest(_setting(node.manifest["spec"])), []).append(name)
    titles = _titles(store, {home: nodes[names[0]].manifest["spec"] for home, names in roots.items()})
    lines = []
    for home in sorted(roots, key=lambda one: titles[one]):
        lines.append(titles[home])
        lines += _drawn(nodes, below, roots[home], 0)
    return "\n".join(lines)


def _folded(held: dict[str, dict[str, Any]]) -> dict[str, _Node]:
    kinds: dict[str | None, str] = {None: "root"}
    nodes: dict[str, _Node] = {}

    def kind(key: str | None) -> str:
        if key not in kinds:
            spec = held[key]["spec"] if key in held else None
            rest = {} if spec is None else {k: v for k, v in spec.items() if k not in ("seeds", "parent")}
            kinds[key] = "missing" if spec is None else digest({"of": rest, "on": kind(spec.get("parent"))})
        return kinds[key]

    for key, manifest in held.items():
        spec = manifest["spec"]
        node = nodes.setdefault(kind(key), _Node(manifest, kind(spec.get("parent"))))
        node.seeds.update(spec.get("seeds", ()))
        node.bytes += manifest["bytes"]
        node.seconds += manifest["seconds"]
    return nodes


def _drawn(
    nodes: dict[str, _Node], below: dict[str | None, list[str]], names: list[str], depth: int
) -> Iterator[str]:
    for name in sorted(names, key=lambda one: (nodes[one].manifest["stop"], nodes[one].line)):
        cut = "... " if nodes[name].above == "missing" else ""
        yield f"{'|  ' * depth}|- {cut}{nodes[name].line}"
        yield from _drawn(nodes, below, below.get(name, []), depth + 1)


def _setting(spec: dict[str, Any]) -> dict[str, Any]:
    return {"setting": spec.get("setting", {})} | {name: spec.get(name) for name in MAKER}


def _titles(store: Store, specs: dict[str, dict[str, Any]]) -> dict[str, str]:
    """A title for every setting; where two would read the same, with the values in which they differ."""
    names, titles = DataNames(store), {}
    for home, spec in specs.items():
        setting = spec.get("setting", {})
        recipe = setting.get("recipe", {})
        words = [names.words(setting.get("data")), network_words(setting.get("network"))]
        words += [str(recipe["optimizer"])] if "optimizer" in recipe else []
        words += [quantity(recipe["epochs"], "epoch")] if "epochs" in recipe else []
        words += (
            [] if usable(spec) else [f"not usable: engine {spec.get('engine')}, torch {spec.get('torch')}"]
        )
        titles[home] = ", ".join(words)
    for title in set(titles.values()):
        alike = {
            home: dict(_flat(specs[home].get("setting", {}))) for home, t in titles.items() if t == title
        }
        for home, values in alike.items():
            differ = [k for k in values if any(other.get(k) != values[k] for other in alike.values())]
            titles[home] = ", ".join([title, *(f"{name.split('.')[-1]} {values[name]}" for name in differ)])
    return titles


def _flat(data: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in data.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", " ".join(map(str, value)) if isinstance(value, list) else value
