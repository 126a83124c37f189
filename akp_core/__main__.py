"""Trains a study, or one part of it, from the command line: what a batch queue runs.

    python -m akp_core study.py --part 3 --of 8 --store results

``study.py`` is anyone's script that defines a variable ``study``. It is run as if imported, so what stands
under ``if __name__ == "__main__":`` is left out. Parts share nothing but the store. A part that is run again
goes on from its checkpoints, and once all parts are there, `akp_core.population.run` finds every segment.
"""

from __future__ import annotations

import argparse
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import torch

from akp_core.engines import ENGINES
from akp_core.errors import AkpError, expected, unknown_name
from akp_core.population import Study, cost, run, train_part

NAME = "study"


class _OneLine(argparse.ArgumentParser):
    """Answers a bad command line with one line; the usage is for ``--help``."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"akp_core: {message} (python -m akp_core --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Train what the command line asks for.

    Parameters
    ----------
    arguments : sequence of str or None
        Without the name of the program; None means this process's own.

    Returns
    -------
    int
        0 when the store holds all that was asked for, 1 when that cannot be done.

    Raises
    ------
    SystemExit
        With 2 for a bad command line, with 0 after ``--help``.
    """
    parser = _parser()
    asked = parser.parse_args(arguments)
    part, parts = asked.part, asked.of
    if (part is None) != (parts is None):
        parser.error("expected --part and --of together, got one of them; leave both out for the whole study")
    if part is not None and not 0 <= part < parts:
        parser.error(f"expected --part from 0 to {parts - 1}, as --of is {parts}, got {part}")
    if asked.device is not None and not asked.cost and not _is_here(asked.device):
        gpus = torch.cuda.device_count()
        parser.error(f"expected a --device of this machine, got {asked.device}; it has {gpus or 'no'} GPUs")
    try:
        study = load_study(asked.script)
        if asked.cost:
            sys.stdout.write(f"{cost(study, asked.store, device=asked.device, engine=asked.engine)}\n")
        elif part is None:
            run(study, store=asked.store, device=asked.device, engine=asked.engine, progress=not asked.quiet)
        else:
            options = {"device": asked.device, "engine": asked.engine, "progress": not asked.quiet}
            train_part(study, part, parts, store=asked.store, **options)
    except AkpError as error:
        sys.stderr.write(f"akp_core: {error}\n")
        return 1
    return 0


def load_study(script: Path) -> Study:
    """Run a script and return its variable ``study``.

    Parameters
    ----------
    script : path
        Its folder is searched for imports first, as when Python runs the script itself.

    Raises
    ------
    AkpError
        When it defines no ``study``, or something else under that name. What the script raises, passes.
    """
    sys.path.insert(0, str(script.resolve().parent))
    names = runpy.run_path(str(script), run_name="akp_study")
    if NAME not in names:
        own = sorted(name for name in names if not name.startswith("_"))
        raise expected(
            f"{script} to define a variable {NAME!r}", f"only {', '.join(own)}" if own else "no names"
        )
    found = names[NAME]
    if not isinstance(found, Study):
        raise expected(
            f"{NAME!r} in {script} to be a Study", type(found).__name__, "study = Study(data, ...)"
        )
    return found


def _parser() -> argparse.ArgumentParser:
    parser = _OneLine(
        prog="python -m akp_core",
        allow_abbrev=False,
        description="Train a study, or one part of it, into a store.",
        epilog="Exit codes: 0 done, 1 cannot be done, 2 bad command line.",
    )
    parser.add_argument("script", type=_script, help=f"Python file that defines a variable {NAME!r}")
    parser.add_argument("--part", type=int, metavar="K", help="train only members m with m %% N == K")
    parser.add_argument("--of", type=_parts, metavar="N", help="number of parts")
    parser.add_argument("--store", type=Path, required=True, metavar="DIR", help="where segments are kept")
    parser.add_argument("--device", type=_device, help="cpu, cuda or cuda:1  [default: the best one here]")
    parser.add_argument("--engine", type=_engine, help=f"{', '.join(ENGINES)}  [default: by device]")
    parser.add_argument("--quiet", action="store_true", help="no cost beforehand, no bar while training")
    parser.add_argument("--cost", action="store_true", help="only say what the whole study would take")
    return parser


def _script(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"expected a Python file, got {text!r}, which is not there")
    return path


def _parts(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def _engine(text: str) -> str:
    if text not in ENGINES:
        raise argparse.ArgumentTypeError(str(unknown_name("engine", text, ENGINES)))
    return text


def _device(text: str) -> torch.device:
    kind, _, index = text.partition(":")
    if kind not in ("cpu", "cuda") or not (index.isdecimal() or text == kind):
        raise argparse.ArgumentTypeError(str(unknown_name("device", text, ("cpu", "cuda", "cuda:0"))))
    return torch.device(text)


def _is_here(device: torch.device) -> bool:
    return device.type == "cpu" or (device.index or 0) < torch.cuda.device_count()


if __name__ == "__main__":
    sys.exit(main())
