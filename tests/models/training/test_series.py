from dataclasses import replace

import numpy as np
import pytest

from drivers.contract.context import Specimen
from drivers.contract.errors import InputError
from models.training.conditions import Ranges
from models.training.observations import _observe_one, load_observations, observe, save_observations
from models.training.series import draw_relief, draw_series
from sim_microscope.field import Raster

WSE2 = Specimen(host="WSe2", dopant="Ti")
SMALL = Ranges(pixels=96, lattice_px=(9.0, 10.0), log10_dose=(4.5, 5.0))


@pytest.fixture(scope="module")
def series():
    return draw_series((WSE2, 80.0, 60.0), SMALL, [1, 2])


def test_a_series_is_five_scans_on_two_detectors(series):
    assert [(f.scan, f.frame.context.detector.name) for f in series] == [
        (k, name) for k in range(5) for name in ("HAADF", "MAADF")
    ]
    assert [f.frame.context.energy_kev for f in series[::2]] == [80.0, 80.0, 80.0, 80.0, 60.0]
    doses = [f.frame.acquisition.dose_e_per_a2 for f in series[::2]]
    np.testing.assert_allclose(np.array(doses) / doses[0], [1, 1, 1, 3, 1])


def test_the_same_column_is_the_same_in_every_frame(series):
    classes = {}
    for image in series:
        for column, label in zip(image.column, image.frame.crystal.classes, strict=True):
            assert classes.setdefault(column, label) == label
    first, last = set(series[0].column), set(series[-1].column)
    assert 0.4 * len(first) < len(first & last) < len(first)  # the field has moved


def test_detectors_of_one_scan_share_its_place_and_not_its_noise(series):
    haadf, maadf = series[0], series[1]
    np.testing.assert_array_equal(haadf.frame.pixel_positions, maadf.frame.pixel_positions)
    assert not np.array_equal(haadf.frame.image, maadf.frame.image)


@pytest.mark.slow
def test_a_series_can_be_made_again(series):
    again = draw_series((WSE2, 80.0, 60.0), SMALL, [1, 2])
    for one, other in zip(series, again, strict=True):
        np.testing.assert_array_equal(one.frame.image, other.frame.image)


def test_contamination_stays_on_the_specimen():
    relief = draw_relief(60.0, 20.0, np.random.default_rng(0))
    whole = relief.sample(Raster((40, 40), 1.0, (0.0, 0.0)))
    moved = relief.sample(Raster((30, 30), 1.0, (5.0, 7.0)))
    np.testing.assert_allclose(moved, whole[5:35, 7:37])
    assert whole.min() >= 0
    assert relief.height.max() == 1.0


@pytest.mark.slow
def test_observations_are_read_kept_and_found_again(tmp_path):
    made = observe(2, 3, workers=1)
    assert set(made.scan) <= set(range(5))
    assert len(made.contrast) == len(made.label) == len(made.frame)
    path = tmp_path / "observations.npz"
    save_observations(path, made, {"what": "test"})
    again = load_observations(path)
    np.testing.assert_array_equal(again.contrast, made.contrast)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="derive fusion"):
        load_observations(path)


def test_a_series_that_kernels_cannot_make_is_left_out(monkeypatch):
    monkeypatch.setattr("models.training.observations.RANGES", replace(SMALL, defocus_angstrom=1e6))
    assert _observe_one(0, 0) == []
