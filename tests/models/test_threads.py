"""The helper changes when things are computed, never what."""

import threading

import numpy as np
import pytest
import torch

from drivers.contract.context import HAADF, Context, Specimen
from drivers.contract.errors import InputError
from models.analysis import analyse, load_analyser
from models.contexts import context_table
from models.threads import Helper, threads_for
from sim_microscope.imaging import Acquisition
from sim_microscope.simulate import SpecimenPlan, simulate_frame

WSE2 = Context(specimen=Specimen(host="WSe2", dopant="Ti"), energy_kev=80.0, detector=HAADF)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("pixels", "threads", "is_beside"),
    [(256**2, 2, True), (1024**2, 2, True), (256**2, 4, True), (1024**2, 4, False)],
)
def test_small_frames_and_all_of_two_threads_have_a_helper(two_threads, pixels, threads, is_beside):
    torch.set_num_threads(threads)
    with threads_for(pixels) as helper:
        assert (helper.start(threading.get_ident)() != threading.get_ident()) == is_beside
        assert (torch.get_num_threads() == 1) == is_beside
        assert helper.start(torch.get_num_threads)() == torch.get_num_threads()
    assert torch.get_num_threads() == threads


def test_on_a_gpu_every_frame_is_small(two_threads):
    with threads_for(1024**2, "cuda") as helper:
        assert helper.start(threading.get_ident)() != threading.get_ident()
        assert torch.get_num_threads() == 1


def test_who_has_one_thread_gets_no_second_one(two_threads):
    torch.set_num_threads(1)
    with threads_for(256**2) as helper:
        assert helper.start(threading.get_ident)() == threading.get_ident()


def test_what_the_work_raises_comes_with_its_result(two_threads):
    def fail() -> None:
        raise InputError("expected this")

    with threads_for(256**2) as helper, pytest.raises(InputError, match="expected this"):
        helper.start(fail)()
    with pytest.raises(InputError, match="expected this"):
        Helper().start(fail)


def test_maps_are_the_same_to_the_bit_with_and_without_a_helper(two_threads):
    image = simulate_frame(
        WSE2, Acquisition(pixels=128, fov_nm=5.0, dose_e_per_a2=3e4), SpecimenPlan(), seed=3
    ).image
    analyser = load_analyser()
    beside = [analyse(image, WSE2, analyser) for _ in range(3)]
    torch.set_num_threads(1)
    alone = analyse(image, WSE2, analyser)
    for found in beside:
        assert found.header == alone.header
        np.testing.assert_array_equal(found.columns, alone.columns)


def test_who_helps_takes_the_mode_of_who_asks(two_threads):
    with threads_for(256**2) as helper:
        assert not helper.start(torch.is_inference_mode_enabled)()
        with torch.inference_mode():
            assert helper.start(torch.is_inference_mode_enabled)()


def test_what_an_analysis_keeps_serves_gradients_later(two_threads):
    """Tables that are made once, while a frame is read, are used by training in the same process, too."""
    image = simulate_frame(
        WSE2, Acquisition(pixels=128, fov_nm=5.0, dose_e_per_a2=3e4), SpecimenPlan(), seed=3
    ).image
    context_table.cache_clear()
    analyser = load_analyser()
    analyse(image, WSE2, analyser)
    context = context_table()[:4]
    layer = torch.nn.Linear(context.shape[1], 1)
    layer(context).sum().backward()
    assert layer.weight.grad is not None
