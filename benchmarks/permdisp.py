"""PERMDISP of 200 models in 4 families: how many times faster than scikit-bio's, on its own statistic.

Once with scikit-bio's own ten axes and once with all; the figure is the worse of the two.
"""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from akp_core.dispersion import location_test
from akp_core.dispersion import permdisp as ours
from benchmarks.machine import device_name
from benchmarks.measuring import NotHereError, Options, Result, interleave, interquartile

GOAL = 20.0
TESTS = ("permdisp, ten axes", "permdisp, all axes", "permanova")


def measure(options: Options) -> Result:
    """Both about centroids, both with scikit-bio's ten axes and with all, 999 permutations, by turns."""
    try:
        from skbio import DistanceMatrix as Matrix
        from skbio.stats import distance as theirs
    except ImportError:
        raise NotHereError("scikit-bio is not installed; install the test packages") from None
    members, permutations = (24, 49) if options.tiny else (200, 999)
    draw = np.random.default_rng(options.seed)
    points = draw.standard_normal((members, 30))
    families = np.repeat(np.arange(4), members // 4)
    points[families == 1] *= 1.15
    distances = cdist(points, points)
    make: Any = Matrix
    matrix, labels = make(distances), [str(f) for f in families]
    statistic: dict[str, float] = {}

    def scikit_bio(which: str, name: str, **settings: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run: Any = getattr(theirs, which)
            found = run(matrix, labels, permutations=permutations, seed=0, **settings)
        statistic[f"their {name}"] = float(found["test statistic"])

    def permdisp(axes: int | None, name: str) -> None:
        rng = np.random.default_rng(0)
        found = ours(distances, families, axes=axes, permute="distances", permutations=permutations, rng=rng)
        statistic[f"our {name}"] = found.f

    def permanova() -> None:
        rng = np.random.default_rng(0)
        statistic["our permanova"] = location_test(
            distances, families, permutations=permutations, rng=rng
        ).pseudo_f

    ten, every = TESTS[:2]
    sides: dict[str, Callable[[], None]] = {
        f"our {ten}": lambda: permdisp(10, ten),
        f"their {ten}": lambda: scikit_bio("permdisp", ten, test="centroid", dimensions=10),
        f"our {every}": lambda: permdisp(None, every),
        f"their {every}": lambda: scikit_bio("permdisp", every, test="centroid", dimensions=members),
        "our permanova": permanova,
        "their permanova": lambda: scikit_bio("permanova", "permanova"),
    }
    for work in sides.values():
        work()
    samples = interleave(sides, 2 if options.tiny else 5)
    median = {name: statistics.median(taken) for name, taken in samples.items()}
    same = {
        f"{kind}: the same statistic": all(
            abs(statistic[f"our {test}"] - statistic[f"their {test}"]) <= 1e-6 * statistic[f"their {test}"]
            for test in TESTS
            if test.startswith(kind)
        )
        for kind in ("permdisp", "permanova")
    }
    ratios = {test: median[f"their {test}"] / median[f"our {test}"] for test in TESTS}
    worst = min(TESTS[:2], key=lambda test: ratios[test])
    return Result(
        "permdisp",
        ratios[worst],
        GOAL,
        "higher",
        None,
        device_name(),
        median[f"our {worst}"],
        interquartile(samples[f"our {worst}"]),
        {
            "ratios": ratios,
            "permanova_ratio": ratios["permanova"],
            "seconds": median,
            "statistic": statistic,
            "members": members,
            "permutations": permutations,
        },
        same,
    )
