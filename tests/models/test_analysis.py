"""What a map says of a frame, against what stood in the frame."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from drivers.contract.context import HAADF, MAADF, ColumnClass, Context, Detector, Specimen
from drivers.contract.errors import InputError
from drivers.contract.maps import CLASS_NAMES, ColumnFlag, DefectMap, Sublattice
from models.analysis import analyse, analyse_of_scan, as_settled, load_analyser
from models.contrasts import expected_contrast
from sim_microscope.crystal import DefectConcentrations
from sim_microscope.imaging import Acquisition
from sim_microscope.simulate import SpecimenPlan, simulate_frame

PIXEL_ANGSTROM, LATTICE_ANGSTROM = 0.39, 3.32
SHAPE = (192, 160)  # so that rows and columns cannot be taken for each other
DETECTORS = {"HAADF": HAADF, "MAADF": MAADF}


def wse2(detector: Detector, dopant: str | None = "Ti") -> Context:
    return Context(specimen=Specimen(host="WSe2", dopant=dopant), energy_kev=80.0, detector=detector)


@dataclass(frozen=True)
class Taken:
    """A frame and its truth: (row, column) [px] and class of every column."""

    image: NDArray[np.float64]
    places: NDArray[np.float64]
    classes: NDArray[np.uint8]


@cache
def taken(name: str, distortion: tuple[tuple[float, float], tuple[float, float]] = ((0, 0), (0, 0))) -> Taken:
    acquisition = Acquisition(
        pixels=192,
        fov_nm=192 * PIXEL_ANGSTROM / 10,
        dose_e_per_a2=1e4,
        source_sigma_angstrom=0.45,
        distortion=distortion,
    )
    plan = SpecimenPlan(rotation_deg=13.0, concentrations=DefectConcentrations(0.05, 0.01, 0.03))
    frame = simulate_frame(wse2(DETECTORS[name]), acquisition, plan, seed=3)
    return Taken(frame.image[:, : SHAPE[1]].astype(float), frame.pixel_positions, frame.crystal.classes)


@pytest.fixture(scope="module")
def analyser():
    return load_analyser()


@pytest.fixture(params=DETECTORS)
def name(request):
    return request.param


def places_of(found: DefectMap) -> NDArray[np.float64]:
    return np.stack([found.columns["row_px"], found.columns["col_px"]], axis=1).astype(float)


def truth_at(found: DefectMap, frame: Taken) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """How far the true columns nearest to those of a map are [px], and which they are."""
    apart, at = cKDTree(frame.places).query(places_of(found))
    return apart, at


def test_columns_are_where_they_were_and_what_they_were(analyser, name):
    frame = taken(name)
    found = analyse(frame.image, wse2(DETECTORS[name]), analyser)
    apart, at = truth_at(found, frame)
    assert len({*at.tolist()}) == len(at)
    assert np.median(apart) * PIXEL_ANGSTROM < 0.1
    in_angstrom = np.stack([found.columns["y_angstrom"], found.columns["x_angstrom"]], axis=1)
    assert np.abs(in_angstrom - places_of(found) * PIXEL_ANGSTROM).max() < 0.001 * SHAPE[0] * PIXEL_ANGSTROM
    assert (found.columns["cls"] == frame.classes[at]).mean() > 0.97
    is_metal = np.isin(frame.classes[at], (ColumnClass.METAL, ColumnClass.DOPANT))
    assert ((found.columns["sublattice"] == Sublattice.METAL) == is_metal).all()
    assert found.header.scale.pixel_size_angstrom == pytest.approx(PIXEL_ANGSTROM, rel=1e-3)
    assert found.header.scale.shear == pytest.approx(1.0, abs=2e-3)
    assert found.header.scale.declared_pixel_size_angstrom is None


def test_sums_of_the_header_are_those_of_the_columns(analyser, name):
    found = analyse(taken(name).image, wse2(DETECTORS[name]), analyser)
    header, columns = found.header, found.columns
    assert np.allclose(columns["p"].sum(axis=1), 1, atol=1e-5)
    assert (columns["cls"] == columns["p"].argmax(axis=1)).all()
    assert header.counts.model_dump() == {
        said: (columns["cls"] == number).sum() for number, said in enumerate(CLASS_NAMES)
    }
    assert sum(header.prior) == pytest.approx(1)
    assert header.mean_entropy_nats == pytest.approx(columns["entropy_nats"].mean(), rel=1e-5)
    assert 1e-6 < header.mean_entropy_nats < np.log(5)
    assert header.detector_evidence[list(DETECTORS).index(name)].log_evidence_nats == 0
    doubtful = ColumnFlag.BOUNDARY | ColumnFlag.FOREIGN | ColumnFlag.EDGE | ColumnFlag.RIM
    sound = columns[(columns["flags"] & int(doubtful)) == 0]
    of = {Sublattice.METAL: "metal sites", Sublattice.CHALCOGEN: "chalcogen sites"}
    for one in header.concentrations:
        assert one.sites == sum(of[Sublattice(side)] == one.of for side in sound["sublattice"])
        assert one.low < {"vac1": 0.05, "vac2": 0.01, "dopant": 0.03}[one.defect] < one.high


def test_turned_upside_down_a_frame_says_the_same(analyser, name):
    """Sublattices then change their numbers, which are nobody's business."""
    frame, context = taken(name), wse2(DETECTORS[name])
    plain = analyse(frame.image, context, analyser)
    turned = analyse(frame.image[::-1, ::-1], context, analyser)
    expected = expected_contrast(context).metal
    for found in (plain, turned):
        (grain,) = found.header.grains
        assert grain.is_decided
        assert grain.metal_over_x2 == pytest.approx(expected, rel=0.03)
        assert grain.margin_nats == pytest.approx(grain.brightness_nats + grain.defect_nats)
        assert min(grain.brightness_nats, grain.defect_nats) > 1
        assert grain.columns >= len(found.columns)
    back = np.array(SHAPE) - 1 - places_of(turned)
    apart, at = cKDTree(back).query(places_of(plain))
    same = apart < 0.3
    assert same.mean() > 0.99
    assert (turned.columns["cls"][at] == plain.columns["cls"])[same].mean() > 0.995
    assert (turned.columns["sublattice"][at] == plain.columns["sublattice"])[same].all()


