import numpy as np
import pytest

from drivers.contract.errors import InputError
from drivers.file_context import facts_given
from drivers.frame_facts import combine, frame_facts, wire_pixels


def given(**values):
    return facts_given(values, "command line")


def test_the_first_source_that_knows_a_field_counts():
    both = combine(given(host="WSe2"), given(host="MoS2", energy_kev=60))
    assert (both.host.value, both.energy_kev.value) == ("WSe2", 60.0)


def test_the_field_of_view_follows_from_the_pixels():
    facts = frame_facts(given(pixel_size_angstrom=0.2), (100, 50), source="a")
    assert facts.field_of_view_nm == pytest.approx(1.0)


def test_a_dopant_of_none_is_an_undoped_specimen():
    assert frame_facts(given(dopant="none"), (9, 9), source="a").dopants == ()
    assert frame_facts(given(dopant="Ti"), (9, 9), source="a").dopants == ("Ti",)
    assert frame_facts(given(), (9, 9), source="a").dopants is None


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"host": "XY2"}, "unknown"),
        ({"energy_kev": 80000}, "volts"),
        ({"host": "WSe2", "dopant": "Re"}, "not one of"),
    ],
)
def test_impossible_facts_are_input_errors_that_name_the_source(values, reason):
    with pytest.raises(InputError, match=rf"a\.dm4: .*{reason}"):
        frame_facts(given(**values), (9, 9), source="a.dm4")


@pytest.mark.parametrize(
    ("dtype", "travels_as"),
    [
        ("uint16", "uint16"),
        (bool, "uint8"),
        ("float16", "float32"),
        ("int64", "uint8"),
        ("uint64", "uint8"),
        (">u2", "uint16"),
        ("float64", "float64"),
    ],
)
def test_pixels_travel_in_a_type_that_holds_them(dtype, travels_as):
    image = np.array([[0, 1], [1, 0]], dtype)
    travelling = wire_pixels(image)
    assert travelling.dtype.name == travels_as
    assert np.array_equal(travelling, image)


def test_pixels_that_no_type_holds_are_refused():
    with pytest.raises(InputError, match="fit one of"):
        wire_pixels(np.array([[0, 1j]]))
