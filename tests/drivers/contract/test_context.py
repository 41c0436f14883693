import pytest
from pydantic import ValidationError

from drivers.contract.context import HAADF, MAADF, ColumnClass, Context, Detector, Specimen, find_detector
from drivers.contract.errors import InputError


def test_classes_are_numbered_as_in_the_paper():
    assert [c.name for c in sorted(ColumnClass)] == ["X2", "VAC1", "VAC2", "METAL", "DOPANT"]


def test_a_context_survives_json():
    context = Context(specimen=Specimen(host="WSe2", dopant="Ti"), energy_kev=80.0, detector=HAADF)
    assert Context.model_validate_json(context.model_dump_json()) == context


def test_a_message_is_rebuilt_with_other_values_and_checked():
    context = Context(specimen=Specimen(host="WSe2", dopant="Ti"), energy_kev=80.0, detector=HAADF)
    assert context.rebuilt(detector=MAADF) == Context(
        specimen=context.specimen, energy_kev=80.0, detector=MAADF
    )
    for wrong in ({"energy_kev": 80e3}, {"energy": 60.0}):
        with pytest.raises(ValidationError):
            context.rebuilt(**wrong)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Specimen(host="WSe2", dopant="Re"),
        lambda: Specimen(host="XX"),
        lambda: Detector(name="x", inner_mrad=120.0, outer_mrad=30.0),
        lambda: Context(specimen=Specimen(host="WSe2"), energy_kev=80e3, detector=HAADF),
        lambda: Context(specimen=Specimen(host="WSe2"), energy_kev=float("nan"), detector=HAADF),
        lambda: Context(specimen=Specimen(host="WSe2"), energy_kev=80.0, detector=HAADF, dose=1.0),
    ],
    ids=[
        "dopant of the metal's period",
        "host",
        "annulus inside out",
        "volts",
        "not a number",
        "extra field",
    ],
)
def test_contradictory_contexts_are_refused(make):
    with pytest.raises(ValidationError):
        make()


def test_an_unknown_detector_is_answered_with_the_known_ones():
    with pytest.raises(InputError, match=r"HAADF \(68-280 mrad\), MAADF \(30-120 mrad\)"):
        find_detector("BF")
