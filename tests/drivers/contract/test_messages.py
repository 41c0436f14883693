import json

import pytest
from pydantic import TypeAdapter, ValidationError

from drivers.contract.codec import parse
from drivers.contract.errors import InputError, MessageError, WireVersionError
from drivers.contract.header import FrameFacts, Simultaneous, Window
from drivers.contract.instrument import AcquireImage, Command, InstrumentState, SwitchDetector, SwitchEnergy
from drivers.contract.messages import Hello, Resume, WireMessage

COMMAND = TypeAdapter(Command)


def test_volts_in_place_of_kev_are_called_volts():
    with pytest.raises(ValidationError, match=r"80000 keV: looks like volts; give keV, for example 80"):
        SwitchEnergy(energy_kev=80000.0)


@pytest.mark.parametrize("energy_kev", [0.0, -80.0, 1500.0])
def test_an_impossible_energy_says_what_is_possible(energy_kev):
    with pytest.raises(ValidationError, match="1 to 1000 keV"):
        FrameFacts(energy_kev=energy_kev)


def test_gaps_are_allowed_in_what_is_known_of_a_frame():
    assert FrameFacts().host is None


def test_states_that_differ_in_when_they_were_read_are_the_same():
    state = InstrumentState(monotonic_s=1.0, energy_kev=80.0, is_settling=True, settles_in_s=3.0)
    assert state.is_same_as(state.rebuilt(monotonic_s=2.0, settles_in_s=2.0))
    assert not state.is_same_as(state.rebuilt(is_settling=False))


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"host": "XY2"}, "host 'XY2' is unknown; known are"),
        ({"host": "WSe2", "dopants": ("Re",)}, "not one of the dopants of WSe2"),
        ({"dopants": ("Xx",)}, "dopant 'Xx' is unknown"),
        ({"dwell_us": 0.0}, "greater than 0"),
        ({"dwell_us": float("nan")}, "finite"),
        ({"convergence_mrad": 900.0}, "less than or equal to 200"),
        ({"pixel_size_angstrom": "0.2"}, "valid number"),
        ({"energy_ev": 80.0}, "Extra inputs"),
        ({"detector": {"name": "ADF", "inner_mrad": 90.0, "outer_mrad": 40.0}}, "must lie below"),
        ({"window": Window(row_px=0, col_px=0, rows_px=4, cols_px=4)}, "needs field_shape_px"),
        (
            {"window": Window(row_px=30, col_px=0, rows_px=4, cols_px=4), "field_shape_px": (32, 32)},
            "reaches out of the field",
        ),
        (
            {"window": Window(row_px=0, col_px=29, rows_px=4, cols_px=4), "field_shape_px": (32, 32)},
            "reaches out of the field",
        ),
    ],
    ids=lambda value: str(value)[:30],
)
def test_facts_out_of_their_range_are_refused_with_the_reason(facts, reason):
    with pytest.raises(ValidationError, match=reason):
        FrameFacts(**facts)


def test_an_undoped_specimen_is_told_from_an_unknown_one():
    assert FrameFacts(dopants=()).dopants == ()
    assert FrameFacts().dopants is None


def test_commands_are_told_apart_by_their_kind():
    command = COMMAND.validate_json('{"kind": "switch_detector", "detectors": ["MAADF"]}')
    assert command == SwitchDetector(detectors=("MAADF",))
    with pytest.raises(ValidationError, match="fly"):
        COMMAND.validate_json('{"kind": "fly"}')


def test_a_window_must_lie_on_the_grid_that_is_asked_for():
    with pytest.raises(ValidationError, match="reaches out"):
        AcquireImage(shape_px=(16, 16), window=Window(row_px=10, col_px=0, rows_px=8, cols_px=8))


def test_the_place_in_a_group_is_less_than_its_size():
    with pytest.raises(ValidationError, match="less than the count"):
        Simultaneous(group="scan-1", index=2, count=2)


def test_messages_are_frozen():
    hello = Hello(client="agent")
    with pytest.raises(ValidationError, match="frozen"):
        hello.client = "other"


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "{}", '{"kind": 3}', "\x00\xff", "{" * 5000, '{"kind": "resume"}', "NaN", "[" * 60000],
    ids=lambda text: repr(text[:12]),
)
def test_anything_that_is_no_message_is_a_message_error(text):
    with pytest.raises(MessageError):
        parse(text.encode("latin-1"))


def test_every_field_at_fault_is_named():
    text = json.dumps({"kind": "resume", "token": "a b", "next_sequence": -1, "credits": 0})
    with pytest.raises(MessageError, match=r"token.*next_sequence.*credits"):
        parse(text.encode())


def test_an_unknown_wire_version_is_named_as_such(frame_parts):
    header = json.loads(frame_parts[1]) | {"wire": 7}
    with pytest.raises(WireVersionError, match="expected a wire version of 1, found 7"):
        parse(json.dumps(header).encode())


def test_every_message_has_a_kind_of_its_own():
    schema = TypeAdapter(WireMessage).json_schema()
    assert len(schema["discriminator"]["mapping"]) == len(schema["oneOf"])


def test_sequence_numbers_stay_exact_in_any_language():
    with pytest.raises(ValidationError):
        Resume(token="t", next_sequence=2**53, credits=1)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"shape": [31, 24]}, "field_shape_px"),
        (
            {"window": {"row_px": 0, "col_px": 0, "rows_px": 31, "cols_px": 24}},
            "cannot be the window of 31 x",
        ),
        (
            {"window": {"row_px": 0, "col_px": 0, "rows_px": 32, "cols_px": 23}},
            "cannot be the window of 32 x",
        ),
        ({"field_of_view_nm": 9.6}, "contradicts"),
        ({"shape": [32, 0]}, "greater than or equal to 1"),
        ({"dtype": "complex64"}, "uint8"),
        ({"checksum": "md5:00"}, "pattern"),
        ({"session": "../../etc"}, "pattern"),
        ({"monotonic_s": None}, "valid number"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_header_that_contradicts_itself_is_refused(frame_parts, changes, reason):
    header = json.loads(frame_parts[1]) | changes
    with pytest.raises(MessageError, match=reason):
        parse(json.dumps(header).encode())


def test_errors_of_the_wire_are_input_errors():
    assert issubclass(MessageError, InputError)
