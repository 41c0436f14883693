import math

import pytest

from drivers.contract.context import HAADF, MAADF, Context, Specimen
from drivers.contract.errors import InputError
from models.contexts import reference_contexts
from models.contrasts import brightest_contrast, expected_contrast


def wse2(detector, dopant="Ti") -> Context:
    return Context(specimen=Specimen(host="WSe2", dopant=dopant), energy_kev=80.0, detector=detector)


def test_every_reference_context_has_contrasts_and_vacancies_are_dimmer():
    for context in reference_contexts():
        expected = expected_contrast(context)
        assert expected.metal > 0
        assert expected.vacancy2 < expected.vacancy1 < 1
        assert math.isfinite(expected.dopant or math.nan)
        assert brightest_contrast(context) > 0


def test_the_metal_of_wse2_is_the_brighter_in_haadf_and_the_dimmer_in_maadf():
    assert expected_contrast(wse2(HAADF)).metal > 1 > expected_contrast(wse2(MAADF)).metal


def test_a_specimen_without_dopant_has_the_same_contrasts_but_for_the_dopant():
    pure, doped = expected_contrast(wse2(HAADF, None)), expected_contrast(wse2(HAADF))
    assert pure.dopant is None
    assert (pure.metal, pure.vacancy1) == (doped.metal, doped.vacancy1)


def test_a_context_outside_the_table_is_refused():
    with pytest.raises(InputError, match="60, 80, 100"):
        expected_contrast(
            Context(specimen=Specimen(host="WSe2", dopant="Ti"), energy_kev=200.0, detector=HAADF)
        )
