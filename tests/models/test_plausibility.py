"""What is told if a frame fits its context, another one, or both."""

import pytest
import torch

from drivers.contract.context import HAADF, MAADF, Context, Specimen
from models.contrasts import expected_contrast
from models.grain_contrasts import GrainContrasts
from models.plausibility import weigh_contexts

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
