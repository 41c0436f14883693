"""What is told of a whole map, and that nothing is told of a sound one."""

import numpy as np
import pytest
from scipy.ndimage import shift

from drivers.contract.context import HAADF, MAADF, Context, Specimen
from drivers.contract.errors import InputError
from drivers.contract.maps import ColumnFlag, Scale
from models.analysis import analyse, load_analyser
from models.contrasts import expected_contrast
from models.map_flags import stand_in_flags
from models.pixel_size import scale_flags

SHAPE, LATTICE_PX = (250, 230), 10.0


def wse2(detector=HAADF, **changed):
    specimen = Specimen(host="WSe2", dopant="Ti")
    return Context(specimen=specimen, detector=detector, **({"energy_kev": 80.0} | changed))


RATIO = expected_contrast(wse2()).metal


@pytest.fixture
def paint(make_honeycomb, draw, rng):
    """A crystal of some contrast of metal over chalcogen, with single vacancies, and what is done to it."""

    def painted(ratio=RATIO, vacancies=0.04, shape=SHAPE, depth=1.0, **options):
        truth = make_honeycomb(shape, lattice_px=LATTICE_PX, heights=(ratio, 1.0), **options)
        sites = np.flatnonzero((truth.sublattice == 1) & (rng.random(len(truth.height)) < vacancies))
        left = 1 - depth * (1 - expected_contrast(wse2()).vacancy1)
        return 0.2 + draw(truth.dimmed(sites, left), shape, sigma_px=1.4)

    return painted


def told(image, rng, context=None):
    """Messages by kind of a map of a picture, with some noise."""
    noisy = image + rng.normal(0, 0.03, image.shape)
    found = analyse(noisy, context or wse2(), load_analyser())
    return {flag.kind: flag.message for flag in found.header.flags}, found


def test_of_a_sound_frame_nothing_is_told(paint, rng):
    assert told(paint(), rng)[0] == {}


def test_what_was_left_out_is_told_by_its_side(paint, rng):
    image = paint() + rng.normal(0, 0.03, SHAPE)
    padded = np.pad(image, ((7, 0), (0, 5)), constant_values=image.min())
    found = analyse(padded, wse2(), load_analyser())
    (message,) = [flag.message for flag in found.header.flags if flag.kind == "padded"]
    assert message.startswith("7 rows above, 5 columns of pixels on the right were left out")
    assert "areas of one value" not in message
    padded = np.pad(image, ((0, 4), (6, 0)), constant_values=image.min())
    found = analyse(padded, wse2(), load_analyser())
    (message,) = [flag.message for flag in found.header.flags if flag.kind == "padded"]
    assert message.startswith("4 rows below, 6 columns of pixels on the left were left out")


def test_an_area_of_one_value_is_told_with_its_part(paint, rng):
    image = paint() + rng.normal(0, 0.03, SHAPE)
    image[60:110, 70:140] = np.median(image)
    found = analyse(image, wse2(), load_analyser())
    (message,) = [flag.message for flag in found.header.flags if flag.kind == "padded"]
    assert message.startswith(f"{100 * 50 * 70 / image.size:.1f} % of the pixels lie in areas of one value")


@pytest.mark.parametrize(("axis", "what"), [(0, "row"), (1, "column")])
def test_a_gain_that_changes_is_told_with_its_line_and_by_how_much(paint, rng, axis, what):
    after = np.indices(SHAPE)[axis] >= 120
    flags, _ = told(np.where(after, 0.7, 1.0) * paint(), rng)
    place, change = flags["uneven"].split(f"from about pixel {what} ")[1].split(" on columns stand out ")
    assert float(place) == pytest.approx(120, abs=LATTICE_PX)
    assert float(change.split(" times")[0]) == pytest.approx(0.7, abs=0.07)


def test_a_second_layer_is_told_and_which_grain_it_lies_under(paint, rng):
    shape = (360, 360)
    first = paint(shape=shape, angle_deg=3.0)
    way = np.array([np.cos(np.deg2rad(33.0)), np.sin(np.deg2rad(33.0))]) * LATTICE_PX / np.sqrt(3)
    above = shift(first, way, mode="nearest")
    flags, found = told(first + np.where(np.arange(360) > 220, above, 0.0), rng)
    assert "layered" in flags
    assert flags["layered"].startswith("grains (1 beside 0) differ")
    assert found.header.grains[0].columns > found.header.grains[1].columns


