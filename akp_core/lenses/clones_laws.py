"""The law of the errors of chunks, fitted to the widest networks of a cell of a sweep."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Int64

from akp_core.clones.law import PUBLISHED, PowerLaw, fit_law, power_law
from akp_core.errors import AkpError
from akp_core.lenses.clones import published
from akp_core.lenses.clones_sweep import CELL, Sweep


def law_of(sweep: Sweep, layer: str, decay: float, epoch: int, *, level: float = 0.05) -> PowerLaw:
    """Fit the law to the chunks of the widest networks of a cell, from their critical width on.

    The error at infinity is that of their ensemble average.
    """
    wide, sizes, critical = _above(sweep, layer, decay, epoch)
    ensembles = _widest(sweep.ensembles, layer, decay, epoch)
    if len(sizes) < 3:
        raise AkpError(
            f"expected at least three sizes of chunks above the critical width of {critical:.0f}, got "
            f"{len(sizes)}: too few to fit a law"
        )
    errors = ensembles.set_index("without")["error"]
    without = errors.reindex(wide.index)
    return power_law(
        sizes,
        wide[sizes].to_numpy(float),
        without.to_numpy(float),
        whole_infinity=float(errors.loc[-1]),
        level=level,
    )


def _widest(table: pd.DataFrame, layer: str, decay: float, epoch: int) -> pd.DataFrame:
    at = (table[list(CELL)] == [layer, decay, epoch]).all(axis=1)
    return table[at & (table["layer_width"] == table.loc[at, "layer_width"].max())]


def _above(
    sweep: Sweep, layer: str, decay: float, epoch: int
) -> tuple[pd.DataFrame, Int64[np.ndarray, " s"], float]:
    """Test errors of the chunks of the widest networks of a cell, the sizes above their w*, and that."""
    curves, networks = (_widest(table, layer, decay, epoch) for table in (sweep.curves, sweep.networks))
    kept = networks[networks["why"] == ""]
    critical = float(np.exp(np.log(kept["critical"].astype(float)).mean()))
    chosen = curves[curves["member"].isin(kept["member"])]
    wide = chosen.assign(size=chosen["size"].astype(int)).pivot_table(
        index="member", columns="size", values="test_error"
    )
    sizes = wide.columns.to_numpy(dtype=int)
    return wide, sizes[sizes >= critical], critical


def finite_law(sweep: Sweep, layer: str, decay: float, epoch: int, *, level: float = 0.05) -> PowerLaw:
    r"""Fit the law as a layer of W units allows it: against :math:`1/w - 1/W`, above the whole layer's error.

    A mean over w of W units drawn without replacement has the variance of :math:`1/w - 1/W`, which vanishes
    at w = W. So chunks of one layer cannot follow a power of w up to W, whatever its clones. The exponent is
    that of the size that :math:`1/w - 1/W` amounts to; -1/2 if noise of the logits counts in the first order.
    """
    wide, sizes, _ = _above(sweep, layer, decay, epoch)
    whole = int(wide.columns.to_numpy(dtype=int).max())
    sizes = sizes[sizes < whole]
    if len(sizes) < 3:
        raise AkpError(
            f"expected at least three sizes between the critical width and {whole}, got {len(sizes)}"
        )
    own = wide[sizes].to_numpy(float) - wide[[whole]].to_numpy(float)
    return power_law(1 / (1 / sizes - 1 / whole), own, 0.0, level=level)


def law_table(sweep: Sweep, layers: Sequence[str], decay: float, epoch: int) -> pd.DataFrame:
    """Errors of chunks above the ensemble's, with fitted lines, ours and published, as the chart takes them.

    Parameters
    ----------
    sweep : Sweep
    layers, decay, epoch
        One series for each layer, of its widest networks; one that cannot be fitted is left out.

    Returns
    -------
    DataFrame
        ``series``, ``size``, ``excess``, ``fitted``, ``half`` (the power -1/2 through the middle of the fit).
    """
    found = [_published_law()]
    for layer in layers:
        try:
            law = law_of(sweep, layer, decay, epoch)
        except AkpError:
            continue
        curves = _widest(sweep.curves, layer, decay, epoch)
        mean = curves.groupby("size")["test_error"].mean()
        sizes, excess = mean.index.to_numpy(float), mean.to_numpy(float) - law.at_infinity
        found.append(
            _with_lines(f"{layer}, weight decay {decay:g}", sizes, excess, np.array(law.sizes, float))
        )
    return pd.concat(found, ignore_index=True)


def _published_law() -> pd.DataFrame:
    table = published()
    sizes = table["size"].to_numpy(float)
    return _with_lines(
        "published, by eye (Wide-ResNet, CIFAR-10)", sizes, table["excess"].to_numpy(), sizes[sizes >= 64]
    )


def _with_lines(name: str, sizes: np.ndarray, excess: np.ndarray, fitted: np.ndarray) -> pd.DataFrame:
    inside = np.isin(sizes, fitted)
    p, prefactor = fit_law(sizes[inside], excess[inside])
    middle = float(np.exp(np.log(sizes[inside]).mean()))
    lines = {
        "fitted": np.where(inside, prefactor * sizes**p, np.nan),
        "half": np.where(inside, prefactor * middle**p * (sizes / middle) ** PUBLISHED, np.nan),
    }
    return pd.DataFrame({"series": name, "size": sizes, "excess": excess} | lines)
