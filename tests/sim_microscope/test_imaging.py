import numpy as np
import pytest
from pydantic import ValidationError

from drivers.contract.context import HAADF, MAADF, Context, Specimen
from drivers.contract.errors import InputError
from sim_microscope.crystal import DefectConcentrations, GrainBoundary
from sim_microscope.imaging import Acquisition, ScanMap, contamination_background, detect
from sim_microscope.simulate import SpecimenPlan, simulate_frame

CONTEXT = Context(specimen=Specimen(host="WSe2", dopant="Ti"), energy_kev=80.0, detector=HAADF)
DEFECTS = SpecimenPlan(rotation_deg=20.0, concentrations=DefectConcentrations(0.05, 0.01, 0.03))


def centroids(image, points, radius):
    """Sub-pixel positions of maxima near points, by parabolas through the highest pixel."""
    found = []
    for row, column in points:
        r, c = round(row), round(column)
        window = image[r - radius : r + radius + 1, c - radius : c + radius + 1]
        i, j = np.unravel_index(np.argmax(window), window.shape)
        i, j = i + r - radius, j + c - radius
        steps = []
        for line in (image[i - 1 : i + 2, j], image[i, j - 1 : j + 2]):
            low, middle, high = line.astype(float)
            steps.append((low - high) / (2 * (low - 2 * middle + high)))
        found.append((i + steps[0], j + steps[1]))
    return np.array(found)


GEOMETRIES = {
    "plain": {},
    "drift": {"drift_row_angstrom_per_s": 0.3, "drift_column_angstrom_per_s": -0.5, "flyback_us": 200.0},
    "distortion": {"distortion": ((0.03, 0.01), (-0.02, -0.04))},
    "both": {"drift_column_angstrom_per_s": 0.4, "distortion": ((0.0, 0.05), (0.0, 0.02))},
    "subdivided": {"pixels": 128},
}


@pytest.mark.parametrize("changes", GEOMETRIES.values(), ids=GEOMETRIES)
def test_truth_is_where_the_columns_are_seen(changes):
    options = {"pixels": 256, "fov_nm": 5.0, "dose_e_per_a2": None, "source_sigma_angstrom": 0.35} | changes
    acquisition = Acquisition(**options)
    frame = simulate_frame(CONTEXT, acquisition, SpecimenPlan(rotation_deg=20.0), seed=4)
    pixels = acquisition.pixels
    metals = frame.crystal.is_metal_site
    inside = np.all((frame.pixel_positions > 8) & (frame.pixel_positions < pixels - 9), axis=1)
    truth = frame.pixel_positions[metals & inside]
    assert len(truth) > 150
    error = centroids(frame.image, truth, 2) - truth
    assert np.abs(error).max() < 0.1
    assert np.abs(error.mean(axis=0)).max() < 0.02


def test_the_same_seed_gives_the_same_frame_to_the_bit():
    acquisition = Acquisition(
        pixels=128, fov_nm=4.0, row_jitter_px=0.2, contamination=0.01, readout_sigma_counts=1.0
    )
    first, second, other = (simulate_frame(CONTEXT, acquisition, DEFECTS, seed=seed) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.pixel_positions, second.pixel_positions)
    assert not np.array_equal(first.image, other.image)


def test_noise_is_that_of_counted_electrons():
    acquisition = Acquisition(
        pixels=256,
        fov_nm=5.0,
        dose_e_per_a2=1e5,
        gain_counts_per_e=3.0,
        offset_counts=50.0,
        readout_sigma_counts=2.0,
    )
    intensity = np.full((256, 256), 0.02)
    counts = detect(intensity, acquisition, np.random.default_rng(0)).astype(np.float64)
    electrons = 0.02 * 1e5 * (50 / 256) ** 2
    assert acquisition.electrons_per_pixel * 0.02 == pytest.approx(electrons)
    assert counts.mean() == pytest.approx(50 + 3 * electrons, rel=0.005)
    assert counts.var() == pytest.approx(9 * electrons + 4, rel=0.03)


