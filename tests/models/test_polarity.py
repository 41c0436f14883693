import numpy as np
import pytest

from drivers.contract.context import HAADF, MAADF, Context, Specimen
from drivers.contract.errors import InputError
from models.reading import read_columns
from sim_microscope.crystal import DefectConcentrations
from sim_microscope.imaging import Acquisition
from sim_microscope.simulate import SpecimenPlan, simulate_frame

SPECIMENS = {
    "alike": (Specimen(host="WSe2", dopant="Ti"), HAADF),
    "metal brighter by half": (Specimen(host="MoS2", dopant="Re"), HAADF),
    "the negative alike": (Specimen(host="WS2", dopant="Cr"), HAADF),
    "chalcogen brighter": (Specimen(host="TaS2", dopant="V"), MAADF),
}


def image_of(specimen, detector, *, dose=2e4, sigma=0.5, seed=1):
    context = Context(specimen=specimen, energy_kev=80.0, detector=detector)
    acquisition = Acquisition(pixels=224, fov_nm=7.0, dose_e_per_a2=dose, source_sigma_angstrom=sigma)
    plan = SpecimenPlan(concentrations=DefectConcentrations(0.04, 0.005, 0.03))
    return simulate_frame(context, acquisition, plan, seed=seed).image


@pytest.mark.parametrize("sigma", [0.4, 0.7])
@pytest.mark.parametrize("name", SPECIMENS)
def test_the_negative_of_a_frame_is_refused_and_the_frame_is_read(name, sigma):
    image = image_of(*SPECIMENS[name], sigma=sigma)
    assert len(read_columns(image).lattice.positions) > 800
    for negative in (-image, image.max() - image):
        with pytest.raises(InputError, match="found holes on the sites"):
            read_columns(negative)


@pytest.mark.parametrize("seed", range(4))
def test_frames_of_few_electrons_are_no_negatives(seed):
    image = image_of(*SPECIMENS["alike"], dose=1500, seed=seed)
    assert len(read_columns(image).lattice.positions) > 700


def test_holes_are_told_beside_vacuum_and_background():
    image = image_of(*SPECIMENS["metal brighter by half"], dose=1e5)
    image[:, 150:] = image.min() + np.random.default_rng(2).poisson(2.0, image[:, 150:].shape)
    sloping = image + np.linspace(0, 2 * image.max(), image.shape[0])[:, None]
    assert len(read_columns(sloping).lattice.positions) > 400
    with pytest.raises(InputError, match="found holes on the sites"):
        read_columns(-sloping)
