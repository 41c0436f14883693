import numpy as np
import pytest

from drivers.contract.errors import InputError
from drivers.contract.maps import COLUMN_DTYPE, columns_from_bytes, digest_pixels


def test_records_travel_as_bytes_and_come_back():
    columns = np.zeros(3, dtype=COLUMN_DTYPE)
    columns["p"][:, 1] = 0.5
    assert np.array_equal(columns_from_bytes(columns.tobytes(), 3), columns)
    with pytest.raises(InputError, match="expected 196 bytes"):
        columns_from_bytes(columns.tobytes(), 4)


def test_pixels_of_another_type_or_shape_have_another_digest():
    image = np.arange(16, dtype=np.uint16).reshape(4, 4)
    digests = {
        digest_pixels(image),
        digest_pixels(image.astype(np.int16)),
        digest_pixels(image.reshape(2, 8)),
    }
    assert len(digests) == 3
    assert digest_pixels(image.copy(order="F")) == digest_pixels(image)
