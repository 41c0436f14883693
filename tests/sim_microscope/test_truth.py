import numpy as np
import pytest
import zmq

from drivers.contract.errors import InputError
from sim_microscope.scans import FrameTruth
from sim_microscope.truth import Truth, TruthServer, fetch_truth


@pytest.fixture
def server():
    truth = FrameTruth(
        np.array([[1.5, 2.0], [3.0, 4.25]]), np.array([3, 2], np.uint8), np.array([77, 2**50], np.int64)
    )
    known = {5: Truth.of(truth, sequence=5, lost_chalcogens=4, highest_dose_e_per_a2=1e5)}
    server = TruthServer(known.get)
    yield server
    server.close()


def test_a_truth_arrives_as_it_was(server):
    truth = fetch_truth(server.address, 5)
    assert truth.sequence == 5
    assert truth.lost_chalcogens == 4
    assert truth.columns["row_px"].tolist() == [1.5, 3.0]
    assert truth.columns["cls"].tolist() == [3, 2]
    assert truth.columns["site"].tolist() == [77, 2**50]


def test_a_frame_without_truth_is_named(server):
    with pytest.raises(InputError, match="no truth is kept of a frame 6"):
        fetch_truth(server.address, 6)


def test_a_port_in_use_is_named(server):
    port = int(server.address.rsplit(":", 1)[1])
    with pytest.raises(InputError, match=str(port)):
        TruthServer(lambda sequence: None, port)


def test_nobody_answering_is_named():
    with pytest.raises(InputError, match="nothing answered"):
        fetch_truth("tcp://127.0.0.1:9", 0, timeout_s=0.05)


@pytest.mark.parametrize(
    "request_parts",
    [
        [b'{"sequence": 1e999}'],
        [b"[" * 100_000],
        [b"[]"],
        [b"\xff"],
        [b'{"sequence": "a"}'],
        [b"{}", b"more"],
    ],
    ids=["endless", "deep", "a list", "no text", "a word", "two parts"],
)
def test_a_request_that_is_none_is_answered_and_the_next_as_usual(server, request_parts):
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.linger = 0
        socket.connect(server.address)
        socket.send_multipart(request_parts)
        assert socket.poll(5000)
        assert b"error" in socket.recv()
    assert fetch_truth(server.address, 5).lost_chalcogens == 4


def test_a_port_that_there_is_not_is_refused():
    with pytest.raises(InputError, match="expected a port of 1 to 65535, or 0 for any free one, found 70000"):
        TruthServer({}.get, 70000)
