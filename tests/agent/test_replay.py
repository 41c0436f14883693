import numpy as np
import pytest

from agent.decide import decide
from agent.events import AnalysisFailed, SessionEnding, Ticked
from agent.frames import FrameRef
from agent.journal import Journal, JournalEntry
from agent.recording import Recording
from agent.replay import compare_columns, compare_json, replay
from agent.state import State
from drivers.contract.errors import InputError
from drivers.contract.maps import DefectMap, MapHeader
from drivers.session_layout import DamagedSessionError, segment_name


class ArithmeticAnalysis:
    """Counts one column a unit of the first pixel; refuses 3."""

    def __init__(self, make, nudge=0.0):
        self.make, self.nudge = make, nudge

    def prepare(self):
        pass

    def run(self, pixels, settled, header):
        first = int(pixels[0, 0])
        if first == 3:
            raise InputError("a frame of threes")
        columns = self.make.columns_of(first)
        columns["row_px"] = np.arange(first) + self.nudge * (first == 4)
        found = self.make.map_header(0.5, settled.context.detector.name, columns=first)
        return DefectMap(found, columns)


def events_of(make):
    """A session of six frames, two of them at once, whose maps ask for the other detector."""
    pixels = {n: np.full((16, 16), n, np.uint8) for n in range(6)}
    analysis = ArithmeticAnalysis(make)
    yield make.opened(mode="advise", settle_frames=2), None
    yield make.link_made(), None
    waiting: list[int] = []
    for n in range(6):
        seen = make.frame_seen(n)
        yield seen, pixels[n]
        if n == 2:
            continue  # still being analysed when the next arrives
        for number in (2, 3) if n == 3 else (n,):
            frame = FrameRef(session=make.SESSION, sequence=number)
            try:
                made = analysis.run(pixels[number], make.settled, seen.header)
            except InputError as error:
                yield AnalysisFailed(at_s=10.4 + n, frame=frame, reason=str(error)), None
                continue
            mapped = make.frame_mapped(number, 0.5, at_s=10.5 + n)
            yield type(mapped)(**(vars(mapped) | {"header": made.header})), made.columns
        yield Ticked(at_s=10.8 + n), None
    assert not waiting
    yield SessionEnding(at_s=20.0, reason="done", is_aborted=False, wall_time="2026-11-25T00:00:20Z"), None


@pytest.fixture
def make_session(make, tmp_path):
    make.settled = make.map_header(0.0).settled

    def record(name="session", alter=lambda position, actions: actions):
        journal, state = Journal.create(tmp_path / name), State()
        for position, (event, array) in enumerate(events_of(make)):
            state, actions = decide(state, event)
            journal.append([JournalEntry(position, event, alter(position, actions), array)])
        journal.close()
        return tmp_path / name

    return record


def test_the_recorded_events_give_the_recorded_decisions(make_session):
    with Recording(make_session()) as recording:
        outcome = replay(recording)
    assert outcome.difference is None
    assert outcome.events["frame_seen"] == 6
    assert outcome.actions["announce_request"] >= 1
    assert outcome.maps_verified == 0


def test_maps_that_are_made_again_are_the_same_to_the_bit(make_session, make):
    with Recording(make_session()) as recording:
        outcome = replay(recording, load_analysis=lambda _: ArithmeticAnalysis(make))
    assert outcome.difference is None
    assert outcome.maps_verified == outcome.events["frame_mapped"] == 5
    assert outcome.events["analysis_failed"] == 1


def test_the_first_map_that_differs_is_named_with_column_and_field(make_session, make):
    with Recording(make_session()) as recording:
        outcome = replay(recording, load_analysis=lambda _: ArithmeticAnalysis(make, nudge=1e-6))
        assert outcome.difference is not None
        entry = list(recording.entries())[outcome.difference.position]
    assert entry.event.kind == "frame_mapped"
    assert entry.event.frame.sequence == 4
    assert "column 0, row_px: recorded 0.0, replayed 1e-06" in outcome.difference.what.replace(
        "9.999999974752427e-07", "1e-06"
    )
    assert outcome.maps_verified == 4 - 1


def test_the_first_decision_that_differs_is_named(make_session):
    folder = make_session(alter=lambda position, actions: () if position == 3 else actions)
    with Recording(folder) as recording:
        outcome = replay(recording)
    assert outcome.difference is not None
    assert outcome.difference.position == 3
    assert "recorded nothing; replayed publish_map" in outcome.difference.what


def test_a_failure_that_does_not_come_again_is_named(make_session, make):
    class Kind(ArithmeticAnalysis):
        def run(self, pixels, settled, header):
            return super().run(np.maximum(pixels, 4) if pixels[0, 0] == 3 else pixels, settled, header)

    with Recording(make_session()) as recording:
        outcome = replay(recording, load_analysis=lambda _: Kind(make))
    assert "recorded failure 'a frame of threes', replayed: a map" in outcome.difference.what


def test_a_session_cut_short_replays_up_to_the_damage(make_session, make):
    folder = make_session()
    path = folder / segment_name(0)
    path.write_bytes(path.read_bytes()[:13000])
    with Recording(folder) as recording:
        with pytest.raises(DamagedSessionError, match=r"the array of entry 8 is lost: .* is cut short"):
            replay(recording, load_analysis=lambda _: ArithmeticAnalysis(make))
        assert replay(recording, stop=8, load_analysis=lambda _: ArithmeticAnalysis(make)).entries == 8


def test_maps_come_with_their_frames(make_session):
    with Recording(make_session()) as recording:
        found = list(recording.maps())
    assert [each.header.sequence for each in found] == [0, 1, 2, 4, 5]
    assert all(int(each.pixels[0, 0]) == each.defect_map.header.columns for each in found)


def test_an_event_of_another_version_is_said_to_be_one(make_session, tmp_path, make):
    header = make.opened()

    class Unheard(type(header)):
        more: int = 1

    journal = Journal.create(tmp_path / "future")
    journal.append([JournalEntry(0, Unheard(**vars(header)))])
    journal.close()
    with Recording(tmp_path / "future") as recording, pytest.raises(InputError, match="another version"):
        list(recording.entries())


def test_the_first_field_that_differs_is_named():
    left = {"a": 1, "b": [{"c": 1.0}, {"c": 2.0}]}
    assert compare_json(left, {"a": 1, "b": [{"c": 1.0}, {"c": 2.0}]}, "map") is None
    assert compare_json(left, {"a": 1, "b": [{"c": 1.0}, {"c": 2.5}]}, "map") == (
        "map.b[1].c: recorded 2.0, replayed 2.5"
    )
    assert compare_json(left, {"a": 1, "b": []}, "map").startswith("map.b: recorded [{")
    assert compare_json({}, {"d": 1}, "map") == "map.d: recorded null, replayed 1"


def test_columns_are_compared_by_bit(make):
    left = make.columns_of(4)
    right = left.copy()
    assert compare_columns(left, right) is None
    right["p"][2, 3] = -0.0
    right["entropy_nats"][3] = np.nan
    assert compare_columns(left, right).startswith("column 2, p: recorded [0. 0. 0. 0. 0.]")
    assert compare_columns(left, right).endswith("(2 of 4 columns differ)")
    assert compare_columns(left, right[:3]).startswith("columns: recorded (4,)")


def test_map_headers_read_back_the_same(make):
    header = make.map_header(0.1 + 0.2)
    assert MapHeader.model_validate_json(header.model_dump_json()) == header
