import pytest

from drivers.contract.errors import InputError
from sim_microscope.memory import require_memory


def test_what_fits_passes_and_what_does_not_is_named():
    require_memory(1e3, "a thing")
    with pytest.raises(InputError, match=r"a thing needs about .* GiB"):
        require_memory(1e18, "a thing")
