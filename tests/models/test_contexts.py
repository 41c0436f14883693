import pytest
import torch

from drivers.contract.context import HAADF, Context, Detector, Specimen
from drivers.contract.errors import InputError
from models.contexts import context_name, context_number, context_table, reference_contexts, stand_in
from models.encoding import CONTEXT_FEATURES


def context(**changes) -> Context:
    values = {"specimen": Specimen(host="WSe2", dopant="Ti"), "energy_kev": 80.0, "detector": HAADF}
    return Context(**(values | changes))


def test_there_are_576_contexts_and_no_two_are_encoded_alike():
    assert len(reference_contexts()) == 576
    assert context_table().shape == (576, CONTEXT_FEATURES)
    assert len(torch.unique(context_table(), dim=0)) == 576


def test_a_context_is_found_by_what_it_says():
    number = context_number(context())
    assert context_name(reference_contexts()[number]) == "WSe2-Ti 80 keV HAADF"


UNKNOWN = {
    "no dopant": ({"specimen": Specimen(host="WSe2")}, "dopant"),
    "energy": ({"energy_kev": 70.0}, "60, 80, 100 keV"),
    "annulus": ({"detector": Detector(name="HAADF", inner_mrad=50.0, outer_mrad=280.0)}, "68-280 mrad"),
    "detector": ({"detector": Detector(name="ADF", inner_mrad=50.0, outer_mrad=280.0)}, "30-120 mrad"),
    "convergence": ({"convergence_mrad": 25.0}, "31 mrad"),
}


@pytest.mark.parametrize(("changes", "told"), UNKNOWN.values(), ids=UNKNOWN)
def test_an_unknown_context_is_refused_and_what_is_known_is_named(changes, told):
    with pytest.raises(InputError, match=told):
        context_number(context(**changes))


def test_what_lies_near_a_reference_context_is_read_under_it_and_said():
    own = Detector(name="ADF", inner_mrad=32.0, outer_mrad=120.0)
    found, said = stand_in(context(energy_kev=80.02, detector=own, convergence_mrad=30.0))
    assert context_name(found) == "WSe2-Ti 80 keV MAADF"
    assert said == (
        "80.02 keV as 80 keV",
        "30 mrad convergence as 31 mrad",
        "ADF 32-120 mrad as MAADF 30-120 mrad",
    )
    assert stand_in(context()) == (context(), ())
    named_otherwise = Detector(name="ADF1", inner_mrad=HAADF.inner_mrad, outer_mrad=HAADF.outer_mrad)
    assert stand_in(context(detector=named_otherwise)) == (context(), ())
    for far in ({"energy_kev": 82.1}, {"detector": Detector(name="BF", inner_mrad=0.0, outer_mrad=20.0)}):
        with pytest.raises(InputError):
            stand_in(context(**far))
