"""How bright the columns of WSe2 are against one another: figures to hold beside a real image."""

from dataclasses import replace
from typing import Any

import numpy as np

from drivers.contract.context import DETECTORS, Context, Detector, Specimen
from sim_microscope.crystal import STATES, States, build_periodic
from sim_microscope.field import Raster, field_kernels, render
from sim_microscope.kernels import KernelTable, vacuum_intensity
from sim_microscope.validation import SOURCE_SIGMA_ANGSTROM


def column_ratios(table: KernelTable, pairs: Any) -> dict[str, dict[str, float]]:
    """Intensities at the columns of WSe2 at 80 keV, less the vacuum's, as ratios after a 0.45 Å source.

    Each defect lies alone in a perfect, thermally moving crystal.
    """
    specimens = {"Ti": Specimen(host="WSe2", dopant="Ti"), "Cr": Specimen(host="WSe2", dopant="Cr")}
    ratios: dict[str, dict[str, float]] = {}
    for name, detector in DETECTORS.items():

        def at_site(element: str, state: States, metal_site: bool, detector: Detector = detector) -> float:
            crystal, period = build_periodic(specimens[element], (9, 15))
            sites = np.flatnonzero(crystal.is_metal_site == metal_site)
            nearest = np.linalg.norm(crystal.positions[sites] - np.array(period) / 2, axis=1).argmin()
            states = crystal.states.copy()
            states[sites[nearest]] = STATES.index(state)
            context = Context(specimen=specimens[element], energy_kev=80.0, detector=detector)
            kernels = field_kernels(context, table, pairs)
            row, column = crystal.positions[sites[nearest]]
            raster = Raster((16, 16), 0.1, (float(row) - 0.8, float(column) - 0.8))
            image = render(
                replace(crystal, states=states), kernels, raster, source_sigma_angstrom=SOURCE_SIGMA_ANGSTROM
            )
            return float(image[8, 8]) - vacuum_intensity(detector)

        metal, full = at_site("Ti", "metal", True), at_site("Ti", "X2", False)
        ratios[name] = {
            "W/Se2": metal / full,
            "V1/X2": at_site("Ti", "X1top", False) / full,
            "V2/X2": at_site("Ti", "empty", False) / full,
            "Ti/W": at_site("Ti", "dopant", True) / metal,
            "Cr/W": at_site("Cr", "dopant", True) / metal,
        }
    return ratios
