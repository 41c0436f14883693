import pytest

from drivers.addresses import CONTROL_PORT, endpoint
from drivers.contract.errors import InputError


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
    "address", ["", "http://pc:5", "pc:0", "pc:70000", "two words", "::1", "tcp://[::1]:5555"]
)
def test_what_is_no_address_of_ipv4_is_refused(address):
    with pytest.raises(InputError, match=r"expected an address such as tcp://127\.0\.0\.1:5555"):
        endpoint(address)
