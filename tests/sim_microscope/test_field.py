from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from drivers.contract.context import HAADF, MAADF, Context, Specimen
from drivers.contract.errors import InputError
from sim_microscope.aberrations import Aberrations, ProbeTransfer
from sim_microscope.crystal import STATES, Crystal, DefectConcentrations, build_crystal
from sim_microscope.field import REACH_ANGSTROM, Raster, field_kernels, render
from sim_microscope.kernels import default_table, vacuum_intensity
from sim_microscope.motif_images import motif_images
from sim_microscope.motifs import all_motifs, motif_crystal
from sim_microscope.reference import Beam, scan_crystal
from sim_microscope.simulate import load_kernels
from sim_microscope.validation import kernel_image, make_case

SPECIMEN = Specimen(host="WSe2", dopant="Ti")


def context(detector=HAADF, specimen=SPECIMEN, energy=80.0):
    return Context(specimen=specimen, energy_kev=energy, detector=detector)


def doped(size=40.0, seed=3, margin=REACH_ANGSTROM):
    return build_crystal(
        SPECIMEN,
        (size, size),
        rotation_deg=11.0,
        concentrations=DefectConcentrations(0.1, 0.03, 0.1),
        margin_angstrom=margin,
        rng=np.random.default_rng(seed),
    )


@pytest.mark.parametrize("step", [0.12, 0.3, 0.45], ids=["fine", "at the limit", "subdivided"])
def test_the_grid_gives_what_adding_columns_one_by_one_gives(step):
    kernels = field_kernels(context(), default_table(), None)
    crystal = doped()
    image = render(crystal, kernels, Raster((20, 24), step, (3.0, 4.0)))
    rows, columns = np.meshgrid(3 + step * np.arange(20), 4 + step * np.arange(24), indexing="ij")
    expected = np.zeros(image.shape)
    for state, position in zip(crystal.states, crystal.positions, strict=True):
        if STATES[state] != "empty":
            expected += kernels.columns[int(state)].at(np.hypot(rows - position[0], columns - position[1]))
    difference = image - expected
    assert difference.std() < 2e-3 * expected.std()
    assert abs(difference.mean()) < 0.02 * expected.std()  # the tails of columns beyond 12 Å


@pytest.mark.parametrize("detector", [HAADF, MAADF], ids=lambda d: d.name)
def test_moving_crystal_and_raster_together_changes_nothing(detector):
    kernels = load_kernels(context(detector))
    crystal, shift = doped(), np.array([0.13, -0.21])
    raster = Raster((40, 40), 0.25, (10.0, 10.0))
    plain = render(crystal, kernels, raster, source_sigma_angstrom=0.3)
    moved = replace(crystal, positions=crystal.positions + shift)
    origin = (10.0 + shift[0], 10.0 + shift[1])
    again = render(moved, kernels, replace(raster, origin_angstrom=origin), source_sigma_angstrom=0.3)
    assert (again - plain).std() < 1e-3 * plain.std()


def test_turning_crystal_and_raster_together_changes_nothing():
    kernels = load_kernels(context(MAADF))
    crystal = doped()
    raster = Raster((40, 40), 0.25, (15.0, 15.0))
    plain = render(crystal, kernels, raster, source_sigma_angstrom=0.3)
    quarter = np.array([[0.0, 1.0], [-1.0, 0.0]])
    middle = 15.0 + 0.25 * 39 / 2
    turned = replace(crystal, positions=(crystal.positions - middle) @ quarter.T + middle)
    again = render(turned, kernels, raster, source_sigma_angstrom=0.3)
    assert (np.rot90(again, 1) - plain).std() < 3e-3 * plain.std()


def test_an_empty_field_shows_the_vacuum():
    nothing = Crystal(SPECIMEN, np.zeros((0, 2)), np.zeros(0, np.uint8), np.zeros(0, np.uint8))
    image = render(nothing, load_kernels(context(MAADF)), Raster((16, 16), 0.2))
    np.testing.assert_allclose(image, vacuum_intensity(MAADF), rtol=1e-6)


def test_a_double_vacancy_is_a_hole():
    crystal = doped()
    kernels = load_kernels(context())
    image = render(crystal, kernels, Raster((320, 320), 0.125), source_sigma_angstrom=0.3)
    inside = np.all((crystal.positions > 3) & (crystal.positions < 37), axis=1)
    values = map_coordinates(image, crystal.positions[inside].T / 0.125, order=3)
    classes = crystal.classes[inside]
    means = [values[classes == kind].mean() for kind in range(5)]
    # WSe2 in HAADF: W > Se2 > one Se > Ti > nothing.
    assert means[3] > means[0] > means[1] > means[4] > means[2]


