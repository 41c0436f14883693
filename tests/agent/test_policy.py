"""The plain policy, map by map."""

import pytest

from agent.policy import consider, remember, rest
from agent.settings import LimitSettings, PolicySettings
from agent.state import Memory
from drivers.contract.context import Detector

POLICY = PolicySettings(rule="entropy", entropy_nats=0.02, margin_nats=0.005, settle_frames=3)
LIMITS = LimitSettings(detectors=("HAADF", "MAADF", "ABF", "LAADF"))


def after(make, *maps, memory=None):
    memory = memory or Memory()
    for detector, entropy in maps:
        memory = remember(memory, make.map_header(entropy, detector), POLICY)
    return memory


def wished(make, memory, offered=("HAADF", "MAADF", "ABF", "LAADF")):
    detectors = tuple(Detector(name=name, inner_mrad=40.0, outer_mrad=90.0) for name in offered)
    capabilities = make.CAPABILITIES.model_copy(update={"detectors": detectors})
    return consider(memory, make.map_header(0.3, "HAADF"), capabilities, POLICY, LIMITS)


def test_frames_above_the_threshold_count_in_a_row_of_one_detector(make):
    assert after(make, *[("HAADF", 0.3)] * 3).above == 3
    assert after(make, ("MAADF", 0.3), ("MAADF", 0.3), ("HAADF", 0.3)).above == 1
    assert after(make, ("HAADF", 0.3), ("HAADF", 0.01), ("HAADF", 0.3)).above == 1


def test_what_was_never_tried_goes_before_what_was_and_of_these_the_least_uncertain(make):
    known = (("HAADF", 0.3), ("MAADF", 0.2), ("ABF", 0.1))
    memory = Memory(above=3, detector="HAADF", entropy=known)
    assert wished(make, memory).command.detectors == ("LAADF",)
    wish = wished(make, memory, offered=("HAADF", "MAADF", "ABF"))
    assert wish.command.detectors == ("ABF",)
    assert "last gave 0.100 nats" in wish.reason


@pytest.mark.parametrize(("entropy", "is_asked"), [(0.2949, True), (0.2951, False)])
def test_a_detector_that_was_tried_must_be_better_by_the_margin(make, entropy, is_asked):
    memory = Memory(above=3, detector="HAADF", entropy=(("HAADF", 0.3), ("MAADF", entropy)))
    assert (wished(make, memory, offered=("HAADF", "MAADF")) is not None) == is_asked


def test_after_a_request_the_policy_rests_for_as_many_maps_as_are_set(make):
    memory = rest(after(make, *[("HAADF", 0.3)] * 3), POLICY)
    assert (memory.cooldown, memory.above) == (POLICY.cooldown_frames, 0)
    memory = after(make, *[("HAADF", 0.3)] * (POLICY.cooldown_frames - 1), memory=memory)
    assert wished(make, memory) is None
    assert wished(make, after(make, ("HAADF", 0.3), memory=memory)) is not None
