"""The constants by which evidence adds up (`models.fusion`), and their file.

NumPy only, so that the agent can import it.
"""

import json
import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.contract.context import Context, Detector
from drivers.contract.errors import InputError
from models.nearest import nearest_detector, nearest_energy_kev

_FORMAT = 1


@dataclass(frozen=True)
class FusionLaw:
    """Constants of the law.

    Parameters
    ----------
    half_dose_e_per_a2 : float
        Dose at which a source has said half of what it can ever say.
    correlation : float
        Of what two sources are off by, until columns show it (`source_errors`).
    log10_doses : ndarray of shape (N,)
        Doses [log10 of e/Å²] that `scales` are given at.
    scales : dict of str to ndarray of shape (2, N)
        By detector: factor of a frame's log likelihoods that calibrates them, for chalcogen and metal
        columns.  A network that is not told the dose is too sure of faint frames and not sure enough of
        bright ones.
    separations : dict of str to tuple
        By `context_key`: squared distance, in standard deviations, at which a Gaussian measurement would tell
        the classes of each of `models.fusion.PAIRS` apart as well as an endless dose of that source does.
    transfer : float
        Logarithm of how much better a session's other sources do than `separations`, over that of those seen.
    """

    half_dose_e_per_a2: float
    correlation: float
    log10_doses: NDArray[np.float64]
    scales: dict[str, NDArray[np.float64]]
    separations: dict[str, tuple[float, float, float]]
    transfer: float

    def scale(self, detector: Detector, dose_e_per_a2: float) -> NDArray[np.float64]:
        """Factor of a frame's log likelihoods for chalcogen and metal columns, shape (2,).

        Raises
        ------
        InputError
            If the law was not made for the detector.
        """
        rows = self.scales.get(_detector_name(detector))
        if rows is None:
            raise InputError(f"no figures for {_detector_name(detector)}; known are {', '.join(self.scales)}")
        dose = math.log10(max(dose_e_per_a2, 1e-3))
        return np.array([np.exp(np.interp(dose, self.log10_doses, np.log(row))) for row in rows])

    def is_known(self, context: Context) -> bool:
        """Whether `separations` hold a context."""
        return context_key(context) in self.separations

    def separation(self, context: Context) -> tuple[float, float, float]:
        """Look up `separations` of a context.

        Raises
        ------
        InputError
            If it holds none.
        """
        key = context_key(context)
        if key not in self.separations:
            raise InputError(f"no figures for {key}; known are the reference contexts of `models.contexts`")
        return self.separations[key]


def context_key(context: Context) -> str:
    """Name of a context, as `models.contexts.context_name`; without a dopant, that of the host alone.

    An energy or a detector near one of the reference goes by it, as `models.contexts.stand_in` reads it.
    """
    specimen, detector = context.specimen, _detector_name(context.detector)
    material = specimen.host if specimen.dopant is None else f"{specimen.host}-{specimen.dopant}"
    return f"{material} {nearest_energy_kev(context.energy_kev):g} keV {detector}"


def _detector_name(detector: Detector) -> str:
    """Name of the reference detector that a detector is read as; its own angles where there is none."""
    known = nearest_detector(detector)
    return f"{detector.inner_mrad:g}-{detector.outer_mrad:g} mrad" if known is None else known.name


def law_as_plain(law: FusionLaw, card: dict[str, Any]) -> dict[str, Any]:
    """Law as plain data for JSON, after what the card says of how it was made."""
    return card | {
        "format": _FORMAT,
        "half_dose_e_per_a2": law.half_dose_e_per_a2,
        "correlation": law.correlation,
        "log10_doses": law.log10_doses.tolist(),
        "scales": {name: np.round(rows, 4).tolist() for name, rows in law.scales.items()},
        "transfer": law.transfer,
        "separations": {name: [round(v, 3) for v in row] for name, row in law.separations.items()},
    }


def law_from_plain(plain: dict[str, Any]) -> FusionLaw:
    """Law from what `law_as_plain` made.

    Raises
    ------
    InputError
        If it is of another format or incomplete.
    """
    try:
        if plain["format"] != _FORMAT:
            raise ValueError(f"format {plain['format']!r} where {_FORMAT} is expected")
        return FusionLaw(
            half_dose_e_per_a2=float(plain["half_dose_e_per_a2"]),
            correlation=float(plain["correlation"]),
            log10_doses=np.array(plain["log10_doses"], np.float64),
            scales={name: np.array(rows, np.float64) for name, rows in plain["scales"].items()},
            separations={
                name: (float(a), float(b), float(c)) for name, (a, b, c) in plain["separations"].items()
            },
            transfer=float(plain["transfer"]),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"the constants of fusion cannot be used ({error}); make them again with "
            "`columnist derive fusion`"
        ) from error


@cache
def load_shipped_law(network: str) -> FusionLaw:
    """Constants that come with the package for a network.

    Raises
    ------
    InputError
        If there are none.
    """
    path = files("models") / "data" / f"fusion-{network}.json"
    if not path.is_file():
        raise InputError(
            f"no constants of fusion are shipped for {network!r}; make them with "
            f"`columnist derive fusion --network {network}`"
        )
    return law_from_plain(json.loads(path.read_text()))
