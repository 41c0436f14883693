import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from drivers.contract.context import HAADF, MAADF, ColumnClass, Context, Specimen
from models.analysis import analyse, load_analyser
from models.quiet import find_quiet
from models.templates import find_templates
from sim_microscope.crystal import DefectConcentrations
from sim_microscope.imaging import Acquisition
from sim_microscope.simulate import SpecimenPlan, simulate_frame

WSE2 = Context(specimen=Specimen(host="WSe2", dopant="Ti"), energy_kev=80.0, detector=MAADF)


def columns(rng, noise, *, edge=40, vacancies=0.04):
    """Moments, sublattices and positions of a square of columns, two a unit, of some noise by place."""
    templates = find_templates(WSE2)
    at = np.argwhere(np.ones((edge, edge))).repeat(2, axis=0).astype(float)
    is_metal = torch.arange(len(at)) % 2 == 1
    moments = templates.whole[templates.common][is_metal.long()]
    is_vacancy = torch.from_numpy(rng.random(len(at)) < vacancies) & ~is_metal
    moments = moments + is_vacancy[:, None] * templates.first[templates.common, 0]
    scatter = torch.from_numpy(noise(at)[:, None] * rng.normal(size=moments.shape))
    return (moments + scatter).float(), is_metal, torch.from_numpy(at), templates


@pytest.mark.parametrize("vacancies", [0.0, 0.04, 0.3])
def test_a_frame_that_is_alike_throughout_is_quiet(rng, vacancies):
    made = columns(rng, lambda at: np.full(len(at), 0.01), vacancies=vacancies)
    assert find_quiet(*made).all()


@pytest.mark.parametrize("part", [0.3, 0.7])
def test_where_columns_scatter_four_times_as_far_it_is_loud(rng, part):
    made = columns(rng, lambda at: np.where(at[:, 1] < 40 * part, 0.04, 0.01))
    is_quiet, column = find_quiet(*made).numpy(), made[2][:, 1].numpy()
    assert is_quiet[column >= 40 * part + 6].all()
    assert not is_quiet[column < 40 * part - 6].any()


def test_of_few_columns_all_count(rng):
    assert find_quiet(*columns(rng, lambda at: np.where(at[:, 1] < 4, 0.1, 0.01), edge=9)).all()


@pytest.mark.parametrize("detector", [HAADF, MAADF])
def test_vacancies_beside_carbon_stay_single_and_most_below_it_are_found(rng, detector):
    context = WSE2.model_copy(update={"detector": detector})
    acquisition = Acquisition(pixels=400, fov_nm=14.0, dose_e_per_a2=5e4, source_sigma_angstrom=0.45)
    plan = SpecimenPlan(concentrations=DefectConcentrations(0.05, 0.004, 0.02))
    frame = simulate_frame(context, acquisition, plan, seed=4)
    texture = gaussian_filter(rng.normal(size=frame.image.shape), 8)
    below = np.arange(400) < 180
    carbon = below * (2 + texture / texture.std()) * 0.8 * frame.image.std()
    found = analyse(frame.image + carbon, context, load_analyser()).columns
    apart, at = cKDTree(np.stack([found["row_px"], found["col_px"]], axis=1)).query(frame.pixel_positions)
    single = (frame.crystal.classes == ColumnClass.VAC1) & (apart < 2)
    is_below = frame.pixel_positions[:, 1] < 180
    is_right = found["cls"][at] == ColumnClass.VAC1
    assert is_right[single & ~is_below].mean() > 0.97
    assert is_right[single & is_below].mean() > 0.8
