"""What a live lab trains, in the words of the book's parameters, and the command that trains it again."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from akp_core.datasets import load
from akp_core.errors import AkpError, expected, unknown_name
from akp_core.networks import Network
from akp_core.recipe import Recipe
from akp_core.stress import SWAPS, Stress
from akp_core.study import Study

PAGE = "book/classroom/live-lab"
LOOKS = 8


@dataclass(frozen=True)
class Choice:
    """The study of a live lab by the names that pages of the book give its parts.

    Attributes
    ----------
    dataset : str
        A name of `akp_core.datasets.load`.
    network : {"mlp", "cnn"}
    tap : str
        Where representations are compared.
    members, epochs : int
    side, fields : int
        0 for the data set's own.
    seed : int
    """

    dataset: str = "nuclei"
    network: str = "mlp"
    tap: str = "features"
    members: int = 6
    epochs: int = 8
    side: int = 0
    fields: int = 0
    seed: int = 0

    def study(self, root: str | Path | None = None) -> Study:
        """The study without stresses.

        Parameters
        ----------
        root : path or None
            Folder of public data sets.

        Raises
        ------
        AkpError
            For names or numbers that make no study.
        """
        load_from = load if root is None else partial(load, root=root)
        fields = (self.fields or None) if self.dataset == "nuclei" else None
        data = load_from(self.dataset, side=self.side or None, fields=fields, seed=self.seed)
        network, recipe = Network(self.network), Recipe(epochs=self.epochs)
        return Study(
            data,
            members=self.members,
            network=network,
            recipe=recipe,
            taps=(self.tap,),
            looks=LOOKS,
            seed=self.seed,
        )

    @classmethod
    def of(cls, values: dict[str, Any]) -> Choice:
        """Read a choice from plain values; an unknown name raises `AkpError` with the valid ones."""
        known = asdict(cls())
        for name in values:
            if name not in known:
                raise unknown_name("choice of the live lab", name, known)
        return cls(**values)


def parameters(choice: Choice, stress: Stress) -> dict[str, Any]:
    """The parameters of a page of the book that train a stress of the lab once more.

    Parameters
    ----------
    choice : Choice
    stress : Stress
        A swap, of all slots, as `akp_core.live.session.Session.swap` has set it in.

    Returns
    -------
    dict of str to object
        Every field of the choice, and ``activations``, ``losses``, ``doses``, ``onsets``, ``pulse`` (0 for a
        press) and ``optimizer``.

    Raises
    ------
    AkpError
        For a stress that pages have no parameters for.
    """
    if stress.kind not in SWAPS or stress.slots is not None:
        raise expected("a swap in all slots", stress.name, "write a Study for others")
    pulse = 0.0 if stress.end == 1 else round(stress.end - stress.onset, 9)
    names: dict[str, list[str]] = {kind: [str(stress.to)] if stress.kind == kind else [] for kind in SWAPS}
    return {
        **asdict(choice),
        "activations": names["activation"],
        "losses": names["loss"],
        "doses": [stress.dose],
        "onsets": [stress.onset],
        "pulse": pulse,
        "optimizer": stress.optimizer,
    }


def command(choice: Choice, stress: Stress, page: str = PAGE) -> str:
    """The line of a shell that trains a stress once more and prints the page that shows it."""
    values = parameters(choice, stress)
    options = " ".join(f"-p {shlex.quote(f'{name}={_plain(value)}')}" for name, value in values.items())
    return f"akp run {page} {options}"


def _plain(value: object) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)


def checked_swap(kind: str, to: str, dose: float = 1.0, optimizer: str = "keep") -> Stress:
    """A swap as the buttons of the lab ask for it; anything else they could send raises `AkpError`."""
    if kind not in SWAPS:
        raise unknown_name("kind of swap", kind, SWAPS)
    if isinstance(dose, bool) or not isinstance(dose, int | float) or not 0 < dose <= 1:
        raise AkpError(f"expected a dose above 0 and at most 1, got {dose!r}")
    return Stress(kind, to, dose=float(dose), optimizer=optimizer)
