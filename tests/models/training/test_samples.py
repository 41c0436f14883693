import shutil

import numpy as np
import pytest
import torch

from drivers.contract.errors import InputError
from models.training.dataset import shard_path
from models.training.samples import (
    LEAST_OF_A_CLASS,
    Samples,
    column_weights,
    load_samples,
    read_card,
)


def test_frames_of_training_calibration_and_test_are_apart(made_up_dataset):
    parts = load_samples(made_up_dataset, "metal")
    size = {part: len(samples) for part, samples in parts.items()}
    assert sum(size.values()) == 576 * 120
    assert size["calibration"] == pytest.approx(576 * 12, rel=0.03)
    assert size["test"] == pytest.approx(576 * 12, rel=0.03)
    # Contexts are tested on different frames, and hardly any is left out.
    assert len(parts["test"].context.unique()) == 576


def test_the_flag_names_the_metal_or_the_brighter_sublattice(made_up_dataset):
    metal = load_samples(made_up_dataset, "metal")["test"]
    bright = load_samples(made_up_dataset, "bright")["test"]
    assert torch.equal(metal.contrast[:, 6] > 0.5, metal.label >= 3)
    assert torch.equal(bright.contrast[:, 6] > 0.5, bright.label < 3)
    assert torch.equal(metal.contrast[:, :6], bright.contrast[:, :6])


def test_an_unfinished_data_set_is_refused(tmp_path):
    with pytest.raises(InputError, match="columnist dataset build"):
        read_card(tmp_path)


def test_a_shard_that_is_cut_short_is_named(made_up_dataset, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(made_up_dataset, folder)
    path = shard_path(folder, 5)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"context-005\.npz"):
        load_samples(folder, "metal")


def test_every_class_of_every_frame_counts_alike_but_a_class_of_few_columns_less():
    label = np.repeat([0, 1, 3, 0, 1], [900, 40, 300, 50, LEAST_OF_A_CLASS // 2]).astype(np.uint8)
    frame = np.repeat([0, 0, 0, 7, 7], [900, 40, 300, 50, LEAST_OF_A_CLASS // 2]).astype(np.uint16)
    weight = column_weights(label, frame).numpy()
    sums = [weight[(label == k) & (frame == f)].sum() for f, k in ((0, 0), (0, 1), (0, 3), (7, 0), (7, 1))]
    np.testing.assert_allclose(sums, sums[0] * np.array([1, 1, 1, 1, 0.5]), rtol=1e-5)


@pytest.mark.parametrize("text", ["", "[1, 2]", '{"format": '], ids=["empty", "a list", "cut short"])
def test_a_card_that_is_none_is_named(tmp_path, text):
    (tmp_path / "card.json").write_text(text)
    with pytest.raises(InputError, match=r"card\.json is missing, cut short or altered"):
        read_card(tmp_path)


def test_a_column_takes_as_many_bytes_as_is_said(made_up_dataset):
    samples = load_samples(made_up_dataset, "metal")["test"]
    taken = sum(values.numel() * values.element_size() for values in vars(samples).values())
    assert f"{taken // len(samples)} bytes a column" in Samples.__doc__
