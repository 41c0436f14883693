import pytest
import torch

from drivers.contract.context import ENERGIES_KEV, HAADF, MAADF, Context, Detector, Specimen
from drivers.contract.errors import InputError
from drivers.contract.materials import ATOMIC_NUMBERS, doped_pairs
from models.encoding import (
    CONTEXT_FEATURES,
    CONTRAST_FEATURES,
    SHELL_POPULATIONS,
    encode_context,
    encode_contrast,
)


def test_shells_hold_as_many_electrons_as_the_nucleus_has_protons():
    assert {symbol: sum(shells) for symbol, shells in SHELL_POPULATIONS.items()} == ATOMIC_NUMBERS


def test_tungsten_is_not_the_misprint_of_the_paper():
    assert SHELL_POPULATIONS["W"] == (2, 8, 18, 32, 12, 2)


def test_every_context_has_blocks_that_sum_to_one_and_a_vector_of_its_own():
    vectors = []
    for host, dopant in doped_pairs():
        for detector in (HAADF, MAADF):
            for energy in ENERGIES_KEV:
                specimen = Specimen(host=host, dopant=dopant)
                vectors.append(
                    encode_context(Context(specimen=specimen, energy_kev=energy, detector=detector))
                )
    table = torch.stack(vectors)
    assert table.shape == (576, CONTEXT_FEATURES)
    for block in (slice(0, 6), slice(6, 12), slice(12, 18), slice(18, 20), slice(20, 23)):
        assert torch.allclose(table[:, block].sum(1), torch.ones(576))
    assert len(torch.unique(table, dim=0)) == 576


WSE2_TI = Specimen(host="WSe2", dopant="Ti")


@pytest.mark.parametrize(
    ("context", "says"),
    [
        (Context(specimen=Specimen(host="WSe2"), energy_kev=80, detector=HAADF), "expected the dopant"),
        (Context(specimen=WSE2_TI, energy_kev=200, detector=HAADF), "found 200 keV"),
        (
            Context(
                specimen=WSE2_TI,
                energy_kev=80,
                detector=Detector(name="35-120", inner_mrad=35, outer_mrad=120),
            ),
            "found '35-120'",
        ),
    ],
    ids=["no dopant", "energy", "detector"],
)
def test_a_context_outside_the_material_system_is_named(context, says):
    with pytest.raises(InputError, match=says):
        encode_context(context)


def test_the_contrast_vector_ends_with_the_flag_of_the_sublattice():
    features = encode_contrast(torch.arange(12.0).reshape(2, 6), torch.tensor([True, False]))
    assert features.shape == (2, CONTRAST_FEATURES)
    assert features[:, 6:].tolist() == [[1, 0], [0, 1]]
