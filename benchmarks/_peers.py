"""What `columnist bench frame` measures itself against: atomap's columns, motif-learn's patches and moments.

    python _peers.py IMAGE.npy LATTICE_PX

runs under any interpreter that has both, and prints JSON.  It imports nothing of ours.
"""

import json
import sys
import time
import warnings
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Durations of atomap come in two kinds, 0.2 and 0.3 to 0.4 s on two cores: a few runs tell by chance.
_REPEATS = 25


def measure(image: NDArray[np.float32], lattice_px: float) -> dict[str, Any]:
    """Median duration [ms] of the runs after one to warm up, and what was found."""
    import hyperspy.api as hs
    from atomap.atom_finding_refining import get_atom_positions
    from mtflearn.features import KeyPoints, ZPs

    size = round(np.sqrt(3) * lattice_px) // 2 * 2 + 1
    basis = ZPs(n_max=10, size=size)
    times, columns = [], 0
    for _ in range(_REPEATS + 1):
        start = time.perf_counter()
        positions = np.asarray(get_atom_positions(hs.signals.Signal2D(image), separation=2, pca=True))
        points = KeyPoints(positions, image, size)
        points.clear_border(size)
        basis.fit_transform(points.extract_patches(size))
        times.append(time.perf_counter() - start)
        columns = len(positions)
    names = f"atomap {version('atomap')}, motif-learn {version('motif-learn')}"
    return {
        "ms": 1e3 * float(np.median(times[1:])),
        "what": f"{names}: {columns} columns found, moments of patches of {size} px",
    }


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(measure(np.load(sys.argv[1]), float(sys.argv[2]))))