def test_a_detector_reads_no_more_than_it_can():
    acquisition = Acquisition(pixels=32, fov_nm=1.0, saturation_counts=10.0)
    counts = detect(np.full((32, 32), 0.5), acquisition, np.random.default_rng(0))
    assert counts.max() == 10.0


def test_row_jitter_shifts_rows_and_nothing_else():
    options = {"pixels": 128, "fov_nm": 4.0, "dose_e_per_a2": None}
    plain = simulate_frame(CONTEXT, Acquisition(**options), SpecimenPlan(rotation_deg=0.0), seed=1)
    shaken = simulate_frame(
        CONTEXT, Acquisition(**options, row_jitter_px=0.5), SpecimenPlan(rotation_deg=0.0), seed=1
    )
    np.testing.assert_array_equal(plain.pixel_positions, shaken.pixel_positions)
    frequency = np.fft.fftfreq(128)
    shifts = []
    for a, b in zip(plain.image, shaken.image, strict=True):
        cross = np.fft.fft(b) * np.conj(np.fft.fft(a))
        strong = (np.abs(cross) > 0.05 * np.abs(cross[1:64]).max()) & (frequency > 0) & (frequency < 0.2)
        shifts.append(
            np.sum(-np.angle(cross[strong]) / (2 * np.pi * frequency[strong])) / max(strong.sum(), 1)
        )
    assert np.std(shifts) == pytest.approx(0.5, rel=0.35)


def test_contamination_is_a_smooth_patch_of_background():
    acquisition = Acquisition(pixels=128, fov_nm=10.0, contamination=0.02, contamination_length_nm=1.0)
    background = contamination_background(acquisition, np.random.default_rng(0))
    assert background.min() == 0.0
    assert background.max() == pytest.approx(0.02)
    assert 0.3 < (background > 0).mean() < 0.7
    assert np.abs(np.diff(background, axis=0)).max() < 0.003


def test_a_scan_map_inverts():
    scan = ScanMap.of(
        Acquisition(pixels=64, fov_nm=3.0, drift_row_angstrom_per_s=5.0, distortion=((0.1, 0.0), (0.05, 0.0)))
    )
    points = np.random.default_rng(0).uniform(0, 64, (20, 2))
    np.testing.assert_allclose(scan.to_pixels(scan.to_specimen(points)), points)


def test_a_grain_boundary_shows_two_grains_in_the_truth():
    plan = SpecimenPlan(rotation_deg=0.0, boundary=GrainBoundary(20.0))
    frame = simulate_frame(CONTEXT, Acquisition(pixels=128, fov_nm=5.0), plan, seed=0)
    assert set(frame.crystal.grains) == {0, 1}


def test_the_two_detectors_see_the_same_columns():
    other = Context(specimen=CONTEXT.specimen, energy_kev=80.0, detector=MAADF)
    acquisition = Acquisition(pixels=128, fov_nm=4.0)
    first, second = (simulate_frame(c, acquisition, DEFECTS, seed=5) for c in (CONTEXT, other))
    np.testing.assert_array_equal(first.pixel_positions, second.pixel_positions)
    np.testing.assert_array_equal(first.crystal.states, second.crystal.states)


@pytest.mark.parametrize(
    "options",
    [
        {"dose_e_per_a2": -1.0},
        {"pixels": 4},
        {"fov_nm": 0.0},
        {"fov_nm": float("nan")},
        {"distortion": ((0.5, 0.0), (0.0, 0.0))},
        {"row_jitter_px": -0.1},
    ],
    ids=["negative dose", "too few pixels", "no field", "not a number", "distortion", "negative jitter"],
)
def test_impossible_acquisitions_are_refused(options):
    with pytest.raises(ValidationError):
        Acquisition(**({"pixels": 64, "fov_nm": 3.0} | options))


def test_a_field_too_large_for_memory_is_refused():
    with pytest.raises(InputError, match="GiB"):
        simulate_frame(CONTEXT, Acquisition(pixels=16384, fov_nm=9000.0), SpecimenPlan(), seed=0)