@pytest.mark.parametrize("stretch", [0.08, -0.08])
def test_a_scan_that_is_stretched_is_told_and_read_all_the_same(analyser, stretch):
    frame = taken("HAADF", ((stretch, 0.0), (0.0, 0.0)))
    found = analyse(frame.image, wse2(HAADF), analyser)
    factor = 1 + stretch
    assert found.header.scale.shear == pytest.approx(max(factor, 1 / factor), abs=0.01)
    assert found.header.scale.pixel_size_angstrom == pytest.approx(PIXEL_ANGSTROM * factor**0.5, rel=0.01)
    apart, at = truth_at(found, frame)
    assert np.median(apart) * PIXEL_ANGSTROM < 0.1
    assert (found.columns["cls"] == frame.classes[at]).mean() > 0.97


def test_flags_tell_what_lies_beside_a_column(analyser, name):
    """Vacuum on the right: it is masked, columns beside it stand on a rim, those at the edges are cut."""
    frame, vacuum = taken(name), 110
    image = frame.image.copy()
    rng = np.random.default_rng(1)
    image[:, vacuum:] = rng.poisson(1.0, (SHAPE[0], SHAPE[1] - vacuum))
    found = analyse(image, wse2(DETECTORS[name]), analyser)
    place, lattice_px = places_of(found), LATTICE_ANGSTROM / PIXEL_ANGSTROM
    assert place[:, 1].max() < vacuum + 2
    assert found.header.masked_fraction == pytest.approx(1 - vacuum / SHAPE[1], abs=0.05)
    assert analyse(frame.image, wse2(DETECTORS[name]), analyser).header.masked_fraction < 0.03
    is_rim, is_edge = (found.is_flagged(flag) for flag in (ColumnFlag.RIM, ColumnFlag.EDGE))
    assert not is_rim[place[:, 1] < vacuum - 2 * lattice_px].any()
    assert is_rim[place[:, 1] > vacuum - 0.7 * lattice_px].mean() > 0.5
    from_edge = np.minimum(place, np.array(SHAPE) - 1 - place).min(axis=1)
    disc_px = 3**0.5 / 2 * lattice_px
    assert is_edge[from_edge < disc_px - 0.3].all()
    assert not is_edge[from_edge > disc_px + 0.3].any()
    assert not found.is_flagged(ColumnFlag.BOUNDARY).any()
    assert not found.is_flagged(ColumnFlag.UNDECIDED).any()