@pytest.mark.parametrize("detector", [HAADF, MAADF], ids=lambda d: d.name)
def test_torch_makes_the_same_field(detector):
    import torch

    from sim_microscope.field_torch import render_torch

    kernels, crystal, raster = load_kernels(context(detector)), doped(), Raster((128, 120), 0.3)
    plain = render(crystal, kernels, raster, source_sigma_angstrom=0.35)
    image = render_torch(crystal, kernels, raster, torch.device("cpu"), source_sigma_angstrom=0.35)
    assert (image.numpy() - plain).std() < 1e-3 * plain.std()


def test_memory_is_asked_for_before_it_is_taken():
    with pytest.raises(InputError, match=r"GiB.*smaller field or larger pixels"):
        render(doped(), load_kernels(context()), Raster((10**6, 10**6), 0.2))


def test_convergence_that_the_kernels_were_not_made_for_is_refused():
    other = Context(specimen=SPECIMEN, energy_kev=80.0, detector=HAADF, convergence_mrad=25.0)
    with pytest.raises(InputError, match="31 mrad; use --method multislice"):
        load_kernels(other)


def test_a_perfect_probe_needs_no_transfer_and_defocus_damps():
    rows, columns = np.fft.fftfreq(300, 0.25), np.fft.rfftfreq(280, 0.25)
    perfect = ProbeTransfer(Aberrations(), 80.0)(rows, columns)
    carried = np.hypot(rows[:, None], columns) < 1.3
    np.testing.assert_allclose(perfect[carried], 1.0, atol=1e-9)
    defocused = ProbeTransfer(Aberrations(defocus_angstrom=30.0), 80.0)(rows, columns)
    assert defocused[0, 0] == pytest.approx(1.0)
    assert np.abs(defocused).max() <= 1.0 + 1e-9
    assert defocused[carried].mean() < 0.8


def test_astigmatism_damps_across_its_azimuth_as_along_it_with_the_opposite_focus():
    rows, columns = np.fft.fftfreq(256, 0.25), np.fft.rfftfreq(256, 0.25)
    first = ProbeTransfer(Aberrations(defocus_angstrom=15.0, astigmatism_angstrom=15.0), 80.0)(rows, columns)
    turned = Aberrations(defocus_angstrom=15.0, astigmatism_angstrom=15.0, astigmatism_deg=90.0)
    second = ProbeTransfer(turned, 80.0)(rows, columns)
    np.testing.assert_allclose(first[0, :100], second[:100, 0], atol=1e-6)
    assert np.abs(first[0, 20:60] - second[0, 20:60]).max() > 0.05


def test_aberrations_beyond_the_kernels_are_refused():
    with pytest.raises(InputError, match="--method multislice"):
        ProbeTransfer(Aberrations(defocus_angstrom=500.0), 80.0)


def test_kernels_agree_with_full_multislice():
    """The small form of `columnist validate physics`: some points of one crystal, before the source."""
    case = make_case("MoS2", "Re", 60, cells=(2, 3))
    rng = np.random.default_rng(0)
    chosen = rng.choice(case.points[0] * case.points[1], 24, replace=False)
    edges = (30.0, 68.0, 120.0, 280.0)
    rings = scan_crystal(case.repeated(), case.positions()[chosen], Beam(60.0, edges), workers=2)
    for detector, span, limit in ((HAADF, slice(1, 3), 0.01), (MAADF, slice(0, 2), 0.02)):
        reference = rings[:, span].sum(1) + vacuum_intensity(detector)
        image = kernel_image(case, default_table(), detector)
        difference = image.ravel()[chosen] - reference
        assert np.sqrt(np.mean(difference**2)) < limit * image.std(), detector.name


@pytest.mark.parametrize("detector", [HAADF, MAADF], ids=lambda d: d.name)
def test_motif_images_are_cut_from_fields(detector):
    kernels = load_kernels(context(detector))
    images = motif_images(kernels, size=12)
    assert images.shape == (34, 12, 12)
    edge = np.sqrt(3) * 3.32
    step = edge / 12
    for index in (0, 5, 9, 15, 25, 33):
        crystal, cell = motif_crystal(SPECIMEN, all_motifs()[index], repeats=12)
        center = crystal.positions[0]
        fractional = (crystal.positions - center) @ np.linalg.inv(cell)
        around = replace(crystal, positions=(fractional - np.round(fractional)) @ cell)
        raster = Raster((12, 12), step, (step / 2 - edge / 2, step / 2 - edge / 2))
        field = render(around, kernels, raster)
        difference = images[index] - field
        assert difference.std() < 0.01 * field.std(), all_motifs()[index].name
