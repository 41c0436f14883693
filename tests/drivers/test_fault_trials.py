"""The real client and the real bridge under every fault, in short; `make torture` has more of each."""

import pytest

from drivers.bridge import Options as BridgeOptions
from drivers.client import Options as ClientOptions
from drivers.fake import FakeMicroscope
from drivers.fault_trials import run_trial
from drivers.faults import INSTRUMENT_FAULTS, LINK_FAULTS, Fault

#: Quicker than in earnest, so that a trial takes half a second.
BRIDGE = BridgeOptions(port=0, heartbeat_s=0.05)
CLIENT = ClientOptions(link_timeout_s=0.3, retry_s=0.05)

#: Faults that single messages meet, and so both ways.
SINGLE = ("missing", "duplicated", "reordered", "truncated", "altered")


@pytest.mark.parametrize("kind", LINK_FAULTS + INSTRUMENT_FAULTS)
async def test_all_is_well_after(kind):
    fault = Fault(kind=kind, lasts_s=0.2, direction="both" if kind in SINGLE else "to_client")
    trial = await run_trial(FakeMicroscope, fault, bridge_options=BRIDGE, client_options=CLIENT)
    assert trial.lost == []
    assert (trial.repeated, trial.executed_twice) == (0, 0)
    assert trial.recovered_s is not None


async def test_a_lost_link_is_announced_once_and_made_again():
    fault = Fault(kind="loss", lasts_s=0.5)
    trial = await run_trial(FakeMicroscope, fault, bridge_options=BRIDGE, client_options=CLIENT)
    assert trial.is_good
    assert trial.links == 2


async def test_spoilt_messages_are_announced():
    fault = Fault(kind="altered", lasts_s=0.3)
    trial = await run_trial(FakeMicroscope, fault, bridge_options=BRIDGE, client_options=CLIENT)
    assert trial.is_good
    assert trial.rejected > 0
