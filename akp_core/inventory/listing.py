"""One row a segment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from akp_core.errors import AkpError
from akp_core.inventory.wording import DataNames, network_words, phase_words
from akp_core.store import MAKER, Store

COLUMNS = [
    *("key", "data", "network", "seeds", "start", "stop", "holds", "steps", "bytes", "seconds"),
    *("engine", "torch", "machine", "parent", "usable"),
]


def usable(maker: dict[str, Any]) -> bool:
    """Whether the present engine and torch have made it."""
    return all(maker.get(name) == value for name, value in MAKER.items())


def manifests(store: Store) -> Iterator[tuple[str, dict[str, Any] | AkpError]]:
    """Every finished segment's manifest, or the error that says how it is damaged."""
    for key in store.keys():  # noqa: SIM118 - a store is no mapping
        try:
            yield key, store.manifest(key)
        except AkpError as error:
            yield key, error


def listing(store: Store) -> pd.DataFrame:
    """List the finished segments.

    Cost: reads every manifest, and no tensor.

    Returns
    -------
    DataFrame
        One row a segment: ``key``, ``data`` (name and fingerprint), ``network``, ``seeds`` (of its members),
        ``start`` and ``stop`` (training steps), ``holds`` (the functions in force, in words), ``steps`` (over
        its members), ``bytes``, ``seconds`` (of training), ``engine``, ``torch``, ``machine``, ``parent``
        (key, or None), ``usable`` (made by the present engine and torch). A segment whose manifest is
        damaged is set aside, which its row says under ``holds``.
    """
    names, rows = DataNames(store), []
    for key, found in manifests(store):
        if isinstance(found, AkpError):
            rows.append({"key": key, "holds": str(found), "seeds": (), "usable": False})
            continue
        spec = found.get("spec", {})
        setting, phase, seeds = spec.get("setting", {}), spec.get("phase", {}), tuple(spec.get("seeds", ()))
        start = phase.get("start", found["stop"])
        rows.append(
            {
                "key": key,
                "data": names.words(setting.get("data")),
                "network": network_words(setting.get("network")),
                "seeds": seeds,
                "start": start,
                "stop": found["stop"],
                "holds": phase_words(phase),
                "steps": (found["stop"] - start) * len(seeds),
                "machine": found.get("machine"),
                "parent": spec.get("parent"),
                "usable": usable(spec),
            }
            | {name: found[name] for name in ("bytes", "seconds")}
            | {name: spec.get(name) for name in MAKER}
        )
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.sort_values(["data", "network", "start", "stop", "holds"], kind="stable", ignore_index=True)
