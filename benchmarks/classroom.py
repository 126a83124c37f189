"""The standard study: what the page "The Anna Karenina test" trains, with the parameters of a profile."""

from __future__ import annotations

from akp_book import pages, profiles
from akp_core.datasets import load
from akp_core.networks import Network
from akp_core.population import Study
from akp_core.recipe import Recipe
from akp_core.stress import swaps
from benchmarks.measuring import ROOT, Options

PAGE = "book/experiments/principle"
FEW = 2


def study(options: Options, *, members: int | None = None, seed: int | None = None) -> Study:
    """Build the study of the page: profile ``classroom``, or ``smoke`` where everything is to be tiny.

    Parameters
    ----------
    options : Options
    members : int, optional
        Networks in each family; by default the profile's when everything is to be measured, else two.
    seed : int, optional
        By default the profile's.
    """
    profile = "smoke" if options.tiny else profiles.DEFAULT
    values = profiles.settle(pages.load(ROOT), profile, {})[PAGE]
    data = load(
        values["dataset"],
        side=values["side"] or None,
        fields=values["fields"] or None,
        path=values["path"] or None,
        seed=values["seed"],
    )
    return Study(
        data,
        swaps(values["activations"], values["losses"]),
        values["onsets"],
        members or (values["members"] if options.full else FEW),
        Network(values["network"]),
        Recipe(epochs=values["epochs"]),
        seed=values["seed"] if seed is None else seed,
    )
