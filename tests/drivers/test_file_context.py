import pytest

from drivers.contract.context import HAADF
from drivers.contract.errors import InputError, UnknownMaterialError
from drivers.contract.facts import Facts, Sourced
from drivers.file_context import OPTIONS, facts_given, noted, settle
from drivers.file_metadata import Tag, facts_by_name, facts_by_path, flatten, pixel_size_fact

EVERYTHING = {"host": "WSe2", "dopant": "Ti", "energy_kev": 80.0, "detector": "HAADF"}

FROM_FILE = Facts(
    energy_kev=Sourced[float](value=60.0, source="a.dm4: Voltage"),
    detector=Sourced[str](value="ADF1", source="a.dm4: Signal Name"),
    pixel_size_angstrom=Sourced[float](value=0.4, source="a.dm4: scale of the axes"),
)


def test_the_operator_overrides_the_config_and_both_override_the_file():
    operator = facts_given({"host": "MoS2", "detector": "HAADF"}, "command line")
    config = facts_given({"host": "WSe2", "dopant": "none", "dwell_us": 5}, "columnist.toml")
    settled = settle(operator, config, FROM_FILE)
    assert settled.context.specimen.host == "MoS2"
    assert settled.context.specimen.dopant is None
    assert settled.context.energy_kev == 60.0
    assert settled.context.detector == HAADF
    facts = settled.facts
    assert facts.host.source == "command line: --host"
    assert facts.dwell_us.source == "columnist.toml: dwell_us"
    assert facts.energy_kev.source == "a.dm4: Voltage"
    assert facts.inner_mrad.source == "command line: --detector HAADF (angles of the reference instrument)"
    assert facts.convergence_mrad.source == "default"
    assert facts.pixel_size_angstrom.value == 0.4


def test_an_override_of_the_pixel_size_keeps_its_source():
    given = facts_given({**EVERYTHING, "pixel_size_angstrom": 0.383}, "command line")
    assert settle(given, FROM_FILE).facts.pixel_size_angstrom.source == "command line: --pixel-size-angstrom"


@pytest.mark.parametrize("left_out", EVERYTHING)
def test_lists_just_what_is_missing(left_out):
    given = facts_given({key: value for key, value in EVERYTHING.items() if key != left_out}, "command line")
    with pytest.raises(InputError) as caught:
        settle(given)
    for field in EVERYTHING:
        assert (OPTIONS[field] + "," in str(caught.value) or OPTIONS[field] + " " in str(caught.value)) == (
            field == left_out
        )


def test_lists_everything_that_is_missing_at_once():
    fields = "host, .*--host.*dopant, .*--dopant.*energy_kev, .*--energy-kev.*detector HAADF.*"
    with pytest.raises(InputError, match=fields + "inner_mrad and outer_mrad.*--detector.*--inner-mrad"):
        settle(Facts())


def test_a_detector_that_a_file_only_names_gets_no_angles():
    named = FROM_FILE.model_copy(
        update={"detector": Sourced[str](value="HAADF", source="a.emd: DetectorName")}
    )
    given = facts_given({"host": "WSe2", "dopant": "Ti"}, "command line")
    with pytest.raises(InputError, match=r"angles of 'HAADF', which a\.emd: DetectorName names without"):
        settle(given, named)


def test_one_missing_angle_is_named_alone():
    given = facts_given({"host": "WSe2", "dopant": "Ti", "inner_mrad": 50}, "command line")
    with pytest.raises(InputError, match="the detector's outer angle of 'ADF1'") as caught:
        settle(given, FROM_FILE)
    assert "--inner-mrad" not in str(caught.value)


def test_an_annulus_is_a_detector():
    settled = settle(facts_given({**EVERYTHING, "detector": "35-120"}, "command line"))
    assert (settled.context.detector.inner_mrad, settled.context.detector.outer_mrad) == (35.0, 120.0)


CONTRADICTORY = {
    "a name": (
        {"detector": "HAADF", "inner_mrad": 30, "outer_mrad": 120},
        "says detector HAADF, but the angles 30-120 mrad .* are those of MAADF",
    ),
    "the other name": ({"detector": "maadf", "inner_mrad": 70, "outer_mrad": 270}, "are those of HAADF"),
    "an annulus": (
        {"detector": "68-280", "inner_mrad": 30, "outer_mrad": 120},
        "68-280, but the angles 30-120 mrad .* are others",
    ),
    "half an annulus": ({"detector": "68-280", "inner_mrad": 30}, "68-280 mrad, but the angles 30-280 mrad"),
}


@pytest.mark.parametrize(("changes", "words"), CONTRADICTORY.values(), ids=CONTRADICTORY)
def test_a_detector_and_angles_of_another_are_not_taken_from_one_source(changes, words):
    with pytest.raises(InputError, match=words) as caught:
        facts_given({**EVERYTHING, **changes}, "command line")
    assert "command line: --detector" in str(caught.value)
    assert "command line: --inner-mrad" in str(caught.value)


