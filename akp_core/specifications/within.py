"""The distances inside every family of a population, by every measure and at every tap, computed once.

A family's location drops out of its dispersion, so the distances *between* families are never needed: for f
families of m networks that is a share 1/f of all pairs. One family at a time is held in memory.
"""

from __future__ import annotations

import os
import tempfile
import warnings
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64
from loky import cpu_count
from torch import Tensor

from akp_core.durable import refusals
from akp_core.errors import expected, unknown_name
from akp_core.identity import plain_text, sha256
from akp_core.networks import representations
from akp_core.outcome import TRAINED, Population
from akp_core.similarity import CanonicalWarning, similarity_of_fingerprints
from akp_core.specifications.measures import Ruler, dissimilarities, from_similarity, ruler, turned
from akp_core.threads import one_thread

Kept = dict[str, Float64[np.ndarray, "m m"]]


def within_families(
    population: Population,
    *,
    taps: Sequence[str],
    measures: Sequence[str],
    cache: str | Path | None = None,
) -> dict[tuple[str, str], Float64[np.ndarray, "f m m"]]:
    """Distances between the networks of each family, at the end of training, on the probe images.

    Unbiased CKA is read from the stored fingerprints; for all else the networks are rebuilt and shown the
    probe images again.

    Parameters
    ----------
    population : Population
    taps : sequence of str
        Among those of the study.
    measures : sequence of str
        Names in `RULERS`.
    cache : path, optional
        Folder where distances are kept, one file a family; a second call with the same networks reads
        them. A file that is damaged, or of other networks or another measure, is computed anew.

    Returns
    -------
    dict of (tap, measure) to (families, members, members) float64
        Families in the study's order. 0 or more, 0 on the diagonal; NaN to every other for a network that
        is lost, or that the measure does not take.

    Raises
    ------
    AkpError
        For an unknown tap or measure, none of either, or a folder that cannot be written to.

    Notes
    -----
    Invariances: those of the measure. Cost: with 256 probe images about 0.1 s a family of 10, tap and
    measure on one core, four times that for Procrustes and SVCCA at a wide tap; memory for the
    representations of one family.
    """
    rulers = [ruler(name) for name in measures]
    study = population.study
    if not rulers or not taps:
        raise expected("at least one tap and one measure", f"{len(taps)} taps, {len(rulers)} measures")
    for tap in taps:
        if tap not in (study.taps or ()):
            raise unknown_name("tap", tap, study.taps or ())
    shape = (len(study.families), study.members, study.members)
    found = {(tap, r.name): np.full(shape, np.nan) for tap in taps for r in rulers}
    files = [_file(population, k, cache) for k in range(len(study.families))]
    kept = [_read(file, study.members) for file in files]
    _from_fingerprints(population, taps, rulers, kept, files)
    with ThreadPoolExecutor(cpu_count()) as pool, warnings.catch_warnings(), one_thread():
        warnings.simplefilter("ignore", CanonicalWarning)
        for k, (own, file) in enumerate(zip(kept, files, strict=True)):
            missing = [(tap, r) for tap in taps for r in rulers if _name(tap, r) not in own]
            if missing:
                own |= _compute(population, k, missing, pool)
                _write(file, own)
            for tap, r in ((tap, r) for tap in taps for r in rulers):
                found[tap, r.name][k] = own[_name(tap, r)]
    return found


def _name(tap: str, ruler: Ruler) -> str:
    return f"{tap}|{ruler.name}|{ruler.identity}"


def _rows(population: Population, family: int) -> slice:
    members = population.study.members
    return slice(family * members, (family + 1) * members)


def _from_fingerprints(
    population: Population,
    taps: Sequence[str],
    rulers: Sequence[Ruler],
    kept: list[Kept],
    files: list[Path | None],
) -> None:
    """Fill in unbiased CKA from the store, where it is missing."""
    changed = set()
    for tap, r in ((tap, r) for r in rulers if r.name == "cka" for tap in taps):
        lacking = [k for k, own in enumerate(kept) if _name(tap, r) not in own]
        if not lacking:
            continue
        prints = population.fingerprints(tap)
        for k in lacking:
            s = similarity_of_fingerprints(prints[_rows(population, k)]).numpy()
            kept[k][_name(tap, r)] = from_similarity(s, r)
        changed |= set(lacking)
    for k in changed:
        _write(files[k], kept[k])


def _compute(
    population: Population, family: int, missing: list[tuple[str, Ruler]], pool: ThreadPoolExecutor
) -> Kept:
    """Rebuild the networks of one family and measure what is missing."""
    study, taps = population.study, list(dict.fromkeys(tap for tap, _ in missing))
    status = population.members["status"].to_numpy()[_rows(population, family)]
    here, images = np.flatnonzero(status == TRAINED), population.probe_images
    name = study.families[family].name
    shown: dict[str, list[Float[Tensor, "n p"]]] = {tap: [] for tap in taps}
    for member in here:
        seen = representations(population.network(name, int(member)), images, taps)
        for tap in taps:
            shown[tap].append(seen[tap])
    narrow = {tap: list(pool.map(turned, shown[tap])) for tap in taps}

    def measured(job: tuple[str, Ruler]) -> Float64[np.ndarray, "m m"]:
        tap, r = job
        square = np.full((study.members, study.members), np.nan)
        square[np.ix_(here, here)] = dissimilarities((narrow if r.turns else shown)[tap], r)
        return square

    return {_name(*job): d for job, d in zip(missing, pool.map(measured, missing), strict=True)}


def _file(population: Population, family: int, cache: str | Path | None) -> Path | None:
    if cache is None:
        return None
    name, leaves = population.study.families[family].name, population.tree.leaves
    keys = [leaves[name, member] for member in range(population.study.members)]
    return Path(cache) / f"{sha256(plain_text(keys))[:32]}.npz"


def _read(file: Path | None, members: int) -> Kept:
    if file is None or not file.exists():
        return {}
    try:
        with np.load(file, allow_pickle=False) as archive:
            kept = {name: np.asarray(archive[name]) for name in archive.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return {}
    return {k: v for k, v in kept.items() if v.shape == (members, members) and v.dtype == np.float64}


def _write(file: Path | None, kept: Kept) -> None:
    if file is None:
        return
    with refusals(f"the folder {file.parent}"):
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=file.parent, suffix=".draft")
        with os.fdopen(handle, "wb") as stream:
            np.savez(stream, allow_pickle=False, **kept)
        Path(draft).replace(file)
