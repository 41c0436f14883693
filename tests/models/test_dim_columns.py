"""Columns far dimmer than their neighbours are columns all the same, from frame to map."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from drivers.contract.context import HAADF, MAADF, ColumnClass, Context, Specimen
from models.analysis import analyse, load_analyser
from sim_microscope.crystal import DefectConcentrations
from sim_microscope.imaging import Acquisition
from sim_microscope.simulate import SpecimenPlan, simulate_frame

# In HAADF nothing is seen of S2 beside W, so that a lighter dopant has no neighbour that is; in MAADF little
# is seen of Mo beside Te2.
DIM = {
    "dopants in WS2": (Specimen(host="WS2", dopant="Ti"), HAADF, ColumnClass.DOPANT),
    "double vacancies in MoTe2": (Specimen(host="MoTe2", dopant="V"), MAADF, ColumnClass.VAC2),
}


@pytest.mark.parametrize(("specimen", "detector", "dim"), DIM.values(), ids=DIM)
def test_the_dimmest_of_columns_are_found_up_to_the_border(specimen, detector, dim):
    context = Context(specimen=specimen, energy_kev=80.0, detector=detector)
    acquisition = Acquisition(pixels=400, fov_nm=8.0, dose_e_per_a2=1e5, source_sigma_angstrom=0.45)
    plan = SpecimenPlan(rotation_deg=17.0, concentrations=DefectConcentrations(0.03, 0.03, 0.06))
    frame = simulate_frame(context, acquisition, plan, seed=5)
    columns = analyse(frame.image, context, load_analyser()).columns
    found = np.stack([columns["row_px"], columns["col_px"]], axis=1)
    inside = ((frame.pixel_positions > 10) & (frame.pixel_positions < 390)).all(axis=1)  # 2 Å from the border
    distance, nearest = cKDTree(found).query(frame.pixel_positions)
    assert (distance[inside] < 3).all()
    of_kind = inside & (frame.crystal.classes == dim)
    assert of_kind.sum() >= 10
    assert (columns["cls"][nearest[of_kind]] == dim).mean() > 0.95
    assert len(found) <= len(frame.pixel_positions)