@pytest.mark.parametrize(
    "own",
    [
        {"detector": "HAADF", "inner_mrad": 75, "outer_mrad": 220},
        {"detector": "MAADF", "inner_mrad": 50, "outer_mrad": 180},
        {"detector": "68-280", "inner_mrad": 68, "outer_mrad": 280},
        {"detector": "ADF1", "inner_mrad": 30, "outer_mrad": 120},
    ],
)
def test_a_detector_may_have_angles_of_its_own(own):
    settled = settle(facts_given({**EVERYTHING, **own}, "command line"))
    assert settled.context.detector.inner_mrad == own["inner_mrad"]
    assert settled.facts.notes == ()


def test_a_detector_and_angles_of_another_from_two_sources_are_noted_and_the_angles_count():
    file = facts_by_name(
        {"/detector": Tag("HAADF"), "/inner": Tag(0.03, "rad"), "/outer": Tag(0.12, "rad")}, "a.h5", "/image"
    )
    settled = settle(facts_given({"host": "WSe2", "dopant": "Ti", "energy_kev": 80}, "command line"), file)
    assert settled.context.detector.outer_mrad == 120.0
    assert settled.facts.notes == (
        "a.h5: /detector says detector HAADF, but the angles 30-120 mrad (a.h5: /inner and a.h5: /outer) are "
        "those of MAADF; the angles are taken",
    )
    config = facts_given({**EVERYTHING, "detector": "68-280"}, "c.toml")
    angles = facts_given({"inner_mrad": 30.0, "outer_mrad": 120.0}, "command line")
    assert "c.toml: detector says detector ADF 68-280 mrad" in settle(angles, config).facts.notes[0]
    assert settle(config, angles).facts.notes == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"detector": "HADF"}, "detector 'HADF' is unknown"),
        ({"detector": "120-35"}, "the inner angle first"),
        ({"energy_kev": "80"}, "expected a number, found '80'"),
        ({"energy_kev": float("nan")}, "expected a positive number"),
        ({"energy_kev": 0}, "expected a positive number"),
        ({"energy_kev": 80e3}, "energy_kev 80000"),
        ({"inner_mrad": 100, "outer_mrad": 50}, "must lie below"),
        ({"host": 3}, "expected a text"),
        ({"colour": "red"}, "found 'colour'"),
        ({"host": "WSe3"}, "host 'WSe3' is unknown"),
        ({"dopant": "Au"}, "dopant 'Au'"),
    ],
)
def test_impossible_values_are_input_errors(changes, words):
    with pytest.raises(InputError, match=words):
        settle(facts_given({**EVERYTHING, **changes}, "command line"))


def test_an_unknown_material_keeps_its_own_error():
    with pytest.raises(UnknownMaterialError):
        settle(facts_given({**EVERYTHING, "host": "NaCl"}, "command line"))


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("host", "WSe3", r"known are .* \(from c.toml: host; give the right host; --host of `analyse`\)"),
        ("dopant", "W", r"left out.* \(from c.toml: dopant; give the right dopant; --dopant of `analyse`\)"),
    ],
)
def test_an_unknown_material_names_its_source_and_the_option(field, value, told):
    with pytest.raises(UnknownMaterialError, match=told):
        settle(facts_given({**EVERYTHING, field: value}, "c.toml"))


def test_capitals_and_subscripts_do_not_matter():
    for host, dopant in (("wse2", "ti"), ("WSe₂", "TI")):
        facts = facts_given({"host": host, "dopant": dopant, "detector": "haadf", "energy_kev": 80}, "x")
        context = settle(facts).context
        assert (context.specimen.host, context.specimen.dopant, context.detector) == ("WSe2", "Ti", HAADF)
        tags = {"/host": Tag(host), "/dopant": Tag(dopant)}
        assert noted(facts_by_name(tags, "a.h5", "/image"), facts).notes == ()
    assert facts_given({"dopant": "None"}, "x").dopant.value == "none"


@pytest.mark.parametrize(
    ("file", "notes"),
    [
        ({"inner_mrad": 30.0, "outer_mrad": 120.0, "detector": "MAADF"}, ["inner_mrad 30", "outer_mrad 120"]),
        ({"inner_mrad": 67.5, "outer_mrad": 281.0, "energy_kev": 80.0, "detector": "HAADF Detector"}, []),
        ({"energy_kev": 60.0, "host": "MoS2"}, ["host MoS2", "energy_kev 60"]),
    ],
)
def test_what_a_file_says_otherwise_than_was_given_is_noted(file, notes):
    given = facts_given({"host": "WSe2", "energy_kev": 80.0, "detector": "HAADF"}, "command line")
    facts = facts_given(file, "a.h5")
    told = noted(facts, given)
    assert len(told.notes) == len(notes)
    for note, part in zip(told.notes, notes, strict=True):
        assert f" says {part}; " in note
        assert note.startswith("a.h5: ")
        assert "is taken instead (command line: --" in note
    assert told.model_copy(update={"notes": ()}) == facts


