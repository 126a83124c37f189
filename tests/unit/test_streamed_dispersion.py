from __future__ import annotations

import weakref

import numpy as np
import pytest
import torch

from akp_core.dispersion import anna_karenina_test, distance_to_centroid
from akp_core.dispersion.centroid import Centroid
from akp_core.dispersion.contributions import contrast
from akp_core.dispersion.inference import AnnaKarenina, PerFamily
from akp_core.dispersion.streamed import streamed_test
from akp_core.errors import AkpError
from akp_core.similarity import chordal_distance, fingerprint, similarity_of_fingerprints


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


class Held(np.ndarray):
    """An array that can be counted."""

    __hash__ = object.__hash__


def prints(members: int, noise: float, seed: int = 0, examples: int = 20) -> np.ndarray:
    """Fingerprints of models that scatter about one representation."""
    base = rng(99).standard_normal((examples, 6))
    draw = rng(seed)
    return np.stack([fingerprint(base + noise * draw.standard_normal((examples, 6))) for _ in range(members)])


def cut(rows, seed: int):
    """A random split into batches, empty ones included."""
    at = np.sort(rng(seed).integers(0, len(rows) + 1, 4))
    return [rows[a:b] for a, b in zip([0, *at], [*at, len(rows)], strict=True)]


def through_the_matrix(happy: np.ndarray, unhappy: np.ndarray, **options) -> AnnaKarenina:
    rows = np.concatenate([happy, unhappy])
    if options.pop("paired", False):
        options["paired"] = np.concatenate([np.arange(len(happy)), np.arange(len(unhappy))])
    d = chordal_distance(similarity_of_fingerprints(rows))
    return anna_karenina_test(d, np.arange(len(rows)) >= len(happy), rng=rng(3), **options)


def close(found: AnnaKarenina, known: AnnaKarenina, within: float = 1e-9) -> None:
    """Everything a test says, equal to round-off; p values exactly."""
    for name in ("verdict", "p_value", "smallest_p", "level", "paired", "members", "excluded", "unmatched"):
        assert getattr(found, name) == getattr(known, name)
    for name in ("effect", "interval", "dispersion", "standardised"):
        assert getattr(found, name) == pytest.approx(getattr(known, name), abs=within, rel=within)


@pytest.mark.parametrize("kind", ["numpy", "torch", "float32"])
@pytest.mark.parametrize("seed", range(3))
def test_any_split_gives_the_same(kind, seed):
    rows = prints(15, 0.4)
    rows[[2, 9]] = np.nan
    given = {"numpy": rows, "torch": torch.from_numpy(rows), "float32": rows.astype(np.float32)}[kind]
    whole, split, merged = Centroid(), Centroid(), [Centroid(), Centroid(), Centroid()]
    whole.add(given)
    for index, batch in enumerate(cut(given, seed)):
        split.add(batch)
        merged[index % 3].add(batch)
    for other in merged[1:]:
        merged[0].merge(other)
    known = rows[np.isfinite(rows[:, 0])]
    v = known.var(axis=0, ddof=1).sum()
    for found in (whole, split, merged[0]):
        assert (found.members, found.excluded) == (13, 2)
        assert found.dispersion == pytest.approx(np.sqrt(v), rel=1e-6 if kind == "float32" else 1e-12)
        assert found.dispersion == pytest.approx(whole.dispersion, rel=1e-12)
        assert isinstance(found.mean, torch.Tensor if kind == "torch" else np.ndarray)
        assert np.allclose(found.mean, known.mean(axis=0), atol=1e-7 if kind == "float32" else 1e-14)
        away = found.distances(given)
        assert isinstance(away, type(given))
        labels = np.zeros(15)
        d = chordal_distance(similarity_of_fingerprints(rows))
        assert np.allclose(away, distance_to_centroid(d, labels), atol=1e-6, equal_nan=True)


def test_blocks_of_rows_inside_a_batch_change_nothing(monkeypatch):
    rows = prints(15, 0.4)
    rows[4] = np.nan
    one, blocked = Centroid(), Centroid()
    one.add(rows)
    away = one.distances(rows)
    monkeypatch.setattr("akp_core.dispersion.centroid._BLOCK_ENTRIES", 4 * rows.shape[1])
    blocked.add(rows)
    assert (blocked.members, blocked.excluded) == (14, 1)
    assert blocked.dispersion == pytest.approx(one.dispersion, rel=1e-13)
    assert np.allclose(blocked.distances(rows), away, atol=1e-14, equal_nan=True)