def test_sublattices_as_bright_as_each_other_are_not_decided_and_both_are_weighed(paint, rng):
    flags, found = told(paint(ratio=1.0, vacancies=0.0), rng, wse2(MAADF))
    assert "not decided in grain 0;" in flags["undecided"]
    assert found.is_flagged(ColumnFlag.UNDECIDED).all()
    on_metal = found.columns["p"][:, 3:].sum(axis=1)
    assert 0.1 < on_metal.min() < on_metal.max() < 0.9
    assert not told(paint(), rng)[1].is_flagged(ColumnFlag.UNDECIDED).any()


def test_a_host_whose_sublattices_differ_otherwise_is_doubted_and_then_refused(paint, rng):
    flags, _ = told(paint(ratio=RATIO * np.exp(0.47)), rng)
    assert "WSe2 hardly fits" in flags["host_doubtful"]
    ratio = float(flags["host_doubtful"].split("one sublattice is ")[1].split(" times")[0])
    assert ratio == pytest.approx(RATIO * np.exp(0.47), rel=0.05)
    with pytest.raises(InputError, match="WSe2 hardly fits"):
        told(paint(ratio=RATIO * np.exp(0.8)), rng)


def test_a_pristine_frame_whose_sides_hang_on_the_detector_is_told(paint, rng):
    flags, _ = told(paint(vacancies=0.0), rng)
    assert "fits MAADF about as well as HAADF" in flags["detector_decides"]


@pytest.mark.parametrize(("depth", "what"), [(0.7, "grains whose sublattices"), (1.3, "blur, defocus")])
def test_defects_of_another_depth_than_their_classes_have_are_told(paint, rng, depth, what):
    """All of them: a fraction of the contrast that vacancies should lack, or more of it than they should."""
    flags, _ = told(paint(vacancies=0.1, depth=depth), rng)
    assert what in flags["defects_unlike"]
    told_depth = float(flags["defects_unlike"].split(" lie ")[1].split(" times")[0])
    assert told_depth == pytest.approx(depth, abs=0.12)


def test_bright_spots_on_no_lattice_are_told_with_where_they_lie(paint, rng, make_honeycomb, draw):
    image = paint()
    image[:, 150:] = 0.2
    row, column = np.indices(SHAPE)
    for place in [(r, c) for r in (40, 63, 90, 111) for c in (180, 197, 213)]:
        image += 1.2 * np.exp(-((row - place[0]) ** 2 + (column - place[1]) ** 2) / 2 / 1.4**2)
    flags, _ = told(image, rng)
    assert "12 spots as bright as columns lie on no lattice" in flags["unread"]
    assert "in rows 40 to 111 and columns 180 to 213" in flags["unread"]


def test_a_context_that_another_one_stands_in_for_is_told(paint, rng):
    flags, _ = told(paint(), rng, wse2(energy_kev=81.0))
    assert flags["context_approximated"] == "read 81 keV as 80 keV"
    assert stand_in_flags(()) == ()


def scale(declared):
    return Scale(lattice_px=10.0, pixel_size_angstrom=0.332, declared_pixel_size_angstrom=declared, shear=1.0)


def test_a_pixel_size_is_doubted_from_two_percent_on_either_way():
    for declared in (None, 0.332, 0.332 * 1.015, 0.332 * 0.985):
        assert scale_flags(scale(declared), "WSe2") == ()
    for declared, off in ((0.332 * 1.05, "+5.0 %"), (0.332 * 0.95, "-5.0 %")):
        (flag,) = scale_flags(scale(declared), "WSe2")
        assert off in flag.message
        assert f"lattice constant is {declared * 10:.3g} Å" in flag.message
    (flag,) = scale_flags(scale(0.319), "WSe2")
    assert "that of VS2 or MoS2 or WS2:" in flag.message
