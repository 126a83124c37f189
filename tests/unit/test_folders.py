from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.lib import format as npy

from akp_core.dispersion import anna_karenina_test, streamed_test
from akp_core.errors import AkpError
from akp_core.folders import fingerprints, read_folder, read_groups
from akp_core.similarity import chordal_distance, fingerprint, pairwise, similarity_of_fingerprints

EXAMPLES = 16


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def fill(folder: Path, models: int = 6, *, noise: float = 0.5, seed: int = 0) -> Path:
    """Models that scatter about one representation, widths 5, 6, 7, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    base, draw = rng(99).standard_normal((EXAMPLES, 40)), rng(seed)
    for k in range(models):
        x = base[:, : 5 + k] + noise * draw.standard_normal((EXAMPLES, 5 + k))
        np.save(folder / f"seed{k}.npy", x.astype(np.float32))
    return folder


def refused(call: Callable[[], object], *words: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(AkpError) as error:
            call()
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 400
    for word in words:
        assert word in message, message


def test_a_folder_is_a_mapping_sorted_by_name_of_memory_maps(tmp_path: Path) -> None:
    folder = read_folder(fill(tmp_path / "runs"))
    assert list(folder) == [f"seed{k}" for k in range(6)]
    assert (len(folder), folder.examples, folder.positions) == (6, EXAMPLES, "flatten")
    for k, (name, x) in enumerate(folder.items()):
        assert isinstance(x, np.memmap)
        assert not x.flags.writeable
        np.testing.assert_array_equal(x, np.load(tmp_path / "runs" / f"{name}.npy"))
        assert x.shape == (EXAMPLES, 5 + k)
    assert "seed3" in folder
    assert folder.get("seed9") is None
    refused(lambda: folder["sed3"], "one of the 6 models", "did you mean 'seed3'?")
    assert not folder.lost


def test_what_is_read_feeds_every_lens_without_a_warning(tmp_path: Path) -> None:
    happy = read_folder(fill(tmp_path / "a", noise=0.3))
    unhappy = read_folder(fill(tmp_path / "b", noise=2.0, seed=1), examples=happy.examples)
    models = [*happy.usable.values(), *unhappy.usable.values()]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        distances = chordal_distance(pairwise(models))
        found = anna_karenina_test(distances, np.arange(12) > 5, rng=rng())
    assert found.verdict == "AKP"
    assert found.ratio > 1


@pytest.mark.parametrize("dtype", ["<f4", ">f4", ">f8", "<f2", "<i2", "?", "uint8"])
def test_any_real_dtype_and_byte_order_gives_the_same_fingerprint(tmp_path: Path, dtype: str) -> None:
    x = rng().integers(0, 2, (EXAMPLES, 7))
    np.save(tmp_path / "a.npy", x.astype(dtype))
    np.save(tmp_path / "b.npy", np.asfortranarray(x.astype(float)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = fingerprints(read_folder(tmp_path))
        similarity = pairwise(list(read_folder(tmp_path).values()))
    np.testing.assert_array_equal(rows[0], rows[1])
    assert similarity[0, 1] == pytest.approx(1, abs=1e-6)


def test_maps_are_read_by_the_policy(tmp_path: Path) -> None:
    maps = rng().standard_normal((EXAMPLES, 3, 4, 5))
    np.save(tmp_path / "m.npy", maps)
    np.testing.assert_array_equal(read_folder(tmp_path)["m"], maps.reshape(EXAMPLES, 60))
    mean = read_folder(tmp_path, positions="mean")["m"]
    np.testing.assert_allclose(mean, maps.mean(axis=(2, 3)))
    refused(lambda: read_folder(tmp_path, positions="means"), "policy for positions", "did you mean 'mean'?")  # type: ignore[arg-type]
    refused(lambda: read_folder(tmp_path, positions="each"), "policy for positions")  # type: ignore[arg-type]


def test_subfolders_and_hidden_files(tmp_path: Path) -> None:
    fill(tmp_path / "one", 2)
    fill(tmp_path / "two", 1)
    (tmp_path / "one" / "._seed0.npy").write_bytes(b"a Mac was here")
    assert list(read_folder(tmp_path / "one")) == ["seed0", "seed1"]
    assert list(read_folder(tmp_path, pattern="**/*.npy")) == ["one/seed0", "one/seed1", "two/seed0"]


def test_lost_models_are_kept_and_counted(tmp_path: Path) -> None:
    fill(tmp_path)
    nan = rng().standard_normal((EXAMPLES, 4))
    nan[3, 2] = np.inf
    np.save(tmp_path / "nan.npy", nan)
    np.save(tmp_path / "still.npy", np.ones((EXAMPLES, 4)))
    np.save(tmp_path / "spike.npy", np.eye(EXAMPLES))
    folder = read_folder(tmp_path)
    assert len(folder) == 9
    assert folder.lost == {"nan": "diverged", "spike": "collapsed", "still": "collapsed"}
    assert list(folder.usable) == [f"seed{k}" for k in range(6)]
    rows = fingerprints(folder)
    assert [bool(np.isnan(row).all()) for row in rows] == [name in folder.lost for name in folder]
    found = streamed_test(rows, rows, rng=rng(), permutations=99)
    assert found.excluded == (3, 3)


@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
def test_fingerprints_are_those_of_the_lens_in_memory_and_in_a_file(tmp_path: Path, estimator: str) -> None:
    folder = read_folder(fill(tmp_path / "runs"))
    rows = fingerprints(folder, estimator=estimator)  # type: ignore[arg-type]
    assert rows.dtype == np.float32
    for row, x in zip(rows, folder.values(), strict=True):
        np.testing.assert_array_equal(row, fingerprint(x, estimator=estimator, dtype="float32"))  # type: ignore[arg-type]
    target = tmp_path / "prints.npy"
    stored = fingerprints(folder, estimator=estimator, out=target)  # type: ignore[arg-type]
    assert isinstance(stored, np.memmap)
    np.testing.assert_array_equal(stored, rows)
    np.testing.assert_array_equal(np.load(target), rows)
    assert not list(tmp_path.glob("*.part"))
    if estimator == "unbiased":
        np.testing.assert_allclose(
            similarity_of_fingerprints(np.asarray(rows)), pairwise(list(folder.values())), atol=1e-6
        )


def test_a_file_of_fingerprints_gives_the_verdict_of_the_matrix(tmp_path: Path) -> None:
    happy = read_folder(fill(tmp_path / "a", noise=0.3))
    unhappy = read_folder(fill(tmp_path / "b", noise=0.6, seed=1))
    stored = [fingerprints(f, out=tmp_path / f"{k}.npy") for k, f in enumerate((happy, unhappy))]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        streamed = streamed_test(*stored, rng=rng())
    matrix = chordal_distance(pairwise([*happy.values(), *unhappy.values()]))
    whole = anna_karenina_test(matrix, np.arange(12) > 5, rng=rng())
    assert streamed.effect == pytest.approx(whole.effect, abs=1e-5)
    assert streamed.p_value == pytest.approx(whole.p_value, abs=1e-3)


def test_fingerprints_never_overwrite_and_never_land_among_the_models(tmp_path: Path) -> None:
    folder = read_folder(fill(tmp_path / "runs"))
    (tmp_path / "there.npy").write_text("precious")
    refused(lambda: fingerprints(folder, out=tmp_path / "there.npy"), "new file", "already")
    refused(lambda: fingerprints(folder, out=tmp_path / "runs" / "f.npy"), "outside the folder")
    refused(lambda: fingerprints(folder, out=tmp_path / "nowhere" / "f.npy"), "no folder")
    refused(lambda: fingerprints(folder, estimator="unbaised"), "did you mean 'unbiased'?")  # type: ignore[arg-type]
    assert (tmp_path / "there.npy").read_text() == "precious"


def test_more_models_than_files_may_be_open(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    np.save(tmp_path / "0.npy", rng().standard_normal((5, 2)))
    content = (tmp_path / "0.npy").read_bytes()
    for k in range(200):
        (tmp_path / f"{k}.npy").write_bytes(content)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (120, hard))
    try:
        folder = read_folder(tmp_path)
        assert np.isfinite(fingerprints(folder)).all()
        refused(lambda: list(folder.values()), "too many files", "folders.fingerprints")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def a_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps([1, 2]))


def cut_short(path: Path) -> None:
    np.save(path, rng().standard_normal((EXAMPLES, 5)))
    path.write_bytes(path.read_bytes()[:-8])


def cut_in_the_header(path: Path) -> None:
    np.save(path, rng().standard_normal((EXAMPLES, 5)))
    path.write_bytes(path.read_bytes()[:40])


def an_archive(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, a=np.ones(3))


def objects(path: Path) -> None:
    np.save(path, np.array([[1, "a"], [2, None]] * 8, dtype=object), allow_pickle=True)


def promised_too_much(path: Path) -> None:
    with path.open("wb") as file:
        npy.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (2**40, 2**40)})


def unreadable_header(path: Path) -> None:
    head = b"{'descr': '<f8', 'fortran_order': Fals, 'shape': (3, 4"
    path.write_bytes(npy.MAGIC_PREFIX + b"\x01\x00" + len(head).to_bytes(2, "little") + head)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (a_pickle, ["a pickle"]),
        (cut_short, ["cut short"]),
        (cut_in_the_header, ["cut short"]),
        (an_archive, [".npz archive", "numpy.save"]),
        (objects, ["Python objects"]),
        (promised_too_much, [".npy file of numbers"]),
        (unreadable_header, [".npy file of numbers"]),
        (lambda path: path.write_bytes(b""), ["an empty file"]),
        (lambda path: path.write_text("1,2,3\n"), ["something else"]),
        (lambda path: np.save(path, np.ones((EXAMPLES, 3), complex)), ["real numbers", "complex128"]),
        (lambda path: np.save(path, np.full((EXAMPLES, 3), "a")), ["real numbers", "<U1"]),
        (lambda path: np.save(path, np.zeros((EXAMPLES, 3), "M8[s]")), ["real numbers", "datetime64"]),
        (lambda path: np.save(path, np.zeros((EXAMPLES, 3), "f4,i4")), ["real numbers"]),
        (lambda path: np.save(path, np.ones(EXAMPLES)), ["shape (16,)", "(n, 1)"]),
        (lambda path: np.save(path, np.float64(3)), ["shape ()"]),
        (lambda path: np.save(path, np.ones((EXAMPLES, 0))), ["not empty", "shape (16, 0)"]),
        (lambda path: np.save(path, np.ones((0, 3))), ["not empty"]),
        (lambda path: np.save(path, np.ones((EXAMPLES - 1, 3))), ["16 examples", "6 of 7", "15 in"]),
    ],
)
def test_a_bad_file_is_one_line_that_names_it(
    tmp_path: Path, damage: Callable[[Path], object], words: list[str]
) -> None:
    fill(tmp_path)
    damage(tmp_path / "seed2bad.npy")
    refused(lambda: read_folder(tmp_path), "seed2bad.npy", *words)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "sprung",)

    (tmp_path / "runs").mkdir()
    np.save(tmp_path / "runs" / "a.npy", np.array([[Trap()]], dtype=object), allow_pickle=True)
    (tmp_path / "runs" / "b.npy").write_bytes(pickle.dumps(Trap()))
    refused(lambda: read_folder(tmp_path / "runs"), "a.npy")
    (tmp_path / "runs" / "a.npy").unlink()
    refused(lambda: read_folder(tmp_path / "runs"), "b.npy")
    assert not (tmp_path / "sprung").exists()


def test_a_folder_that_will_not_do(tmp_path: Path) -> None:
    fill(tmp_path / "control")
    refused(lambda: read_folder(tmp_path / "contol"), "no folder", "did you mean", "control")
    refused(lambda: read_folder(tmp_path / "x" / "y"), "no folder", "looked from")
    refused(lambda: read_folder(tmp_path / "control" / "seed0.npy"), "the file")
    refused(lambda: read_folder(""), "the path of a folder")
    refused(lambda: read_folder(None), "the path of a folder")  # type: ignore[arg-type]
    refused(lambda: read_folder(tmp_path), "at least one file '*.npy'", "no file")
    refused(lambda: read_folder(tmp_path / "control", pattern="*.npz"), "6 of .npy")
    refused(lambda: read_folder(tmp_path / "control", pattern=""), "pattern")
    refused(lambda: read_folder(tmp_path / "control", pattern="/abs/*"), "pattern")
    refused(lambda: read_folder(tmp_path / "control", examples=15), "15 examples", "asked for", "16 in seed0")
    refused(lambda: read_folder(tmp_path / "control", examples=0), "examples")
    (tmp_path / "control" / "seed0").write_bytes((tmp_path / "control" / "seed0.npy").read_bytes())
    refused(lambda: read_folder(tmp_path / "control", pattern="*"), "each model once", "seed0.npy")


def test_too_few_examples_is_said_for_the_file(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", rng().standard_normal((3, 2)))
    folder = read_folder(tmp_path)
    refused(lambda: fingerprints(folder), "a.npy", "4 examples")
    refused(lambda: folder.lost, "4 examples")


def test_groups(tmp_path: Path) -> None:
    np.save(tmp_path / "n.npy", np.arange(EXAMPLES) // 4)
    np.save(tmp_path / "t.npy", np.array(["p1", "p2"] * 8))
    np.save(tmp_path / "f.npy", np.zeros(EXAMPLES))
    np.save(tmp_path / "o.npy", np.array(["p1", None] * 8, dtype=object), allow_pickle=True)
    np.testing.assert_array_equal(read_groups(tmp_path / "n.npy", EXAMPLES), np.arange(EXAMPLES) // 4)
    assert read_groups(tmp_path / "t.npy", EXAMPLES)[1] == "p2"
    refused(lambda: read_groups(tmp_path / "n.npy", 15), "15 examples")
    refused(lambda: read_groups(tmp_path / "f.npy", EXAMPLES), "whole numbers or text", "float64")
    refused(lambda: read_groups(tmp_path / "o.npy", EXAMPLES), "Python objects")
    refused(lambda: read_groups(tmp_path / "none.npy", EXAMPLES), "no file")