@pytest.mark.parametrize("noise", [1e-3, 1e-5, 1e-7])
def test_tight_families_keep_their_digits(noise):
    """With noise 1e-3, 1 - CKA is 1e-6, where the textbook sum of squares has lost ten digits."""
    rows = prints(40, noise)
    family = Centroid()
    for batch in np.array_split(rows, 7):
        family.add(batch)
    deviations = rows.astype(np.longdouble) - rows.astype(np.longdouble)[0]
    v = float(np.square(deviations - deviations.mean(axis=0)).sum() / 39)
    assert family.dispersion == pytest.approx(np.sqrt(v), rel=1e-7)
    if noise == 1e-3:
        assert 1e-7 < 1 - rows[0] @ rows[1] < 1e-5
        assert family.dispersion == pytest.approx(np.sqrt(v), rel=1e-11)


def test_identical_models_have_no_dispersion():
    rows = np.repeat(prints(1, 1.0), 30, axis=0)
    family = Centroid()
    for batch in np.array_split(rows, 4):
        family.add(batch)
    assert family.dispersion == 0
    assert (family.distances(rows) == 0).all()
    found = streamed_test([rows], [prints(5, 0.3)], permutations=99, rng=rng())
    assert (found.effect, found.interval, found.dispersion.happy) == (np.inf, (-np.inf, np.inf), 0.0)
    none = streamed_test([rows], [rows], permutations=99, rng=rng())
    assert (none.effect, none.p_value, none.standardised) == (0.0, 1.0, 0.0)


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("missing", [False, True])
def test_the_stream_says_what_the_matrix_says(paired, missing):
    happy, unhappy = prints(11, 0.3, 1), prints(11, 0.5, 2)
    if not paired:
        unhappy = unhappy[:9]
    if missing:
        happy[[0, 7]] = np.nan
        unhappy[[5, 7]] = np.nan
    known = through_the_matrix(happy, unhappy, paired=paired, permutations=999, level=0.1)
    for a, b in (
        (cut(happy, 1), cut(unhappy, 2)),
        (happy, lambda: (batch for batch in cut(unhappy, 4))),
        (torch.from_numpy(happy), tuple(torch.from_numpy(b) for b in cut(unhappy, 5))),
    ):
        found = streamed_test(a, b, paired=paired, permutations=999, level=0.1, rng=rng(3))
        close(found, known)
    if missing and paired:
        assert (found.excluded, found.unmatched) == (PerFamily(2, 2), PerFamily(1, 1))
        assert found.members == PerFamily(8, 8)


def test_a_memory_map_is_read(tmp_path):
    happy, unhappy = prints(10, 0.3, 1), prints(8, 0.6, 2)
    stored = np.lib.format.open_memmap(tmp_path / "happy.npy", "w+", np.float32, happy.shape)
    stored[:] = happy
    stored.flush()
    read = np.load(tmp_path / "happy.npy", mmap_mode="r")
    found = streamed_test(read, [unhappy.astype(np.float32)], permutations=99, rng=rng(3))
    close(found, through_the_matrix(happy, unhappy, permutations=99), within=1e-5)


def test_memory_does_not_hold_the_population():
    """Ten thousand models a family are drawn on the fly; a handful of batches exist at a time."""
    alive, most = weakref.WeakSet[Held](), 0

    def family(noise: float, seed: int):
        def batches():
            nonlocal most
            draw = rng(seed)
            for _ in range(100):
                batch = (np.eye(1, 40) + noise * draw.standard_normal((100, 40))).view(Held)
                alive.add(batch)
                most = max(most, len(alive))
                yield batch
                del batch

        return batches

    found = streamed_test(family(2e-4, 1), family(3e-4, 2), permutations=9, rng=rng())
    assert found.members == PerFamily(10000, 10000)
    assert found.interval[0] < np.log(1.5) < found.interval[1]
    assert found.interval[1] - found.interval[0] < 0.02
    assert most <= 8


