import pytest
import zmq

from drivers.addresses import CONTROL_PORT, check_bound, connect, endpoint
from drivers.bridge import Bridge, Options
from drivers.contract.errors import InputError
from drivers.fake import FakeMicroscope
from drivers.fault_relay import FaultRelay
from drivers.faults import FaultyLink


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("tcp://10.0.0.2:7000", ("10.0.0.2", 7000)),
        ("microscope-pc:7000", ("microscope-pc", 7000)),
        ("7000", ("127.0.0.1", 7000)),
        ("microscope-pc", ("microscope-pc", CONTROL_PORT)),
    ],
)
def test_an_address_may_leave_out_what_is_usual(address, expected):
    assert endpoint(address) == expected


@pytest.mark.parametrize(
    "address", ["", "http://pc:5", "pc:0", "pc:70000", "pc:\u00b2", "two words", "::1", "tcp://[::1]:5555"]
)
def test_what_is_no_address_of_ipv4_is_refused(address):
    with pytest.raises(InputError, match=r"expected an address such as tcp://127\.0\.0\.1:5555"):
        endpoint(address)


@pytest.mark.parametrize(
    "address", ["tcp://*:1", "tcp://127.0.0.1:65535", "tcp://10.0.0.2:0", "tcp://pc:*", "ipc:///tmp/a:70000"]
)
def test_what_can_be_listened_at_is_let_through(address):
    check_bound(address)


@pytest.mark.parametrize("port", ["65536", "70000", "-1", "4294967297", "5880abc", " 5880", ""])
def test_a_port_that_there_is_not_is_not_listened_at(port):
    with pytest.raises(InputError, match=r"expected a port of 1 to 65535, or 0 for any free one, found .*"):
        check_bound(f"tcp://127.0.0.1:{port}")


@pytest.mark.parametrize("port", ["0", "65536", "70000", "5880abc"])
def test_a_port_that_nobody_can_have_is_not_tried_for_ever(port):
    with (
        zmq.Context() as context,
        context.socket(zmq.DEALER) as socket,
        pytest.raises(InputError, match="port of 1 to 65535, found 'tcp://127.0.0.1:" + port),
    ):
        connect(socket, f"tcp://127.0.0.1:{port}")


@pytest.mark.parametrize("port", [-1, 65535, 65536, 70000])
def test_a_bridge_listens_at_no_other_port_than_it_was_told(port):
    """At 65535 there is none left for its data."""
    with pytest.raises(InputError, match="expected a port of 1 to 65535"):
        Bridge(FakeMicroscope(), Options(port=port))


def test_a_relay_listens_at_no_other_port_than_it_was_told():
    with pytest.raises(InputError, match="found 70000"):
        FaultRelay("tcp://127.0.0.1:5555", FaultyLink((), 0), port=70000)
