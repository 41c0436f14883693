"""What really stands in a simulated frame: served to tests, on a socket of its own, where it is asked for.

It is no part of the instrument's wire: a daemon that runs against the simulator cannot see it.  A REQ
socket sends the sequence number of a frame as JSON, ``{"sequence": 17}``, and gets a header as JSON and
the columns as raw `TRUTH_DTYPE`, or one part ``{"error": "..."}``.
"""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import zmq
from numpy.typing import NDArray

from drivers.addresses import check_port
from drivers.contract.errors import InputError
from sim_microscope.scans import FrameTruth

#: A column: (row, column) in pixels of the frame, its `ColumnClass`, and its lattice site, which is the same
#: in every frame of a session.
TRUTH_DTYPE = np.dtype([("row_px", "<f4"), ("col_px", "<f4"), ("cls", "u1"), ("site", "<i8")])


@dataclass(frozen=True, eq=False)
class Truth:
    """Truth of a frame.

    Parameters
    ----------
    sequence : int
        Of the frame in its session.
    columns : ndarray of shape (n,), TRUTH_DTYPE
        Every column in it, double vacancies among them.
    lost_chalcogens : int
        Chalcogens that the beam has taken from the specimen up to the end of the frame.
    highest_dose_e_per_a2 : float
        Largest dose that a part of the specimen has had.
    """

    sequence: int
    columns: NDArray[np.void]
    lost_chalcogens: int
    highest_dose_e_per_a2: float

    @classmethod
    def of(
        cls, truth: FrameTruth, *, sequence: int, lost_chalcogens: int, highest_dose_e_per_a2: float
    ) -> "Truth":
        """Pack the truth of a scan."""
        columns = np.empty(len(truth.sites), TRUTH_DTYPE)
        columns["row_px"], columns["col_px"] = truth.positions_px.T
        columns["cls"], columns["site"] = truth.classes, truth.sites
        return cls(sequence, columns, lost_chalcogens, highest_dose_e_per_a2)


class TruthServer:
    """Answers requests for truths from a thread, until it is closed.

    Parameters
    ----------
    find : callable
        Truth of a frame by its sequence number, or None.
    port : int
        0 takes a free one.

    Raises
    ------
    InputError
        If the port is none, or in use.
    """

    def __init__(self, find: Callable[[int], Truth | None], port: int = 0) -> None:
        check_port(port)
        self._find = find
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.REP)
        self._socket.linger = 0
        try:
            self._socket.bind(f"tcp://127.0.0.1:{port or '*'}")
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            raise InputError(
                f"expected a free port for the truth, found {port} in use ({error}); choose another"
            ) from error
        self.address = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self._thread = threading.Thread(target=self._serve, name="truth", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        # This ends the thread's wait, and itself waits until the thread has closed the socket.
        self._context.term()
        self._thread.join()

    def _serve(self) -> None:
        try:
            while True:
                self._socket.send_multipart(self._answer(self._socket.recv_multipart()[0]))
        except zmq.ContextTerminated:
            self._socket.close()

    def _answer(self, request: bytes) -> list[bytes]:
        try:
            sequence = int(json.loads(request)["sequence"])
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return [json.dumps({"error": 'expected {"sequence": N}'}).encode()]
        truth = self._find(sequence)
        if truth is None:
            return [json.dumps({"error": f"no truth is kept of a frame {sequence}"}).encode()]
        header = {
            "sequence": sequence,
            "columns": len(truth.columns),
            "lost_chalcogens": truth.lost_chalcogens,
            "highest_dose_e_per_a2": truth.highest_dose_e_per_a2,
        }
        return [json.dumps(header).encode(), truth.columns.tobytes()]


def fetch_truth(address: str, sequence: int, *, timeout_s: float = 5.0) -> Truth:
    """Ask a simulator that serves its truth for that of a frame.

    Raises
    ------
    InputError
        If it has none, or does not answer in time.
    """
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.linger = 0
        socket.connect(address)
        socket.send(json.dumps({"sequence": sequence}).encode())
        if not socket.poll(int(timeout_s * 1e3)):
            raise InputError(f"expected a simulator that serves its truth at {address}, nothing answered")
        parts = socket.recv_multipart()
    header = json.loads(parts[0])
    if "error" in header:
        raise InputError(str(header["error"]))
    columns = np.frombuffer(parts[1], TRUTH_DTYPE)
    return Truth(sequence, columns, header["lost_chalcogens"], header["highest_dose_e_per_a2"])
