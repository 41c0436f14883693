from agent.results.course import CoursePoint
from agent.results.flagged import flagged_maps
from drivers.contract.maps import MapFlag


def points_of(a_map, *maps):
    header = a_map().header
    return [
        CoursePoint(
            session,
            sequence,
            0.0,
            header.model_copy(
                update={"flags": tuple(MapFlag(kind=kind, message=f"{kind} of {sequence}") for kind in kinds)}
            ),
        )
        for session, sequence, kinds in maps
    ]


def test_flags_are_gathered_by_kind_with_their_frames(a_map):
    maps = [("a", number, ("scale_mismatch",)) for number in range(4)]
    maps[2] = ("a", 2, ("scale_mismatch", "spikes"))
    maps += [("a", 4, ()), ("a", 7, ("scale_mismatch",))]
    common, rare = flagged_maps(points_of(a_map, *maps))
    assert (common.kind, common.maps, common.frames) == ("scale_mismatch", 5, "0 to 3, 7")
    assert common.message == "scale_mismatch of 7"
    assert (rare.kind, rare.maps, rare.frames) == ("spikes", 1, "2")


def test_frames_of_two_sessions_of_the_instrument_are_told_apart(a_map):
    maps = [("a", 0, ("spikes",)), ("b", 0, ("spikes",)), ("b", 1, ("spikes",))]
    (row,) = flagged_maps(points_of(a_map, *maps))
    assert row.frames == "0 of a, 0 to 1 of b"


def test_no_more_than_some_runs_of_frames_are_named(a_map):
    (row,) = flagged_maps(points_of(a_map, *(("a", 2 * number, ("spikes",)) for number in range(50))))
    assert row.maps == 50
    assert row.frames.endswith("38, and others")
