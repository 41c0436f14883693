import pytest

from models.contexts import context_name, reference_contexts
from models.contrasts import FIELDS, _row
from models.training.contrasts import expected_row


@pytest.mark.parametrize("number", [0, 333, 575])
def test_the_shipped_table_is_what_the_kernels_give(number):
    context = reference_contexts()[number]
    row = dict(zip(FIELDS, expected_row(context), strict=True))
    shipped = dict(zip(FIELDS, _row(context), strict=True))
    assert row == pytest.approx(shipped, rel=2e-3, abs=1e-3), context_name(context)