def test_permutations_are_drawn_a_few_at_a_time(monkeypatch):
    """Of ten thousand models, a thousand permutations at once are 80 MB in each of several arrays."""
    largest = 0

    def watched(unhappy, happy, axis=-1, *, paired=False):
        nonlocal largest
        largest = max(largest, unhappy.size + happy.size)
        return contrast(unhappy, happy, axis, paired=paired)

    monkeypatch.setattr("akp_core.dispersion.inference.contrast", watched)
    families = [1 + 0.1 * rng(s).standard_normal((5000, 3)) for s in (1, 2)]
    found = streamed_test(
        *families, permutations=np.int16(99), level=np.float64(0.1), paired=np.bool_(False), rng=rng()
    )
    assert 10_000 < largest <= 300_000
    assert (found.level, found.paired, found.smallest_p) == (0.1, False, 0.02)


def test_the_second_pass_must_see_the_same_models():
    rows = prints(8, 0.3)
    batches = iter([rows])
    with pytest.raises(AkpError, match="same models on both passes, got 8 usable, then 0; give a list"):
        streamed_test(lambda: batches, [rows], rng=rng())


def bad(row: int, value: float) -> np.ndarray:
    rows = prints(6, 0.3)
    rows[row, 1:] = value
    return rows


GOOD = prints(6, 0.3)
ZERO = np.where(np.arange(6)[:, None] == 2, 0, GOOD)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Centroid().add(GOOD[0]), r"batch of fingerprints as \(models, entries\).*\(190,\)"),
        (lambda: Centroid().add([1, 2]), "batch of fingerprints.*got list"),
        (lambda: Centroid().add(bad(3, np.nan)), "NaN throughout.*row 3"),
        (lambda: Centroid().add(bad(1, np.inf)), "finite.*row 1"),
        (lambda: Centroid().add(ZERO), "length 1, got zeros in row 2"),
        (
            lambda: [c := Centroid(), c.add(GOOD), c.add(GOOD[:, 1:])],
            "190 entries like those before, got 189",
        ),
        (lambda: [c := Centroid(), c.add(GOOD[:1]), c.dispersion], "at least 2 models.*got 1"),
        (lambda: Centroid().mean, "at least 1 model"),
        (lambda: Centroid().distances(GOOD), "at least 2 models.*got 0"),
        (lambda: Centroid().merge(GOOD), "another Centroid, got ndarray"),
        (
            lambda: [a := Centroid(), a.add(GOOD), b := Centroid(), b.add(GOOD[:, 2:]), a.merge(b)],
            "fingerprints of 190 entries, got 188",
        ),
        (
            lambda: streamed_test(iter([GOOD]), [GOOD], rng=rng()),
            "happy batches that can be read twice.*spent",
        ),
        (
            lambda: streamed_test([GOOD], (b for b in [GOOD]), rng=rng()),
            "unhappy batches.*a generator, which",
        ),
        (lambda: streamed_test(3, [GOOD], rng=rng()), "batches of happy fingerprints, got int"),
        (lambda: streamed_test([GOOD], GOOD[0], rng=rng()), r"unhappy fingerprints as .*\(190,\)"),
        (lambda: streamed_test([GOOD[0]], [GOOD], rng=rng()), "batch of fingerprints as"),
        (lambda: streamed_test([GOOD], [GOOD[:, 1:]], rng=rng()), "190 entries like those before, got 189"),
        (lambda: streamed_test([GOOD], [GOOD[:, 1:]], paired=True, rng=rng()), "190 entries.*189"),
        (lambda: streamed_test([GOOD], [GOOD[:3]], rng=rng()), "at least 4 usable.*unhappy family, got 3"),
        (lambda: streamed_test([], [GOOD], rng=rng()), "at least 4 usable models in the happy family, got 0"),
        (lambda: streamed_test([GOOD], [GOOD, GOOD], paired=True, rng=rng()), "got more unhappy ones"),
        (lambda: streamed_test([GOOD, GOOD], [GOOD], paired=True, rng=rng()), "got more happy ones"),
        (lambda: streamed_test([GOOD], [GOOD], paired=[1, 2], rng=rng()), "paired as True or False"),
        (lambda: streamed_test([GOOD], [GOOD], level=2, rng=rng()), "probability between 0 and 1"),
        (lambda: streamed_test([GOOD], [GOOD], permutations=0, rng=rng()), "whole number from 1"),
        (lambda: streamed_test([GOOD], [GOOD], rng=None), "numpy.random.Generator"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, message):
    with pytest.raises(AkpError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
