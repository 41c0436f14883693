import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from drivers.contract.context import HAADF, Context, Specimen
from models.frames import blur, standardise
from models.lattice import hexagon_beside
from models.levels import common_value, level_frame
from models.patches import kernel_prefilter, sample_coefficients
from models.reading import Reading, read_columns
from sim_microscope.crystal import DefectConcentrations
from sim_microscope.imaging import Acquisition
from sim_microscope.simulate import SpecimenPlan, simulate_frame

SHAPE = (300, 300)


def levelled(frame: np.ndarray) -> tuple[torch.Tensor, Reading]:
    reading = read_columns(frame)
    return level_frame(standardise(frame), reading.lattice, reading.whole)[0], reading


def levels(frame: np.ndarray) -> tuple[float, float]:
    """Common level of the hexagon centres and of the brighter sublattice's whole columns."""
    image, reading = levelled(frame)
    image = blur(image, 0.1 * reading.lattice.lattice_px)
    sharp = torch.fft.irfft2(torch.fft.rfft2(image) * kernel_prefilter(SHAPE, "cpu"), s=SHAPE)[..., None]
    centres = hexagon_beside(reading.lattice)[reading.whole]
    columns = sample_coefficients(sharp, reading.lattice.positions)[:, 0]
    sides = [columns[reading.whole & (reading.lattice.sublattice == k)] for k in (0, 1)]
    return common_value(sample_coefficients(sharp, centres)[:, 0]), max(common_value(side) for side in sides)


def test_empty_hexagons_become_zero_and_common_bright_columns_one(make_honeycomb, draw):
    image = draw(make_honeycomb(SHAPE, lattice_px=10.0), SHAPE, sigma_px=1.6)
    assert levels(image) == pytest.approx((0, 1), abs=0.01)


def test_the_density_of_defects_changes_nothing(make_honeycomb, draw, rng):
    truth = make_honeycomb(SHAPE, lattice_px=10.0)
    hit = truth.dimmed(rng.permutation(len(truth.sublattice))[: len(truth.sublattice) // 4], 0.4)
    frames = [draw(some, SHAPE, sigma_px=1.6) for some in (truth, hit)]
    assert levels(frames[1]) == pytest.approx((0, 1), abs=0.03)
    perfect, dense = (read_columns(frame) for frame in frames)
    # Column for column, what was left alone looks as in the perfect crystal but for its neighbours.
    near = torch.cdist(dense.lattice.positions, perfect.lattice.positions).argmin(1)
    change = (dense.moments[:, 0] - perfect.moments[near, 0])[dense.whole & perfect.whole[near]]
    assert abs(float(change.quantile(0.9))) < 0.03


def test_gain_and_offset_that_vary_slowly_are_taken_out(make_honeycomb, draw):
    image = draw(make_honeycomb(SHAPE, lattice_px=10.0), SHAPE, sigma_px=1.6)
    row, column = np.indices(SHAPE)
    uneven = (1 + row / 1500) * image + column / 100 - row / 200
    even, sloped = (levelled(frame)[0] for frame in (image, uneven))
    inner = (slice(80, -80), slice(80, -80))
    assert float((even - sloped)[inner].square().mean().sqrt()) < 0.03


def test_vacuum_stays_dark(make_honeycomb, draw, rng):
    image = draw(make_honeycomb(SHAPE, lattice_px=10.0), SHAPE, sigma_px=1.6)
    image[:, 160:] = 0
    result, _ = levelled(image + rng.normal(0, 1e-3, SHAPE))
    assert torch.isfinite(result).all()
    assert float(result[:, 240:].std()) < 0.1


def test_the_common_value_is_that_of_the_majority():
    values = torch.tensor([1.0, 1.02, 0.98, 0.99, 1.01, 1.0, 0.3, 0.31, 0.29, 0.0])
    assert common_value(values) == pytest.approx(1.0, abs=0.02)
    assert common_value(torch.tensor([0.7])) == pytest.approx(0.7)


@pytest.mark.parametrize("amplitude", [0.4, 0.7])
def test_a_gain_that_changes_over_the_frame_is_followed_to_its_ends(amplitude):
    context = Context(specimen=Specimen(host="MoS2", dopant="Re"), energy_kev=80.0, detector=HAADF)
    acquisition = Acquisition(pixels=400, fov_nm=14.3, dose_e_per_a2=5e4, source_sigma_angstrom=0.45)
    plan = SpecimenPlan(concentrations=DefectConcentrations(0.04, 0.004, 0.03))
    image = simulate_frame(context, acquisition, plan, seed=2).image
    plain, drifting = (
        read_columns(one) for one in (image, image * np.linspace(1 - amplitude, 1 + amplitude, 400))
    )
    apart, at = cKDTree(plain.lattice.positions.numpy()).query(drifting.lattice.positions.numpy())
    same = (apart < 1) & drifting.whole.numpy()
    assert same.sum() > 2000
    change = drifting.contrast.numpy()[same] - plain.contrast.numpy()[at[same]]
    assert np.abs(np.quantile(change, [0.05, 0.5, 0.95])).max() < 0.15
