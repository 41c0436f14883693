import pytest

from agent.steady_analysis import SteadyAnalysis
from drivers.contract.errors import InputError


class Device:
    def __init__(self, *errors, answer="a map"):
        self.errors, self.answer = list(errors), answer
        self.prepared = 0

    def prepare(self):
        self.prepared += 1

    def run(self, pixels, settled, header):
        if self.errors:
            raise self.errors.pop(0)
        return self.answer


def test_a_device_that_fails_is_left_for_good_and_the_frame_is_analysed_all_the_same():
    told, cpu = [], Device(answer="from the cpu")
    steady = SteadyAnalysis(Device(RuntimeError("CUDA error: device lost")), lambda: cpu)
    steady.on_moved = lambda *what: told.append(what)
    assert [steady.run(None, None, None) for _ in range(2)] == ["from the cpu"] * 2
    assert told == [("cpu", "RuntimeError: CUDA error: device lost")]
    assert cpu.prepared == 1


def test_a_frame_that_cannot_be_read_is_no_fault_of_the_device():
    steady = SteadyAnalysis(Device(InputError("expected a lattice")), lambda: pytest.fail("moved"))
    with pytest.raises(InputError, match="expected a lattice"):
        steady.run(None, None, None)
    assert steady.run(None, None, None) == "a map"


@pytest.mark.parametrize("error", [ZeroDivisionError("x"), MemoryError(), RuntimeError("x")], ids=repr)
def test_what_nobody_thought_of_fails_the_frame_alone(error):
    steady = SteadyAnalysis(Device(error))
    with pytest.raises(InputError, match=f"failed on this frame: {type(error).__name__}"):
        steady.run(None, None, None)
    assert steady.run(None, None, None) == "a map"


def test_a_frame_that_fails_on_both_devices_fails_alone():
    steady = SteadyAnalysis(Device(RuntimeError("cuda")), lambda: Device(RuntimeError("cpu")))
    with pytest.raises(InputError, match="RuntimeError: cpu"):
        steady.run(None, None, None)
    assert steady.run(None, None, None) == "a map"
