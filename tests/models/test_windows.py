import numpy as np
import pytest
from scipy.spatial import cKDTree

from drivers.contract.context import HAADF, ColumnClass, Context, Specimen
from drivers.contract.errors import InputError
from drivers.contract.header import Window
from models.analysis import analyse, load_analyser
from models.windows import cut_out, lay_into, surroundings
from sim_microscope.crystal import DefectConcentrations
from sim_microscope.imaging import Acquisition
from sim_microscope.simulate import SpecimenPlan, simulate_frame

PLACE = Window(row_px=40, col_px=50, rows_px=30, cols_px=36)
LATTICE = 12.0


def picture(shift=(0.0, 0.0), edge=128):
    """A triangular lattice of period `LATTICE`, moved by (rows, columns)."""
    row, col = np.mgrid[:edge, :edge] - np.array(shift)[:, None, None]
    waves = [
        np.cos(2 * np.pi * (row * np.sin(angle) + col * np.cos(angle)) / (LATTICE * np.sqrt(3) / 2))
        for angle in np.deg2rad([10.0, 70.0, 130.0])
    ]
    return 10.0 + np.sum(waves, axis=0)


def window_of(whole):
    rows = slice(PLACE.row_px, PLACE.row_px + PLACE.rows_px)
    cols = slice(PLACE.col_px, PLACE.col_px + PLACE.cols_px)
    return whole[rows, cols]


@pytest.mark.parametrize("shift", [(0, 0), (3, -2), (-5, 4)])
@pytest.mark.parametrize("noise", [0.0, 3.0])
def test_the_lattice_of_the_field_goes_on_into_the_window(shift, noise):
    rng = np.random.default_rng(1)
    now = picture(shift)
    window = window_of(now) + rng.normal(0, noise, (PLACE.rows_px, PLACE.cols_px))
    laid, _ = lay_into(picture(), window, PLACE, LATTICE)
    np.testing.assert_allclose(window_of(laid), window, rtol=1e-6)
    around = laid[20:40, 50:86]
    likeness = np.corrcoef(around.ravel(), now[20:40, 50:86].ravel())[0, 1]
    assert likeness > 0.95


def test_the_field_is_brightened_to_the_window():
    laid, _ = lay_into(picture(), 7.0 * window_of(picture()), PLACE, LATTICE)
    np.testing.assert_allclose(laid, 7.0 * picture(), rtol=0.02)


def test_a_window_in_the_corner_is_laid_in_too():
    place = Window(row_px=98, col_px=0, rows_px=30, cols_px=36)
    laid, _ = lay_into(picture(), picture()[98:, :36], place, LATTICE)
    np.testing.assert_allclose(laid, picture(), rtol=1e-5)


def test_a_window_that_shows_little_stays_where_the_last_one_was():
    rng = np.random.default_rng(3)
    place = Window(row_px=60, col_px=60, rows_px=8, cols_px=8)
    noise = rng.poisson(10.0, (8, 8)).astype(float)
    for expected in ((0, 0), (2, -3)):
        _, moved = lay_into(picture(), noise, place, LATTICE, expected=expected, elapsed_s=0.05)
        assert np.abs(np.subtract(moved, expected)).max() <= 2


def test_a_window_is_read_with_what_is_around_it():
    around = surroundings(PLACE, (1000, 70), LATTICE)
    assert (around.row_px, around.col_px) == (0, 0)
    assert around.rows_px == PLACE.row_px + PLACE.rows_px + 8 * LATTICE
    assert around.cols_px == 70


def test_a_shift_that_another_detector_has_told_is_taken():
    laid, moved = lay_into(picture(), window_of(picture((3, -2))), PLACE, LATTICE, (3, -2))
    assert moved == (3, -2)
    np.testing.assert_allclose(laid[20:120, 20:120], picture((3, -2))[20:120, 20:120], rtol=0.05)
    _, moved = lay_into(picture(), window_of(picture((3, -2))), PLACE, LATTICE, (1, 1))
    assert moved == (1, 1)


