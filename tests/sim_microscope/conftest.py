"""Contexts and crystals that the tests of fields share."""

import numpy as np
import pytest

from drivers.contract.context import HAADF, Context, Specimen
from sim_microscope.crystal import DefectConcentrations, build_crystal
from sim_microscope.field import REACH_ANGSTROM

SPECIMEN = Specimen(host="WSe2", dopant="Ti")


@pytest.fixture
def make_context():
    """Context of Ti-doped WSe2 at 80 keV on a detector."""
    return lambda detector=HAADF: Context(specimen=SPECIMEN, energy_kev=80.0, detector=detector)


@pytest.fixture
def make_doped():
    """Crystal of 40 Å with many defects of every kind, and its margin."""

    def make(size=40.0, seed=3):
        return build_crystal(
            SPECIMEN,
            (size, size),
            rotation_deg=11.0,
            concentrations=DefectConcentrations(0.1, 0.03, 0.1),
            margin_angstrom=REACH_ANGSTROM,
            rng=np.random.default_rng(seed),
        )

    return make
