"""What is no image is said to be none, whatever it is."""

import numpy as np
import pytest
import torch

from drivers.contract.errors import InputError
from models.analysis import analyse, load_analyser
from models.contexts import reference_contexts

NOISE = np.random.default_rng(1).random((64, 64))
NO_IMAGES = {
    "nothing": (None, "shape"),
    "a number": (3, "shape"),
    "text": ("abc", "shape"),
    "a line": (NOISE[0], "shape"),
    "a ragged list": ([[1, 2], [3]], "no array"),
    "a tensor that is learnt": (torch.rand(64, 64, requires_grad=True), "no array"),
    "objects": (NOISE.astype(object), "real intensities"),
    "complex": (NOISE * 1j, "real intensities"),
    "true and false": (NOISE > 0.5, "true or false"),
    "masked": (np.ma.masked_greater(NOISE, 0.9), "masked in part"),
    "constant": (np.full((64, 64), 2.5), "constant 2.5"),
    "infinite": (np.where(NOISE > 0.5, np.inf, NOISE), "infinite"),
    "not a number": (np.full((64, 64), np.nan), "NaN"),
}


@pytest.mark.parametrize("name", NO_IMAGES)
def test_what_is_no_image_is_refused(name):
    array, said = NO_IMAGES[name]
    with pytest.raises(InputError, match=said):
        analyse(array, reference_contexts()[0], load_analyser())
