import numpy as np
import pytest

from drivers.contract.context import HAADF, MAADF, Context, Detector, Specimen
from drivers.contract.errors import InputError
from sim_microscope.contamination import Relief, scattered_per_nm


def context(detector, energy_kev=80.0):
    return Context(specimen=Specimen(host="WSe2"), energy_kev=energy_kev, detector=detector)


def test_a_nanometre_of_carbon_scatters_a_thousandth_onto_haadf_and_five_times_that_onto_maadf():
    haadf, maadf = scattered_per_nm(context(HAADF)), scattered_per_nm(context(MAADF))
    assert 5e-4 < haadf < 2e-3
    # Rutherford: as 1/inner² - 1/outer².
    ratio = (30**-2 - 120**-2) / (68**-2 - 280**-2)
    assert maadf / haadf == pytest.approx(ratio)


def test_slower_electrons_scatter_more():
    assert scattered_per_nm(context(HAADF, 60.0)) > 1.5 * scattered_per_nm(context(HAADF, 80.0))


def test_the_relief_is_smooth_positive_and_of_mean_one():
    relief = Relief.draw(np.random.default_rng(3))
    axis = np.linspace(0, 2000, 400)
    heights = relief.at(np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1))
    assert heights.min() >= 0
    assert heights.mean() == pytest.approx(1.0, abs=0.15)
    assert np.abs(np.diff(heights, axis=0)).max() < 0.15 * heights.max()


def test_what_carbon_adds_to_a_detector_that_begins_on_the_axis_is_not_made_up():
    bright_field = Detector(name="BF", inner_mrad=0.0, outer_mrad=20.0)
    with pytest.raises(InputError, match="BF, which begins at 0 mrad"):
        scattered_per_nm(context(bright_field))
