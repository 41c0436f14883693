"""Bluesky's event model (1.24) of a session: start, descriptors, events, stop, from the same entries."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from agent.actions import AnnounceRequest, RejectFrame
from agent.events import FrameMapped, SessionEnding, SessionOpened
from agent.journal import JournalEntry
from agent.requests import Request
from drivers.contract.maps import CLASS_NAMES, MapHeader

Document = tuple[str, dict[str, object]]

#: Maps that a request may still name as its cause.
_MAPS_REMEMBERED = 1000


@dataclass(frozen=True, slots=True)
class _Key:
    """One field of the events of a stream: its type in JSON, its unit, and how it is read."""

    dtype: str
    units: str | None
    read: Callable[[Any], object]


def _share(defect: str, end: str) -> Callable[[MapHeader], object]:
    """Read one number of a concentration; 0 of 0 sites where the map gives none."""

    def read(header: MapHeader) -> object:
        found = next((each for each in header.concentrations if each.defect == defect), None)
        return 0.0 if found is None else getattr(found, end)

    return read


def _count(name: str) -> Callable[[MapHeader], object]:
    return lambda header: getattr(header.counts, name)


def _margin(header: MapHeader) -> object:
    return min((grain.margin_nats for grain in header.grains), default=0.0)


_MAP_KEYS: dict[str, _Key] = {
    "frame_session": _Key("string", None, lambda h: h.frame.session or ""),
    "frame_sequence": _Key("integer", None, lambda h: -1 if h.frame.sequence is None else h.frame.sequence),
    "frame_sha256": _Key("string", None, lambda h: h.frame.sha256),
    "host": _Key("string", None, lambda h: h.settled.context.specimen.host),
    "dopant": _Key("string", None, lambda h: h.settled.context.specimen.dopant or "none"),
    "energy": _Key("number", "keV", lambda h: h.settled.context.energy_kev),
    "convergence": _Key("number", "mrad", lambda h: h.settled.context.convergence_mrad),
    "detector": _Key("string", None, lambda h: h.settled.context.detector.name),
    "detector_inner": _Key("number", "mrad", lambda h: h.settled.context.detector.inner_mrad),
    "detector_outer": _Key("number", "mrad", lambda h: h.settled.context.detector.outer_mrad),
    "pixel_size": _Key("number", "angstrom", lambda h: h.scale.pixel_size_angstrom),
    "columns": _Key("integer", None, lambda h: h.columns),
    "mean_entropy": _Key("number", "nat", lambda h: h.mean_entropy_nats),
    "sublattice_margin": _Key("number", "nat", _margin),
    "sublattice_is_decided": _Key("boolean", None, lambda h: h.is_decided),
    **{f"count_{name}": _Key("integer", None, _count(name)) for name in CLASS_NAMES},
    **{
        f"concentration_{defect}{suffix}": _Key("number", "1", _share(defect, end))
        for defect in ("vac1", "vac2", "dopant")
        for suffix, end in (("", "value"), ("_low", "low"), ("_high", "high"))
    },
}

_REQUEST_KEYS: dict[str, _Key] = {
    "request": _Key("string", None, lambda r: r.id),
    "command": _Key("string", None, lambda r: r.wish.command.kind),
    "reason": _Key("string", None, lambda r: r.wish.reason),
    "status": _Key("string", None, lambda r: r.status),
    "outcome": _Key("string", None, lambda r: r.outcome),
}

_REJECTION_KEYS: dict[str, _Key] = {
    "frame_session": _Key("string", None, lambda r: r.frame.session if r.frame else ""),
    "frame_sequence": _Key("integer", None, lambda r: r.frame.sequence if r.frame else -1),
    "reason": _Key("string", None, lambda r: r.reason),
    "remedy": _Key("string", None, lambda r: r.remedy),
}

#: The uid of the event that caused an event: for a request, that of the map which led to it.
_CAUSE = {"cause": _Key("string", None, lambda _: "")}

_STREAMS: dict[str, dict[str, _Key]] = {
    "maps": _MAP_KEYS,
    "requests": _REQUEST_KEYS | _CAUSE,
    "rejections": _REJECTION_KEYS,
}


class DocumentStream:
    """Turns the entries of one session into documents.

    The same entries give the same documents, uids included, so that a replay can be compared and a
    listener can drop what it has already.

    Parameters
    ----------
    session : str
        Name of the session; the uids are made from it.
    """

    def __init__(self, session: str) -> None:
        self._session = session
        self._start_uid = self._uid("start")
        self._offset_s = 0.0
        self._counts: dict[str, int] = {}
        self._map_uids: dict[str, str] = {}

    def feed(self, entry: JournalEntry) -> list[Document]:
        """Return the documents that an entry gives, as plain JSON types.

        Parameters
        ----------
        entry : JournalEntry
            Entries must come in order, from the session's first.
        """
        event: object = entry.event
        time_s = self._offset_s + getattr(event, "at_s", 0.0)
        documents: list[Document] = []
        if isinstance(event, SessionOpened):
            time_s = datetime.fromisoformat(event.wall_time).timestamp()
            self._offset_s = time_s - event.at_s
            documents.append(("start", self._start(event, time_s)))
        if isinstance(event, FrameMapped):
            documents += self._event("maps", event.header, time_s)
            self._map_uids[str(event.frame)] = str(documents[-1][1]["uid"])
            while len(self._map_uids) > _MAPS_REMEMBERED:
                del self._map_uids[next(iter(self._map_uids))]
        for action in entry.actions:
            if isinstance(action, AnnounceRequest):
                documents += self._event("requests", action.request, time_s, self._cause(action.request))
            elif isinstance(action, RejectFrame):
                documents += self._event("rejections", action, time_s)
        if isinstance(event, SessionEnding):
            documents.append(("stop", self._stop(event, time_s)))
        return documents

    def _start(self, event: SessionOpened, time_s: float) -> dict[str, object]:
        context = event.rules.context
        return {
            "uid": self._start_uid,
            "time": time_s,
            "session": event.session,
            "source": event.source,
            "plan_name": "columnist",
            "columnist_version": event.version,
            "sample": {"host": context.host, "dopant": context.dopant},
            "analysis": event.analysis.model_dump(mode="json"),
            "rules": event.rules.model_dump(mode="json"),
        }

    def _stop(self, event: SessionEnding, time_s: float) -> dict[str, object]:
        return {
            "uid": self._uid("stop"),
            "time": time_s,
            "run_start": self._start_uid,
            "exit_status": "abort" if event.is_aborted else "success",
            "reason": event.reason,
            "num_events": dict(self._counts),
        }

    def _event(self, stream: str, what: object, time_s: float, cause: str | None = None) -> list[Document]:
        """Return an event of a stream, after the stream's descriptor if it is the first."""
        documents: list[Document] = []
        if stream not in self._counts:
            documents.append(("descriptor", self._descriptor(stream, time_s)))
        number = self._counts[stream] = self._counts.get(stream, 0) + 1
        data = {name: key.read(what) for name, key in _STREAMS[stream].items()}
        if cause is not None:
            data["cause"] = cause
        event: dict[str, object] = {
            "uid": self._uid(stream, number),
            "time": time_s,
            "descriptor": self._uid(stream, "descriptor"),
            "seq_num": number,
            "data": data,
            "timestamps": dict.fromkeys(data, time_s),
            "filled": {},
        }
        return [*documents, ("event", event)]

    def _descriptor(self, stream: str, time_s: float) -> dict[str, object]:
        keys: dict[str, object] = {}
        for name, key in _STREAMS[stream].items():
            keys[name] = {
                "dtype": key.dtype,
                "shape": [],
                "source": f"columnist:{stream}",
                "units": key.units,
            }
        return {
            "uid": self._uid(stream, "descriptor"),
            "time": time_s,
            "run_start": self._start_uid,
            "name": stream,
            "data_keys": keys,
            "object_keys": {"columnist": list(keys)},
            "configuration": {},
            "hints": {},
        }

    def _cause(self, request: Request) -> str:
        return self._map_uids.get(str(request.frame), "")

    def _uid(self, *parts: object) -> str:
        return str(uuid5(NAMESPACE_URL, "/".join(["columnist", self._session, *map(str, parts)])))
