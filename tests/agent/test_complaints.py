from agent.complaints import QUIET_S, Complaints


def test_a_complaint_is_told_once_while_it_lasts_and_again_when_it_comes_again():
    complaints = Complaints()
    told = [
        complaints.hear(what, at_s)
        for at_s, what in ((0.0, ""), (0.5, "COM"), (1.0, "COM"), (1.5, ""), (2.0, "COM"))
    ]
    assert told == ["", "COM", "", "", ""]
    assert [complaints.hear("COM", 2.0 + step) for step in range(30)] == 30 * [""]
    assert complaints.hear("", 31.0 + QUIET_S) == ""
    assert complaints.hear("COM", 31.5 + QUIET_S) == "COM"


def test_complaints_that_differ_each_time_are_not_all_told():
    complaints = Complaints()
    told = [complaints.hear(f"late by {step} ms", 0.5 * step) for step in range(60)]
    assert [what for what in told if what] == ["late by 0 ms", "late by 20 ms", "late by 40 ms"]
