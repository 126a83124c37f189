"""Prove environment.yml without conda: install exactly its pip section into a bare environment and use it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
USE = "import torch, torchvision, akp_core.population, akp_book.cli; print('torch', torch.__version__)"


def main() -> None:
    """Check the file's claims, then install what it lists and import the project from it."""
    listed = yaml.safe_load((ROOT / "environment.yml").read_text("utf8"))["dependencies"]
    python = next(str(d) for d in listed if str(d).startswith("python="))
    others = [d for d in listed if isinstance(d, str) and d != python and d != "pip"]
    pip = next(d["pip"] for d in listed if isinstance(d, dict))
    lowest = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["project"]["requires-python"]
    if others or pip != ["-r requirements.txt", "-e ."] or lowest != f">={python.removeprefix('python=')}":
        sys.exit(f"environment.yml must list only python {lowest}, pip and the project, got {listed}")
    uv = str(ROOT / ".venv/bin/uv")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        shutil.copytree(ROOT, home / "project", ignore=shutil.ignore_patterns(".venv", "_build", ".git"))
        (home / "project/pip-section.txt").write_text("\n".join(pip) + "\n", "utf8")
        inside = str(home / "env/bin/python")
        for command in (
            [uv, "venv", "--quiet", "--python", python.removeprefix("python="), str(home / "env")],
            [uv, "pip", "install", "--quiet", "--python", inside, "-r", "pip-section.txt"],
            [uv, "pip", "check", "--python", inside],
            [inside, "-c", USE],
        ):
            subprocess.run(command, check=True, cwd=home / "project")
    sys.stdout.write("environment.yml holds\n")


if __name__ == "__main__":
    main()
