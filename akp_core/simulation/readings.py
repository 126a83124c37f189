"""Judgements of simulated studies as a reader sees them: tables in words and per cent."""

from __future__ import annotations

import pandas as pd

from akp_core.simulation.clouds import LAWS
from akp_core.simulation.laws import SETTINGS, TESTS

_INTERVALS = {
    "dispersion": "over models",
    "unequal": "over models, half the unhappy",
    "streamed": "over models, streamed",
    "twins": "over twins",
    "two-way": "over models and images",
}


def overview(judged: pd.DataFrame, over: pd.DataFrame) -> pd.DataFrame:
    """One row for each test: its cells by verdict, and the share it rejects in studies without an effect.

    In brackets are the interval of that share and the number of studies that were judged.

    Parameters
    ----------
    judged, over : DataFrame
        From `akp_core.simulation.verdicts.sizes` and `pooled`.
    """
    words = ["honest", "cautious", "too eager"]
    false = judged[judged["verdict"].isin(words)]
    counts = pd.crosstab(false["test"], false["verdict"]).reindex(columns=words, fill_value=0)
    counts = counts.reindex([test for test in TESTS if test in counts.index]).rename_axis(columns=None)
    shares = over.set_index(["setting", "test"])
    table = counts.copy()
    for setting in ("even", "heavy"):
        table[SETTINGS[setting].title] = [
            _per_cent(*shares.loc[(setting, test), ["share", "low", "high"]])[:-1]
            + f"; {shares.loc[(setting, test), 'studies']})"
            if (setting, test) in shares.index
            else "not judged"
            for test in counts.index
        ]
    return table.rename(index=TESTS).reset_index()


def intervals(held: pd.DataFrame) -> pd.DataFrame:
    """One row for each kind of study and interval: what it covers, by similarity, and the verdicts.

    Parameters
    ----------
    held : DataFrame
        From `akp_core.simulation.verdicts.coverage`.
    """
    rows = []
    for (setting, test), g in held[held["setting"] != "apart"].groupby(["setting", "test"], sort=False):
        words = ", ".join(f"{n} {verdict}" for verdict, n in g["verdict"].value_counts().items())
        share = f"{g['share'].min():.1%} to {g['share'].max():.1%}"
        least = int(g["simulations"].min())
        rows.append((SETTINGS[str(setting)].title, _INTERVALS[str(test)], least, share, words))
    return pd.DataFrame(
        rows, columns=["studies", "interval", "at least", "covers, by similarity", "similarities"]
    )


def small_families(few: pd.DataFrame) -> pd.DataFrame:
    """One row for each size of family: what it can attain, what theory expects, and what was measured.

    Parameters
    ----------
    few : DataFrame
        From `akp_core.simulation.sensitivity.size_of_few`.
    """
    rows = [
        (
            f"{n} pairs" if paired else f"{n} + {n}",
            f"{few['attainable'].iloc[k]:.1%}",
            f"{few['expected'].iloc[k]:.1%}",
            _per_cent(*few[["size", "low", "high"]].iloc[k]),
        )
        for k, (n, paired) in enumerate(zip(few["members"], few["paired"], strict=True))
    ]
    return pd.DataFrame(rows, columns=["networks", "attainable", "expected", "measured"])


def schemes(clouds: pd.DataFrame) -> pd.DataFrame:
    """One row for each law and pair of families: the share each scheme rejects, and its verdict.

    Parameters
    ----------
    clouds : DataFrame
        From `akp_core.simulation.clouds.permdisp_sizes`.
    """
    cells = clouds.assign(
        cell=[f"{s:.1%} ({v})" for s, v in zip(clouds["share"], clouds["verdict"], strict=True)],
        law=[LAWS[name].title for name in clouds["law"]],
        networks=[f"{h} + {u}" for h, u in zip(clouds["happy"], clouds["unhappy"], strict=True)],
    )
    keys = ["law", "networks"]
    wide = cells.pivot(index=keys, columns="permute", values="cell").rename_axis(columns=None)
    wide = wide.loc[pd.MultiIndex.from_frame(cells[keys].drop_duplicates())].add_suffix(" permuted")
    return wide.reset_index().rename(columns={"law": "both families"})


def _per_cent(share: float, low: float, high: float) -> str:
    return f"{share:.1%} ({low:.1%} to {high:.1%})"