@pytest.fixture(scope="module")
def whole():
    context = Context(specimen=Specimen(host="WSe2", dopant="Ti"), energy_kev=80.0, detector=HAADF)
    acquisition = Acquisition(pixels=192, fov_nm=7.5, dose_e_per_a2=2e4, source_sigma_angstrom=0.45)
    plan = SpecimenPlan(rotation_deg=13.0, concentrations=DefectConcentrations(0.05, 0.01, 0.03))
    image = simulate_frame(context, acquisition, plan, seed=3).image.astype(float)
    image[100:140, 5:50] = np.median(image)  # so that there is a flag with rows and columns
    return analyse(image, context, load_analyser())


def test_a_map_of_a_window_is_what_the_field_s_says_of_it(whole):
    place = Window(row_px=30, col_px=80, rows_px=70, cols_px=90)
    part = cut_out(whole, place)
    rim = 0.35 * whole.header.scale.lattice_px
    row, col = whole.columns["row_px"] - 30, whole.columns["col_px"] - 80
    deep = (np.minimum(row, col) > rim + 0.5) & (row < 69 - rim - 0.5) & (col < 89 - rim - 0.5)
    near = (np.minimum(row, col) > rim - 1.5) & (row < 69 - rim + 1.5) & (col < 89 - rim + 1.5)
    assert deep.sum() <= len(part.columns) <= near.sum()
    kept = np.isin(whole.columns["p"][:, 0], part.columns["p"][:, 0])
    assert kept[deep].all()
    ours = part.columns
    assert min(ours["row_px"].min(), ours["col_px"].min()) > 0
    apart, at = cKDTree(np.stack([row, col], axis=1)).query(
        np.stack([ours["row_px"], ours["col_px"]], axis=1)
    )
    assert apart.max() < 1e-3
    for name in ("cls", "sublattice", "p", "entropy_nats", "foreign", "flags", "grain"):
        assert np.array_equal(ours[name], whole.columns[name][at])
    size = whole.header.scale.pixel_size_angstrom
    np.testing.assert_allclose(ours["y_angstrom"], ours["row_px"] * size, rtol=1e-5)
    np.testing.assert_allclose(ours["x_angstrom"], ours["col_px"] * size, rtol=1e-5)


def test_what_is_counted_of_a_window_is_counted_in_it(whole):
    part = cut_out(whole, Window(row_px=30, col_px=80, rows_px=70, cols_px=90))
    header, columns = part.header, part.columns
    assert header.columns == sum(header.counts.model_dump().values()) == header.grains[0].columns
    assert header.counts.metal == (columns["cls"] == ColumnClass.METAL).sum()
    assert header.counts.vac1 == (columns["cls"] == ColumnClass.VAC1).sum()
    assert header.mean_entropy_nats == pytest.approx(columns["entropy_nats"].mean(), rel=1e-4)
    assert header.concentrations == ()  # too few sites to say
    assert (header.scale, header.prior) == (whole.header.scale, whole.header.prior)
    told = {flag.kind: flag.message for flag in header.flags}
    assert "read_in_field" in told
    (padded,) = [flag.message for flag in whole.header.flags if flag.kind == "padded"]
    assert told["padded"] == f"in the part of the field that was read around the window: {padded}"


def test_a_window_that_the_lattice_does_not_reach_is_no_map(whole):
    with pytest.raises(InputError, match="found 0 columns of it"):
        cut_out(whole, Window(row_px=104, col_px=10, rows_px=30, cols_px=34))


def test_the_longer_ago_the_last_window_was_the_further_noise_may_move_the_next_one():
    rng = np.random.default_rng(5)
    place = Window(row_px=60, col_px=60, rows_px=10, cols_px=10)
    moved = {0.02: [], 60.0: []}
    for _ in range(15):
        noise = rng.poisson(10.0, (10, 10)).astype(float)
        for elapsed_s, far in moved.items():
            far.append(np.hypot(*lay_into(picture(), noise, place, LATTICE, elapsed_s=elapsed_s)[1]))
    assert np.mean(moved[0.02]) < 0.5 * np.mean(moved[60.0])
