"""A lower floor never imports a higher one, and the core never sees the book."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FLOORS = [
    {"errors", "amounts", "identity", "memory", "seeds", "threads", "durable", "claims", "admission"},
    {"palette", "disturbances", "datasets", "similarity", "dispersion", "deformation", "clones", "agreement"},
    {
        "networks",
        "recipe",
        "stress",
        "probes",
        "vocabulary",
        "simulation",
        "folders",
        "theory",
        "scale_detection",
    },
    {"engines", "layers", "stitching"},
    {"family"},
    {"store"},
    {"study", "inventory"},
    {"tree"},
    {"outcome", "shard"},
    {"schedule"},
    {"cost"},
    {"population"},
    {"happiness", "__main__"},
    {"judgement", "trend", "specifications", "swaps", "evidence", "adaptation", "lenses", "charts", "live"},
]
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
LENSES = {"similarity", "dispersion", "deformation", "clones", "agreement"}


def rooms() -> dict[str, list[Path]]:
    """Every room of the core with its files."""
    found = {}
    for path in sorted((ROOT / "akp_core").iterdir()):
        if path.suffix == ".py" and path.stem != "__init__":
            found[path.stem] = [path]
        elif (path / "__init__.py").exists():
            found[path.name] = sorted(path.rglob("*.py"))
    return found


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_every_room_has_a_floor_and_every_floor_its_rooms() -> None:
    assert set(rooms()) == set(LEVEL)


@pytest.mark.parametrize("room", sorted(LEVEL))
def test_no_room_looks_up(room: str) -> None:
    for path in rooms()[room]:
        for name in imported(path):
            if name.startswith("akp_core."):
                other = name.split(".")[1]
                assert LEVEL[other] <= LEVEL[room], f"{path.name} on floor {LEVEL[room]} imports {name}"
                assert room not in LENSES or other in LENSES | {"errors"}, f"the lens {room} sees {other}"


@pytest.mark.parametrize("room", sorted(LEVEL))
def test_the_core_never_sees_the_book_nor_the_environment(room: str) -> None:
    barred = {"akp_book", "jupyter", "papermill", "jupytext", "IPython", "click"}
    heavy = {"altair", "anywidget", "ipywidgets"} if LEVEL[room] < len(FLOORS) - 1 else set()
    for path in rooms()[room]:
        assert not {name.split(".")[0] for name in imported(path)} & (barred | heavy), path
        assert "environ" not in path.read_text("utf8"), path


def test_training_needs_no_plotting_library() -> None:
    barred = ("altair", "IPython", "papermill")
    code = f"import sys, akp_core.population; print([m for m in {barred} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
