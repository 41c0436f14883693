import numpy as np
import pytest

from drivers.contract.context import MAADF
from sim_microscope.kernels import default_table
from sim_microscope.validation import (
    CASES,
    TARGETS,
    blur_periodic,
    compare,
    kernel_image,
    make_case,
)

TABLE = default_table()


def test_the_cases_hold_every_class_energy_and_chalcogen():
    cases = [make_case(*names) for names in CASES]
    assert {case.energy_kev for case in cases} == {60, 80, 100}
    assert {case.crystal.host.chalcogen for case in cases} == {"S", "Se", "Te"}
    for case in cases:
        assert set(case.crystal.classes) == {0, 1, 2, 3, 4}
        assert set(case.crystal.states) == set(range(6))


@pytest.mark.slow
def test_kernels_agree_with_full_multislice():
    """The small form of `columnist validate physics`: one small crystal, at the targets of the whole."""
    for name, (full, alone) in compare(make_case("MoS2", "Re", 60, cells=(1, 2)), TABLE, workers=2).items():
        assert full.figures["rms_relative"] < TARGETS[f"worst_rms_{name.lower()}"]
        assert full.figures["rms_relative"] < alone.figures["rms_relative"]


def test_neighbours_are_worth_their_terms_near_the_direct_beam():
    case = make_case("WSe2", "Ti", 80, cells=(1, 2))
    with_terms, without = (kernel_image(case, TABLE, MAADF, neighbours=choice) for choice in (True, False))
    assert 0.02 < (with_terms - without).std() / without.std() < 0.1


def test_a_source_keeps_the_mean_and_blurs_a_wave_by_its_transfer():
    columns = np.tile(np.arange(24), (32, 1))
    wave = 1.0 + np.cos(2 * np.pi * 3 * columns / 24)
    blurred = blur_periodic(wave, (16.0, 12.0), 0.45)
    assert blurred.mean() == pytest.approx(1.0)
    expected = np.exp(-2 * (np.pi * 0.45 * 3 / 12.0) ** 2)
    assert np.ptp(blurred) / np.ptp(wave) == pytest.approx(expected)
