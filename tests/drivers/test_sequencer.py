from hypothesis import given
from hypothesis import strategies as st

from drivers.sequencer import MAX_RESTS, MAX_TIMES, Sequencer


def test_frames_in_order_are_taken():
    sequencer = Sequencer()
    assert [sequencer.judge(number) for number in range(3)] == [("take", None)] * 3


def test_a_repeated_frame_is_not_used_twice():
    sequencer = Sequencer(expected=4)
    step, error = sequencer.judge(3)
    assert step == "ignore"
    assert "expected frame 4, found 3 again" in error.reason


def test_a_skipped_frame_is_asked_for():
    sequencer = Sequencer(expected=4)
    step, error = sequencer.judge(6)
    assert step == "resume"
    assert "frames 4 to 5 skipped" in error.reason
    assert sequencer.expected == 4


def test_what_comes_before_the_answer_is_out_of_date():
    sequencer = Sequencer(expected=4)
    number = sequencer.ask()
    assert sequencer.judge(4) == ("ignore", None)
    sequencer.resumed(number, 4)
    assert sequencer.judge(4) == ("take", None)


def test_only_the_answer_to_the_last_request_counts_and_once():
    sequencer = Sequencer(expected=4)
    first, second = sequencer.ask(), sequencer.ask()
    sequencer.resumed(first, 4)
    assert sequencer.is_resuming
    sequencer.resumed(second, 4)
    assert not sequencer.is_resuming
    sequencer.judge(4)
    sequencer.resumed(second, 4)
    assert sequencer.expected == 5


def go_through(sequencer, step):
    """Ask and be answered, if the step says so."""
    if step in ("resume", "rest"):
        sequencer.resumed(sequencer.ask(), sequencer.expected)


def test_a_bridge_that_skips_for_good_does_not_stop_the_stream():
    sequencer = Sequencer(expected=4)
    steps = []
    for _ in range(MAX_TIMES + MAX_RESTS + 1):
        step, error = sequencer.judge(6)
        steps.append(step)
        go_through(sequencer, step)
    assert steps == ["resume"] * MAX_TIMES + ["rest"] * MAX_RESTS + ["skip"]
    assert "did not come" in error.reason
    assert sequencer.judge(7) == ("take", None)


def test_an_altered_frame_is_asked_for_again_and_passed_over_in_the_end():
    sequencer = Sequencer(expected=4)
    steps = []
    for _ in range(MAX_TIMES + MAX_RESTS + 1):
        steps.append(sequencer.retry(4))
        go_through(sequencer, steps[-1])
    assert steps == ["resume"] * MAX_TIMES + ["rest"] * MAX_RESTS + ["skip"]
    assert sequencer.expected == 5


def test_nothing_that_comes_in_a_rest_is_used():
    sequencer = Sequencer(expected=4)
    for _ in range(MAX_TIMES):
        go_through(sequencer, sequencer.retry(4))
    assert sequencer.retry(4) == "rest"
    assert sequencer.judge(4) == ("ignore", None)
    assert sequencer.retry(4) == "ignore"
    assert not sequencer.pass_over(4)
    sequencer.resumed(sequencer.ask(), 4)
    assert sequencer.judge(4) == ("take", None)


@given(st.lists(st.integers(0, 12), max_size=60))
def test_no_number_is_taken_twice_or_out_of_order(numbers):
    sequencer = Sequencer()
    taken = []
    for number in numbers:
        step, _ = sequencer.judge(number)
        if step in ("take", "skip"):
            taken.append(number)
        go_through(sequencer, step)
    assert taken == sorted(set(taken))