@pytest.mark.parametrize(("name", "is_noted"), [("MAADF", True), ("HAADF", False), ("ADF1", False)])
def test_a_detectors_bare_name_that_is_not_the_given_one_is_noted_if_it_means_something(name, is_noted):
    file = Facts(detector=Sourced[str](value=name, source="a.dm4: Signal Name"))
    told = noted(file, facts_given({"detector": "HAADF"}, "command line"))
    assert bool(told.notes) == is_noted


@pytest.mark.parametrize(("value", "unit"), [(80.0, "keV"), (80e3, "V"), (80, "keV"), ("80000", "V")])
def test_energy_without_a_unit_is_told_by_its_size(value, unit):
    facts = facts_by_path(flatten({"Acquisition_instrument": {"TEM": {"beam_energy": value}}}), "a.hspy")
    assert facts.energy_kev.value == 80.0
    assert f"taken as {unit}" in facts.energy_kev.source


@pytest.mark.parametrize("value", [5000.0, 3.0, "high", -80.0, float("inf"), [1, 2]])
def test_an_energy_that_means_nothing_is_noted_and_not_used(value):
    facts = facts_by_path(flatten({"Acquisition_instrument": {"TEM": {"beam_energy": value}}}), "a.hspy")
    assert facts.energy_kev is None
    assert "a.hspy: Acquisition_instrument/TEM/beam_energy: not used" in facts.notes[0]


def test_values_that_differ_at_one_distance_are_noted_and_not_used():
    tags = {"/a/voltage": Tag(80e3, "V"), "/b/voltage": Tag(60e3, "V")}
    assert facts_by_name(tags, "a.h5", "/image").energy_kev is None
    assert "differ" in facts_by_name(tags, "a.h5", "/image").notes[0]
    assert facts_by_name(tags, "a.h5", "/b/image").energy_kev.value == 60.0


@pytest.mark.parametrize(
    ("path", "is_used"),
    [
        ("/HAADF/inner_angle", False),
        ("/HAADF/image/inner_angle", False),
        ("/inner_angle", True),
        ("/MAADF/inner_angle", True),
        ("/MAADF/image/inner_angle", True),
        ("/MAADF/detector/inner_angle", True),
        ("/instrument/detector/inner_angle", True),
    ],
)
def test_what_stands_beside_another_image_is_not_borrowed(path, is_used):
    facts = facts_by_name({path: Tag(68.0, "mrad")}, "a.h5", "/MAADF/image", ("/HAADF/image",))
    assert (facts.inner_mrad is not None) == is_used
    said = f"a.h5: inner_mrad is not used, for {path} is said of another image"
    assert (said in facts.notes) == (not is_used)


def test_a_length_without_a_unit_is_no_pixel_size():
    facts = facts_by_name({"/pixel_size": Tag(0.02)}, "a.h5", "/image")
    assert facts.pixel_size_angstrom is None
    assert "expected a value with its unit" in facts.notes[0]


@pytest.mark.parametrize(
    ("rows", "columns", "expected"),
    [
        (Tag(0.02, "nm"), Tag(0.2, "Å"), 0.2),
        (Tag(0.02, "nm"), Tag(0.03, "nm"), None),
        (Tag(1.0), Tag(1.0), None),
        (Tag(1.0, "px"), Tag(1.0, "px"), None),
    ],
    ids=["two units", "not square", "no unit", "pixels"],
)
def test_a_pixel_size_needs_two_equal_lengths(rows, columns, expected):
    size, notes = pixel_size_fact(rows, columns, "a.tif: scale of the axes")
    assert (size.value if size else None) == (expected if expected is None else pytest.approx(expected))
    assert bool(notes) == (rows.unit is not None and expected is None)


@pytest.mark.parametrize(("name", "value"), [("dwell_time_ms", 0.004), ("dwell_time_ns", 4e3)])
def test_a_dwell_time_is_read_in_the_unit_that_its_name_ends_in(name, value):
    facts = facts_by_name({f"/image/{name}": Tag(value)}, "a.h5", "/image")
    assert facts.dwell_us.value == pytest.approx(4.0)


def test_a_number_below_nothing_in_a_file_is_not_used_and_that_is_said():
    facts = facts_by_path({"Scan/DwellTime": Tag(-1e-6), "Optics/BeamConvergence": Tag(0.03)}, "a.emd")
    assert facts.dwell_us is None
    assert facts.convergence_mrad.value == pytest.approx(30.0)
    assert facts.notes == ("a.emd: Scan/DwellTime: not used: expected a positive number, found -1e-06",)
