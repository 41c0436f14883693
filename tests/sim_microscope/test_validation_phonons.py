import pytest

from drivers.contract.context import MAADF
from sim_microscope.kernels import default_table
from sim_microscope.validation import TARGETS
from sim_microscope.validation_phonons import compare_thermal

TABLE = default_table()


@pytest.mark.slow
def test_thermal_averages_agree_with_frozen_phonons():
    columns = (("MoS2:X2", 60), ("Ti", 60))
    figures = compare_thermal(TABLE, configurations=32, repeats=2, workers=2, columns=columns)
    assert len(figures) == 4
    for figure in figures:
        assert figure["difference_relative_to_peak"] < TARGETS["worst_thermal"], figure


def test_a_static_pair_fails_where_a_moving_one_passes():
    """The comparison can fail: without thermal motion the kernel of Se2 is off by more than the target."""
    moving = TABLE.radial("WSe2:X2", 80, MAADF)[0]
    static = TABLE.radial("WSe2:X2", 80, MAADF, thermal=False)[0]
    assert abs(static - moving) / moving > 3 * TARGETS["worst_thermal"]