def test_a_column_without_a_maximum_stands_where_its_neighbours_say(analyser):
    frame = taken("HAADF")
    found = analyse(frame.image, wse2(HAADF), analyser)
    _, at = truth_at(found, frame)
    from_edge = np.minimum(places_of(found), np.array(SHAPE) - 1 - places_of(found)).min(axis=1)
    inner, is_predicted = from_edge > 8, found.is_flagged(ColumnFlag.PREDICTED)
    empty = frame.classes[at] == ColumnClass.VAC2
    assert is_predicted[empty & inner].mean() > 0.5
    assert is_predicted[~empty & inner].mean() < 0.05


def test_what_lies_on_the_specimen_is_foreign_and_is_not_counted(analyser, name):
    frame = taken(name)
    spot = np.zeros(SHAPE)
    spot[[60, 60, 61, 100, 130], [50, 80, 111, 60, 100]] = 1
    image = frame.image + 120 * frame.image.std() * gaussian_filter(spot, 3.0)
    found = analyse(image, wse2(DETECTORS[name]), analyser)
    apart = cKDTree(np.argwhere(spot)).query(places_of(found))[0]
    is_foreign = found.is_flagged(ColumnFlag.FOREIGN)
    assert (is_foreign == (found.columns["foreign"] > 2)).all()
    assert is_foreign[apart < 3].mean() > 0.6
    assert is_foreign[apart > 15].mean() < 0.02
    plain = analyse(frame.image, wse2(DETECTORS[name]), analyser)
    counted, before = (sum(one.sites for one in one.header.concentrations[1:]) for one in (found, plain))
    assert counted < before - 0.5 * is_foreign.sum()


def test_a_column_is_as_foreign_as_it_is_to_training_or_to_its_frame(analyser, name):
    """Whichever is more: a table that nothing is familiar to makes all columns foreign."""
    known = analyser.familiar
    strict = replace(analyser, familiar=replace(known, scale=known.scale / 1000))
    found = analyse(taken(name).image, wse2(DETECTORS[name]), strict)
    assert found.is_flagged(ColumnFlag.FOREIGN).mean() > 0.99
    assert "many_foreign" in [flag.kind for flag in found.header.flags]
    assert not sum(one.sites for one in found.header.concentrations) > 0.01 * len(found.columns)


def test_what_was_mended_is_told_and_read_over(analyser, name):
    image = taken(name).image.copy()
    image[70], image[20, 30] = 0, 1e7
    found = analyse(image, wse2(DETECTORS[name]), analyser)
    assert {"lost_rows", "spikes"} <= {flag.kind for flag in found.header.flags}
    _, at = truth_at(found, taken(name))
    assert (found.columns["cls"] == taken(name).classes[at]).mean() > 0.96


def test_where_none_is_named_there_is_no_dopant(analyser, name):
    found = analyse(taken(name).image, wse2(DETECTORS[name], None), analyser)
    assert not found.columns["p"][:, ColumnClass.DOPANT].any()
    assert [one.defect for one in found.header.concentrations] == ["vac1", "vac2"]
    assert found.header.prior[ColumnClass.DOPANT] < 1e-3


def test_detectors_of_one_pass_show_the_same_columns(analyser):
    haadf, maadf = taken("HAADF"), taken("MAADF")
    first, geometry = analyse_of_scan(haadf.image, wse2(HAADF), analyser)
    second, again = analyse_of_scan(maadf.image, wse2(MAADF), analyser, geometry=geometry)
    assert again.lattice.vectors.equal(geometry.lattice.vectors)
    assert np.array_equal(places_of(first), places_of(second))
    assert np.array_equal(first.columns["sublattice"], second.columns["sublattice"])
    together, alone = second.header.grains[0], first.header.grains[0]
    assert together.margin_nats == pytest.approx(
        together.brightness_nats + together.defect_nats + alone.margin_nats
    )
    _, at = truth_at(second, maadf)
    assert (second.columns["cls"] == maadf.classes[at]).mean() > 0.97


def test_a_context_without_a_source_is_the_callers_own():
    facts = as_settled(wse2(MAADF, None)).facts
    assert facts.dopant.value == "none"
    assert (facts.inner_mrad.value, facts.outer_mrad.value) == (MAADF.inner_mrad, MAADF.outer_mrad)
    assert facts.energy_kev.value == 80.0
    assert facts.host.source == "caller"


def test_an_unknown_context_is_refused_before_the_frame_is_looked_at(analyser):
    with pytest.raises(InputError, match="200 keV"):
        analyse(np.zeros((40, 40)), wse2(HAADF).rebuilt(energy_kev=200.0), analyser)
