import json

import event_model
import pytest

from agent.decide import decide
from agent.documents import DocumentStream
from agent.events import SessionEnding
from agent.journal import JournalEntry
from agent.state import State


@pytest.fixture
def documents(make):
    """Documents of a session of three maps, a request and a rejection."""
    events = [
        make.opened(mode="advise", settle_frames=2, entropy_nats=0.1),
        make.link_made(),
        make.frame_seen(0),
        make.frame_mapped(0, 0.5),
        make.frame_seen(1),
        make.frame_mapped(1, 0.5),
        make.frame_seen(1),
        make.frame_seen(2),
        make.frame_mapped(2, 0.5),
        SessionEnding(at_s=30.0, reason="told to", is_aborted=False, wall_time="2026-11-25T00:00:30Z"),
    ]
    stream, state, found = DocumentStream("s1"), State(), []
    for position, event in enumerate(events):
        state, actions = decide(state, event)
        found += stream.feed(JournalEntry(position, event, actions))
    return found


def test_documents_satisfy_the_event_model(documents):
    for name, document in documents:
        event_model.schema_validators[event_model.DocumentNames[name]].validate(document)
    assert documents[0][0] == "start"
    assert documents[-1][0] == "stop"


def test_documents_route_as_a_run(documents):
    seen = []

    class Router(event_model.DocumentRouter):
        def event(self, document):
            seen.append(document)

    router = Router()
    for name, document in documents:
        router(name, document)
    assert len(seen) == len([name for name, _ in documents if name == "event"])


def test_documents_are_plain_json(documents):
    assert json.loads(json.dumps(documents, allow_nan=False)) == [list(pair) for pair in documents]


def test_every_datum_is_described_with_its_type_and_unit(documents):
    descriptors = {doc["uid"]: doc for name, doc in documents if name == "descriptor"}
    assert {doc["name"] for doc in descriptors.values()} == {"maps", "requests", "rejections"}
    types = {"string": str, "integer": int, "number": float, "boolean": bool}
    for name, document in documents:
        if name == "event":
            keys = descriptors[document["descriptor"]]["data_keys"]
            assert list(document["data"]) == list(document["timestamps"]) == list(keys)
            for field, value in document["data"].items():
                assert type(value) is types[keys[field]["dtype"]], field
    keys = next(doc for doc in descriptors.values() if doc["name"] == "maps")["data_keys"]
    assert {field: keys[field]["units"] for field in ("energy", "pixel_size", "mean_entropy")} == {
        "energy": "keV",
        "pixel_size": "angstrom",
        "mean_entropy": "nat",
    }


def test_a_request_names_the_map_that_caused_it(documents):
    descriptors = {doc["uid"]: doc["name"] for name, doc in documents if name == "descriptor"}
    events = [doc for name, doc in documents if name == "event"]
    request = next(doc for doc in events if descriptors[doc["descriptor"]] == "requests")
    cause = next(doc for doc in events if doc["uid"] == request["data"]["cause"])
    assert cause["data"]["frame_sequence"] == 1 or descriptors[cause["descriptor"]] == "maps"
    assert request["data"]["command"] == "switch_detector"


def test_times_are_unix_and_counts_add_up(documents):
    start, stop = documents[0][1], documents[-1][1]
    assert start["time"] == 1795564800.0
    assert stop["time"] == start["time"] + 30.0
    assert stop["exit_status"] == "success"
    events = [doc for name, doc in documents if name == "event"]
    assert sum(stop["num_events"].values()) == len(events)
    assert stop["num_events"]["maps"] == 3


def test_the_same_entries_give_the_same_documents(documents, make):
    uids = [doc["uid"] for _, doc in documents]
    assert len(set(uids)) == len(uids)
    first = DocumentStream("s1").feed(JournalEntry(0, make.opened(mode="advise", settle_frames=2), ()))
    assert first[0][1]["uid"] == uids[0]
