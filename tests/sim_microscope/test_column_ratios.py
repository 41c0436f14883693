import pytest

from sim_microscope.column_ratios import column_ratios
from sim_microscope.kernels import default_table
from sim_microscope.pairs import default_pairs


def test_ratios_tell_the_two_detectors_apart():
    ratios = column_ratios(default_table(), default_pairs())
    # PHYSICS.md, section 2: tungsten is the brighter sublattice in HAADF, selenium in MAADF.
    assert ratios["HAADF"]["W/Se2"] > 1.2
    assert ratios["MAADF"]["W/Se2"] < 1.0
    # One atom of two scatters half to high angles, and a third to low ones, where the two are coherent.
    assert ratios["HAADF"]["V1/X2"] == pytest.approx(0.5, abs=0.03)
    assert ratios["MAADF"]["V1/X2"] == pytest.approx(1 / 3, abs=0.03)
    for values in ratios.values():
        assert values["V2/X2"] < 0.1
        assert values["Ti/W"] < values["Cr/W"] < 0.6
