"""A finished population: tidy tables of its networks, and what each of them holds inside.

Every table has one row a network (or one row a network and time), in one order: families as the study
lists them, members ascending. Arrays read here have the same first axis.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float64, Int16
from torch import Tensor, nn

from akp_core import similarity
from akp_core.errors import AkpError, expected, unknown_name
from akp_core.networks import swap
from akp_core.probes import SPLITS, evaluated, standardise
from akp_core.seeds import generator
from akp_core.store import Store
from akp_core.study import CONTROL, Study
from akp_core.tree import Segment, Tree

TRAINED, COLLAPSED, DIVERGED = "trained", "collapsed", "diverged"


@dataclass(frozen=True, eq=False)
class Population:
    """The networks of a study after training, read from the store on demand.

    A network is *diverged* when its loss, logits or a tap ceased to be finite, and *collapsed* when its
    representation at one of the taps is the same for every probe image. Both are lost: they keep their row
    and their error, and enter no distance at any tap (`distances` gives NaN for them).
    """

    study: Study
    tree: Tree
    store: Store

    @property
    def rows(self) -> list[tuple[str, int]]:
        """(family, member) of every row."""
        return [(f.name, m) for f in self.study.families for m in range(self.study.members)]

    @cached_property
    def members(self) -> pd.DataFrame:
        """One row a network: family, stress, onset, member, status, errors, losses and seconds.

        ``one_answer`` marks a network that gives every test image the same answer: it has learnt no
        distinction, but it has a representation and is not lost.

        Errors are shares in [0, 1] of wrong predictions; ``gap`` is test minus train error. A diverged
        network's prediction counts as wrong.
        """
        labels = {split: evaluated(self.study.data, split).labels.numpy() for split in SPLITS}
        rows = []
        for family in self.study.families:
            for member in range(self.study.members):
                record = self._last(family.name, member)
                errors = {
                    f"{split}_error": float(
                        np.mean(record[f"probe/prediction/{split}"][0, -1].numpy() != labels[split])
                    )
                    for split in SPLITS
                }
                stress = family.stress
                rows.append(
                    {
                        "family": family.name,
                        "stress": CONTROL if stress is None else stress.name,
                        "onset": float("nan") if stress is None else stress.onset,
                        "member": member,
                        "status": self._status(family.name, member),
                        **errors,
                        "gap": errors["test_error"] - errors["train_error"],
                        "one_answer": bool(np.ptp(record["probe/prediction/test"][0, -1].numpy()) == 0),
                        "test_loss": float(record["probe/loss/test"][0, -1]),
                        "seconds": sum(
                            self.store.manifest(s.key)["seconds"] for s in self._path(family.name, member)
                        ),
                    }
                )
        return pd.DataFrame(rows)

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row a network and probe: family, member, step, epoch and the errors then.

        A stressed network's rows before its onset are its twin's, which it shares.
        """
        labels = {split: evaluated(self.study.data, split).labels.numpy() for split in SPLITS}
        rows = []
        for family, member in self.rows:
            for segment in self._path(family, member):
                wanted = [f"probe/prediction/{split}" for split in SPLITS if segment.probe_steps]
                record = self.store.record(segment.key, wanted)
                for k, step in enumerate(segment.probe_steps):
                    row = {"family": family, "member": member, "step": step, "epoch": self._epoch(step)}
                    for split in SPLITS:
                        wrong = record[f"probe/prediction/{split}"][0, k].numpy() != labels[split]
                        row[f"{split}_error"] = float(np.mean(wrong))
                    rows.append(row)
        return pd.DataFrame(rows)

    @cached_property
    def curves(self) -> pd.DataFrame:
        """One row a network and epoch: the mean loss in force and accuracy over the training batches."""
        rows = []
        for family, member in self.rows:
            for segment in self._path(family, member):
                record = self.store.record(segment.key, ("curve/step", "curve/loss", "curve/accuracy"))
                name = " + ".join(loss for loss, _ in segment.phase.loss)
                for k, step in enumerate(record["curve/step"].tolist()):
                    loss, accuracy = (float(record[f"curve/{c}"][0, k]) for c in ("loss", "accuracy"))
                    rows.append((family, member, step, self._epoch(step), name, loss, accuracy))
        return pd.DataFrame(
            rows, columns=["family", "member", "step", "epoch", "loss_name", "loss", "accuracy"]
        )

    def fingerprints(self, tap: str, *, step: int | None = None) -> Float64[Tensor, "m k"]:
        """Fingerprints of the probe images at a tap (`akp_core.similarity.fingerprint`).

        Parameters
        ----------
        tap : str
        step : int or None
            After this many steps; None means the end of training. 0 gives the untrained networks.

        Returns
        -------
        (rows, k) float64
            NaN throughout where a network has no representation there.

        Raises
        ------
        AkpError
            For an unknown tap, or a step that was not probed for every row.
        """
        taps = self.study.taps or ()
        if tap not in taps:
            raise unknown_name("tap", tap, taps)
        name = f"probe/fingerprint/{tap}"
        return torch.stack([self._at(row, name, step) for row in self.rows]).double()

    def predictions(self, split: str = "test") -> Int16[Tensor, "m n"]:
        """Predicted class of every evaluated image at the end of training; -1 where there is none."""
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        return torch.stack([self._at(row, f"probe/prediction/{split}", None) for row in self.rows])

    def distances(self, tap: str, *, step: int | None = None) -> Float64[Tensor, "m m"]:
        """Chordal distances between all networks at a tap, NaN in the rows of those without representation.

        Cost: one product of the (rows, k) fingerprints with themselves.
        """
        prints = self.fingerprints(tap, step=step)
        return similarity.chordal_distance(similarity.similarity_of_fingerprints(prints))

    def looks(self) -> tuple[int, ...]:
        """Steps at which every network of the study was looked at, 0 and the last among them."""
        seen = [{s for part in self._path(*row) for s in part.probe_steps} for row in self.rows]
        return tuple(sorted(set.intersection(*seen)))

    def correct(self, split: str = "test") -> tuple[Bool[Tensor, "m t n"], tuple[int, ...]]:
        """Which images each network answered rightly, and when.

        Parameters
        ----------
        split : {"train", "validation", "test"}

        Returns
        -------
        (rows, looks, images) bool
            Of the images in `akp_core.probes.evaluated`. False where there was no answer. Before its onset
            a stressed network is its twin.
        tuple of int
            The steps of the second axis, as `looks` gives them.
        """
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        labels, steps = evaluated(self.study.data, split).labels, self.looks()
        name = f"probe/prediction/{split}"
        seen = torch.stack([torch.stack([self._at(row, name, s) for s in steps]) for row in self.rows])
        return seen == labels, steps

    def kept(self, family: str = CONTROL) -> tuple[int, ...]:
        """Steps at which a family's weights are kept: 0, where its training was cut, the last."""
        return (0, *(segment.phase.stop for segment in self._path(*self._known(family, 0))))

    def network(self, family: str, member: int, *, step: int | None = None) -> nn.Module:
        """Rebuild one network in evaluation mode; its input is standardised images, as `probe_images`.

        Parameters
        ----------
        family : str
        member : int
        step : int or None
            After this many steps, one of those that `kept` gives; None means the end of training, 0 before
            it. Its slots hold what they held in the step that led there.

        Raises
        ------
        AkpError
            For a network that is not in the study, a step at which its weights were not kept, or where one of
            its functions has been registered anew since it was trained.
        """
        row, data = self._known(family, member), self.study.data
        weights = generator(self.study.member_seed(member), "weights")
        model = self.study.network.build(data.shape, data.classes, weights)
        wanted = self.study.steps if step is None else step
        if wanted == 0:
            return model.eval()
        segment = next((s for s in self._path(*row) if s.phase.stop == wanted), None)
        if segment is None:
            kept = ", ".join(map(str, self.kept(family)))
            raise expected(f"a step at which the weights of {family!r} are kept", repr(step), f"kept: {kept}")
        trained_with = self.store.manifest(segment.key)["spec"]["phase"]["functions"]
        if trained_with != segment.phase.as_dict()["functions"]:
            raise expected(
                f"the functions that {family!r} was trained with",
                "others, registered since under their names",
                "run the study again",
            )
        tensors = self.store.state(segment.key).tensors
        for name, p in model.named_parameters():
            p.data.copy_(tensors[f"model/{name}"][0])
        for name, b in model.named_buffers():
            b.copy_(tensors[f"buffer/{name}"][0])
        swap(model, segment.phase.held())
        return model.eval()

    @property
    def seconds(self) -> float:
        """Process-seconds that training the whole study took when each of its segments was first trained."""
        return sum(float(self.store.manifest(key)["seconds"]) for key in self.tree.segments)

    @property
    def probe_images(self) -> Tensor:
        """The probe images, standardised as the networks expect them."""
        return standardise(self.study.data, self.study.data.probe.images)

    def _known(self, family: str, member: int) -> tuple[str, int]:
        if (family, member) not in self.tree.leaves:
            raise unknown_name("network", f"{family} / {member}", [f"{f} / {m}" for f, m in self.tree.leaves])
        return family, member

    def _path(self, family: str, member: int) -> Iterator[Segment]:
        return self.tree.path(self.tree.leaves[family, member])

    def _epoch(self, step: int) -> float:
        return step * self.study.recipe.epochs / self.study.steps

    def _last(self, family: str, member: int) -> dict[str, Tensor]:
        """What was seen of a network at the end, but for its fingerprints."""
        names = [f"probe/{what}/{split}" for what in ("prediction", "loss") for split in SPLITS]
        return self.store.record(self.tree.leaves[family, member], ["probe/finite", *names])

    def _status(self, family: str, member: int) -> str:
        if not bool(self._last(family, member)["probe/finite"][0, -1]):
            return DIVERGED
        prints = [f"probe/fingerprint/{tap}" for tap in self.study.taps or ()]
        seen = self.store.record(self.tree.leaves[family, member], prints)
        return COLLAPSED if any(bool(p[0, -1].isnan().any()) for p in seen.values()) else TRAINED

    def _at(self, row: tuple[str, int], name: str, step: int | None) -> Tensor:
        wanted = self.study.steps if step is None else step
        for segment in self._path(*row):
            if wanted in segment.probe_steps:
                return self.store.record(segment.key, (name,))[name][0, segment.probe_steps.index(wanted)]
        probed = {s for segment in self._path(*row) for s in segment.probe_steps}
        raise AkpError(f"step {wanted} of {row[0]!r} was not probed; probed: {sorted(probed)}")
