"""What is told if a frame fits its context, another one, or both."""

import math

import pytest
import torch

from drivers.contract.context import HAADF, MAADF, Context, Specimen
from models.contrasts import expected_contrast
from models.grain_contrasts import GrainContrasts
from models.plausibility import CONTRADICTED_NATS, weigh_contexts

WSE2 = {
    detector.name: Context(
        specimen=Specimen(host="WSe2", dopant="Ti"), energy_kev=80, detector=detector, convergence_mrad=31
    )
    for detector in (HAADF, MAADF)
}


def grains(ratio: float, chalcogens: torch.Tensor) -> list[GrainContrasts]:
    """One grain of 600 columns of either sublattice, the second so many times as bright as the first."""
    noise = 0.05 * torch.randn(2, 600, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return [GrainContrasts([chalcogens * (1 + noise[0]), ratio * (1 + noise[1])])]


@pytest.mark.parametrize(("declared", "other"), [("HAADF", "MAADF"), ("MAADF", "HAADF")])
def test_a_pristine_frame_whose_sublattices_hang_on_the_detector_is_told(declared, other):
    ones = torch.ones(600, dtype=torch.float64)
    evidence = weigh_contexts(grains(1.25, ones), WSE2[declared])
    assert evidence.contradiction is None
    assert evidence.hinge is not None
    assert f"fits {other} about as well as {declared}" in evidence.hinge


def test_vacancies_tell_which_detector_it_is_and_nothing_hangs_on_it():
    chalcogens = torch.ones(600, dtype=torch.float64)
    chalcogens[:30] = expected_contrast(WSE2["HAADF"]).vacancy1
    assert weigh_contexts(grains(1.25, chalcogens), WSE2["HAADF"]).hinge is None


def test_where_the_metal_is_the_brighter_in_every_detector_nothing_hangs_on_it():
    mos2 = WSE2["HAADF"].model_copy(update={"specimen": Specimen(host="MoS2", dopant="V")})
    ratio = expected_contrast(mos2).metal
    evidence = weigh_contexts(grains(ratio, torch.ones(600, dtype=torch.float64)), mos2)
    assert evidence.exchanged == ()
    assert evidence.hinge is None


def defective() -> torch.Tensor:
    """Chalcogens, one in ten of which is a single vacancy as HAADF shows it."""
    chalcogens = torch.ones(600, dtype=torch.float64)
    chalcogens[:60] = expected_contrast(WSE2["HAADF"]).vacancy1
    return chalcogens


def test_what_speaks_for_one_detector_speaks_against_the_other_as_much():
    haadf, maadf = (weigh_contexts(grains(1.233, defective()), WSE2[name]) for name in ("HAADF", "MAADF"))
    assert haadf.log_odds["HAADF"] == maadf.log_odds["MAADF"] == 0
    assert haadf.log_odds["MAADF"] == pytest.approx(-maadf.log_odds["HAADF"])
    assert maadf.log_odds["HAADF"] > CONTRADICTED_NATS
    assert haadf.contradiction is None
    assert maadf.contradiction is not None
    assert "MAADF is declared, but the contrasts of the columns fit HAADF better" in maadf.contradiction


def test_nothing_changes_with_the_numbers_of_the_sublattices():
    noise = 0.05 * torch.randn(2, 600, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    pair = [defective() * (1 + noise[0]), 1.233 * (1 + noise[1])]
    one, other = (weigh_contexts([GrainContrasts(sides)], WSE2["MAADF"]) for sides in (pair, pair[::-1]))
    assert one.ratio == pytest.approx(other.ratio) == pytest.approx(1.233, rel=0.01)
    assert one.log_odds == pytest.approx(other.log_odds)
    assert one.misfit == pytest.approx(other.misfit)
    assert one.exchanged == other.exchanged


def test_a_ratio_that_cannot_be_measured_says_nothing_of_the_host():
    evidence = weigh_contexts(grains(100.0, torch.ones(600, dtype=torch.float64)), WSE2["HAADF"])
    assert math.isnan(evidence.ratio)
    assert evidence.host_doubt is None
    evidence.check_host()


def test_of_a_specimen_without_dopants_it_says_nothing_which_one_the_context_names():
    with_dopants = torch.ones(600, dtype=torch.float64)
    with_dopants[:40] = 0.4
    named = [
        WSE2["HAADF"].model_copy(update={"specimen": Specimen(host="WSe2", dopant=dopant)})
        for dopant in ("Ti", "Nb")
    ]
    doped, undoped = (
        [weigh_contexts(grains(1.25, with_dopants), one, is_doped=is_doped).log_odds for one in named]
        for is_doped in (True, False)
    )
    assert undoped[0] == undoped[1]
    assert doped[0] != doped[1]
