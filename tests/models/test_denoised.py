from unittest.mock import patch

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, zoom
from scipy.spatial import cKDTree

from drivers.contract.context import HAADF, MAADF, ColumnClass, Context, Specimen
from models.analysis import analyse, load_analyser
from models.denoised import find_filter, is_patterned, is_sharp
from models.frames import standardise
from models.patch_filter import PatchFilter, learn_filter
from models.reading import read_columns
from models.scoring import f1
from sim_microscope.crystal import DefectConcentrations
from sim_microscope.imaging import Acquisition
from sim_microscope.simulate import Frame, SpecimenPlan, simulate_frame

CONTEXT = Context(specimen=Specimen(host="TaS2", dopant="V"), energy_kev=100.0, detector=HAADF)
EDGE, COMPONENTS = 24, 13


@pytest.fixture(scope="module")
def frame() -> Frame:
    acquisition = Acquisition(pixels=400, fov_nm=13.0, dose_e_per_a2=6e4, source_sigma_angstrom=0.5)
    plan = SpecimenPlan(concentrations=DefectConcentrations(0.03, 0.01, 0.03))
    return simulate_frame(CONTEXT, acquisition, plan, seed=3)


@pytest.fixture(scope="module")
def denoised(frame: Frame) -> np.ndarray:
    taken = standardise(frame.image)
    return learn_filter(taken, EDGE, COMPONENTS).apply(taken).numpy()


def told(image: np.ndarray) -> PatchFilter | None:
    pixels = standardise(image)
    return find_filter(pixels, 10.0) if is_patterned(pixels) else None


def f1_of_defects(image: np.ndarray, frame: Frame) -> float:
    """Of a map that is made of an image of the frame, against the frame's truth."""
    columns = analyse(image, CONTEXT, load_analyser()).columns
    at = np.stack([columns["row_px"], columns["col_px"]], axis=1)
    distance, site = cKDTree(frame.pixel_positions).query(at)
    known = distance < 2.5  # px; neighbours lie 5.9 apart
    common = (ColumnClass.X2, ColumnClass.METAL)
    truth = ~np.isin(frame.crystal.classes[site[known]], common)
    score = f1(~np.isin(columns["cls"][known], common), truth)
    assert score is not None
    return score


def test_tells_edge_and_number_of_components(denoised):
    found = told(denoised)
    assert found is not None
    assert found.edge == EDGE
    assert abs(len(found.components) - COMPONENTS) <= 2


@pytest.mark.parametrize(
    ("change", "edge"),
    [(lambda image: image[:270, 60:330], EDGE), (lambda image: zoom(image, 1.2, order=3), 1.2 * EDGE)],
    ids=["part", "resized"],
)
def test_parts_of_a_denoised_frame_and_resized_ones_are_told(denoised, change, edge):
    found = told(change(denoised))
    assert found is not None
    assert abs(found.edge - edge) <= 0.5


def test_one_edge_must_stand_out_and_not_at_the_end_of_the_range(rng):
    edges = np.arange(8, 49)
    wide = 0.84 - 2e-5 * (edges - 32) ** 2 + rng.normal(scale=5e-4, size=len(edges))
    assert not is_sharp(wide)
    assert is_sharp(np.where(edges == 32, wide + 0.01, wide))
    assert not is_sharp(np.where(edges == 32, wide - 0.2, wide - 0.21)), "explains too little"
    falling = 0.95 - 0.003 * (edges - 8.0)
    falling[0] += 0.02
    assert not is_sharp(falling)


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image,
        lambda image: gaussian_filter(image, 0.7),
        lambda image: gaussian_filter(image, 1.0),
        lambda image: gaussian_filter(image, 2.0),
        lambda image: zoom(image[:200, :200], 1.6, order=1),
        lambda image: zoom(image[:200, :200], 1.6, order=3),
        lambda image: np.round(image / image.max() * 255),
    ],
    ids=["as taken", "blur 0.7", "blur 1", "blur 2", "linear zoom", "cubic zoom", "8 bit"],
)
def test_other_frames_are_left_alone(frame, change):
    assert told(change(frame.image)) is None


def test_a_frame_without_noise_is_left_alone(make_honeycomb, draw):
    assert told(draw(make_honeycomb((256, 256)), (256, 256), sigma_px=2.0)) is None


def test_defects_are_found_in_a_denoised_frame(frame, denoised):
    """Denoising takes them; undoing it brings them back."""
    with patch("models.reading.find_filter", lambda *_: None):
        assert f1_of_defects(denoised, frame) < 0.5
    assert f1_of_defects(denoised, frame) > 0.9


def test_the_map_says_that_the_frame_was_denoised(frame, denoised):
    flags = {flag.kind: flag.message for flag in analyse(denoised, CONTEXT, load_analyser()).header.flags}
    assert f"patches of {EDGE} px" in flags["denoised"]
    assert "denoised" not in {
        flag.kind for flag in analyse(frame.image, CONTEXT, load_analyser()).header.flags
    }


def test_a_frame_whose_values_were_changed_after_denoising_is_read_as_it_came(denoised):
    """Undone by the filter that it gives rise to, its columns would be anything, even holes."""
    changed = ((denoised - denoised.min()) / np.ptp(denoised)) ** 0.8
    wrong = learn_filter(standardise(changed), EDGE, COMPONENTS)
    with (
        patch("models.reading.is_patterned", lambda *_: True),
        patch("models.reading.find_filter", lambda *_: wrong),
    ):
        reading = read_columns(changed)
    assert reading.patch_filter is None
    assert reading.masked
    assert read_columns(denoised).patch_filter is not None


def test_a_filter_that_keeps_most_is_not_undone(frame):
    """Its components tell it, but what it took is not worth the errors of undoing it."""
    taken = standardise(frame.image)
    assert told(learn_filter(taken, 14, 24).apply(taken).numpy()) is None
    assert told(learn_filter(taken, 14, 10).apply(taken).numpy()) is not None


def test_double_vacancies_stay_double_in_a_frame_whose_filter_is_not_undone():
    """It leaves next to no scatter: an axis made of that alone would leave the defects."""
    context = Context(specimen=Specimen(host="WSe2", dopant="Ti"), energy_kev=80.0, detector=MAADF)
    acquisition = Acquisition(pixels=300, fov_nm=9.6, dose_e_per_a2=3e4, source_sigma_angstrom=0.45)
    plan = SpecimenPlan(rotation_deg=13.0, concentrations=DefectConcentrations(0.05, 0.01, 0.01))
    frame = simulate_frame(context, acquisition, plan, seed=1)
    taken = standardise(frame.image)
    made = analyse(learn_filter(taken, 12, 12).apply(taken).numpy(), context, load_analyser())
    assert "filtered" in {flag.kind for flag in made.header.flags}
    at = np.stack([made.columns["row_px"], made.columns["col_px"]], axis=1)
    distance, own = cKDTree(at).query(frame.pixel_positions[frame.crystal.classes == ColumnClass.VAC2])
    said = made.columns["cls"][own[distance < 2.5]]
    assert len(said) > 8
    assert (said == ColumnClass.VAC2).mean() > 0.7
